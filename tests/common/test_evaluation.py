"""Summaries of an evaluation: errors of lengths, missing measurements, the worst cases first."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from medbundles.evaluation import ScoreTable, summarise, table, worst_first, write_rows, write_sheet

ROWS = [
    {"group": "abdomen", "case": "a", "Dice abdomen": 0.9, "AC measured mm": 102.0, "AC true mm": 100.0},
    {"group": "abdomen", "case": "b", "Dice abdomen": 1.0, "AC measured mm": 196.0, "AC true mm": 200.0},
    {"group": "head", "case": "c", "Dice head": 0.5},
]


def test_errors_of_a_length_are_those_worked_by_hand() -> None:
    abdomen = summarise(ROWS)["abdomen"]
    assert abdomen["AC absolute error mm"]["mean"] == pytest.approx(3.0)
    assert abdomen["AC relative error %"]["mean"] == pytest.approx(2.0)
    assert abdomen["AC Bland-Altman mm"]["bias"] == pytest.approx(-1.0)
    assert abdomen["Dice abdomen"]["mean"] == pytest.approx(0.95)


def test_length_that_was_not_measured_counts_as_a_hundred_percent() -> None:
    lost = {"group": "abdomen", "case": "d", "AC measured mm": float("nan"), "AC true mm": 300.0}
    abdomen = summarise([*ROWS, lost])["abdomen"]
    assert abdomen["AC relative error %"]["max"] == pytest.approx(100.0)
    assert abdomen["AC not measured"] == {"n": 3, "count": 1}
    assert abdomen["AC Bland-Altman mm"]["n"] == 2


def test_groups_are_never_mixed() -> None:
    groups = summarise(ROWS)
    assert set(groups) == {"abdomen", "head"}
    assert "Dice abdomen" not in groups["head"]


def test_worst_case_comes_first_and_one_not_measured_before_it() -> None:
    lost = {"group": "abdomen", "case": "d", "AC measured mm": float("nan"), "AC true mm": 300.0}
    wrong = {"group": "abdomen", "case": "e", "AC measured mm": 120.0, "AC true mm": 100.0}
    assert [row["case"] for row in worst_first([*ROWS, wrong, lost], "abdomen")][:2] == ["d", "e"]


def test_table_has_a_line_per_score_under_its_group() -> None:
    lines = table(summarise(ROWS))
    assert lines[0] == "[abdomen]"
    assert any(line.startswith("  Dice head: n 1") for line in lines)


def test_rows_with_different_scores_share_one_csv(tmp_path: Path) -> None:
    write_rows(ROWS, tmp_path / "e.csv")
    header, first, _, last = (tmp_path / "e.csv").read_text(encoding="utf-8").splitlines()
    assert header == "group,case,Dice abdomen,AC measured mm,AC true mm,Dice head"
    assert first.startswith("abdomen,a,0.9,102.0") and last == "head,c,,,,0.5"


def test_sheet_holds_every_picture(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        Image.new("RGB", (64, 56), (60 * i, 0, 0)).save(path)
    write_sheet(paths, tmp_path / "sheet.png")
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.size == (3 * 640, 2 * 560)
    assert sheet.getpixel((5, 565)) == (180, 0, 0)


def test_collected_cases_are_written_with_their_worst_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (64, 56)).save(tmp_path / "a_preview.png")
    image = SimpleNamespace(meta={"filename_or_obj": "data/a.png"})
    scores = {"Dice abdomen": 0.9}
    outputs = {"preview": "a_preview.png"}
    case = {"image": image, "group": "abdomen", "scores": scores, "outputs": outputs}
    scored = ScoreTable(tmp_path, {"split": "test"})
    scored.collect(SimpleNamespace(state=SimpleNamespace(batch=[case])))
    scored.write(SimpleNamespace())
    written = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert written["split"] == "test" and written["groups"]["abdomen"]["Dice abdomen"]["n"] == 1
    assert (tmp_path / "worst_abdomen.png").is_file()


def test_parts_of_a_case_are_rows_in_groups_of_their_own(tmp_path: Path) -> None:
    Image.new("RGB", (64, 56)).save(tmp_path / "a_preview.png")
    parts = [{"group": "teeth", "Dice": value} for value in (0.9, 0.7)]
    image = SimpleNamespace(meta={"filename_or_obj": "data/a.nii.gz"})
    case = {"image": image, "group": "scans", "scores": [{"F1": 1.0}, *parts]}
    case["outputs"] = {"preview": "a_preview.png"}
    scored = ScoreTable(tmp_path)
    scored.collect(SimpleNamespace(state=SimpleNamespace(batch=[case])))
    scored.write(SimpleNamespace())
    groups = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))["groups"]
    assert groups["scans"]["F1"]["n"] == 1
    assert groups["teeth"]["Dice"]["n"] == 2 and groups["teeth"]["Dice"]["mean"] == 0.8
    with Image.open(tmp_path / "worst_teeth.png") as sheet:
        assert sheet.width == 640  # the case is shown once, however many of its parts are bad


def test_the_same_case_in_two_groups_is_shown_by_its_own_picture(tmp_path: Path) -> None:
    scored = ScoreTable(tmp_path)
    image = SimpleNamespace(meta={"filename_or_obj": "data/a.nii.gz"})
    for group, colour in (("whole", (200, 0, 0)), ("without", (0, 200, 0))):
        Image.new("RGB", (640, 560), colour).save(tmp_path / f"{group}.png")
        case = {
            "image": image,
            "group": group,
            "scores": {"Dice": 0.5},
            "outputs": {"preview": f"{group}.png"},
        }
        scored.collect(SimpleNamespace(state=SimpleNamespace(batch=[case])))
    scored.write(SimpleNamespace())
    for group, colour in (("whole", (200, 0, 0)), ("without", (0, 200, 0))):
        with Image.open(tmp_path / f"worst_{group}.png") as sheet:
            assert sheet.getpixel((300, 300)) == colour
