"""Real frames that two readers have outlined: networks against the readers, and these against each other."""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from afi_measure import Bench, Method
from afi_report import averaged, figures, spread
from numpy.typing import NDArray
from paired_tables import Row, table

from amniotic_fluid.cases import draw_polygons, find_cases  # found since afi_report is
from amniotic_fluid.losses import UNDIVIDED_FLUID, UNKNOWN
from amniotic_fluid.pockets import FLUID, Mask, wet
from amniotic_fluid.scores import fetus_scores
from medbundles.evaluation import write_rows
from medbundles.io import atomic_path
from medbundles.metrics import dice

logger = logging.getLogger(__name__)

NAME = "afi_outlines"
READERS = ("first reader", "second reader")
DICE = "Dice against {}"
SHARE, CLEAR = "share of the fetus called fluid", "fetus kept clear"
ALL = "all"
SCORES = (*(DICE.format(reader) for reader in READERS), SHARE, CLEAR)
Case = Mapping[str, Any]


def outlined_twice(dataset_dir: str, first: str, second: str) -> dict[str, tuple[Case, Case]]:
    """The cases of both readers by the name of the frame; those that one reader lacks are left out.

    Raises:
        SystemExit: no frame was outlined by both.
    """
    readers = [
        {case["name"]: case for case in find_cases(dataset_dir, "test", outlines=str(path))}
        for path in (first, second)
    ]
    if alone := sorted(set(readers[0]) ^ set(readers[1])):
        logger.warning("%d frames that only one reader outlined: %s", len(alone), ", ".join(alone))
    both = {name: (readers[0][name], readers[1][name]) for name in sorted(set(readers[0]) & set(readers[1]))}
    if not both:
        raise SystemExit(f"no frame that both {first} and {second} outline")
    return both


def outline_rows(
    cases: tuple[Case, Case], methods: Mapping[str, Sequence[Method]], bench: Bench
) -> list[Row]:
    """A row per network and reader: how a frame was outlined.

    Args:
        cases: the frame with the outlines of each reader.
        methods: the networks of each run.
        bench: what to ask them with.
    """
    case = cases[0]
    frame = bench.read(case)
    drawn = [frame.truth, draw_polygons(cases[1]["label"], frame.truth.shape)]
    known = np.all([labels != UNKNOWN for labels in drawn], axis=0)
    readers = {
        reader: np.where(labels == UNDIVIDED_FLUID, FLUID, 0)
        for reader, labels in zip(READERS, drawn, strict=True)
    }
    answers = [(run, m.name, m.labels(frame)) for run, found in methods.items() for m in found]
    answers += [("readers", reader, labels) for reader, labels in readers.items()]
    return [
        {"run": run, "outlined by": name, "data set": case["source"], "frame": case["name"]}
        | agreement(labels, {reader: other for reader, other in readers.items() if reader != name}, known)
        | fetus_scores(labels, case["fetus"])
        for run, name, labels in answers
    ]


def agreement(labels: NDArray[Any], readers: Mapping[str, NDArray[Any]], known: Mask) -> Row:
    """Dice of fluid against each reader where it is known what is fluid; none if neither saw any."""
    scores = {
        DICE.format(name): dice(wet(labels) & known, wet(other) & known) for name, other in readers.items()
    }
    return {name: score for name, score in scores.items() if not math.isnan(score)}


def outline_summary(rows: Iterable[Row]) -> list[Row]:
    """A row per network or reader, data set and score; a frame counts once, with the mean of its runs."""
    groups = defaultdict(list)
    for row in rows:
        for frames in (ALL, row["data set"]):
            groups[row["outlined by"], frames].append(row)
    return [
        {"outlined by": name, "frames": frames, "score": score}
        | figures(averaged(members, score, "frame"), score)
        for (name, frames), members in groups.items()
        for score in SCORES
    ]


def write_outlines(rows: Sequence[Row], folder: Path) -> None:
    """Writes the frames, their summary and a page."""
    folder.mkdir(parents=True, exist_ok=True)
    summaries = outline_summary(rows)
    write_rows(list(rows), folder / f"{NAME}.csv")
    write_rows(summaries, folder / f"{NAME}_summary.csv")
    with atomic_path(folder / f"{NAME}.md") as path:
        path.write_text(outline_page(summaries), encoding="utf-8")


def outline_page(summaries: Sequence[Row]) -> str:
    """A table with a row per network or reader and data set."""
    found = {(row["outlined by"], row["frames"], row["score"]): row for row in summaries}
    rows = [
        {"outlined by": name, "frames": frames}
        | {score: _cell(found[name, frames, score]) for score in SCORES}
        for name, frames in dict.fromkeys(key[:2] for key in found)
    ]
    lines = [
        "# Real frames outlined by two readers",
        "",
        "Written by `benchmarks/afi.py outlines`. Mean ± SD over frames, each the mean of its runs. Dice of",
        f"all fluid where both readers know what is fluid; `{CLEAR}`: the share of the frames.",
        "",
        *table(rows),
    ]
    return "\n".join(lines) + "\n"


def _cell(row: Row) -> str:
    """A score and of how many frames it is; a share has no spread."""
    if not row["n"]:
        return ""
    return f"{spread(row | {'sd': ''} if row['score'] == CLEAR else row, 3)} (n {row['n']})"
