"""The suite that breaks commands: it sees what is broken, and a few faults leave nothing broken."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from robustness_folders import contents, reference_of, snapshot, touched, unsound
from robustness_kills import Bench, at_each_step, at_random, bench
from robustness_soak import Sample, draw, growth, measure, verdict
from robustness_subjects import subjects, volume, write_series
from robustness_surroundings import permission_denied

from medbundles.io import read_image


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    work = tmp_path_factory.mktemp("robustness")
    (work / "fetal").mkdir()  # not simulated here
    return bench(subjects(work)["discs"], work)


def test_kills_at_random_leave_nothing_broken(discs: Bench) -> None:
    tally = at_random(discs, 3, np.random.default_rng(0), over=True)
    assert tally.n == tally.killed + tally.completed == 3
    assert tally.wrong() == 0, tally.remarks


def test_kills_before_changes_of_files_come_to_the_end(discs: Bench) -> None:
    tally = at_each_step(discs, over=True, every=16)
    assert tally.killed >= 2 and tally.completed == 1
    assert tally.wrong() == 0, tally.remarks


def test_a_folder_of_another_user_is_told_in_words(discs: Bench) -> None:
    tally = permission_denied(discs)
    assert (tally.n, tally.completed, tally.wrong()) == (1, 0, 0), tally.remarks


def test_what_is_broken_is_seen(discs: Bench, tmp_path: Path) -> None:
    out = shutil.copytree(discs.place / "own", tmp_path / "out")
    reference = reference_of(discs.place / "own", discs.place / "other")
    assert unsound(out, reference) == []
    assert contents(out) == reference.files != contents(discs.place / "other")
    preview = next(out.glob("*_preview.png"))
    shutil.copy(discs.place / "other" / preview.name, preview)
    assert "another run" in unsound(out, reference)[0]
    assert unsound(out) == []
    preview.write_bytes(preview.read_bytes()[:-20])
    assert preview.name in unsound(out)[0]
    preview.unlink()
    assert "not there" in unsound(out)[0]
    for name, end in {"report.csv": -2, "index.html": -9, "report.json": -3}.items():
        whole = (out / name).read_text(encoding="utf-8")
        (out / name).write_text(whole[:end], encoding="utf-8")
        assert any(name in problem for problem in unsound(out))
        (out / name).write_text(whole, encoding="utf-8")
    (out / ".half.tmp.png").write_bytes(b"half")
    assert len(unsound(out)) == 1  # what is hidden is nobody's result


def test_touched_inputs_are_seen(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "scan", volume((40, 40, 3)))
    before = snapshot(tmp_path)
    assert touched(before, tmp_path) == []
    paths[0].write_bytes(paths[1].read_bytes())
    paths[2].rename(tmp_path / "other.dcm")
    assert len(touched(before, tmp_path)) == 3


def test_the_series_says_what_was_written(tmp_path: Path) -> None:
    values = volume((40, 36, 3))
    write_series(tmp_path / "scan", values)
    assert np.array_equal(read_image(tmp_path / "scan").array[0], values)


def test_growth_is_the_slope_after_the_warm_up(tmp_path: Path) -> None:
    memory = [100.0 + 50 * n for n in range(20)] + [1100 + 0.3 * n for n in range(80)]
    samples = [Sample("frames", n + 1, 0.1, value, 9, 3) for n, value in enumerate(memory)]
    assert growth(samples) == pytest.approx(30)
    assert "+30.00 MB per 100 cases over the last 80%" in verdict(samples)
    assert growth(samples[:1]) == 0
    draw(samples, tmp_path / "soak.png")
    picture = read_image(tmp_path / "soak.png").array
    assert picture.max() > 200 and picture.std() > 5


def test_a_process_is_looked_at_after_every_case(discs: Bench, tmp_path: Path) -> None:
    inputs = shutil.copytree(discs.subject.inputs, tmp_path / "in")
    samples = measure("discs", discs.subject.bundle, inputs)
    assert [sample.case for sample in samples] == [1, 2]
    assert all(sample.memory_mb > 100 and sample.files > 2 and sample.threads >= 1 for sample in samples)
    assert len(json.loads((tmp_path / "in_results" / "report.json").read_text())["cases"]) == 2
