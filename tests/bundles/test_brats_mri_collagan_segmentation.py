"""Brain tumours from file to file: missing contrasts, imputing alone, one file or four, bad studies."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from brats_phantoms import AFFINE, BUNDLE, phantom

from medbundles.contrasts import CONTRASTS
from medbundles.reports import read_report
from medbundles.volume_order import DECATHLON_ORDER
from medbundles.zoo.workflows import INFERENCE, run_workflow


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Path]:
    """Writes the phantom as a folder of files; some contrasts may be left out."""

    def write(*left_out: str, name: str = "case_7") -> Path:
        folder = tmp_path / "studies" / name
        folder.mkdir(parents=True)
        for contrast, image in zip(CONTRASTS, phantom()[0], strict=True):
            if contrast not in left_out:
                nib.save(nib.Nifti1Image(image, AFFINE), folder / f"{name}_{contrast}.nii.gz")
        return folder

    return write


def predict(source: Path, output: Path, **knobs: Any) -> tuple[int, list[dict[str, Any]]]:
    overrides = {"dataset_dir": str(source), "output_dir": str(output), "device": "cpu", "spacing_mm": 4.0}
    try:
        run_workflow(BUNDLE, INFERENCE, overrides | knobs, logging_file=False)
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    return status, read_report(output)["cases"]


def test_a_missing_contrast_is_imputed_written_and_marked_everywhere(
    study: Callable[..., Path], tmp_path: Path
) -> None:
    folder = study("t2")
    status, (case,) = predict(folder, tmp_path / "out")
    assert status == 0 and case["synthetic_inputs"] == ["t2"]
    assert case["outputs"]["pred"] == "case_7_synthetic_input_seg.nii.gz"
    assert case["outputs"]["t2_synthetic"] == "case_7_t2_synthetic.nii.gz"
    image = nib.load(tmp_path / "out" / "case_7_t2_synthetic.nii.gz")
    assert image.header["descrip"].item().startswith(b"SYNTHETIC T2")
    np.testing.assert_allclose(image.affine, AFFINE)
    brain = phantom()[0][0] > 0
    values = np.asanyarray(image.dataobj)
    assert (values[brain] > 0).mean() > 0.99 and (values[~brain] > 0).mean() < 0.05
    assert b"synthetic" in nib.load(tmp_path / "out" / case["outputs"]["pred"]).header["descrip"].item()
    assert all("synthetic T2" in m["reason"] for m in case["measurements"] if m["value"] is not None)
    assert any("T2 missing" in note for note in case["warnings"])


def test_two_may_be_missing_and_enhancement_is_then_null(study: Callable[..., Path], tmp_path: Path) -> None:
    status, (case,) = predict(study("t1gd", "flair"), tmp_path / "out")
    assert status == 0 and case["synthetic_inputs"] == ["t1gd", "flair"]
    enhancing = [m for m in case["measurements"] if m["name"].startswith("ET")]
    assert enhancing and all(m["value"] is None and "T1Gd" in m["reason"] for m in enhancing)


def test_impute_only_writes_the_contrast_and_no_segmentation(
    study: Callable[..., Path], tmp_path: Path
) -> None:
    status, (case,) = predict(study("flair"), tmp_path / "out", impute_only=True)
    assert status == 0 and set(case["outputs"]) == {"flair_synthetic", "preview"}
    assert case["measurements"] == [] and not list((tmp_path / "out").glob("*seg*"))


def test_a_folder_of_files_and_one_4d_file_give_the_same(study: Callable[..., Path], tmp_path: Path) -> None:
    images, _ = phantom()
    stored = np.stack([images[CONTRASTS.index(name)] for name in DECATHLON_ORDER], -1)
    nib.save(nib.Nifti1Image(stored, AFFINE), tmp_path / "all.nii.gz")
    results = []
    for source, out in ((study(), "a"), (tmp_path / "all.nii.gz", "b")):
        _, (case,) = predict(source, tmp_path / out)
        results.append(np.asanyarray(nib.load(tmp_path / out / case["outputs"]["pred"]).dataobj))
    assert np.array_equal(*results)


def test_studies_that_cannot_be_right_are_refused_and_the_others_done(
    study: Callable[..., Path], tmp_path: Path
) -> None:
    good, alone, twice, shifted, copied = (
        study(name=name) for name in ("good", "alone", "twice", "shifted", "copied")
    )
    for name in ("t1", "t2", "flair"):
        (alone / f"alone_{name}.nii.gz").unlink()
    shutil.copy(twice / "twice_t1.nii.gz", twice / "twice_T1w.nii.gz")
    image = nib.load(shifted / "shifted_t2.nii.gz")
    moved = nib.Nifti1Image(np.asanyarray(image.dataobj)[:-2], image.affine)
    nib.save(moved, shifted / "shifted_t2.nii.gz")
    shutil.copy(copied / "copied_t1.nii.gz", copied / "copied_flair.nii.gz")
    status, cases = predict(good.parent, tmp_path / "out")
    found = {Path(case["input"]).name: case for case in cases}
    assert status == 1 and found["good"]["status"] == "ok"
    expected = {"twice": "T1", "shifted": "grid", "copied": "same image"}
    for name, words in expected.items():
        assert found[name]["status"] == "failed" and words in found[name]["error"], name
    assert all(case["status"] == "failed" for name, case in found.items() if name not in ("good",))
