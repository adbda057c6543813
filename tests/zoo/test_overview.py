"""The table of bundles in README.md."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from medbundles.evaluation import summarise
from medbundles.zoo.find import bundle_folders
from medbundles.zoo.overview import BEGIN, END, main, updated

METADATA = {
    "task": "t",
    "eval_metrics": {"disc_dice_mean": 0.951},
    "network_data_format": {"outputs": {"pred": {"channel_def": {"0": "background", "1": "disc"}}}},
    "medbundles": {
        "title": "Discs in noise",
        "input": {"spatial_dims": 2, "channels": 1, "modality": ["US"]},
        "output": {"kind": "labels"},
    },
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "disc_us_segmentation"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    return folder


def test_table_has_a_row_per_bundle_with_link_title_input_and_labels(bundle: Path) -> None:
    text = updated(f"before\n{BEGIN}\nold\n{END}\nafter\n", [bundle])
    row = text.splitlines()[5]
    assert row.startswith(
        "| [disc_us_segmentation](bundles/disc_us_segmentation/docs/README.md) | Discs in noise |"
    )
    assert row.endswith("| disc | disc dice mean 0.951 |")
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text


def test_writing_twice_changes_nothing(bundle: Path) -> None:
    text = updated(f"{BEGIN}{END}", [bundle])
    assert updated(text, [bundle]) == text


def test_text_without_markers_is_refused(bundle: Path) -> None:
    with pytest.raises(ValueError, match="markers"):
        updated("nothing here", [bundle])


def test_check_fails_until_the_table_is_written(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"{BEGIN}\n{END}\n")
    assert main(["--check", str(path)]) == 1
    assert main([str(path)]) == 0
    assert main(["--check", str(path)]) == 0


def test_readme_of_this_project_is_up_to_date() -> None:
    root = Path(__file__).resolve().parents[2]
    assert main(["--check", str(root / "README.md")]) == 0


def test_a_figure_that_is_not_the_measured_one_fails(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    text = (root / "README.md").read_text(encoding="utf-8")
    (figure,) = re.findall(r"abdomen dice mean (0\.\d+)", text)
    path = tmp_path / "README.md"
    path.write_text(text.replace(f"abdomen dice mean {figure}", "abdomen dice mean 0.999"), encoding="utf-8")
    assert main(["--check", str(path)]) == 1
    assert main([str(path)]) == 0
    assert path.read_text(encoding="utf-8") == text


ROWS = [folder for folder in bundle_folders() if (folder / "docs" / "evaluation.csv").is_file()]
STALE = dict.fromkeys(
    ("amniotic_fluid_us_segmentation", "dental_cbct_tooth_segmentation"),
    "the rows are of another evaluation than the figures: evaluate again",
)


def with_rows() -> list[Any]:
    """The bundles that keep a row per case; a strict mark ends with what it says."""
    marks = {name: [pytest.mark.xfail(strict=True, reason=reason)] for name, reason in STALE.items()}
    return [pytest.param(folder, id=folder.name, marks=marks.get(folder.name, [])) for folder in ROWS]


@pytest.mark.parametrize("folder", with_rows())
def test_figures_are_those_of_the_rows_that_were_measured(folder: Path) -> None:
    """From evaluation.csv to evaluation.json, whose figures the metadata and this table quote."""
    with open(folder / "docs" / "evaluation.csv", newline="", encoding="utf-8") as file:
        table = [{key: cell for key, cell in row.items() if cell != ""} for row in csv.DictReader(file)]
    summary = summarise(table)
    groups = json.loads((folder / "docs" / "evaluation.json").read_text(encoding="utf-8"))["groups"]
    assert summary
    for group, scores in summary.items():
        for score, figures in scores.items():
            assert groups[group][score] == pytest.approx(figures, rel=1e-6), (group, score)
