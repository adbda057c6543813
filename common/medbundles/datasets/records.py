"""What a loader returns besides its cases: how many rows it read, kept and rejected, and why."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medbundles.checks import DatasetError

Case = dict[str, Any]

logger = logging.getLogger(__name__)


class RejectedRow(Exception):
    """A row of a data set that must not be used; the message is the reason, alike for alike rows."""


@dataclass
class LoadReport:
    """Counts of one data set: rows read, cases kept, rows rejected by reason, and remarks by kind."""

    source: str
    rows: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    rejected_names: dict[str, list[str]] = field(default_factory=dict)

    def reject(self, name: str, reason: str) -> None:
        """Counts one rejected row and remembers its name."""
        self.rejected[reason] += 1
        self.rejected_names.setdefault(reason, []).append(name)

    def __str__(self) -> str:
        lines = [f"{self.source}: {self.rows} rows read, {self.kept} kept, {self.rejected.total()} rejected"]
        lines += [f"  rejected {count}: {reason}" for reason, count in self.rejected.most_common()]
        lines += [f"  note for {count}: {note}" for note, count in self.notes.most_common()]
        return "\n".join(lines)

    def log(self) -> None:
        """Writes the report to the log."""
        logger.info("%s", self)


def read_rows(path: Path, *, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """Yields the rows of a csv file, blanks around headers and values removed."""
    with path.open(newline="", encoding="utf-8-sig") as handle:
        for row in csv.DictReader(handle, delimiter=delimiter):
            yield {
                (key or "").strip(): (value or "").strip() for key, value in row.items() if key is not None
            }


def require_columns(path: Path, row: dict[str, str], columns: tuple[str, ...]) -> None:
    """Raises `DatasetError` when the first row of a csv lacks columns."""
    missing = [name for name in columns if name not in row]
    if missing:
        raise DatasetError(
            f"The table lacks the columns {', '.join(missing)}; it has {', '.join(row)}.",
            expected=f"columns {', '.join(columns)}",
            source=path,
            advice="Use the table as published, unedited.",
        )


def number(row: dict[str, str], column: str) -> float:
    """Returns a cell as a finite float, or rejects the row."""
    try:
        value = float(row.get(column, ""))
    except ValueError:
        raise RejectedRow(f"a needed value of '{column}' is blank or no number") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise RejectedRow(f"a needed value of '{column}' is blank or no number")
    return value
