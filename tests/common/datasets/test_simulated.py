"""Folders written by a simulator."""

import json
from pathlib import Path

import pytest

from medbundles.checks import DatasetError
from medbundles.datasets import simulated


def write(root: Path, names: list[str]) -> Path:
    entries = []
    for name in names:
        for kind in ("images", "labels"):
            (root / kind).mkdir(parents=True, exist_ok=True)
            (root / kind / f"{name}.nii.gz").write_bytes(b"")
        entries.append(
            {
                "name": name,
                "image": f"images/{name}.nii.gz",
                "label": f"labels/{name}.nii.gz",
                "seed": 3,
                "spacing_mm": [0.2, 0.3],
                "expected": [{"name": "AC", "value": 200.0, "unit": "mm"}],
            }
        )
    (root / "cases.json").write_text(json.dumps({"simulator": "a.b", "version": "1", "cases": entries}))
    return root


def test_cases_carry_mask_spacing_and_known_measurements(tmp_path: Path) -> None:
    cases, report = simulated.load(write(tmp_path, ["one", "two"]))
    assert report.kept == 2
    assert cases[0]["truth"] == {"mask": str(tmp_path / "labels" / "one.nii.gz")}
    assert cases[0]["spacing_mm"] == (0.2, 0.3)
    assert cases[0]["expected"][0]["value"] == 200.0


def test_a_patient_made_anew_in_another_folder_is_the_same_subject(tmp_path: Path) -> None:
    first, _ = simulated.load(write(tmp_path / "a", ["one"]))
    second, _ = simulated.load(write(tmp_path / "b", ["one"]))
    assert first[0]["subject"] == second[0]["subject"]  # who trained on one must not be tested on the other


def test_a_case_without_its_label_file_is_counted(tmp_path: Path) -> None:
    root = write(tmp_path, ["one", "two"])
    (root / "labels" / "two.nii.gz").unlink()
    cases, report = simulated.load(root)
    assert len(cases) == 1
    assert dict(report.rejected) == {"the label file is missing": 1}


@pytest.mark.parametrize("text", ["{", "[]", '{"cases": [{"name": "x"}]}', '{"simulator": "a"}'])
def test_a_damaged_list_is_refused_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "cases.json").write_text(text)
    with pytest.raises(DatasetError, match="medbundles simulate"):
        simulated.load(tmp_path)
