"""The two layouts of the abdomen landmarks, and FETAL_PLANES_DB, as tiny copies with their traps."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medbundles.checks import DatasetError
from medbundles.datasets import fetal_planes
from medbundles.datasets.fetal_planes import diameters_to_ellipse
from medbundles.datasets.records import RejectedRow

HEADER = (
    "image_name,scale,center_w,center_h,tad_1_x,tad_1_y,tad_2_x,tad_2_y,apad_1_x,apad_1_y,apad_2_x,apad_2_y,"
    "px_to_mm_rate,mm_dist,Algo,SubjectID,Split"
)
GOOD = "40,100,160,100,100,60,100,140"  # diameters 120 and 80 about (100, 100)


def row(name: str, points: str = GOOD, *, scale: str = "0.5", algo: str = "", subject: str = "305") -> str:
    return f"{name},2.6,100,100,{points},{scale},5,{algo},{subject},Train"


def write(table: Path, images: Path, rows: list[str], *, index: bool = False) -> None:
    """Writes a table and one grey picture of 200 x 180 pixels per row."""
    table.parent.mkdir(parents=True, exist_ok=True)
    images.mkdir(parents=True, exist_ok=True)
    lines = [f"{i},{line}" for i, line in enumerate(rows)] if index else rows
    table.write_text("\n".join(["index," * index + HEADER, *lines]) + "\n")
    for line in rows:
        Image.new("L", (200, 180), 90).save(images / line.split(",")[0])


def flat(root: Path, *rows: str) -> Path:
    write(root / "Abdomen_Train.csv", root / "images", list(rows))
    return root


def test_flat_layout_gives_the_ellipse_in_pixels_and_its_circumference_in_mm(tmp_path: Path) -> None:
    cases, report = fetal_planes.load(flat(tmp_path, row("Patient00305_Plane2_1_of_2.png")))
    case = cases[0]
    assert case["truth"]["ellipse"].centre == pytest.approx((100, 100))
    assert case["truth"]["ellipse"].axes == pytest.approx((60, 40))
    # Half axes 30 and 20 mm: pi * 50 * (1 + 0.12 / (10 + sqrt(3.88))) = 158.654 mm
    assert case["expected"] == [{"name": "AC", "value": pytest.approx(158.654, abs=1e-3), "unit": "mm"}]
    assert (case["kind"], case["subject"], case["spacing_mm"]) == ("abdomen", "FP-00305", (0.5, 0.5))
    assert (report.rows, report.kept, report.rejected.total()) == (1, 1, 0)


def test_published_layout_with_an_index_column_is_read_once_though_the_parts_lie_beside(
    tmp_path: Path,
) -> None:
    root = tmp_path / "FP"
    for name in ("Abdomen.csv", "Abdomen_Train.csv"):
        write(root / "annotations" / name, root / "data" / "Abdomen", [row("Patient00001_a.png")], index=True)
    cases, report = fetal_planes.load(root)
    assert len(cases) == report.rows == 1
    assert cases[0]["image"] == str(root / "data" / "Abdomen" / "Patient00001_a.png")


def test_train_and_test_tables_are_both_read_where_there_is_no_whole_one(tmp_path: Path) -> None:
    root = tmp_path / "UCL"
    write(root / "annotations" / "Abdomen_Train.csv", root / "data" / "Abdomen", [row("009Abdomen.png")])
    write(root / "annotations" / "Abdomen_Test.csv", root / "data" / "Abdomen", [row("053Abdomen.png")])
    assert len(fetal_planes.load(root)[0]) == 2


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ("40,100,160,100,30,60,50,140", "cross in their middle halves"),
        ("40,100,160,100,60,50,140,150", "degrees apart"),
        ("40,100,160,100,100,95,100,105", "too short or too unlike"),
        ("40,100,160,100,100,60,100,400", "outside the image"),
        ("40,100,160,100,100,60,100,", "'apad_2_y' is blank"),
    ],
)
def test_bad_landmarks_are_left_out_and_counted_by_reason(tmp_path: Path, points: str, reason: str) -> None:
    cases, report = fetal_planes.load(flat(tmp_path, row("a1.png"), row("b2.png", points)))
    assert len(cases) == 1
    assert [count for text, count in report.rejected.items() if reason in text] == [1]


def test_missing_unreadable_and_repeated_images_are_counted(tmp_path: Path) -> None:
    root = flat(tmp_path, row("a1.png"), row("a1.png"), row("b2.png"), row("c3.png"))
    (root / "images" / "b2.png").unlink()
    (root / "images" / "c3.png").write_bytes(b"not a picture")
    cases, report = fetal_planes.load(root)
    assert len(cases) == 1
    assert dict(report.rejected) == {
        "the image is listed twice": 1,
        "the image file is missing": 1,
        "the image file cannot be read": 1,
    }


def test_scale_of_aloka_rows_is_doubled_and_counted(tmp_path: Path) -> None:
    cases, report = fetal_planes.load(flat(tmp_path, row("a1.png", algo="AlokaFit")))
    assert cases[0]["spacing_mm"] == (1.0, 1.0)
    assert report.notes.total() == 1
    kept, _ = fetal_planes.load(tmp_path, aloka_correction=1.0)
    assert kept[0]["spacing_mm"] == (0.5, 0.5)


def test_a_row_without_scale_keeps_its_outline_but_has_no_millimetres(tmp_path: Path) -> None:
    cases, _ = fetal_planes.load(flat(tmp_path, row("a1.png", scale="")))
    assert cases[0]["spacing_mm"] is None
    assert cases[0]["expected"] == []


@pytest.mark.parametrize(
    ("name", "given", "subject"),
    [
        ("Patient00305_Plane2_1_of_2.png", "305", "FP-00305"),
        ("Patient00305_Plane2_2_of_2.png", "", "FP-00305"),
        ("009Abdomen.jpeg", "", "FP-00009"),
        ("odd.png", "", "FP-odd"),
    ],
)
def test_subject_comes_from_the_column_or_the_name(name: str, given: str, subject: str) -> None:
    assert fetal_planes.subject_of({"image_name": name, "SubjectID": given}, "FP") == subject


def test_ellipse_passes_through_all_four_landmarks() -> None:
    ends = np.array([[40.0, 90], [160, 104], [96, 60], [108, 142]])
    assert diameters_to_ellipse(ends, (200, 180)).radius(ends) == pytest.approx(np.ones(4))


def test_diameters_crossing_at_their_ends_are_rejected() -> None:
    with pytest.raises(RejectedRow, match="middle halves"):
        diameters_to_ellipse(np.array([[40.0, 100], [160, 100], [60, 60], [60, 140]]), (200, 180))


def test_folder_without_a_table_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"annotations/Abdomen\.csv"):
        fetal_planes.load(tmp_path)


def planes(root: Path) -> Path:
    """Writes FETAL_PLANES_DB as published: semicolons, and a blank after the last header."""
    (root / "Images").mkdir(parents=True)
    names = ["Patient00001_Plane1_1_of_2", "Patient00001_Plane2_1_of_1", "Patient00002_Plane3_1_of_1"]
    for name in names[:2]:
        Image.new("L", (30, 20)).save(root / "Images" / f"{name}.png")
    lines = ["Image_name; Patient_num; Plane; Brain_plane; Operator; US_Machine; Train "]
    lines += [
        f"{names[0]};1;Other;Not A Brain;Op. 1;Aloka;0",
        f"{names[1]};1;Fetal abdomen;Not A Brain;Op. 1;Voluson E6;1",
        f"{names[2]};2;Fetal brain;Trans-thalamic;Other;Other;1",
    ]
    (root / "FETAL_PLANES_DB_data.csv").write_text("\n".join(lines))
    return root


def test_plane_table_with_semicolons_and_a_trailing_blank_is_read(tmp_path: Path) -> None:
    cases, report = fetal_planes.load_planes(planes(tmp_path / "FETAL_PLANES_ZENODO"))
    assert [case["kind"] for case in cases] == ["other", "fetal_abdomen"]
    assert [case["official_split"] for case in cases] == ["Test", "Train"]
    assert {case["subject"] for case in cases} == {"FP-00001"}
    assert dict(report.rejected) == {"the image file is missing": 1}


def test_plane_table_saved_with_commas_is_refused_by_column_names(tmp_path: Path) -> None:
    root = planes(tmp_path)
    table = root / "FETAL_PLANES_DB_data.csv"
    table.write_text(table.read_text().replace(";", ","))
    with pytest.raises(DatasetError, match="lacks the columns"):
        fetal_planes.load_planes(root)


def test_folder_without_the_plane_table_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="3904280"):
        fetal_planes.load_planes(tmp_path)
