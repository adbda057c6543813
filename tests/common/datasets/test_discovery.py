"""Finding several data sets below one folder."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from medbundles.checks import DatasetError, MissingInputError
from medbundles.datasets.discovery import find_datasets, load_all

POINTS = "tad_1_x,tad_1_y,tad_2_x,tad_2_y,apad_1_x,apad_1_y,apad_2_x,apad_2_y"
COLUMNS = f"image_name,{POINTS},px_to_mm_rate,Algo,SubjectID"


def landmarks(root: Path, name: str) -> None:
    (root / "annotations").mkdir(parents=True)
    (root / "data" / "Abdomen").mkdir(parents=True)
    Image.new("L", (200, 180), 90).save(root / "data" / "Abdomen" / name)
    lines = [COLUMNS, f"{name},40,100,160,100,100,60,100,140,0.5,,"]
    (root / "annotations" / "Abdomen.csv").write_text("\n".join(lines))


def test_published_layouts_are_found_below_one_folder_and_the_overlap_is_passed_over(tmp_path: Path) -> None:
    landmarks(tmp_path / "biometry" / "FP", "Patient00001_Plane2.png")
    landmarks(tmp_path / "biometry" / "UCL", "009Abdomen.png")
    landmarks(tmp_path / "biometry" / "Multi-centre", "009Abdomen.png")
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim" / "cases.json").write_text('{"cases": []}')
    assert find_datasets(tmp_path) == [
        ("abdomen_landmarks", tmp_path / "biometry" / "FP"),
        ("abdomen_landmarks", tmp_path / "biometry" / "UCL"),
        ("simulated", tmp_path / "sim"),
    ]


def test_patients_simulated_twice_are_both_read_and_stay_on_one_side_of_a_split(tmp_path: Path) -> None:
    for folder in (tmp_path / "coarse", tmp_path / "fine"):
        folder.mkdir()
        for part in ("a.png", "a_mask.png"):
            Image.new("L", (20, 20)).save(folder / part)
        entry = '{"name": "simulated_0_0000", "image": "a.png", "label": "a_mask.png"}'
        (folder / "cases.json").write_text('{"cases": [' + entry + "]}")
    cases, _ = load_all(tmp_path)
    assert [Path(case["image"]).parent.name for case in cases] == ["coarse", "fine"]
    assert {case["subject"] for case in cases} == {"simulated_0_0000"}


def test_a_release_of_toothfairy_is_found_and_read_when_asked_for(tmp_path: Path) -> None:
    scan = tmp_path / "Dataset112_ToothFairy2" / "imagesTr" / "ToothFairy2F_001_0000.mha"
    for path in (scan, scan.parents[1] / "labelsTr" / "ToothFairy2F_001.mha"):
        path.parent.mkdir(parents=True)
        path.touch()
    assert find_datasets(tmp_path) == [("toothfairy", tmp_path / "Dataset112_ToothFairy2")]
    with pytest.raises(DatasetError):
        load_all(tmp_path)
    cases, _ = load_all(tmp_path, kinds=["toothfairy"])
    assert [Path(case["image"]) for case in cases] == [scan]


def test_all_found_sets_are_read_with_one_report_each(tmp_path: Path) -> None:
    landmarks(tmp_path / "FP", "Patient00001_Plane2.png")
    landmarks(tmp_path / "UCL", "009Abdomen.png")
    cases, reports = load_all(tmp_path)
    assert {case["subject"] for case in cases} == {"FP-00001", "UCL-00009"}
    assert [report.kept for report in reports] == [1, 1]


def test_a_copy_of_a_set_is_not_counted_twice(tmp_path: Path) -> None:
    landmarks(tmp_path / "a" / "FP", "Patient00001_Plane2.png")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    cases, reports = load_all(tmp_path)
    assert len(cases) == 1
    assert reports[1].notes["already read from another folder"] == 1


def test_only_the_wanted_kinds_are_read(tmp_path: Path) -> None:
    landmarks(tmp_path / "FP", "Patient00001_Plane2.png")
    with pytest.raises(DatasetError, match="hc18"):
        load_all(tmp_path, kinds=["hc18"])


def test_an_empty_folder_says_which_layouts_are_known(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="acouslic"):
        load_all(tmp_path)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="nowhere"):
        find_datasets(tmp_path / "nowhere")
