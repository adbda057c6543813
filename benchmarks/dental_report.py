"""The tables and the page of the benchmark of the panoramic prior."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dental_methods import AT_ONCE, IN_ORDER
from dental_variants import DIRECT, REGIONS
from paired_tables import Row, paired_p, table

from dental_teeth.patches import BOTH  # found since dental_variants is
from medbundles.evaluation import write_rows
from medbundles.io import atomic_path
from medbundles.metrics import summary

NAME = "dental_prior"
NUMBERS = ("F1", "precision", "recall", "found")  # of a patient
OUTLINES = ("Dice", "HD mm", "ASSD mm", "Dice by number")  # of a tooth
SCORES = (*NUMBERS, *OUTLINES)
METHODS = (*REGIONS, DIRECT, IN_ORDER, AT_ONCE)
ALL, HEAVY = "all", "heavy"
METAL = (ALL, "none", "some", HEAVY, "unknown")
Unit = tuple[str, int]  # case, and tooth or 0 for the case itself
Units = dict[Unit, Row]


def write_report(rows: Sequence[Row], folder: Path) -> list[str]:
    """Writes what was measured, its summary and a page; returns the lines that a reader wants first."""
    folder.mkdir(parents=True, exist_ok=True)
    summaries = summarise(rows)
    write_rows(list(rows), folder / f"{NAME}.csv")
    write_rows(summaries, folder / f"{NAME}_summary.csv")
    with atomic_path(folder / f"{NAME}.md") as path:
        path.write_text(page(summaries), encoding="utf-8")
    return verdicts(summaries)


def reference_of(method: str) -> str:
    """The method that another one is tested against: the bundle, or its numbering."""
    return IN_ORDER if method in (IN_ORDER, AT_ONCE) else BOTH


def pooled(rows: Iterable[Row]) -> dict[tuple[str, str], Units]:
    """For each level of metal (and all) and method, the scores of each case and tooth, averaged over runs."""
    values: dict[tuple[str, str], dict[Unit, dict[str, list[float]]]] = {}
    for row in rows:
        for metal in (ALL, row["metal"]):
            units = values.setdefault((metal, row["method"]), {})
            unit = units.setdefault((row["case"], int(row.get("tooth", 0))), {})
            for score in SCORES:
                if score in row:
                    unit.setdefault(score, []).append(row[score])
    return {
        group: {
            unit: {score: sum(found) / len(found) for score, found in scores.items()}
            for unit, scores in units.items()
        }
        for group, units in values.items()
    }


def summarise(rows: Sequence[Row]) -> list[Row]:
    """A row per level of metal, method and score: figures, and paired tests against the bundle.

    Scores of teeth are summarised over all teeth, and tested over the teeth that both methods found: tooth
    by tooth, and patient by patient with the mean of these teeth. A case or tooth counts once, with the mean
    of its runs.
    """
    groups, result = pooled(rows), []
    for metal, method in sorted(groups, key=_place):
        for score in SCORES:
            units = {unit: row for unit, row in groups[metal, method].items() if score in row}
            if not units:
                continue
            other = {} if reference_of(method) == method else groups.get((metal, reference_of(method)), {})
            figures = summary([row[score] for row in units.values()]).as_dict()
            result.append(
                {"metal": metal, "method": method, "score": score}
                | {key: figures.get(key, "") for key in ("n", "mean", "sd", "median")}
                | {"patients": len({case for case, _ in units})}
                | _tests(units, other, score)
            )
    return result


def _tests(units: Units, other: Units, score: str) -> Row:
    """p values against another method, over patients, and over teeth if the score is one of teeth."""
    first, second = (
        {unit: row for unit, row in mine.items() if unit in units and score in other.get(unit, {})}
        for mine in (units, other)
    )
    teeth = score in OUTLINES
    return {
        "p over patients": paired_p(of_patients(first, score), of_patients(second, score), score),
        "p over teeth": paired_p(_named(first), _named(second), score) if teeth else "",
    }


def of_patients(units: Units, score: str) -> dict[str, Row]:
    """The mean of a score over the teeth of each case."""
    values: dict[str, list[float]] = {}
    for (case, _), row in units.items():
        values.setdefault(case, []).append(row[score])
    return {case: {score: sum(found) / len(found)} for case, found in values.items()}


def _named(units: Units) -> dict[str, Row]:
    return {f"{case} {tooth}": row for (case, tooth), row in units.items()}


def _place(group: tuple[str, str]) -> tuple[int, int]:
    metal, method = group
    return METAL.index(metal), METHODS.index(method)


def verdicts(summaries: Sequence[Row]) -> list[str]:
    """A line per score that says, on heavy metal, how the direct network compares with the bundle."""
    found = {(row["method"], row["score"]): row for row in summaries if row["metal"] == HEAVY}
    lines = []
    for score in ("F1", "Dice by number", "Dice"):
        bundle, direct = (found.get((method, score)) for method in (BOTH, DIRECT))
        if bundle is None or direct is None:
            continue
        word = "above" if bundle["mean"] > direct["mean"] else "not above"
        lines.append(
            f"heavy metal, {score}: the bundle {_cell(bundle)} (n {bundle['n']}) is {word} the direct"
            f" network {_cell(direct)} (n {direct['n']}); paired Wilcoxon {_p_values(direct)}"
        )
    return lines or ["heavy metal: bundle and direct network were not both measured"]


def _p_values(row: Mapping[str, Any]) -> str:
    parts = [f"p {_p(row['p over patients'])} over {row['patients']} patients"]
    return ", ".join(parts + ([f"{_p(row['p over teeth'])} over teeth"] if row["p over teeth"] != "" else []))


def page(summaries: Sequence[Row]) -> str:
    """The three questions, each as a table, and the comparison on heavy metal in words."""
    lines = [
        "# What is the panoramic prior worth?",
        "",
        "Written by `benchmarks/dental_prior.py measure`. Mean ± SD over patients (precision, recall, F1,",
        "found) or over teeth (the others), each the mean of its runs. Dice, HD and ASSD are those of teeth",
        "that have a label at their place, which `outlined` counts; `Dice by number` is of all. p: paired",
        "Wilcoxon signed-rank test against the bundle, two-sided, not corrected for the number of tests.",
        "",
        "## Loose region, tight region, or both",
        "",
        *_block(summaries, REGIONS, (*OUTLINES[:3], "F1")),
        "",
        "## With panoramas, or one network for the whole scan",
        "",
        *_block(summaries, (BOTH, DIRECT), ("F1", "precision", "recall", *OUTLINES)),
        "",
        *(f"* {line}" for line in verdicts(summaries)),
        "",
        "## Four kinds and their order, or the position at once",
        "",
        "Numbers on the panoramas, before any segmentation.",
        "",
        *_block(summaries, (IN_ORDER, AT_ONCE), ("F1", "precision", "recall", "found")),
    ]
    return "\n".join(lines) + "\n"


def _block(summaries: Sequence[Row], methods: Sequence[str], scores: Sequence[str]) -> list[str]:
    """A table with a row per level of metal and method, and p values of what the methods are compared by."""
    found = {(row["metal"], row["method"], row["score"]): row for row in summaries}
    rows: list[Row] = []
    for metal in METAL:
        for method in methods:
            cells = {score: found.get((metal, method, score)) for score in scores}
            known = [row for row in cells.values() if row]
            if not known:
                continue
            outlined, every = (found.get((metal, method, score)) for score in ("Dice", "Dice by number"))
            counts = {"patients": max(row["patients"] for row in known)}
            if every:
                counts |= {"teeth": every["n"], "outlined": outlined["n"] if outlined else 0}
            shown = {score: _cell(row) if row else "" for score, row in cells.items()}
            tests = {f"p {name}": row[f"p over {unit}"] if row else "" for name, unit, row in _tested(cells)}
            rows.append({"metal": metal, "method": method, **counts, **shown, **tests})
    return table(rows) if rows else ["Nothing was measured."]


def _tested(cells: Mapping[str, Row | None]) -> list[tuple[str, str, Row | None]]:
    """What is tested in a table: names, over what, and the rows that hold the values."""
    if next(iter(cells)) == "F1":
        tested = [("F1", "patients", cells["F1"])]
        name = "Dice by number"
    else:
        tested, name = [], "Dice"
    if name in cells:
        tested += [(f"{name}, {unit}", unit, cells[name]) for unit in ("patients", "teeth")]
    return tested


def _cell(row: Mapping[str, Any]) -> str:
    digits = 2 if row["score"].endswith("mm") else 3
    spread = f" ± {row['sd']:.{digits}f}" if row["sd"] != "" else ""
    return f"{row['mean']:.{digits}f}{spread}"


def _p(value: Any) -> str:
    return "-" if value == "" else f"{value:.3g}"
