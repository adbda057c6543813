"""Reading tables and counting what is left out."""

from pathlib import Path

import pytest

from medbundles.checks import DatasetError
from medbundles.datasets.records import LoadReport, RejectedRow, number, read_rows, require_columns


def test_blanks_around_headers_and_values_and_a_byte_order_mark_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\ufeffname ; Train \n a ; 1 \n", encoding="utf-8")
    assert list(read_rows(tmp_path / "t.csv", delimiter=";")) == [{"name": "a", "Train": "1"}]


@pytest.mark.parametrize("value", ["", "abc", "nan", "inf"])
def test_a_cell_that_is_no_finite_number_rejects_the_row(value: str) -> None:
    with pytest.raises(RejectedRow, match="'size'"):
        number({"size": value}, "size")


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"lacks the columns b;"):
        require_columns(tmp_path, {"a": "1"}, ("a", "b"))


def test_report_says_rows_kept_and_every_reason() -> None:
    report = LoadReport("set", rows=3, kept=1)
    report.reject("x.png", "no scale")
    report.reject("y.png", "no scale")
    assert str(report) == "set: 3 rows read, 1 kept, 2 rejected\n  rejected 2: no scale"
    assert report.rejected_names == {"no scale": ["x.png", "y.png"]}
