"""The tables and the page of the benchmark of the amniotic fluid index."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from afi_measure import DEPTH, DICE, TRUE_DEPTH
from afi_variants import TRUTH, VARIANTS
from named_weights import SHIPPED
from paired_tables import Row, paired_p, table

from amniotic_fluid.cases import OTHER, SIMULATED  # found since afi_variants is
from amniotic_fluid.pockets import RULES
from amniotic_fluid.scores import HAZY
from amniotic_fluid.study import AFI, MOST_FRAMES
from medbundles.evaluation import MEASURED, TRUE, write_rows
from medbundles.io import atomic_path
from medbundles.metrics import bland_altman, summary

NAME = "afi"
ABSOLUTE, RELATIVE = "absolute error mm", "relative error %"
CLINICIAN = tuple(RULES)[-1]
NETWORKS = (*VARIANTS, SHIPPED)
KINDS = tuple(group for kind in (SIMULATED, OTHER) for group in (kind, HAZY.format(kind)))
ORDER = (*KINDS, *NETWORKS, TRUTH, *RULES)
BEFORE = {after: before for names in (VARIANTS, RULES) for before, after in pairwise(names)}
P = "p against {} before"
Units = dict[str, Row]


def write_report(frames: Sequence[Row], folder: Path) -> None:
    """Writes what was measured on frames and patients, both summaries, and the summaries as a page."""
    folder.mkdir(parents=True, exist_ok=True)
    patients = patient_rows(frames)
    overlap, index = dice_summary(frames), index_summary(patients)
    tables = {"frames": list(frames), "patients": patients, "dice": overlap, "index": index}
    for name, rows in tables.items():
        write_rows(rows, folder / f"{NAME}_{name}.csv")
    with atomic_path(folder / f"{NAME}.md") as path:
        path.write_text(page(overlap, index), encoding="utf-8")


def kept_rows(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """Returns the rows of the table in a folder that are of other runs than some rows, on the same frames.

    Raises:
        SystemExit: the frames of the table are not the same.
    """
    with open(folder / f"{NAME}_frames.csv", newline="", encoding="utf-8") as file:
        found = [{key: _typed(text) for key, text in row.items() if text} for row in csv.DictReader(file)]
    runs, frames = {row["run"] for row in rows}, {row["frame"]: row[TRUE_DEPTH] for row in rows}
    kept = [row for row in found if row["run"] not in runs]
    if other := [row["frame"] for row in kept if frames.get(row["frame"]) != row[TRUE_DEPTH]]:
        raise SystemExit(f"{len(other)} frames of the table to keep were not measured now: {other[0]}")
    return kept


def _typed(text: str) -> str | float | bool:
    """What was written to a table."""
    if text in ("True", "False"):
        return text == "True"
    try:
        return float(text)
    except ValueError:
        return text


def patient_rows(frames: Iterable[Row]) -> list[Row]:
    """The index of each patient whose four frames were measured, by each rule; no relative error of 0 mm."""
    patients = defaultdict(list)
    for row in frames:
        patients[row["run"], row["variant"], row["kind"], row["patient"]].append(row)
    result = []
    for names, members in patients.items():
        if len(members) != MOST_FRAMES:
            continue
        true = sum(row[TRUE_DEPTH] for row in members)
        for rule in RULES:
            measured = sum(row[DEPTH.format(rule)] for row in members)
            error = abs(measured - true)
            row = dict(zip(("run", "variant", "kind", "patient"), names, strict=True)) | {"rule": rule}
            row |= {AFI + MEASURED: measured, AFI + TRUE: true, ABSOLUTE: error}
            result.append(row | ({RELATIVE: 100 * error / true} if true else {}))
    return result


def dice_summary(frames: Iterable[Row]) -> list[Row]:
    """A row per kind of frame and network, hazy frames once more by themselves."""
    groups = defaultdict(list)
    for row in frames:
        if row["variant"] != TRUTH and DICE in row:
            hazy = [HAZY.format(row["kind"])] if row["hazy"] else []
            for kind in (row["kind"], *hazy):
                groups[kind, row["variant"]].append(row)
    units = {group: averaged(rows, DICE, "frame") for group, rows in groups.items()}
    result = []
    for kind, variant in sorted(units, key=_place):
        own, before = units[kind, variant], units.get((kind, BEFORE.get(variant)), {})
        row = {"frames": kind, "variant": variant} | figures(own, DICE)
        result.append(row | {P.format("variant"): paired_p(own, before, DICE)})
    return result


def index_summary(patients: Iterable[Row]) -> list[Row]:
    """A row per renderer, variant and rule: errors of the index, and its agreement with the true one."""
    groups = defaultdict(list)
    for row in patients:
        groups[row["kind"], row["variant"], row["rule"]].append(row)
    units = {group: averaged(rows, ABSOLUTE, "patient") for group, rows in groups.items()}
    result = []
    for kind, variant, rule in sorted(units, key=_place):
        rows, own = groups[kind, variant, rule], units[kind, variant, rule]
        relative = figures(averaged(rows, RELATIVE, "patient"), RELATIVE)
        before = {
            "variant": units.get((kind, BEFORE.get(variant), rule), {}),
            "rule": units.get((kind, variant, BEFORE.get(rule)), {}),
        }
        result.append(
            {"patients": kind, "variant": variant, "rule": rule}
            | {_of(ABSOLUTE, name): value for name, value in figures(own, ABSOLUTE).items()}
            | {_of(RELATIVE, name): value for name, value in relative.items()}
            | agreement(rows)
            | {P.format(name): paired_p(own, other, ABSOLUTE) for name, other in before.items()}
        )
    return result


def averaged(rows: Iterable[Row], score: str, unit: str) -> Units:
    """A score of each frame or patient that has it, the mean of its runs."""
    values = defaultdict(list)
    for row in rows:
        if score in row:
            values[row[unit]].append(row[score])
    return {name: {score: fmean(found)} for name, found in values.items()}


def figures(units: Units, score: str) -> Row:
    """n, mean, sd and median of a score; '' for what is not defined."""
    found = summary([row[score] for row in units.values()]).as_dict() if units else {"n": 0}
    return {name: found.get(name, "") for name in ("n", "mean", "sd", "median")}


def agreement(rows: Iterable[Row]) -> Row:
    """Bias and limits of agreement of the measured index with the true one, the mean of those of the runs."""
    runs = defaultdict(list)
    for row in rows:
        runs[row["run"]].append((row[AFI + MEASURED], row[AFI + TRUE]))
    found = [bland_altman(*zip(*pairs, strict=True)) for pairs in runs.values() if len(pairs) > 1]
    limits = {name: [getattr(one, name) for one in found] for name in ("bias", "lower", "upper")}
    return {f"{name} mm": fmean(values) if values else "" for name, values in limits.items()}


def _of(score: str, figure: str) -> str:
    return f"{score}, {figure}"


def _place(group: Sequence[str]) -> list[int]:
    return [ORDER.index(name) for name in group]


def page(overlap: Sequence[Row], index: Sequence[Row]) -> str:
    """The frames by variant, then the patients by variant and by rule."""
    ruled = (VARIANTS[-1], SHIPPED, TRUTH)
    by_variant = [row for row in index if row["rule"] == CLINICIAN and row["variant"] in NETWORKS]
    by_rule = [row for row in index if row["variant"] in ruled]
    lines = [
        "# What AF-net's parts and the clinician's rule are worth",
        "",
        "Written by `benchmarks/afi.py measure`. Simulated patients; mean ± SD over frames or patients, each",
        "the mean of its runs. Each variant has all that stands above it, and each rule asks for all that",
        "stands above it. p: paired Wilcoxon signed-rank test against the one before, two-sided, not",
        "corrected for the number of tests.",
        "",
        "## Dice of all fluid",
        "",
        *_block([_dice_row(row) for row in overlap]),
        "",
        "## The index by variant, with the clinician's rule",
        "",
        *_block([_index_row(row, "variant") for row in by_variant]),
        "",
        "## The index by rule",
        "",
        f"On the labels of the last variant, of the bundle's own weights (`{SHIPPED}`), and on the true ones",
        f"(`{TRUTH}`).",
        "",
        *_block([_index_row(row, "rule") for row in by_rule]),
    ]
    return "\n".join(lines) + "\n"


def _block(rows: Sequence[Row]) -> list[str]:
    return table(rows) if rows else ["Nothing was measured."]


def _dice_row(row: Row) -> Row:
    shown = {name: row[name] for name in ("frames", "variant", "n")}
    return shown | {"Dice": spread(row, 3), "p": row[P.format("variant")]}


def _index_row(row: Row, tested: str) -> Row:
    """A line of a table: with the rule only where rules are compared."""
    names = ("patients", "variant", *(["rule"] if tested == "rule" else []))
    errors, relative = (
        {name: row[_of(score, name)] for name in ("n", "mean", "sd")} for score in (ABSOLUTE, RELATIVE)
    )
    limits = (row["lower mm"], row["upper mm"])
    return {name: row[name] for name in names} | {
        "n": errors["n"],
        "MAE mm": spread(errors, 1),
        "relative error %": f"{spread(relative, 1)} (n {relative['n']})" if relative["n"] else "",
        "bias mm": row["bias mm"],
        "limits mm": "" if "" in limits else "{:.1f} to {:.1f}".format(*limits),
        "p": row[P.format(tested)],
    }


def spread(row: Mapping[str, float | str], digits: int) -> str:
    """Mean ± SD as text; a single value has no SD."""
    sd = f" ± {row['sd']:.{digits}f}" if row["sd"] != "" else ""
    return f"{row['mean']:.{digits}f}{sd}"
