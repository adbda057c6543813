"""A result is kept only if it was made from what is there now, whatever the clock says."""

from __future__ import annotations

import os
import sys
import time
import zipfile
from pathlib import Path
from threading import Timer

import numpy as np
import pytest

from medbundles.finished import state_of_input

sys.path.insert(0, str(Path(__file__).parent))

from test_engines import build, report, write_disc

YEAR = 365 * 86400


def area(out: Path, name: str) -> float:
    return report(out)[name]["measurements"][0]["value"]


def test_an_input_that_was_replaced_by_an_older_file_is_computed_again(tmp_path: Path) -> None:
    file, out = write_disc(tmp_path / "in" / "a.png"), tmp_path / "out"
    build(file.parent, out).run()
    small = area(out, "a.png")
    other = write_disc(tmp_path / "other.png", radius=8)
    os.utime(other, (time.time() - YEAR,) * 2)
    other.rename(file)
    build(file.parent, out).run()
    assert area(out, "a.png") > 1.5 * small


def test_results_of_a_clock_that_ran_ahead_do_not_hide_a_changed_input(tmp_path: Path) -> None:
    file, out = write_disc(tmp_path / "in" / "a.png"), tmp_path / "out"
    build(file.parent, out).run()
    small = area(out, "a.png")
    for path in out.iterdir():
        os.utime(path, (time.time() + YEAR,) * 2)
    write_disc(file, radius=8)
    build(file.parent, out).run()
    assert area(out, "a.png") > 1.5 * small
    build(file.parent, out).run()
    assert report(out)["a.png"]["status"] == "skipped"


def test_results_of_other_options_never_pass_for_this_runs(tmp_path: Path) -> None:
    first, second = (write_disc(tmp_path / name / "x.png").parent for name in ("first", "second"))
    write_disc(first / "y.png")
    out = tmp_path / "out"
    build(first, out, level=0.4).run()
    build(second, out, level=0.5).run()  # its files are called as those of the first folder
    build(first, out, level=0.5).run()
    assert [case["status"] for case in report(out).values()] == ["ok", "ok"]


def test_an_interrupted_run_leaves_no_entry_of_the_one_before_to_its_own_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    file = write_disc(tmp_path / "in" / "a.png")
    write_disc(file.with_name("b.png"))
    build(file.parent, out, level=0.4).run()
    evaluator = build(file.parent, out, level=0.6)
    evaluator.postprocessing.transforms += (_Stop(out / "a_preview.png"),)
    with pytest.raises(KeyboardInterrupt):
        evaluator.run()
    assert sorted(report(out)) == ["b.png"]
    build(file.parent, out, level=0.4).run()
    assert {name: case["status"] for name, case in report(out).items()} == {"a.png": "ok", "b.png": "skipped"}


class _Stop:
    """Stops the run when a file is there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, case: dict) -> dict:
        raise KeyboardInterrupt if self._path.exists() else AssertionError


def test_a_file_that_grows_while_it_is_read_is_reported_and_done_later(tmp_path: Path) -> None:
    file, out = write_disc(tmp_path / "in" / "a.nii.gz"), tmp_path / "out"
    evaluator = build(file.parent, out)
    whole = file.read_bytes()
    evaluator.data_loader.dataset.transform.transforms += (_Append(file),)
    evaluator.run()
    assert "while it was read" in report(out)["a.nii.gz"]["error"]
    file.write_bytes(whole)
    build(file.parent, out).run()
    assert report(out)["a.nii.gz"]["status"] == "ok"


class _Append:
    """Another program that is still writing the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, case: dict) -> dict:
        with open(self._path, "ab") as file:
            file.write(b"more")
        return case


def test_what_changes_after_it_was_read_is_computed_again(tmp_path: Path) -> None:
    file, out = write_disc(tmp_path / "in" / "a.png"), tmp_path / "out"
    evaluator = build(file.parent, out, pause=0.5)
    timer = Timer(0.2, lambda: write_disc(file, radius=8))
    timer.start()
    evaluator.run()
    timer.join()
    early = report(out)["a.png"]
    assert early["status"] in ("ok", "failed")
    build(file.parent, out).run()
    assert report(out)["a.png"]["status"] == "ok"
    assert area(out, "a.png") > 1.5 * (early["measurements"] or [{"value": 0}])[0]["value"]


def test_the_state_of_an_input_is_that_of_its_files_and_not_of_results_beside_them(tmp_path: Path) -> None:
    for name in ("a", "b", "out/c"):
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("x")
    folder = tmp_path / "in"
    state = state_of_input(str(folder), folder / "out")
    (folder / "out" / "d").write_text("y")
    (folder / ".hidden").write_text("z")
    assert state_of_input(str(folder), folder / "out") == state
    assert state_of_input(str(folder), tmp_path) != state_of_input(str(folder / "a"), tmp_path)
    (folder / "b").write_text("xx")
    assert state_of_input(str(folder), folder / "out") != state
    both = {"t1": str(folder / "a"), "t2": [folder / "b"]}
    assert state_of_input(both) != state_of_input(both["t1"])
    assert state_of_input(tmp_path / "none") is None
    assert state_of_input(np.zeros(3)) is None


def test_an_image_in_a_zip_changes_with_the_zip(tmp_path: Path) -> None:
    write_disc(tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
    state = state_of_input(str(tmp_path / "x.zip" / "a.png"))
    with zipfile.ZipFile(tmp_path / "x.zip", "a") as archive:
        archive.write(tmp_path / "a.png", "b.png")
    assert None is not state_of_input(str(tmp_path / "x.zip" / "a.png")) != state


def test_the_pixels_of_a_header_belong_to_its_state(tmp_path: Path) -> None:
    header, pixels = tmp_path / "a.mhd", tmp_path / "a.raw"
    header.write_text("ObjectType = Image")
    pixels.write_bytes(b"1")
    state = state_of_input(header)
    pixels.write_bytes(b"12")
    assert state_of_input(header) != state


def test_a_report_without_fingerprints_is_computed_again(tmp_path: Path) -> None:
    file, out = write_disc(tmp_path / "in" / "a.png"), tmp_path / "out"
    build(file.parent, out).run()
    text = (out / "report.json").read_text()
    (out / "report.json").write_text(text.replace('"fingerprints"', '"other"'))
    build(file.parent, out).run()
    assert report(out)["a.png"]["status"] == "ok"
