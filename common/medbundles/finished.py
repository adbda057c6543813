"""Whether a case need not be computed again: what its result was made from, and what is there now.

Times of files are compared for being the same, never for being later: a clock may have been put back, and
a file that was moved here keeps its old time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medbundles.archives import split_archive
from medbundles.cases import case_name
from medbundles.reports import CSV_NAME, JSON_NAME
from medbundles.shards import FOLDER, SAME

INPUT, RUN = "input", "run"  # the two fingerprints of a case
WITH_DATA_BESIDE = {".mhd", ".nhdr", ".hdr"}
OF_A_RUN = {JSON_NAME, CSV_NAME, "index.html", "profile.json", FOLDER}


def fingerprints(state: str | None, header: Mapping[str, Any]) -> dict[str, str | None]:
    """What a result was made from: its input's files, and bundle, version, weights and options.

    Args:
        state: of the input, before it was read, see `state_of_input`.
        header: of the report.
    """
    text = json.dumps([header.get(key) for key in SAME])
    return {INPUT: state, RUN: hashlib.sha256(text.encode()).hexdigest()}


def stands(case: Mapping[str, Any], state: str | None, output_dir: Path) -> bool:
    """Whether the result of a report's case is there and its input is still what it was made from.

    Args:
        case: of a report.
        state: of its input now; None if there is no file.
        output_dir: of the report.
    """
    if case["status"] == "failed" or not case["outputs"] or not case.get("fingerprints"):
        return False
    if not all((output_dir / path).exists() for path in case["outputs"].values()):
        return False
    return state is None or state == case["fingerprints"][INPUT]


def state_of_input(image: Any, output_dir: Path | None = None) -> str | None:
    """Returns the sha256 of names, sizes and times of a case's files; None if there are none.

    A folder stands for what is at and below it, but not for results that were written into it.
    """
    files = sorted(_files(image, output_dir))
    return hashlib.sha256(json.dumps(files).encode()).hexdigest() if files else None


def _files(image: Any, output_dir: Path | None) -> Iterator[tuple[str, int, int]]:
    if isinstance(image, Mapping | list | tuple):
        for part in image.values() if isinstance(image, Mapping) else image:
            yield from _files(part, output_dir)
        return
    path = Path(image) if isinstance(image, str | os.PathLike) else None
    if path is None:
        return
    inside = split_archive(path)
    path = inside[0] if inside else path
    for file in _parts(path, output_dir):
        try:
            facts = file.stat()
        except OSError:  # it went while we looked
            continue
        yield file.relative_to(path.parent).as_posix(), facts.st_size, facts.st_mtime_ns


def _parts(path: Path, output_dir: Path | None) -> Iterator[Path]:
    if path.is_file():
        yield path
        if path.suffix.lower() in WITH_DATA_BESIDE:
            yield from (p for p in path.parent.iterdir() if p.stem == path.stem and p != path)
    elif path.is_dir():
        for file in path.rglob("*"):
            if not file.name.startswith(".") and file.is_file() and not _is_result(file, path, output_dir):
                yield file


def _is_result(file: Path, folder: Path, output_dir: Path | None) -> bool:
    if output_dir is None or output_dir not in file.parents:
        return False
    if output_dir == folder:
        name = file.relative_to(folder).parts[0]
        return name in OF_A_RUN or name.startswith(f"{case_name(folder)}_")
    return folder in output_dir.parents
