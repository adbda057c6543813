"""Tables, page and picture of the CT denoising benchmark."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ct_curves import Verdict, curves_of, decide, describe, draw
from ct_measure import DETECTABILITY, Job, Patched, detectabilities
from ct_scores import GAIN, RECOVERY
from paired_tables import Row, paired_p, table

from medbundles.evaluation import write_rows
from medbundles.io import atomic_path
from medbundles.metrics import summary

logger = logging.getLogger(__name__)

KEYS = ("method", "parameter", "strength", "dose")
HEAD = ("scanner", "case", "subject", "usual", *KEYS)


def write_report(rows: list[Row], patches: Patched, job: Job, folder: Path) -> dict[str, Verdict]:
    """Writes csv, summary, page and picture, logs the verdicts and returns them."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "ct_denoising" if job.scanner == "trained" else f"ct_denoising_{job.scanner}"
    ours = next((method.name for method in job.methods() if method.is_ours), None)
    observed = detectabilities(patches)
    summaries = summarise(rows, ours)
    main = [row for row in rows if row["dose"] == job.main_dose]
    verdicts = decide(main, ours) if ours else {}
    write_rows(rows, folder / f"{name}.csv")
    write_rows(summaries, folder / f"{name}_summary.csv")
    if observed:
        write_rows(observed, folder / f"{name}_detectability.csv")
    title = f"{100 * job.main_dose:g} % dose, {job.scanner} scanner, {_patients(rows)}"
    draw(curves_of(main), folder / f"{name}_curve.png", title, ours=ours)
    with atomic_path(folder / f"{name}.md") as path:
        path.write_text(page(summaries, observed, verdicts, job, _patients(rows)), encoding="utf-8")
    for rival, verdict in verdicts.items():
        logger.info("%s is %s", ours, describe(rival, verdict))
    logger.info("results in %s", folder)
    return verdicts


def summarise(rows: Iterable[Row], ours: str | None) -> list[Row]:
    """A row per method, parameter, strength, dose and score: n, mean, sd, median, p against ours.

    The p value is Wilcoxon's, paired by case, for the usual setting of each method at full strength.
    """
    groups: dict[tuple, dict[str, Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in KEYS), {})[row["case"]] = row
    result = []
    for group, members in groups.items():
        first = next(iter(members.values()))
        same = groups.get((ours, "", 1.0, first["dose"]), {}) if first["usual"] and group[0] != ours else {}
        for score in dict.fromkeys(name for row in members.values() for name in row if name not in HEAD):
            having = {case: row for case, row in members.items() if score in row}
            others = {case: row for case, row in same.items() if score in row}
            figures = summary([row[score] for row in having.values()]).as_dict()
            result.append(
                {"scanner": first["scanner"], **dict(zip(KEYS, group, strict=True)), "usual": first["usual"]}
                | {"score": score, **{key: figures.get(key, "") for key in ("n", "mean", "sd", "median")}}
                | {"p against ours": paired_p(having, others, score) if first["strength"] == 1 else ""}
            )
    return result


def page(
    summaries: Sequence[Row],
    observed: Sequence[Row],
    verdicts: Mapping[str, Verdict],
    job: Job,
    patients: str,
) -> str:
    """Everything as Markdown."""
    lines = [
        "# Low-dose CT denoising",
        "",
        f"Written by `benchmarks/ct_denoising.py measure`. Scanner: {job.scanner}; {patients} that",
        "nothing was trained on. Mean ± SD (n slices). In the tables of a dose every filter stands with a",
        "middle value of its parameter; it knows the noise of the slice.",
    ]
    for dose in job.doses:
        chosen = [s for s in summaries if s["dose"] == dose and s["usual"] and s["strength"] == 1]
        lines += ["", f"## {100 * dose:g} % dose", "", *table(wide(chosen))]
        seen = [_observed(row) for row in observed if row["dose"] == dose]
        if seen:
            lines += [
                "",
                "Channelised Hotelling observer, 6 mm 20 HU lesion, all slices together:",
                "",
                *table(seen),
            ]
    curve = [s for s in summaries if s["dose"] == job.main_dose and s["score"] in (GAIN, RECOVERY)]
    lines += ["", f"## The curves at {100 * job.main_dose:g} % dose", "", *table(_axes(curve))]
    if verdicts:
        lines += ["", "## Is the curve of ours outside the others?", ""]
        lines += [f"* {describe(rival, verdict)}" for rival, verdict in verdicts.items()]
    return "\n".join(lines) + "\n"


def wide(summaries: Sequence[Row]) -> list[Row]:
    """A row per score, a column per method."""
    methods = dict.fromkeys(row["method"] for row in summaries)
    scores = dict.fromkeys(row["score"] for row in summaries)
    cells = {(row["score"], row["method"]): _cell(row) for row in summaries}
    return [{"score": score} | {name: cells.get((score, name), "") for name in methods} for score in scores]


def _axes(summaries: Sequence[Row]) -> list[Row]:
    """A row per point of the curves."""
    points: dict[tuple, Row] = {}
    for row in summaries:
        key = tuple(row[name] for name in KEYS[:3])
        points.setdefault(key, dict(zip(KEYS[:3], key, strict=True)))[row["score"]] = _cell(row)
    return list(points.values())


def _observed(row: Row) -> Row:
    ratio = f"{row[DETECTABILITY]:.2f} ({row['lower']:.2f} to {row['upper']:.2f})"
    return {key: row[key] for key in ("method", "n", "d' input", "d'", "AUC")} | {DETECTABILITY: ratio}


def _cell(row: Row) -> str:
    spread = f" ± {row['sd']:.2g}" if row["sd"] != "" else ""
    return f"{row['mean']:.3g}{spread} ({row['n']})"


def _patients(rows: Sequence[Row]) -> str:
    return f"{len({row['case'] for row in rows})} slices of {len({row['subject'] for row in rows})} patients"
