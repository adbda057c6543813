"""Folders that a bundle's simulator wrote: images, complete labels and exactly known measurements."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from medbundles import __version__
from medbundles.checks import DatasetError
from medbundles.datasets import brats
from medbundles.datasets.records import Case, LoadReport
from medbundles.io import atomic_path

logger = logging.getLogger(__name__)

TABLE = "cases.json"


def write_table(folder: str | Path, simulator: str, seed: int, cases: Iterable[dict[str, Any]]) -> None:
    """Writes `cases.json`, which all who read the folder need, sorted by name.

    Args:
        folder: of the simulated cases.
        simulator: dotted name of what made them.
        seed: of all of them.
        cases: their entries, with paths relative to the folder.
    """
    cases = sorted(cases, key=lambda case: str(case["name"]))
    content = {"simulator": simulator, "version": __version__, "seed": seed, "cases": cases}
    with atomic_path(Path(folder) / TABLE) as path:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def made(folder: str | Path, count: int, write: Callable[[Path, int], Any]) -> list[Case]:
    """Returns the first `count` cases of a folder; if there are fewer, `write(folder, count)` makes them."""
    folder = Path(folder)
    if not (folder / TABLE).exists() or len(load(folder)[0]) < count:
        logger.info("simulating %d cases in %s", count, folder)
        write(folder, count)
    return load(folder)[0][:count]


def load(root: str | Path) -> tuple[list[Case], LoadReport]:
    """Reads `cases.json` of a simulated folder; paths in it are relative to the folder."""
    root = Path(root)
    content = _read(root / TABLE)
    report, cases = LoadReport(f"simulated by {content.get('simulator', 'an unnamed simulator')}"), []
    for entry in content["cases"]:
        report.rows += 1
        missing = [key for key in ("image", "label") if not _is_there(entry, key, root)]
        if missing:
            report.reject(entry["name"], f"the {missing[0]} file is missing")
            continue
        cases.append(_case(entry, root))
    report.kept = len(cases)
    return cases, report


def _read(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        complete = all({"name", "image", "label"} <= set(entry) for entry in content["cases"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"The list of simulated cases cannot be read: {error}.",
            expected="cases.json as `medbundles simulate` writes it",
            source=path,
            advice="Write the folder anew with `medbundles simulate`.",
        ) from error
    if not complete:
        raise DatasetError(
            "A simulated case lacks its name, image or label.",
            expected="cases.json as `medbundles simulate` writes it",
            source=path,
            advice="Write the folder anew with `medbundles simulate`.",
        )
    return content


def _is_there(entry: dict, key: str, root: Path) -> bool:
    paths = entry["images"].values() if key == "image" and "images" in entry else [entry[key]]
    return all((root / path).is_file() for path in paths)


def _case(entry: dict, root: Path) -> Case:
    spacing = entry.get("spacing_mm")
    case = {
        "image": str(root / entry["image"]),
        # Not the folder's: a patient made anew elsewhere stays on its side of a split.
        "subject": entry.get("patient", entry["name"]),
        "name": entry["name"],
        "source": "simulated",
        "kind": "simulated",
        "spacing_mm": tuple(spacing) if spacing else None,
        "truth": {"mask": str(root / entry["label"])},
        "expected": entry.get("expected", []),
        "seed": entry.get("seed"),
    }
    if "images" in entry:  # a study: a file per contrast
        case["image"] = {name: str(root / path) for name, path in entry["images"].items()}
        case["convention"] = brats.convention_of(entry["name"])
    return case
