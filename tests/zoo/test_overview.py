"""The table of bundles in README.md."""

import json
from pathlib import Path

import pytest

from medbundles.zoo.overview import BEGIN, END, main, updated

METADATA = {
    "task": "t",
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
    assert row.endswith("| disc |")
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
