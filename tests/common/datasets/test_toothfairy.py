"""ToothFairy 1 to 3 as tiny trees of their real names, and jaws of a few voxels per tooth."""

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform

from medbundles.checks import DatasetError, GridError
from medbundles.datasets import toothfairy
from medbundles.images import upright_affine

LPS = upright_affine((2.0, 2.0, 2.0))


def jaw_labels(codes: tuple[int, ...] = toothfairy.TEETH) -> np.ndarray:
    """Cubes of teeth along two arches, axes to left, back and up, with nothing alike on both sides."""
    labels = np.zeros((40, 34, 24), np.uint8)
    for code in codes:
        quadrant, position = divmod(code, 10)
        side = 1 if quadrant in (2, 3) else -1
        x = round(20 + side * (1.2 + 14 * np.sin(position / 8 * np.pi / 2)))
        y, z = round(2 + 26 * (position / 8) ** 2), 15 if quadrant < 3 else 6
        labels[x - 1 : x + 1, y : y + 3, z : z + 4] = code
    return labels


def stored(labels: np.ndarray, letters: tuple[str, ...]) -> np.ndarray:
    return apply_orientation(labels, ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(letters)))


def ways() -> list[tuple[str, ...]]:
    pairs = ("LR", "PA", "SI")
    return [
        tuple(pairs[a][s] for a, s in zip(axes, signs, strict=True))
        for axes in permutations(range(3))
        for signs in product((0, 1), repeat=3)
    ]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def write_pair(root: Path, labels: np.ndarray, affine: np.ndarray, image: np.ndarray | None = None) -> dict:
    name = "ToothFairy3F_0007"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    image = labels.astype(np.int16) if image is None else image
    nib.save(nib.Nifti1Image(image, affine), root / "imagesTr" / f"{name}_0000.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), root / "labelsTr" / f"{name}.nii.gz")
    cases, _ = toothfairy.load(root)
    return cases[0]


def test_the_three_releases_are_told_apart_and_share_patients(tmp_path: Path) -> None:
    touch(tmp_path / "Dataset" / "P12" / "data.npy", tmp_path / "Dataset" / "P12" / "gt_alpha.npy")
    two = tmp_path / "Dataset112_ToothFairy2"
    touch(two / "imagesTr" / "ToothFairy2F_001_0000.mha", two / "labelsTr" / "ToothFairy2F_001.mha")
    three = tmp_path / "3"
    touch(three / "imagesTr" / "ToothFairy3F_001_0000.nii.gz", three / "labelsTr" / "ToothFairy3F_001.nii.gz")
    cases, report = toothfairy.load(tmp_path)
    found = {case["convention"]: case for case in cases}
    assert found["toothfairy1"]["truth"] == {"canal": str(tmp_path / "Dataset" / "P12" / "gt_alpha.npy")}
    assert found["toothfairy1"]["spacing_mm"] == (0.3, 0.3, 0.3)
    assert found["toothfairy2"]["truth"]["mask"].endswith("labelsTr/ToothFairy2F_001.mha")
    assert found["toothfairy2"]["subject"] == found["toothfairy3"]["subject"] == "ToothFairy-F1"
    assert report.kept == 3


def test_training_scans_without_labels_are_rejected_and_test_scans_are_kept(tmp_path: Path) -> None:
    touch(tmp_path / "imagesTr" / "ToothFairy3S_0001_0000.nii.gz")
    touch(tmp_path / "imagesTs" / "ToothFairy3S_0002_0000.nii.gz")
    cases, report = toothfairy.load(tmp_path)
    assert [case["name"] for case in cases] == ["ToothFairy3S_0002"]
    assert report.rejected == {"its labels are missing": 1}


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "imagesTr" / "spleen_001_0000.nii.gz")
    with pytest.raises(DatasetError, match="ToothFairy"):
        toothfairy.load(tmp_path)


def test_pulps_count_to_their_tooth_and_the_rest_is_no_tooth() -> None:
    found = toothfairy.to_fdi([0, 1, 7, 9, 10, 11, 48, 105, 111, 148])
    assert found.tolist() == [0, 0, 0, 0, 0, 11, 48, 0, 11, 48]
    assert found.dtype == np.uint8


@pytest.mark.parametrize("value", [19, 20, 30, 150, -1])
def test_labels_renumbered_for_training_are_refused(value: int) -> None:
    with pytest.raises(DatasetError, match=str(value)):
        toothfairy.to_fdi([0, 11, value])


@pytest.mark.parametrize("letters", ways())
def test_labels_tell_all_48_ways_to_store_a_jaw(letters: tuple[str, ...]) -> None:
    assert toothfairy.directions(stored(jaw_labels(), letters)) == letters


@pytest.mark.parametrize("quadrant", [1, 2, 3, 4])
def test_one_quadrant_and_its_jaw_bones_are_enough(quadrant: int) -> None:
    labels = jaw_labels(tuple(10 * quadrant + position for position in range(1, 9)))
    labels[14:26, 10:20, 20:22], labels[14:26, 14:24, 0:2] = 2, 1
    assert toothfairy.directions(stored(labels, ("I", "P", "R"))) == ("I", "P", "R")


def test_one_row_of_teeth_does_not_say_what_is_up() -> None:
    assert toothfairy.directions(jaw_labels(tuple(range(11, 19)))) is None


def test_a_header_that_swaps_the_sides_is_overruled(tmp_path: Path) -> None:
    labels = jaw_labels()
    case = write_pair(tmp_path, np.ascontiguousarray(stored(labels, ("I", "P", "R"))), LPS)
    scan = toothfairy.read_case(case)
    assert np.array_equal(scan.labels, labels)
    assert np.array_equal(scan.image, labels)
    assert nib.aff2axcodes(scan.affine) == ("L", "P", "S")
    assert "IPR" in scan.notes[0] and "LPS" in scan.notes[0]


def test_a_right_header_is_left_alone(tmp_path: Path) -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])  # RAS
    affine[:3, 3] = 5, -7, 3
    case = write_pair(tmp_path, np.ascontiguousarray(stored(jaw_labels(), ("R", "A", "S"))), affine)
    scan = toothfairy.read_case(case)
    assert np.array_equal(scan.labels, jaw_labels())
    assert scan.notes == ()
    corner = scan.affine @ [39, 33, 0, 1]  # the first voxel of the file
    assert np.allclose(corner[:3], (5, -7, 3))


def test_scan_and_labels_of_different_size_are_refused(tmp_path: Path) -> None:
    case = write_pair(tmp_path, jaw_labels(), LPS, image=np.zeros((40, 34, 20), np.int16))
    with pytest.raises(GridError):
        toothfairy.read_case(case)


def test_release_1_is_stored_slice_by_slice(tmp_path: Path) -> None:
    volume = np.zeros((4, 5, 6), np.int16)
    volume[3, 1, 2] = 900
    (tmp_path / "P3").mkdir()
    np.save(tmp_path / "P3" / "data.npy", volume)
    scan = toothfairy.read_case(toothfairy.load(tmp_path)[0][0])
    assert scan.image.shape == (6, 5, 4)
    assert scan.image[2, 1, 3] == 900
    assert scan.labels is None and scan.notes
