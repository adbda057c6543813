"""The page of a folder of results: its images read again as the bundle reads them, and kept on a rerun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medbundles.io import write_image
from medbundles.metadata import bundle_info
from medbundles.reports import case_result, write_report
from medbundles.slicer import write_segmentation
from medbundles.terminology import Terminology
from medbundles.zoo import results_page
from medbundles.zoo.find import find_bundle
from medbundles.zoo.results_page import results_rows, write_results_page

AFFINE = np.diag([-0.8, -0.8, 1.6, 1.0])
CT, TEETH = "ct_lowdose_cyclegan_denoising", "dental_cbct_tooth_segmentation"


def results(folder: Path, bundle: str, **outputs: np.ndarray) -> dict[str, Any]:
    """Writes a scan and its results as a run of a bundle leaves them; returns the run's options."""
    scan = np.random.default_rng(0).normal(0, 40, (1, 48, 40, 20)).astype(np.int16)
    scan[0, :4] = -1000
    write_image(scan, folder / "in" / "scan.nii.gz", affine=AFFINE)
    for role, array in outputs.items():
        write_image(array, folder / "out" / f"scan_{role}.nii.gz", affine=AFFINE)
    case = {"input": folder / "in" / "scan.nii.gz", "outputs": {r: f"scan_{r}.nii.gz" for r in outputs}}
    run = {"bundle": bundle, "version": "0.1.0", "device": "cpu"}
    write_report(folder / "out", [case_result(case, status="ok", run=run)])
    return {"dataset_dir": str(folder / "in"), "output_dir": str(folder / "out")}


def test_denoised_scans_are_compared_and_marked_in_the_windows_of_the_run(tmp_path: Path) -> None:
    marks = np.zeros((1, 48, 40, 20), np.uint8)
    marks[0, 20:24, 20:24, 9] = 1
    options = results(tmp_path, CT, pred=np.zeros((1, 48, 40, 20), np.int16), guard=marks)
    options["preview_window"] = [-500, 1400]
    (row,) = results_rows(find_bundle(CT), tmp_path / "out", options)
    compare, volume = row["view"]["compare"], row["view"]["volume"]
    assert [compare["sets"][side]["title"] for side in compare["pair"]] == ["before", "after"]
    assert compare["slices"][compare["start"]] == "slice 10 of 20"
    assert "window -500 / 1400 HU" in compare["note"]
    assert volume["legend"][0][1] == "change beyond what noise explains"
    assert volume["layers"][0]["window"] == [-1200, 200]


def test_segmentations_for_3d_slicer_are_shown_like_any_label_map(tmp_path: Path) -> None:
    labels = np.zeros((48, 40, 20), np.uint8)
    labels[20:30, 20:30, 5:15] = 9
    options = results(tmp_path, TEETH, pred=labels[None])
    (plain,) = results_rows(find_bundle(TEETH), tmp_path / "out", options)
    segments = list(
        Terminology(bundle_info(find_bundle(TEETH) / "configs" / "metadata.json")).segments.values()
    )
    write_segmentation(labels, tmp_path / "out" / "scan_pred.seg.nrrd", affine=AFFINE, segments=segments)
    text = (tmp_path / "out" / "report.json").read_text().replace("scan_pred.nii.gz", "scan_pred.seg.nrrd")
    (tmp_path / "out" / "report.json").write_text(text)
    (row,) = results_rows(find_bundle(TEETH), tmp_path / "out", options)
    assert row["outputs"]["pred"] == "scan_pred.seg.nrrd"
    assert row["view"]["volume"] == plain["view"]["volume"]


@pytest.mark.parametrize(("codes", "value"), [(False, 9), (True, 21)])
def test_teeth_have_their_names_and_colours_whichever_values_stand_for_them(
    tmp_path: Path, codes: bool, value: int
) -> None:
    labels = np.zeros((1, 48, 40, 20), np.uint8)
    labels[0, 20:30, 20:30, 5:15] = value
    options = results(tmp_path, TEETH, pred=labels) | {"fdi_codes": codes}
    (row,) = results_rows(find_bundle(TEETH), tmp_path / "out", options)
    assert row["view"]["volume"]["legend"] == [[value, "21 upper left central incisor", "#C9A2FF"]]


def test_a_rerun_keeps_the_views_of_what_did_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = results(tmp_path, CT, pred=np.zeros((1, 48, 40, 20), np.int16))
    page = write_results_page(find_bundle(CT), tmp_path / "out", options)
    first = page.read_text(encoding="utf-8")
    (tmp_path / "in" / "scan.nii.gz").unlink()  # what cannot be read again
    write_image(np.zeros((1, 4, 4, 4)), tmp_path / "in" / "other.nii.gz", affine=AFFINE)
    second = write_results_page(find_bundle(CT), tmp_path / "out", options).read_text(encoding="utf-8")
    stored = [text.split('class="view"')[1].split("</script>")[0] for text in (first, second)]
    assert stored[0] == stored[1]


def test_a_full_page_says_so_and_keeps_the_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_page, "PAGE_BYTES", 0)
    options = results(tmp_path, CT, pred=np.zeros((1, 48, 40, 20), np.int16))
    (row,) = results_rows(find_bundle(CT), tmp_path / "out", options)
    assert "view" not in row and row["remark"] == results_page.FULL


def test_a_result_on_another_grid_costs_the_viewer_not_the_page(tmp_path: Path) -> None:
    options = results(tmp_path, CT, pred=np.zeros((1, 30, 40, 20), np.int16))
    page = write_results_page(find_bundle(CT), tmp_path / "out", options)
    assert 'class="view"' not in page.read_text(encoding="utf-8")


def test_of_several_processes_the_first_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = results(tmp_path, CT, pred=np.zeros((1, 48, 40, 20), np.int16))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert write_results_page(find_bundle(CT), tmp_path / "out", options) is None
    assert not (tmp_path / "out" / "index.html").exists()
    assert json.loads((tmp_path / "out" / "report.json").read_text())["cases"]
