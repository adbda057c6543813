"""The tables of a results page: measured beside expected; many values of the same kind as one grid."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

DASH = "&ndash;"
LONG_TABLE = 12  # rows from which a table scrolls

Measurement = Mapping[str, Any]


def text(value: Any) -> str:
    """Returns a value as text that is safe anywhere in HTML."""
    return html.escape(str(value), quote=True)


def tables(row: Mapping[str, Any]) -> str:
    """Returns the measurements of a case: a table, and a grid of those such as `tooth 16 volume`."""
    expected = {item["name"]: item for item in row.get("expected", [])}
    tolerance, grid = row.get("tolerance"), _shared_names([m["name"] for m in row["measurements"]])
    plain = [m for m in row["measurements"] if m["name"] not in grid]
    gridded = [m for m in row["measurements"] if m["name"] in grid]
    return _table(plain, expected, tolerance) + _grid(gridded, grid, expected, tolerance)


def quantity(value: Any, unit: str | None) -> str:
    """Returns a value with its unit, as HTML."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if unit == "1" and isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    if isinstance(value, int | float):
        value = f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{text(value)} {text('' if unit in (None, '1') else unit)}".rstrip()


def _table(
    measurements: Sequence[Measurement], expected: Mapping[str, Measurement], tolerance: float | None
) -> str:
    if not measurements:
        return ""
    expected = {m["name"]: expected[m["name"]] for m in measurements if m["name"] in expected}
    heads = ["Expected", "Difference"] if expected else []
    cells = "".join(f'<th class="n">{head}</th>' for head in ["Measured", *heads])
    body = "".join(_table_row(m, expected, tolerance) for m in measurements)
    return f"<table><thead><tr><th>Measurement</th>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _table_row(measurement: Measurement, expected: Mapping[str, Measurement], tolerance: float | None) -> str:
    unit, reason = measurement["unit"], measurement["reason"]
    name = text(measurement["name"]) + (f'<br><small class="soft">{text(reason)}</small>' if reason else "")
    cells = [f"<td>{name}</td>", f'<td class="n">{quantity(measurement["value"], unit)}</td>']
    if expected:
        truth = expected.get(measurement["name"], {})
        tone, words = _difference(measurement, truth, tolerance)
        cells.append(f'<td class="n">{quantity(truth.get("value"), truth.get("unit", unit))}</td>')
        cells.append(f'<td class="n{tone and " " + tone}">{words or DASH}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _difference(measurement: Measurement, truth: Measurement, tolerance: float | None) -> tuple[str, str]:
    """Class and words of the relative difference; nothing where the two cannot be compared."""
    value, true, unit = measurement["value"], truth.get("value"), measurement["unit"]
    numbers = isinstance(value, int | float) and isinstance(true, int | float)
    if not numbers or not true or truth.get("unit", unit) != unit:
        return "", ""
    relative = (value - true) / abs(true)
    tone = "" if tolerance is None else "good" if abs(relative) <= tolerance else "bad"
    return tone, f"{'&minus;' if relative < 0 else '+'}{abs(100 * relative):.1f} %"


def _shared_names(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Splits names into whose and what, such as (tooth 16, volume), where both halves come again."""
    splits = {name: _splits(name) for name in names}
    whose = Counter(first for pairs in splits.values() for first, _ in pairs)
    what = Counter(second for pairs in splits.values() for _, second in pairs)
    shared = {}
    for name, pairs in splits.items():
        best = max(pairs, key=lambda pair: min(whose[pair[0]], what[pair[1]]), default=None)
        if best is not None and min(whose[best[0]], what[best[1]]) > 1:
            shared[name] = best
    return shared


def _splits(name: str) -> list[tuple[str, str]]:
    words = name.split(" ")
    heads = list(accumulate(words, lambda a, b: f"{a} {b}"))[:-1]
    return [(head, name[len(head) + 1 :]) for head in heads]


def _grid(
    measurements: Sequence[Measurement],
    names: Mapping[str, tuple[str, str]],
    expected: Mapping[str, Measurement],
    tolerance: float | None,
) -> str:
    """Returns a row for each `whose` and a column for each `what`; differences stand behind the values."""
    if not measurements:
        return ""
    rows: dict[str, dict[str, Measurement]] = {}
    for measurement in measurements:
        first, second = names[measurement["name"]]
        rows.setdefault(first, {})[second] = measurement
    columns = list(dict.fromkeys(names[m["name"]][1] for m in measurements))
    known = any(m["name"] in expected for m in measurements)
    reasons = any(m["reason"] for m in measurements)
    heads = "".join(f'<th class="n">{text(column)}</th>' for column in columns)
    heads += "<th>Remarks</th>" * reasons
    body = []
    for first, cells in rows.items():
        values = [_grid_cell(cells.get(column), expected, tolerance) for column in columns]
        remarks = list(dict.fromkeys(m["reason"] for m in cells.values() if m["reason"]))
        remark = f'<td><small class="soft">{text("; ".join(remarks))}</small></td>' if reasons else ""
        body.append(f"<tr><th>{text(first)}</th>{''.join(values)}{remark}</tr>")
    title = "Measured (and its difference from what is expected)" if known else "Measured"
    table = f"<table><thead><tr><th>{title}</th>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    if len(rows) <= LONG_TABLE:
        return table
    return f'<div class="scroll" tabindex="0" role="region" aria-label="measurements">{table}</div>'


def _grid_cell(
    measurement: Measurement | None, expected: Mapping[str, Measurement], tolerance: float | None
) -> str:
    if measurement is None:
        return '<td class="n"></td>'
    tone, words = _difference(measurement, expected.get(measurement["name"], {}), tolerance)
    shown = f' <small class="{tone}">({words})</small>' if words else ""
    return f'<td class="n">{quantity(measurement["value"], measurement["unit"])}{shown}</td>'
