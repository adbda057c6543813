"""The results page: one HTML file with everything in it, to be read, printed or sent."""

from __future__ import annotations

import base64
import datetime
import html
import mimetypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from medbundles import __version__
from medbundles.io import atomic_path

INDEX_NAME = "index.html"
DASH = "&ndash;"

STYLE = """
:root { color-scheme: light dark; --paper: #f5f6f7; --card: #fff; --ink: #1c2126; --soft: #5b656f;
  --line: #dde1e5; --good: #1a7f4b; --bad: #b3261e; --note: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --card: #1c2024; --ink: #e6e9ec;
  --soft: #9aa4ae; --line: #30363c; --good: #5fc98f; --bad: #ff8a80; --note: #e7b75f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 48px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; font-weight: 650; }
h2 { font-size: 18px; margin: 0; font-weight: 650; overflow-wrap: anywhere; }
p { margin: 0; } .soft { color: var(--soft); } small { font-size: 13px; }
.case { background: var(--card); border: 1px solid var(--line); border-radius: 10px; margin-top: 24px;
  padding: 20px; display: grid; grid-template-columns: minmax(0, 1.15fr) minmax(0, 1fr); gap: 24px; }
.case.plain { grid-template-columns: 1fr; }
.case img { width: 100%; border-radius: 6px; display: block; }
.head { display: flex; gap: 12px; align-items: baseline; justify-content: space-between; }
.badge { font-size: 12px; font-weight: 650; border: 1px solid currentColor; border-radius: 99px;
  padding: 1px 10px; white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); } .note { color: var(--note); }
table { border-collapse: collapse; width: 100%; margin-top: 14px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 550; color: var(--soft); font-size: 13px; }
th, td { padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th.n, td.n { text-align: right; white-space: nowrap; } th:last-child, td:last-child { padding-right: 0; }
.box { border-left: 3px solid currentColor; padding: 2px 0 2px 12px; margin-top: 14px; }
.box span { color: var(--ink); white-space: pre-line; overflow-wrap: anywhere; }
.foot { margin-top: 14px; } .files { font-size: 13px; overflow-wrap: anywhere; } a { color: inherit; }
footer { margin-top: 28px; color: var(--soft); font-size: 13px; }
@media (max-width: 820px) { .case { grid-template-columns: 1fr; } }
@media print { :root { --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb;
  --good: #0b5e34; --bad: #8c1d18; --note: #6b4600; } main { max-width: none; padding: 0; }
  .case { break-inside: avoid; grid-template-columns: 1fr 1fr; } }
"""


def write_index(
    folder: str | os.PathLike, rows: Sequence[Mapping[str, Any]], *, title: str = "Results", intro: str = ""
) -> Path:
    """Writes index.html with pictures embedded, so that the one file can be sent on; returns its path.

    Args:
        folder: where the page goes; the paths in a row are relative to it.
        rows: cases as `medbundles.reports.case_result` returns them. A row may also have `title` (of the
            bundle), `folder` (of its outputs, relative to `folder`), `expected` (measurements with the true
            `value`) and `tolerance` (relative, for the expected ones).
        title: the page's headline.
        intro: a sentence below it.
    """
    folder = Path(folder)
    counts = {status: sum(r["status"] == status for r in rows) for status in ("ok", "skipped", "failed")}
    done = counts["ok"] + counts["skipped"]
    summary = f"{done} of {len(rows)} cases done" + (f", {counts['failed']} failed" * bool(counts["failed"]))
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    page = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body><main>",
        f"<header><h1>{_text(title)}</h1>" + (f"<p>{_text(intro)}</p>" if intro else ""),
        f'<p class="soft"><small>{summary} &middot; {now}</small></p></header>',
        *[_case(row, folder) for row in rows],
        f"<footer>medbundles {__version__} &middot; research use only, not a medical device</footer>",
        "</main></body></html>\n",
    ]
    with atomic_path(folder / INDEX_NAME) as temporary:
        temporary.write_text("\n".join(page), encoding="utf-8")
    return folder / INDEX_NAME


def _case(row: Mapping[str, Any], folder: Path) -> str:
    picture = _picture(row, folder)
    tone = {"ok": "good", "skipped": "soft", "failed": "bad"}[row["status"]]
    words = {"ok": "done", "skipped": "already there", "failed": "failed"}[row["status"]]
    made_by = f"{_text(row['bundle'])} {_text(row['version'])}"
    lines = [
        f'<section class="case{"" if picture else " plain"}">{picture}<div>',
        f'<div class="head"><h2>{_text(Path(row["input"]).name)}</h2>',
        f'<span class="badge {tone}">{words}</span></div><p class="soft">{_text(row.get("title", ""))}</p>',
        _box("bad", [row["error"]] if row["error"] else []),
        _table(row),
        _box("note", [f"synthetic input: {name}" for name in row["synthetic_inputs"]] + row["warnings"]),
        f'<div class="foot">{_files(row)}',
        f'<p class="soft"><small>{made_by} &middot; {_text(row["device"])} &middot; {row["seconds"]:.1f} s',
        "</small></p></div></div></section>",
    ]
    return "\n".join(line for line in lines if line)


def _table(row: Mapping[str, Any]) -> str:
    measurements = row["measurements"]
    if not measurements:
        return ""
    expected = {item["name"]: item for item in row.get("expected", [])}
    heads = ["Expected", "Difference"] if expected else []
    cells = "".join(f'<th class="n">{head}</th>' for head in ["Measured", *heads])
    body = "".join(_table_row(m, expected, row.get("tolerance")) for m in measurements)
    return f"<table><thead><tr><th>Measurement</th>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _table_row(
    measurement: Mapping[str, Any], expected: Mapping[str, Mapping[str, Any]], tolerance: float | None
) -> str:
    value, unit = measurement["value"], measurement["unit"]
    reason = measurement["reason"]
    name = _text(measurement["name"]) + (f'<br><small class="soft">{_text(reason)}</small>' if reason else "")
    cells = [f"<td>{name}</td>", f'<td class="n">{_quantity(value, unit)}</td>']
    if expected:
        truth = expected.get(measurement["name"], {})
        comparable = truth.get("value") is not None and truth.get("unit", unit) == unit
        cells.append(f'<td class="n">{_quantity(truth.get("value"), truth.get("unit", unit))}</td>')
        cells.append(_difference(value, truth["value"] if comparable else None, tolerance))
    return f"<tr>{''.join(cells)}</tr>"


def _difference(value: Any, truth: Any, tolerance: float | None) -> str:
    if not isinstance(value, int | float) or not isinstance(truth, int | float) or truth == 0:
        return f'<td class="n">{DASH}</td>'
    relative = (value - truth) / abs(truth)
    tone = "" if tolerance is None else "good" if abs(relative) <= tolerance else "bad"
    sign = "&minus;" if relative < 0 else "+"
    return f'<td class="n {tone}">{sign}{abs(100 * relative):.1f} %</td>'


def _quantity(value: Any, unit: str | None) -> str:
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        value = f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{_text(value)} {_text('' if unit in (None, '1') else unit)}".rstrip()


def _box(tone: str, messages: Sequence[str]) -> str:
    return "".join(f'<div class="box {tone}"><span>{_text(message)}</span></div>' for message in messages)


def _files(row: Mapping[str, Any]) -> str:
    base = Path(row.get("folder", "."))
    links = [
        f'<a href="{quote((base / path).as_posix())}">{_text(Path(path).name)}</a>'
        for role, path in row["outputs"].items()
    ]
    return f'<p class="files">{" &middot; ".join(links)}</p>' if links else ""


def _picture(row: Mapping[str, Any], folder: Path) -> str:
    path = row["outputs"].get("preview")
    file = folder / row.get("folder", ".") / path if path else None
    if file is None or not file.exists():
        return ""
    kind = mimetypes.guess_type(file.name)[0] or "image/png"
    data = base64.b64encode(file.read_bytes()).decode("ascii")
    return f'<div><img alt="{_text(Path(row["input"]).name)}" src="data:{kind};base64,{data}"></div>'


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)
