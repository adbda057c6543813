"""A report holds every key, never a zero for something undefined, and is whole at any moment."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from medbundles.reports import case_result, read_report, write_report

RUN = {"bundle": "disc_segmentation", "version": "0.3.1", "device": "cpu"}
KEYS = (
    "input status error outputs measurements warnings seconds device bundle version synthetic_inputs "
    "fingerprints".split()
)
AREA = {"name": "area", "value": 12.5, "unit": "mm2"}
LOST = {"name": "width", "value": None, "unit": "mm", "reason": "The outline is open."}


def result(**changes: object) -> dict:
    case = {
        "input": "a.png",
        "outputs": {"pred": "a_seg.png"},
        "measurements": [AREA, LOST],
        "warnings": ["dim"],
    }
    return case_result(case | changes, status="ok", run=RUN, seconds=1.23456)


def test_a_case_has_exactly_the_agreed_keys_in_their_order() -> None:
    assert list(result()) == KEYS
    assert list(case_result({"input": "b.png"}, status="failed", run=RUN, error="why")) == KEYS


def test_a_case_is_plain_json_also_from_numpy_values() -> None:
    case = result(measurements=[{"name": "n", "value": np.float32(2.5), "unit": "px"}])
    assert json.loads(json.dumps(case))["measurements"] == [
        {"name": "n", "value": 2.5, "unit": "px", "reason": None}
    ]


@pytest.mark.parametrize("value", [float("nan"), np.inf, np.float32("nan")])
def test_a_value_that_is_no_number_is_null_with_a_reason(value: float) -> None:
    measurement = result(measurements=[{"name": "n", "value": value, "unit": "mm"}])["measurements"][0]
    assert measurement["value"] is None
    assert "computation" in measurement["reason"]


def test_a_missing_value_without_a_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="reason"):
        result(measurements=[{"name": "AC", "value": None, "unit": "mm"}])


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_report(tmp_path, [result()], {"version": "0.3.1"})
    assert read_report(tmp_path) == {"version": "0.3.1", "cases": [result()]}


def test_the_table_has_a_row_per_measurement_and_one_for_a_failed_case(tmp_path: Path) -> None:
    failed = case_result({"input": "b.png"}, status="failed", run=RUN, error="blank, really\nblank")
    write_report(tmp_path, [result(), failed])
    with open(tmp_path / "report.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["input"], row["status"], row["name"], row["value"]) for row in rows] == [
        ("a.png", "ok", "area", "12.5"),
        ("a.png", "ok", "width", ""),
        ("b.png", "failed", "", ""),
    ]
    assert rows[1]["reason"] == "The outline is open."
    assert rows[2]["error"] == "blank, really\nblank"


def test_names_in_any_script_survive(tmp_path: Path) -> None:
    write_report(tmp_path, [result(input="données/图像 1.png")])
    assert read_report(tmp_path)["cases"][0]["input"] == "données/图像 1.png"
    assert "图像 1.png" in (tmp_path / "report.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cases": 3}'])
def test_a_damaged_report_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    assert read_report(tmp_path) == {"cases": []}


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    write_report(tmp_path, [result()])
    with pytest.raises(ValueError):
        write_report(tmp_path, [result() | {"seconds": float("nan")}])
    assert read_report(tmp_path)["cases"] == [result()]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.csv", "report.json"]
