"""Which folders and files are studies."""

from collections.abc import Callable
from pathlib import Path

import pytest

from medbundles.errors import EmptyInputError, MissingInputError
from medbundles.study_files import contrast_files, contrast_key, find_studies, label_file, volume_files


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def case(folder: Path, name: str, *parts: str) -> Path:
    return touch(
        folder / name, *(f"{name}-{part}.nii.gz" for part in parts or ("t1n", "t1c", "t2w", "t2f", "seg"))
    )


def images(path: Path, **options: object) -> list:
    return [study["image"] for study in find_studies(path, **options)]


def test_a_folder_of_case_folders_gives_a_study_each_at_any_depth(tmp_path: Path) -> None:
    a, b = case(tmp_path / "HGG", "A"), case(tmp_path / "LGG" / "2015", "B")
    assert images(tmp_path) == [str(a), str(b)]
    assert images(a) == [str(a)]


def test_loose_files_of_many_cases_are_grouped_by_the_rest_of_their_names(tmp_path: Path) -> None:
    touch(
        tmp_path, *(f"{name}_{part}.nii.gz" for name in "ab" for part in ("t1", "t1ce", "t2", "flair", "seg"))
    )
    found = images(tmp_path)
    assert [list(study) for study in found] == [["t1", "t1gd", "t2", "flair"]] * 2
    assert found[1]["t1gd"] == str(tmp_path / "b_t1ce.nii.gz")


def test_a_case_with_one_contrast_beside_others_is_found_so_that_it_is_reported(tmp_path: Path) -> None:
    touch(tmp_path, "a_t1.nii", "a_t2.nii", "b_t1.nii", "b_t2.nii", "c_t1.nii")
    assert images(tmp_path)[2] == {"t1": str(tmp_path / "c_t1.nii")}


def test_two_files_of_one_contrast_stay_one_study_that_reading_refuses(tmp_path: Path) -> None:
    folder = touch(tmp_path / "x", "t1.nii", "t1w.nii", "t2.nii")
    assert images(tmp_path) == [str(folder)]
    assert [path.name for path in contrast_files(folder)["t1"]] == ["t1.nii", "t1w.nii"]


def test_a_folder_per_file_is_one_study(tmp_path: Path) -> None:
    names = ("MR_T1.54513", "MR_T1c.54514", "MR_T2.54515", "MR_Flair.54512")
    for name in names:
        touch(tmp_path / "pat1" / f"VSD.Brain.XX.O.{name}", f"VSD.Brain.XX.O.{name}.mha", "license.txt")
    label = touch(tmp_path / "pat1" / "VSD.Brain_3more.XX.O.OT.54517", "VSD.Brain_3more.XX.O.OT.54517.mha")
    assert images(tmp_path) == [str(tmp_path / "pat1")]
    assert list(contrast_files(tmp_path / "pat1")) == ["t1", "t1gd", "t2", "flair"]
    assert label_file(tmp_path / "pat1") == label / "VSD.Brain_3more.XX.O.OT.54517.mha"


def test_files_without_a_contrast_in_their_names_are_cases_each(tmp_path: Path) -> None:
    touch(tmp_path, "BRATS_001.nii.gz", "BRATS_002.nii.gz", "._BRATS_001.nii.gz", "dataset.json")
    assert [Path(image).name for image in images(tmp_path)] == ["BRATS_001.nii.gz", "BRATS_002.nii.gz"]


def test_a_contrast_in_the_name_of_the_patient_does_not_confuse(tmp_path: Path) -> None:
    folder = touch(tmp_path / "x", *(f"T2_study_{part}.nii.gz" for part in ("t1", "flair", "t1gd")))
    assert list(contrast_files(folder)) == ["t1", "t1gd", "flair"]


def test_patterns_choose_where_names_say_too_much(tmp_path: Path) -> None:
    folder = touch(tmp_path / "P1", "P1_T1.nii.gz", "P1_T1_bias.nii.gz", "P1_T2.nii.gz", "P1_T2_bias.nii.gz")
    found = images(tmp_path, patterns={"t1": "*_T1_bias.nii.gz", "T2": "*_T2_bias.nii.gz"})
    assert found == [{"t1": str(folder / "P1_T1_bias.nii.gz"), "t2": str(folder / "P1_T2_bias.nii.gz")}]


def test_a_segmentation_is_preferred_to_a_mask(tmp_path: Path) -> None:
    folder = touch(tmp_path, "a_brain_mask.nii.gz", "a_t1.nii.gz", "W39_1998.09.19_Segm.nii")
    assert label_file(folder).name == "W39_1998.09.19_Segm.nii"
    assert label_file(touch(tmp_path / "none", "a_t1.nii")) is None
    assert len(volume_files(folder)) == 3


def test_a_dicom_study_is_the_folder_of_its_series(tmp_path: Path, dicom_series: Callable[..., Path]) -> None:
    for patient in ("1", "2"):
        for series in ("4", "5"):
            uid = {"StudyInstanceUID": f"1.{patient}"}
            dicom_series(tmp_path / f"p{patient}" / f"s{series}", [0, 1], uid=f"1.{patient}.{series}", **uid)
    assert images(tmp_path) == [str(tmp_path / "p1"), str(tmp_path / "p2")]
    assert images(tmp_path / "p1") == [str(tmp_path / "p1")]


def test_nothing_and_nowhere_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(EmptyInputError):
        find_studies(tmp_path)
    with pytest.raises(MissingInputError):
        find_studies(tmp_path / "none")
    assert contrast_key("T1ce", "x") == "t1gd"
