"""The results page: one HTML file with everything in it, to be read, printed or sent."""

from __future__ import annotations

import base64
import datetime
import gzip
import io
import json
import mimetypes
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from medbundles import __version__
from medbundles.io import atomic_path
from medbundles.page_tables import tables, text

INDEX_NAME = "index.html"
ASSETS = files("medbundles") / "assets"
VIEWER, VIEWER_LICENSE = "niivue.umd.js", "niivue.LICENSE.txt"
PICTURE_BYTES = 30_000_000  # of pictures as they are; if there are more, all are compressed
COMPRESSED_SIDE, QUALITY = 1300, 82
WIDE = 1000  # pixels from which a picture takes the width of the page
FILTER_FROM = 6  # cases
MANY = ' class="many"'
# Nothing is fetched from anywhere, whatever a script tries.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' blob:; "
    "img-src data: blob:; connect-src data: blob:; font-src data:; worker-src blob:"
)
STORED = re.compile(
    r'<script type="application/json" class="view" data-key="(\w+)"[^>]*>(.*?)</script>', re.S
)
TONES = {"ok": "good", "skipped": "soft", "failed": "bad"}
WORDS = {"ok": "done", "skipped": "already there", "failed": "failed"}


def write_index(
    folder: str | os.PathLike, rows: Sequence[Mapping[str, Any]], *, title: str = "Results", intro: str = ""
) -> Path:
    """Writes index.html with everything embedded, so that the one file can be sent on; returns its path.

    Args:
        folder: where the page goes; the paths in a row are relative to it.
        rows: cases as `medbundles.reports.case_result` returns them. A row may also have `title` (of the
            bundle), `folder` (of its outputs, relative to `folder`), `expected` (measurements with the true
            `value`), `tolerance` (relative, for the expected ones), `view` (see
            `medbundles.page_views.case_view`) with its `view_key`, and `remark` (about what is shown).
        title: the page's headline.
        intro: a sentence below it.
    """
    folder = Path(folder)
    parts = [_head(title, rows), _headline(title, intro, rows), _filter(rows)]
    small = sum(p.stat().st_size for row in rows for _, p in _pictures(row, folder)) > PICTURE_BYTES
    parts += [_case(row, folder, number, small) for number, row in enumerate(rows)]
    parts += [_footer(rows), "</main></body></html>\n"]
    with atomic_path(folder / INDEX_NAME) as temporary:
        temporary.write_text("\n".join(filter(None, parts)), encoding="utf-8")
    return folder / INDEX_NAME


def earlier_views(folder: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """Returns the views in a folder's page by their keys, so that they need not be made again."""
    path = Path(folder) / INDEX_NAME
    if not path.is_file():
        return {}
    try:
        found = STORED.findall(path.read_text(encoding="utf-8"))
        return {key: json.loads(content) for key, content in found}
    except (OSError, ValueError):
        return {}  # not a page of ours: everything is made anew


def _head(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    programs = [_asset("page.js")] + [_asset("viewer.js")] * _has_volumes(rows)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{text(title)}</title><style>\n{_asset('page.css')}</style>",
            *[f"<script>\n{program}</script>" for program in programs],
            f"</head><body{MANY * (len(rows) >= FILTER_FROM)}><main>",
        ]
    )


def _headline(title: str, intro: str, rows: Sequence[Mapping[str, Any]]) -> str:
    counts = {status: sum(r["status"] == status for r in rows) for status in TONES}
    done = counts["ok"] + counts["skipped"]
    summary = f"{done} of {len(rows)} cases done" + (f", {counts['failed']} failed" * bool(counts["failed"]))
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    return (
        f"<header><h1>{text(title)}</h1>"
        + (f"<p>{text(intro)}</p>" if intro else "")
        + f'<p class="soft"><small>{summary} &middot; {now}</small></p></header>'
    )


def _filter(rows: Sequence[Mapping[str, Any]]) -> str:
    if len(rows) < FILTER_FROM:
        return ""
    options = [("", "all cases"), ("failed", "failed"), ("warned", "with warnings")]
    choices = "".join(f'<option value="{value}">{words}</option>' for value, words in options)
    return (
        '<div class="filter" hidden><input type="search" placeholder="Find a case" aria-label="Find a case">'
        f'<select aria-label="Which cases">{choices}</select><output class="soft"></output></div>'
    )


def _case(row: Mapping[str, Any], folder: Path, number: int, small: bool) -> str:
    view, pictures = row.get("view") or {}, _pictures(row, folder)
    figures = [_figure(role, path, row, small) for role, path in pictures]
    layout = "plain" if not figures else "wide" if any(wide for _, wide in figures) or view else ""
    data = f' data-view="view-{number}" data-tools="{" ".join(view)}"' if view else ""
    state = " ".join([row["status"], *(["warned"] if _notes(row) else [])])
    made_by = f"{text(row['bundle'])} {text(row['version'])}"
    long = " long" * (len(row["measurements"]) > 30)
    lines = [
        f'<section class="case {layout}{long}" data-state="{state}"{data}>',
        f'<div class="title"><div class="head"><h2>{text(Path(row["input"]).name)}</h2>',
        f'<span class="badge {TONES[row["status"]]}">{WORDS[row["status"]]}</span></div>',
        f'<p class="soft">{text(row.get("title", ""))}</p></div>',
        f'<div class="stage">{"".join(figure for figure, _ in figures)}</div>' if figures else "",
        "<div>",
        _box("bad", [row["error"]] if row["error"] else []),
        _box("note", _notes(row)),
        tables(row),
        f'<div class="foot">{_files(row)}',
        f'<p class="soft"><small>{made_by} &middot; {text(row["device"])} &middot; {row["seconds"]:.1f} s',
        f"{' &middot; ' + text(row['remark']) if row.get('remark') else ''}</small></p></div></div>",
        _stored(view, row.get("view_key", "none"), number) if view else "",
        "</section>",
    ]
    return "\n".join(line for line in lines if line)


def _stored(view: Mapping[str, Any], key: str, number: int) -> str:
    """The view as data that scripts read; no text in it can end the element."""
    content = json.dumps(view, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return (
        f'<script type="application/json" class="view" data-key="{key}" id="view-{number}">{content}</script>'
    )


def _notes(row: Mapping[str, Any]) -> list[str]:
    return [f"synthetic input: {name}" for name in row["synthetic_inputs"]] + list(row["warnings"])


def _box(tone: str, messages: Sequence[str]) -> str:
    return "".join(f'<div class="box {tone}"><span>{text(message)}</span></div>' for message in messages)


def _files(row: Mapping[str, Any]) -> str:
    base = Path(row.get("folder", "."))
    links = [
        f'<a href="{quote((base / path).as_posix())}">{text(Path(path).name)}</a>'
        for path in row["outputs"].values()
    ]
    return f'<p class="files">{" &middot; ".join(links)}</p>' if links else ""


def _pictures(row: Mapping[str, Any], folder: Path) -> list[tuple[str, Path]]:
    """Role and file of the pictures of a case, the preview first; results that are pictures are not shown."""
    place = folder / row.get("folder", ".")
    roles = sorted(row["outputs"], key=lambda role: role != "preview")
    paths = [(role, place / row["outputs"][role]) for role in roles if role != "pred"]
    return [(role, path) for role, path in paths if path.suffix == ".png" and path.is_file()]


def _figure(role: str, path: Path, row: Mapping[str, Any], small: bool) -> tuple[str, bool]:
    """A picture, and whether it is a wide one."""
    from PIL import Image

    name = text(f"{role} of {Path(row['input']).name}")
    with Image.open(path) as picture:
        width, height = picture.size
        content = _compressed(picture) if small else path.read_bytes()
    kind = "image/webp" if small else mimetypes.guess_type(path.name)[0]
    data = base64.b64encode(content).decode("ascii")
    image = f'<img alt="{name}" width="{width}" height="{height}" src="data:{kind};base64,{data}">'
    button = f'<button type="button" class="zoom" aria-label="Enlarge the {name}">{image}</button>'
    return f'<figure data-title="{text(role.capitalize())}">{button}</figure>', width > WIDE


def _compressed(picture: Any) -> bytes:
    picture = picture.convert("RGB")
    picture.thumbnail((COMPRESSED_SIDE, COMPRESSED_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()


def _has_volumes(rows: Sequence[Mapping[str, Any]]) -> bool:
    return any("volume" in (row.get("view") or {}) for row in rows)


def _footer(rows: Sequence[Mapping[str, Any]]) -> str:
    about = f"medbundles {__version__} &middot; research use only, not a medical device"
    if not _has_volumes(rows):
        return f"<footer>{about}</footer>"
    licence = f"<pre>{text(_asset(VIEWER_LICENSE))}</pre>"
    footer = f"<footer>{about}<details><summary>Licence of the viewer</summary>{licence}</details></footer>"
    return f'{footer}\n<script type="text/plain" id="niivue">{_packed_viewer()}</script>'


@cache
def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


@cache
def _packed_viewer() -> str:
    """NiiVue, a third of its size; the page unpacks it when the first viewer is opened."""
    return base64.b64encode(gzip.compress((ASSETS / VIEWER).read_bytes(), 9, mtime=0)).decode("ascii")
