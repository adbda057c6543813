"""Does anything half-written ever pass for a result? Kills, full disks and other faults, on purpose.

After every fault three things are asked: does every file with a final name read back whole, and does the
report list only what is there and belongs to it; does the same command complete the work, with the results of
an undisturbed run, bit for bit; and were the inputs left alone.
"""

import csv
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import robustness_kills as kills_of
import robustness_surroundings as surroundings
from robustness_kills import Bench, Tally, bench
from robustness_subjects import subjects

from medbundles.evaluation import write_rows

logger = logging.getLogger(__name__)

TABLE = "robustness_faults.csv"
PROGRAM = "command line"
# Share of the kills at random, by subject; the rest goes to commands as a user starts them.
SHARES = {"discs": 0.39, "fetal ultrasound": 0.2, "CT stack": 0.1, "discs, training": 0.27}
STARTED = {"discs": 0.02, "discs, training": 0.02}


def faults(
    work: str, *, kills: int = 200, seed: int = 0, only: str = "", out: str = "benchmarks/results"
) -> None:
    """Breaks predictions and trainings on purpose and writes a row per subject and kind of fault.

    Args:
        work: folder for inputs and for what is broken.
        kills: at random moments, over all subjects; kills before each change of a file come on top.
        seed: of the moments.
        only: words of the kinds of fault to take, separated by `;`, such as `disk;training`.
        out: folder of the table.
    """
    place, rng = Path(work).resolve(), np.random.default_rng(seed)
    known, benches = subjects(place), {}
    rows: list[dict[str, Any]] = []

    def at(name: str) -> Bench:
        if name not in benches:
            benches[name] = bench(known[name], place)
            logger.info("%s: %.1f s of processor time undisturbed", name, benches[name].seconds)
        return benches[name]

    wanted = [word.strip() for word in str(only).split(";") if word.strip()]
    for title, experiment in _experiments(at, kills, rng).items():
        if not wanted or any(word in title for word in wanted):
            row = experiment().row()
            logger.info("%s", "; ".join(f"{key}: {value}" for key, value in row.items()))
            rows = _kept(Path(out) / TABLE, row)
    logger.info("%d faults, %d kills in %s", *_counts(rows), Path(out) / TABLE)


def _kept(path: Path, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Writes a row to the table in the place of an earlier one of its kind, and returns all rows."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    kinds = [(old["subject"], old["fault"]) for old in rows]
    kind = (row["subject"], row["fault"])
    if kind in kinds:
        rows[kinds.index(kind)] = row
    else:
        rows.append(row)
    write_rows(rows, path)
    return rows


def _counts(rows: list[dict[str, Any]]) -> tuple[int, int]:
    return sum(int(row["n"]) for row in rows), sum(int(row["killed"]) for row in rows)


def _experiments(
    at: Callable[[str], Bench], kills: int, rng: np.random.Generator
) -> dict[str, Callable[[], Tally]]:
    """The experiments by a title of subject and fault."""
    found: dict[str, Callable[[], Tally]] = {}
    for name, share in SHARES.items():
        count = max(1, round(share * kills))
        if "training" in name:
            found[f"{name}: random kills"] = lambda n=name, c=count: kills_of.at_random(at(n), c, rng)
            continue
        half = max(1, count // 2)
        found[f"{name}: random kills"] = lambda n=name, c=half: kills_of.at_random(at(n), c, rng)
        rest = max(1, count - half)
        found[f"{name}: random kills over"] = lambda n=name, c=rest: kills_of.at_random(
            at(n), c, rng, over=True
        )
    for name in ("discs", "CT series"):
        for over in (False, True):
            found[f"{name}: kills at each step{' over' if over else ''}"] = lambda n=name, o=over: (
                kills_of.at_each_step(at(n), over=o)
            )
    found["discs, training: kills at each step"] = lambda: kills_of.at_each_step(at("discs, training"))
    for name, share in STARTED.items():
        count = max(1, round(share * kills))
        found[f"{name}: {PROGRAM}"] = lambda n=name, c=count: kills_of.from_command_line(at(n), c, rng)
    return found | surroundings.experiments(at)
