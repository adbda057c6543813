"""Finds which of the known public layouts lie below a folder, and reads them all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from medbundles.checks import DatasetError, MissingInputError
from medbundles.datasets import acouslic, brats, ctooth, fetal_planes, hc18, msd, simulated, toothfairy
from medbundles.datasets.records import Case, LoadReport
from medbundles.studies import study_name

Loaded = tuple[list[Case], LoadReport]

# A file that gives a layout away, the layout's name, and how many folders above the file its root is.
MARKS = (
    ("Abdomen_Train.csv", "abdomen_landmarks", 0),
    ("Abdomen.csv", "abdomen_landmarks", 0),
    (hc18.TABLE, "hc18", 0),
    (acouslic.TABLE.name, "acouslic", 1),
    ("FETAL_PLANES_DB_data.csv", "fetal_planes_db", 0),
    (simulated.TABLE, "simulated", 0),
)
LOADERS: dict[str, Callable[[Path], Loaded]] = {
    "abdomen_landmarks": fetal_planes.load,
    "hc18": hc18.load,
    "acouslic": acouslic.load_frames,
    "fetal_planes_db": fetal_planes.load_planes,
    "simulated": simulated.load,
    "brats": brats.load,
    "msd": msd.load,
    "toothfairy": toothfairy.load,
    "ctooth": ctooth.load,
}
# Planes have no outline, studies of several contrasts no single image, and jaws many labels: they are read
# when asked for. Nothing gives CTooth away: its folder is named to its own loader.
ONLY_WHEN_ASKED = {"fetal_planes_db", "brats", "msd", "toothfairy", "ctooth"}
# The landmark release repeats images of its other folders here; counted twice they would weigh double.
OVERLAPPING = {"multi-centre", "multicentre", "multi-center"}
MAX_DEPTH = 4


def find_datasets(root: str | Path) -> list[tuple[str, Path]]:
    """Returns (layout, folder) of every known data set at or below `root`, sorted by folder."""
    root = Path(root)
    if not root.is_dir():
        raise MissingInputError(
            "The data folder does not exist.",
            expected="a folder that holds one or more of the known data sets",
            source=root,
            advice="Check the path given as dataset_dir.",
        )
    found = set()
    for folder, below, files in os.walk(root, followlinks=True):
        depth = len(Path(folder).relative_to(root).parts)
        keep = [name for name in below if name.lower() not in OVERLAPPING and not name.startswith(".")]
        below[:] = keep if depth < MAX_DEPTH else []
        found |= {_place(Path(folder), *mark) for mark in MARKS if mark[0] in files}
        found |= {(kind, Path(folder)) for kind in _studies(Path(folder), below, files)}
        below[:] = [name for name in below if not brats.is_case_name(name)]
    return sorted(found, key=lambda item: (str(item[1]), item[0]))


def load_all(root: str | Path, *, kinds: Iterable[str] | None = None) -> tuple[list[Case], list[LoadReport]]:
    """Reads every known data set below `root`, each image once.

    Args:
        root: the folder to look through.
        kinds: the layouts to read, keys of `LOADERS`; None reads all that carry an outline or a mask of one
            image.
    """
    wanted = set(LOADERS) - ONLY_WHEN_ASKED if kinds is None else set(kinds)
    cases, reports, seen = [], [], set()
    for kind, folder in find_datasets(root):
        if kind not in wanted:
            continue
        loaded, report = LOADERS[kind](folder)
        fresh = [case for case in loaded if _identity(case) not in seen]
        seen |= {_identity(case) for case in fresh}
        if len(fresh) < len(loaded):
            report.notes["already read from another folder"] += len(loaded) - len(fresh)
        report.kept = len(fresh)
        cases += fresh
        reports.append(report)
    if not cases:
        raise _nothing(Path(root), wanted)
    for report in reports:
        report.log()
    return cases, reports


def _studies(folder: Path, below: list[str], files: list[str]) -> list[str]:
    """Returns the layouts of brains and jaws that a folder has; simulated ones have a table of their own."""
    if simulated.TABLE in files:
        return []
    if toothfairy.is_root(folder, below):
        return ["toothfairy"]
    if msd.is_root(folder, files):
        return ["msd"]
    return ["brats"] if brats.is_case_name(folder.name) or brats.is_root(folder, below) else []


def _place(folder: Path, name: str, kind: str, above: int) -> tuple[str, Path]:
    above += name.startswith("Abdomen") and folder.name == "annotations"
    for _ in range(above):
        folder = folder.parent
    return kind, folder


def _identity(case: Case) -> tuple[str, str]:
    # Copies of a public image keep its name; simulated ones of two folders may differ in all but their names.
    if case["kind"] == "simulated":
        return case["subject"], str(case["image"])
    return case["subject"], Path(study_name(case["image"])).name


def _nothing(root: Path, wanted: set[str]) -> DatasetError:
    return DatasetError(
        "No data set of a known layout was found.",
        expected=", ".join(sorted(wanted)),
        source=root,
        advice="See docs/how-to/train-on-the-full-data-sets.md, or write data with `medbundles simulate`.",
    )
