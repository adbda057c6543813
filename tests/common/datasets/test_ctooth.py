"""CTooth in the packings in which it is passed on, as empty files of plausible names."""

from pathlib import Path

import pytest

from medbundles.checks import DatasetError
from medbundles.datasets import ctooth


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_masks_are_found_beside_the_images_by_name(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "patient_01.nii.gz", tmp_path / "labels" / "patient_01.nii.gz")
    touch(tmp_path / "images" / "patient_02.nii.gz")
    cases, report = ctooth.load(tmp_path)
    assert [case["subject"] for case in cases] == ["CTooth-patient_01", "CTooth-patient_02"]
    assert cases[0]["truth"] == {"mask": str(tmp_path / "labels" / "patient_01.nii.gz")}
    assert cases[1]["truth"] == {}
    assert report.notes == {"without a mask": 1}


def test_a_folder_per_patient_gives_the_same(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        touch(tmp_path / patient / "image.nii.gz", tmp_path / patient / "label.nii.gz")
    cases, report = ctooth.load(tmp_path)
    assert [case["name"] for case in cases] == ["p1", "p2"]
    assert [Path(case["truth"]["mask"]).parent.name for case in cases] == ["p1", "p2"]
    assert not report.notes


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("labelsTr/a.nii.gz", True),
        ("imagesTr/a.nii.gz", False),
        ("scan_label.nrrd", True),
        ("scan.nrrd", False),
        ("masks/img_1.nii", False),
        ("labelled teeth/a.mha", False),
    ],
)
def test_the_nearest_name_tells_masks_from_images(name: str, mask: bool) -> None:
    assert ctooth.is_mask(Path(name)) is mask


def test_masks_of_one_name_are_not_guessed_between(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "a.nii.gz", tmp_path / "labels" / "a.nii.gz", tmp_path / "masks" / "a.nii.gz")
    cases, report = ctooth.load(tmp_path)
    assert cases == []
    assert report.rejected == {"several masks of the same name": 1}


def test_a_folder_without_volumes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="CTooth"):
        ctooth.load(tmp_path)
