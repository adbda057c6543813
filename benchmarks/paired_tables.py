"""Tables of paired scores: per case, summarised, and as a page."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import wilcoxon

from medbundles.evaluation import write_rows
from medbundles.io import atomic_path
from medbundles.metrics import summary

logger = logging.getLogger(__name__)

GROUP = ("weights", "kind", "occlusion", "fit")
SCORES = ("Dice", "relative error %")
REFERENCE_WEIGHTS, REFERENCE_FIT = "full", "robust"
Row = dict[str, Any]


def write_results(rows: list[Row], folder: Path, name: str) -> None:
    """Writes the cases, their summary, and the summary as a page."""
    folder.mkdir(parents=True, exist_ok=True)
    summaries = summarise(rows)
    write_rows(rows, folder / f"{name}.csv")
    write_rows(summaries, folder / f"{name}_summary.csv")
    with atomic_path(folder / f"{name}.md") as path:
        path.write_text(page(summaries), encoding="utf-8")
    logger.info("tables in %s", folder)


def summarise(rows: Iterable[Row]) -> list[Row]:
    """A row per group and score: n, mean, sd, median, and paired tests against the robust fit and `full`.

    Args:
        rows: one per group and case, with the scores and `measured mm` ('' where nothing was found).
    """
    groups = _grouped(rows)
    result = []
    for group, members in sorted(groups.items()):
        weights, kind, occlusion, fit = group
        robust = groups.get((weights, kind, occlusion, REFERENCE_FIT), {}) if fit != REFERENCE_FIT else {}
        full = groups.get((REFERENCE_WEIGHTS, kind, occlusion, fit), {})
        for name in SCORES:
            figures = summary([row[name] for row in members.values()]).as_dict()
            result.append(
                dict(zip(GROUP, group, strict=True))
                | {"score": name, **{key: figures.get(key, "") for key in ("n", "mean", "sd", "median")}}
                | {"not measured": sum(row["measured mm"] == "" for row in members.values())}
                | {"p against robust": paired_p(members, robust, name)}
                | {"p against full": paired_p(members, {} if full is members else full, name)}
            )
    return result


def _grouped(rows: Iterable[Row]) -> dict[tuple[str, ...], dict[str, Row]]:
    """The rows by group and case."""
    groups: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        members = groups.setdefault(tuple(row[key] for key in GROUP), {})
        if row["case"] in members:
            raise ValueError(f"Two cases are called {row['case']}; they could not be told apart in pairs.")
        members[row["case"]] = row
    return groups


def paired_p(first: Mapping[str, Row], second: Mapping[str, Row], name: str) -> float | str:
    """Wilcoxon's signed-rank p of a score over the cases in both groups, two-sided; '' without a pair."""
    differences = [first[case][name] - second[case][name] for case in first if case in second]
    if not differences:
        return ""
    return float(wilcoxon(differences).pvalue) if any(differences) else 1.0


def page(summaries: Sequence[Row]) -> str:
    """The summary as a Markdown table."""
    lines = [
        "# Ablation of the fetal biometry bundle",
        "",
        "Written by `benchmarks/fetal_ablation.py measure`. Real test frames; nothing found counts as Dice 0",
        "and 100 % error. p: paired Wilcoxon signed-rank test, two-sided, not corrected for their number.",
        "",
        *table(summaries),
    ]
    return "\n".join(lines) + "\n"


def table(rows: Sequence[Row]) -> list[str]:
    """The lines of a Markdown table with the columns of the first row."""
    columns = list(rows[0])
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return lines + [f"| {' | '.join(_shown(row.get(column, '')) for column in columns)} |" for row in rows]


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
