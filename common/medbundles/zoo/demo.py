"""The demonstration: one simulated case per bundle, run, measured against its known truth, on one page."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from medbundles.errors import OverrideError
from medbundles.metadata import NOT_TRAINED
from medbundles.zoo.find import load_object, read_metadata
from medbundles.zoo.workflows import INFERENCE, run_workflow

INTRO = "One simulated case per bundle. The truth is known exactly, because the case was made from it."


def run_demo(
    folders: Sequence[Path], output: Path, overrides: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Runs the demo case of each bundle and writes results, previews and `index.html`.

    Returns:
        The rows of the page: case results with `title`, `trained`, `folder`, `expected` and `tolerance`.
    """
    from medbundles.pages import write_index

    rows = []
    for folder in folders:
        rows += _run_bundle(folder, output, dict(overrides or {}))
    write_index(output, rows, title="medbundles demo", intro=INTRO)
    return rows


def simulate(folder: Path, output: Path, n: int, seed: int, **options: Any) -> list[dict[str, Any]]:
    """Writes n simulated cases of a bundle with their truth, and returns the entries of `cases.json`.

    Args:
        options: what the bundle's simulator takes besides, such as the size of its voxels.

    Raises:
        OverrideError: it takes no such option.
    """
    write = load_object(folder, read_metadata(folder)["medbundles"]["simulator"])
    known = [name for name in inspect.signature(write).parameters if name not in ("folder", "n", "seed")]
    if unknown := [name for name in options if name not in known]:
        near = get_close_matches(unknown[0], known, n=1, cutoff=0.5)
        raise OverrideError(
            f"unknown option --{unknown[0]}" + (f": did you mean --{near[0]}?" if near else ""),
            expected=", ".join(f"--{name}" for name in known) or "no further option",
            source=f"the simulator of {folder.name}",
        )
    return write(output, n, seed, **options)


def comparisons(row: Mapping[str, Any]) -> Iterator[tuple[str, float | None, float, str, bool]]:
    """Name, measured and true value, unit, and whether they agree, for each known measurement of a case."""
    found = {m["name"]: m for m in row["measurements"]}
    for truth in row["expected"]:
        item = found.get(truth["name"], {})
        value = item.get("value") if item.get("unit") == truth["unit"] else None
        agree = value is not None and abs(value - truth["value"]) <= row["tolerance"] * abs(truth["value"])
        yield truth["name"], value, truth["value"], truth["unit"], agree


def _run_bundle(folder: Path, output: Path, overrides: dict[str, Any]) -> list[dict[str, Any]]:
    from medbundles.zoo.results_page import results_rows

    block = read_metadata(folder)["medbundles"]
    place = output / folder.name
    case = _demo_case(folder, place / "case", block["demo"]["seed"])
    results = place / "results"
    paths = {"dataset_dir": str(place / "case" / case["image"]), "output_dir": str(results)}
    try:
        run_workflow(folder, INFERENCE, {**overrides, **paths, "overwrite": True}, logging_file=False)
    except SystemExit:
        pass  # the report says which case failed
    extra = {
        "title": block["title"],
        "trained": NOT_TRAINED not in block["title"],
        "folder": results.relative_to(output).as_posix(),
        "expected": case["expected"],
        "tolerance": block["demo"]["tolerance"],
    }
    return [{**row, **extra} for row in results_rows(folder, results, {**overrides, **paths})]


def _demo_case(folder: Path, place: Path, seed: int) -> dict[str, Any]:
    """The bundle's committed case, if simulating one takes long; else one made now."""
    committed = folder / "demo"
    if (committed / "cases.json").is_file():
        shutil.copytree(committed, place, dirs_exist_ok=True)
        return json.loads((committed / "cases.json").read_text(encoding="utf-8"))["cases"][0]
    return simulate(folder, place, 1, seed)[0]
