"""The report of a run: report.json for programs, report.csv for spreadsheets."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medbundles.io import atomic_path

logger = logging.getLogger(__name__)

JSON_NAME, CSV_NAME = "report.json", "report.csv"
STATUSES = ("ok", "failed", "skipped")
COLUMNS = [
    "input",
    "status",
    "error",
    "name",
    "value",
    "unit",
    "reason",
    "outputs",
    "warnings",
    "seconds",
    "device",
    "bundle",
    "version",
    "synthetic_inputs",
]


def case_result(
    case: Mapping[str, Any],
    *,
    status: str,
    run: Mapping[str, str],
    error: str | None = None,
    seconds: float = 0.0,
) -> dict[str, Any]:
    """Returns one entry of a report's `cases`, with every key present and only plain values.

    Args:
        case: the data dictionary: `input`, and optionally `outputs`, `measurements`, `warnings` and
            `synthetic_inputs`, and `fingerprints` of what it was made from.
        status: ok, failed or skipped.
        run: what all cases of a run share: `bundle`, `version`, `device`.
        error: why it failed.
        seconds: reading, computing and writing together.
    """
    if status not in STATUSES:
        raise ValueError(f"status {status!r}: use one of {STATUSES}")
    return {
        "input": str(case["input"]),
        "status": status,
        "error": error,
        "outputs": {str(role): str(path) for role, path in case.get("outputs", {}).items()},
        "measurements": [_measurement(m) for m in case.get("measurements", [])],
        "warnings": [str(warning) for warning in case.get("warnings", [])],
        "seconds": round(float(seconds), 3),
        "device": str(run.get("device", "")),
        "bundle": str(run.get("bundle", "")),
        "version": str(run.get("version", "")),
        "synthetic_inputs": [str(name) for name in case.get("synthetic_inputs", [])],
        "fingerprints": dict(case.get("fingerprints", {})),
    }


def _measurement(item: Mapping[str, Any]) -> dict[str, Any]:
    """Returns name, value, unit, reason; a value that is not a finite number is null with a reason."""
    value, reason = item.get("value"), item.get("reason")
    if value is not None and not isinstance(value, str):
        value = value if isinstance(value, bool) else float(value)
        if not math.isfinite(value):
            value, reason = None, reason or f"the computation gave {value}"
    if value is None and not reason:
        raise ValueError(f"measurement {item['name']!r} has neither a value nor a reason")
    return {"name": str(item["name"]), "value": value, "unit": item.get("unit"), "reason": reason}


def write_report(
    folder: str | os.PathLike, cases: Sequence[Mapping[str, Any]], header: Mapping[str, Any] | None = None
) -> None:
    """Writes report.json (the header's keys, then `cases`) and report.csv, each whole or not at all."""
    folder = Path(folder)
    content = {**(header or {}), "cases": list(cases)}
    with atomic_path(folder / JSON_NAME) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    with (
        atomic_path(folder / CSV_NAME) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(_rows(cases))


def _rows(cases: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    """Yields one row per measurement; a case without any, such as a failed one, has one row too."""
    for case in cases:
        joined = {
            "outputs": "; ".join(case["outputs"].values()),
            "warnings": "; ".join(case["warnings"]),
            "synthetic_inputs": "; ".join(case["synthetic_inputs"]),
        }
        for measurement in case["measurements"] or [{}]:
            yield {**case, **joined, **measurement}


def read_report(folder: str | os.PathLike) -> dict[str, Any]:
    """Returns the content of a folder's report.json; a folder without a usable one gives no cases."""
    path = Path(folder) / JSON_NAME
    if not path.exists():
        return {"cases": []}
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return report if isinstance(report["cases"], list) else {"cases": []}
    except (ValueError, KeyError, TypeError):
        logger.warning("%s is not a report of ours and will be replaced", path)
        return {"cases": []}
