"""Simulated patients as folders of the public data."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medbundles.contrasts import CONTRASTS
from medbundles.errors import InputError
from medbundles.simulators.brain import subject
from medbundles.simulators.brain_cohort import LAYOUTS, subjects, write_subject, write_subjects

COARSE_MM = 8.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cohort")
    write_subjects(path, 2, 3, spacing_mm=COARSE_MM)
    return path


def test_files_have_the_names_types_and_geometry_of_the_public_data(folder: Path) -> None:
    case = folder / "BraTS-SIM-03001-000"
    names = [f"BraTS-SIM-03001-000-{part}.nii.gz" for part in ("seg", "t1c", "t1n", "t2f", "t2w")]
    assert sorted(path.name for path in case.iterdir()) == names
    for path in case.iterdir():
        image = nibabel.load(path)
        assert image.get_data_dtype() == (np.uint8 if "seg" in path.name else np.int16)
        assert image.shape == (30, 30, 19)
        assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
        assert b"simulated" in image.header["descrip"].tobytes()


def test_files_hold_the_subject_of_their_seed_with_one_shared_mask(folder: Path) -> None:
    person = subject(3001, spacing_mm=COARSE_MM)
    case = folder / "BraTS-SIM-03001-000"
    for contrast, part in zip(CONTRASTS, ("t1n", "t1c", "t2w", "t2f"), strict=True):
        stored = np.asarray(nibabel.load(case / f"{case.name}-{part}.nii.gz").dataobj)
        np.testing.assert_array_equal(stored > 0, person.mask)
        np.testing.assert_allclose(stored[person.mask], person.images[contrast][person.mask], atol=1.0)
    labels = np.asarray(nibabel.load(case / f"{case.name}-seg.nii.gz").dataobj)
    np.testing.assert_array_equal(labels, person.labels)


def test_table_names_files_that_exist_and_the_true_volumes(folder: Path) -> None:
    table = json.loads((folder / "cases.json").read_text())
    assert [case["seed"] for case in table["cases"]] == [3000, 3001]
    for case in table["cases"]:
        assert tuple(case["images"]) == CONTRASTS
        assert all((folder / path).is_file() for path in [*case["images"].values(), case["label"]])
        labels = np.asarray(nibabel.load(folder / case["label"]).dataobj)
        whole = next(e for e in case["expected"] if e["name"] == "WT")
        assert whole["value"] == pytest.approx((labels > 0).sum() * COARSE_MM**3 / 1000, abs=1e-3)


def test_older_layout_writes_enhancing_tumour_as_four(tmp_path: Path) -> None:
    person = next(p for p in (subject(s, spacing_mm=COARSE_MM) for s in range(9)) if (p.labels == 3).any())
    entry = write_subject(person, tmp_path, LAYOUTS["brats2021"], COARSE_MM)
    assert entry["images"]["t1gd"] == f"BraTS2021_{person.seed:05d}/BraTS2021_{person.seed:05d}_t1ce.nii.gz"
    labels = np.asarray(nibabel.load(tmp_path / entry["label"]).dataobj)
    np.testing.assert_array_equal(labels == 4, person.labels == 3)
    assert 3 not in labels


def test_subjects_of_two_seeds_are_different_people() -> None:
    assert {p.seed for p in subjects(1, 0, 8.0)}.isdisjoint(p.seed for p in subjects(1, 1, 8.0))


def test_unknown_layout_and_too_many_subjects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="brats2023"):
        write_subjects(tmp_path, 1, 0, layout="brats2O23")
    with pytest.raises(InputError, match="1000"):
        write_subjects(tmp_path, 1001, 0)
