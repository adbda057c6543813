"""BraTS of each year as a tiny tree of its real names."""

from pathlib import Path

import pytest

from medbundles.checks import DatasetError
from medbundles.datasets import brats
from medbundles.datasets.discovery import find_datasets, load_all

PARTS = ("t1", "t1ce", "t2", "flair", "seg")


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def case(
    root: Path, name: str, parts: tuple[str, ...] = PARTS, *, join: str = "_", ending: str = ".nii.gz"
) -> Path:
    for part in parts:
        touch(root / name / f"{name}{join}{part}{ending}")
    return root / name


def newer(root: Path, name: str) -> Path:
    return case(root, name, ("t1n", "t1c", "t2w", "t2f", "seg"), join="-")


def test_2018_has_two_grades_and_patients_without_their_last_number(tmp_path: Path) -> None:
    case(tmp_path / "HGG", "Brats18_2013_2_1")
    case(tmp_path / "LGG", "Brats18_TCIA10_639_1")
    cases, report = brats.load(tmp_path)
    assert [c["subject"] for c in cases] == ["Brats18_2013_2", "Brats18_TCIA10_639"]
    assert [c["grade"] for c in cases] == ["HGG", "LGG"]
    assert list(cases[0]["image"]) == ["t1", "t1gd", "t2", "flair"]
    assert cases[0]["image"]["t1gd"].endswith("Brats18_2013_2_1_t1ce.nii.gz")
    assert cases[0]["truth"]["mask"].endswith("_seg.nii.gz")
    assert cases[0]["convention"] == "brats2018"
    assert report.kept == 2


def test_2020_case_355_has_a_segmentation_of_another_name(tmp_path: Path) -> None:
    folder = case(tmp_path, "BraTS20_Training_355", PARTS[:4], ending=".nii")
    touch(folder / "W39_1998.09.19_Segm.nii")
    cases, _ = brats.load(tmp_path)
    assert cases[0]["truth"]["mask"] == str(folder / "W39_1998.09.19_Segm.nii")
    assert cases[0]["subject"] == "BraTS20_Training_355"


def test_2015_has_a_folder_per_file_and_several_time_points(tmp_path: Path) -> None:
    for point in ("0001", "0002"):
        folder = tmp_path / "HGG" / f"brats_tcia_pat105_{point}"
        names = ("XX.O.MR_Flair", "XX.O.MR_T1", "XX.O.MR_T1c", "XX.O.MR_T2", "XX.XX.OT")
        for number, name in enumerate(names, start=35534):
            touch(folder / f"VSD.Brain.{name}.{number}" / f"VSD.Brain.{name}.{number}.mha")
    cases, _ = brats.load(tmp_path)
    assert {c["subject"] for c in cases} == {"brats_tcia_pat105"}
    assert len(cases) == 2 and cases[0]["convention"] == "brats2015"
    assert cases[0]["image"]["t1gd"].endswith("MR_T1c.35536.mha")
    assert "OT" in cases[0]["truth"]["mask"]


def test_2023_suffixes_are_time_points_of_one_patient(tmp_path: Path) -> None:
    newer(tmp_path, "BraTS-GLI-00009-000")
    newer(tmp_path, "BraTS-GLI-00009-001")
    case(tmp_path, "BraTS2021_00009")
    cases, _ = brats.load(tmp_path)
    assert [c["subject"] for c in cases] == ["BraTS-GLI-00009", "BraTS-GLI-00009", "BraTS2021_00009"]
    assert [c["convention"] for c in cases] == ["brats2024", "brats2024", "brats2018"]


def test_other_folders_of_four_contrasts_count_too_and_their_values_tell(tmp_path: Path) -> None:
    newer(tmp_path, "TCGA-DU-7294")
    newer(tmp_path, "my patient")
    cases, _ = brats.load(tmp_path)
    assert [(c["subject"], c["convention"]) for c in cases] == [("TCGA-DU-7294", None), ("my patient", None)]


def test_cases_without_labels_are_kept_and_incomplete_ones_counted(tmp_path: Path) -> None:
    case(tmp_path, "BraTS2021_00001", PARTS[:4])
    case(tmp_path, "BraTS2021_00002", ("t1", "t2", "seg"))
    case(tmp_path, "BraTS2021_00003", ("t1", "t1w", "t2", "t1ce", "flair"))
    cases, report = brats.load(tmp_path)
    assert [c["truth"] for c in cases] == [{}]
    assert report.rejected == {"without T1Gd, FLAIR": 1, "several files of T1": 1}
    assert report.notes["without a segmentation"] == 1
    cases, _ = brats.load(tmp_path, complete=False)
    assert [sorted(c["image"]) for c in cases][1] == ["t1", "t2"]


def test_one_case_folder_is_a_set_and_an_empty_folder_is_not(tmp_path: Path) -> None:
    assert len(brats.load(newer(tmp_path / "x", "BraTS-GLI-00001-000"))[0]) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="BraTS-GLI"):
        brats.load(tmp_path / "empty")


def test_discovery_finds_the_releases_below_a_folder_and_reads_them_when_asked(tmp_path: Path) -> None:
    case(tmp_path / "2018" / "HGG", "Brats18_2013_2_1")
    newer(tmp_path / "2023", "BraTS-GLI-00001-000")
    assert find_datasets(tmp_path) == [("brats", tmp_path / "2018" / "HGG"), ("brats", tmp_path / "2023")]
    cases, _ = load_all(tmp_path, kinds=["brats"])
    assert {c["subject"] for c in cases} == {"Brats18_2013_2", "BraTS-GLI-00001"}
    with pytest.raises(DatasetError):
        load_all(tmp_path)


def test_a_simulated_cohort_is_read_once_by_its_table(tmp_path: Path) -> None:
    import json

    name = "BraTS2021_00000"
    newer(tmp_path, name)
    files = {key: f"{name}/{name}-{part}.nii.gz" for key, part in (("t1", "t1n"), ("t2", "t2w"))}
    entry = {"name": name, "image": name, "images": files, "label": f"{name}/{name}-seg.nii.gz", "seed": 3}
    (tmp_path / "cases.json").write_text(
        json.dumps({"cases": [entry, {**entry, "images": {"t1": "none.nii"}}]})
    )
    cases, reports = load_all(tmp_path, kinds=["brats", "simulated"])
    assert [list(c["image"]) for c in cases] == [["t1", "t2"]]
    assert cases[0]["image"]["t2"] == str(tmp_path / files["t2"])
    assert cases[0]["convention"] == "brats2018"
    assert reports[0].rejected.total() == 1
