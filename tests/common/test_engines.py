"""A folder with bad files: the good ones are done, the bad ones are named, and nothing is done twice."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer
from monai.transforms import AsDiscreted, Compose, Invertd, ScaleIntensityd, Spacingd

from medbundles import io
from medbundles.engines import CaseDataset, CaseEvaluator, CaseLoader, exit_status
from medbundles.transforms import LoadImageCheckedd, SaveImageWholed, SavePreviewd

torch.set_num_threads(1)
METADATA = {
    "name": "disc_segmentation",
    "version": "0.3.1",
    "network_data_format": {"outputs": {"pred": {"channel_def": {"0": "background", "1": "disc"}}}},
    "medbundles": {"input": {"spatial_dims": 2, "channels": 1, "size_px": [8, 512]}},
}


class Threshold(torch.nn.Module):
    """Two logits: the image is brighter than a half, or not. Odd inputs make it fail or be slow."""

    def __init__(self, level: float = 0.5, pause: float = 0.0) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(level))
        self.pause = pause

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(self.pause)
        if x.shape[-1] == 13:
            raise RuntimeError("thirteen is unlucky")
        return torch.cat([self.level - x, x - self.level], 1)


def measure(case: dict) -> dict:
    area = float((case["pred"] > 0).sum())
    if area > 300:
        raise FloatingPointError("too large to measure")
    return {**case, "measurements": [{"name": "area", "value": area, "unit": "px", "reason": None}]}


def write_disc(path: Path, radius: float = 6, shape: tuple[int, int] = (40, 30)) -> Path:
    x, y = np.indices(shape)
    image = 10 + 200 * ((x - 16) ** 2 + (y - shape[1] // 2) ** 2 < radius**2).astype(np.uint8)
    io.write_image(image[None], path, affine=np.diag([-0.3, -0.3, 1, 1]))
    return path


def build(
    folder: Path, out: Path, *, level: float = 0.5, pause: float = 0.0, **options: object
) -> CaseEvaluator:
    metadata = {**METADATA, "version": options.pop("version", "0.3.1")}
    before = Compose(
        [
            LoadImageCheckedd("image", metadata, pixel_mm=options.pop("pixel_mm", None)),
            Spacingd("image", (0.2, 0.2), mode="bilinear"),
            ScaleIntensityd("image"),
        ]
    )
    after = Compose(
        [
            AsDiscreted("pred", argmax=True),
            Invertd("pred", before, "image", nearest_interp=True),
            SaveImageWholed("pred", out, metadata=metadata),
            measure,
            SavePreviewd("pred", out, metadata=metadata),
        ]
    )
    workers = options.pop("workers", 0)
    data = options.pop("data", None) or io.find_cases(folder, spatial_dims=2)
    return CaseEvaluator(
        "cpu",
        CaseLoader(CaseDataset(data, before), num_workers=workers),
        Threshold(level, pause),
        output_dir=out,
        metadata=metadata,
        postprocessing=after,
        inferer=options.pop("inferer", SlidingWindowInferer((32, 32), overlap=0.25)),
        **options,
    )


def report(out: Path) -> dict[str, dict]:
    cases = json.loads((out / "report.json").read_text())["cases"]
    return {Path(case["input"]).name: case for case in cases}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good files and three that fail: in reading, in the network's input check, in postprocessing."""
    write_disc(tmp_path / "in" / "a.png")
    write_disc(tmp_path / "in" / "b.nii.gz", radius=7)
    (tmp_path / "in" / "c.png").write_bytes(b"\x89PNG broken")
    io.write_image(np.full((1, 20, 20), 7, np.uint8), tmp_path / "in" / "d.png", affine=np.eye(4))
    write_disc(tmp_path / "in" / "e.nii.gz", radius=12)
    return tmp_path / "in"


def test_bad_cases_are_reported_and_the_rest_are_done(folder: Path, tmp_path: Path) -> None:
    evaluator = build(folder, tmp_path / "out")
    evaluator.run()
    cases = report(tmp_path / "out")
    assert {name: case["status"] for name, case in cases.items()} == {
        "a.png": "ok",
        "b.nii.gz": "ok",
        "c.png": "failed",
        "d.png": "failed",
        "e.nii.gz": "failed",
    }
    assert evaluator.failed == 3
    assert "c.png" in cases["c.png"]["error"]
    assert "every pixel" in cases["d.png"]["error"]
    assert cases["e.nii.gz"]["error"] == "FloatingPointError: too large to measure"
    assert all(len(case["error"].splitlines()) <= 6 for case in cases.values() if case["error"])


def test_a_network_that_fails_on_one_case_does_not_stop_the_others(tmp_path: Path) -> None:
    write_disc(tmp_path / "in" / "a.nii.gz", shape=(40, 9))
    write_disc(tmp_path / "in" / "b.nii.gz", radius=7)
    evaluator = build(tmp_path / "in", tmp_path / "out", inferer=SimpleInferer())
    evaluator.run()
    assert report(tmp_path / "out")["a.nii.gz"]["error"] == "RuntimeError: thirteen is unlucky"
    assert report(tmp_path / "out")["b.nii.gz"]["status"] == "ok"


def test_results_lie_on_the_inputs_grid_beside_a_preview(folder: Path, tmp_path: Path) -> None:
    build(folder, tmp_path / "out").run()
    case = report(tmp_path / "out")["b.nii.gz"]
    assert case["outputs"] == {"pred": "b_seg.nii.gz", "preview": "b_preview.png"}
    result = io.read_image(tmp_path / "out" / case["outputs"]["pred"])
    assert result.array.shape == (1, 40, 30)
    np.testing.assert_allclose(result.affine, np.diag([-0.3, -0.3, 1, 1]), atol=1e-6)
    assert case["measurements"][0]["value"] == pytest.approx(np.pi * 49, rel=0.08)
    assert (case["bundle"], case["version"]) == ("disc_segmentation", "0.3.1")
    assert case["seconds"] > 0


def test_a_failed_case_leaves_no_result_files(folder: Path, tmp_path: Path) -> None:
    build(folder, tmp_path / "out").run()
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    made = ["a_preview.png", "a_seg.png", "b_preview.png", "b_seg.nii.gz"]
    assert names == [*made, "report.csv", "report.json"]


class Halve(torch.nn.Module):
    """Half of the image, in its own unit."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 2


def fail_on_three_slices(case: dict) -> dict:
    if case["pred"].shape[-1] == 3:
        raise FloatingPointError("three")
    return case


def test_a_failed_case_leaves_no_dicom_series_either(
    tmp_path: Path, dicom_series: Callable[..., Path]
) -> None:
    out, kind = tmp_path / "out", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}
    data = [{"image": str(dicom_series(tmp_path / f"s{n}", list(range(n)), **kind))} for n in (2, 3)]
    metadata = {"name": "b", "medbundles": {"output": {"key": "pred", "kind": "image"}}}
    save = SaveImageWholed("pred", out, metadata=metadata, output_postfix="half", output_dtype=np.int16)
    for expected in ("ok", "skipped"):
        CaseEvaluator(
            "cpu",
            CaseLoader(CaseDataset(data, LoadImageCheckedd("image"))),
            Halve(),
            output_dir=out,
            metadata=metadata,
            inferer=SimpleInferer(),
            postprocessing=Compose([save, fail_on_three_slices]),
        ).run()
        assert [case["status"] for case in report(out).values()] == [expected, "failed"]
        assert sorted(path.name for path in out.iterdir()) == ["report.csv", "report.json", "s2_half"]


def test_the_exit_status_tells_whether_a_case_failed(folder: Path, tmp_path: Path) -> None:
    evaluator = build(folder, tmp_path / "out")
    evaluator.run()
    with pytest.raises(SystemExit) as caught:
        exit_status(evaluator)
    assert caught.value.code == 1
    fine = build(folder, tmp_path / "fine", data=[{"image": str(folder / "a.png")}])
    fine.run()
    exit_status(fine)


def test_finished_cases_are_skipped_and_failed_ones_tried_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(folder, out).run()
    first, stamp = report(out), (out / "a_seg.png").stat().st_mtime_ns
    write_disc(folder / "c.png")
    second = build(folder, out)
    second.run()
    cases = report(out)
    assert [case["status"] for case in cases.values()] == ["skipped", "skipped", "ok", "failed", "failed"]
    assert cases["a.png"] == first["a.png"] | {"status": "skipped"}
    assert (out / "a_seg.png").stat().st_mtime_ns == stamp
    assert [case["status"] for case in second.cases].count("skipped") == 2


def test_a_third_run_still_knows_what_was_skipped(folder: Path, tmp_path: Path) -> None:
    for _ in range(3):
        build(folder, tmp_path / "out").run()
    assert report(tmp_path / "out")["a.png"]["status"] == "skipped"


@pytest.mark.parametrize(
    "change", [{"overwrite": True}, {"pixel_mm": 0.2}, {"version": "0.3.2"}, {"level": 0.4}]
)
def test_everything_is_computed_again_when_asked_or_when_it_would_differ(
    folder: Path, tmp_path: Path, change: dict
) -> None:
    build(folder, tmp_path / "out").run()
    build(folder, tmp_path / "out", **change).run()
    assert report(tmp_path / "out")["a.png"]["status"] == "ok"


def test_a_missing_result_or_a_newer_input_is_computed_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(folder, out).run()
    (out / "a_preview.png").unlink()
    later = time.time() + 10
    os.utime(folder / "b.nii.gz", (later, later))
    build(folder, out).run()
    assert report(out)["a.png"]["status"] == report(out)["b.nii.gz"]["status"] == "ok"
    assert (out / "a_preview.png").exists()


def test_results_of_earlier_runs_stay_in_the_report_and_stale_failures_go(
    folder: Path, tmp_path: Path
) -> None:
    build(folder, tmp_path / "out").run()
    build(folder, tmp_path / "out", data=[{"image": str(write_disc(tmp_path / "f.png"))}]).run()
    assert sorted(report(tmp_path / "out")) == ["a.png", "b.nii.gz", "f.png"]


def test_inputs_that_share_a_stem_or_a_name_get_their_own_files(tmp_path: Path) -> None:
    paths = ["x/a.png", "x/a.nii.gz", "y/a.png", "x/b.png"]
    data = [{"image": str(write_disc(tmp_path / path))} for path in paths]
    build(tmp_path, tmp_path / "out", data=data).run()
    results = sorted(path.name for path in (tmp_path / "out").glob("*_seg*"))
    assert results == ["a_nii_gz_seg.nii.gz", "b_seg.png", "x_a_png_seg.png", "y_a_png_seg.png"]


def test_results_go_stale_only_by_what_changes_them(folder: Path, tmp_path: Path) -> None:
    build(folder, tmp_path / "out").run()
    (tmp_path / "out").rename(tmp_path / "moved")
    build(folder, tmp_path / "moved", workers=1, progress=False).run()
    assert report(tmp_path / "moved")["a.png"]["status"] == "skipped"


def test_worker_processes_carry_failures_too(folder: Path, tmp_path: Path) -> None:
    evaluator = build(folder, tmp_path / "out", workers=1)
    evaluator.run()
    assert evaluator.failed == 3


def test_failures_that_are_not_the_inputs_are_logged_with_their_trace(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build(folder, tmp_path / "out").run()
    traced = [record for record in caplog.records if record.exc_info]
    assert len(traced) == 1
    assert "e.nii.gz" in traced[0].getMessage()


def test_mixed_precision_is_a_switch(folder: Path, tmp_path: Path) -> None:
    build(folder, tmp_path / "out", amp=True).run()
    assert report(tmp_path / "out")["a.png"]["status"] == "ok"


def test_no_progress_bar_is_drawn_where_there_is_no_terminal(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    build(folder, tmp_path / "out").run()
    assert "case/s" not in capfd.readouterr().err
    assert "5 cases: 2 done, 0 skipped (already there), 3 failed" in caplog.text


def test_a_killed_run_loses_no_finished_case_and_leaves_no_half_file(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for index in range(12):
        write_disc(folder / f"{index:02d}.png", radius=4 + index % 4)
    process = subprocess.Popen([sys.executable, __file__, str(folder), str(out)])
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and len(list(out.glob("*_preview.png"))) < 4:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = report(out)
    assert 3 <= len(done) < 12
    for path in out.glob("[!.]*.png"):
        assert io.read_image(path).array.size > 0
    build(folder, out).run()
    status = [case["status"] for case in report(out).values()]
    assert status.count("skipped") >= len(done)
    assert status.count("ok") == 12 - status.count("skipped")


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]), pause=0.03).run()


def test_writing_behind_gives_the_same_files_and_report_in_the_same_order(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4):
        write_disc(folder / f"{number}.png", radius=5 + number)
    write_disc(folder / "1b.png", radius=12)  # too large to measure
    (folder / "2b.png").write_bytes(b"no picture")
    reports = []
    for name, options in {"plain": {}, "behind": {"write_behind": True, "profile": True}}.items():
        evaluator = build(folder, tmp_path / name, **options)
        evaluator.run()
        cases = json.loads((tmp_path / name / "report.json").read_text())["cases"]
        reports.append(
            [(c["input"], c["status"], c["outputs"], c["measurements"], c["error"]) for c in cases]
        )
        assert evaluator.failed == 2
    assert reports[0] == reports[1]
    assert [case[1] for case in reports[0]] == ["ok", "ok", "failed", "ok", "failed", "ok"]
    for file in (tmp_path / "plain").glob("*_seg.png"):
        assert file.read_bytes() == (tmp_path / "behind" / file.name).read_bytes()
    parts = {
        event["name"]
        for event in json.loads((tmp_path / "behind" / "profile.json").read_text())["traceEvents"]
    }
    assert {"LoadImageCheckedd", "network", "Invertd", "SaveImageWholed"} <= parts
