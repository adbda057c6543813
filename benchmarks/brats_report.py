"""The tables and the page of the benchmark of missing contrasts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from brats_methods import ORIGINAL, WITHHELD
from paired_tables import REFERENCE_WEIGHTS, Row, paired_p, table

from medbundles.contrasts import TITLES
from medbundles.evaluation import write_rows
from medbundles.io import atomic_path
from medbundles.metrics import summary

NAME = "brats_contrasts"
DICE = ("WT Dice", "TC Dice", "ET Dice")
HD95 = ("WT HD95 mm", "TC HD95 mm", "ET HD95 mm")
IMAGES = ("NMSE brain", "PSNR brain dB", "SSIM brain", "NMSE tumour", "PSNR tumour dB", "SSIM tumour")
SCORES = (*DICE, *HD95, *IMAGES)
ORDER = ("", *WITHHELD)
Group = tuple[str, str]  # method, withheld


def write_report(rows: Sequence[Row], folder: Path) -> None:
    """Writes the cases, their summary, what each contrast costs in each run, and all of it as a page."""
    folder.mkdir(parents=True, exist_ok=True)
    summaries, costs = summarise(rows), falls(rows)
    write_rows(list(rows), folder / f"{NAME}.csv")
    write_rows(summaries, folder / f"{NAME}_summary.csv")
    write_rows(costs, folder / f"{NAME}_falls.csv")
    with atomic_path(folder / f"{NAME}.md") as path:
        path.write_text(page(summaries, costs), encoding="utf-8")


def pooled(rows: Iterable[Row]) -> dict[Group, dict[str, Row]]:
    """For each method and missing contrast, the scores of each case, averaged over the runs."""
    values: dict[Group, dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        case = values.setdefault((row["method"], row["withheld"]), {}).setdefault(row["case"], {})
        for score in SCORES:
            if score in row:
                case.setdefault(score, []).append(row[score])
    return {
        group: {
            case: {score: sum(found) / len(found) for score, found in scores.items()}
            for case, scores in cases.items()
        }
        for group, cases in values.items()
    }


def summarise(rows: Sequence[Row]) -> list[Row]:
    """A row per method, missing contrast and score: figures over cases, sd of the runs, paired tests.

    A case counts once, with the mean of its runs: they share their patients and say nothing new of these.
    """
    groups, means = pooled(rows), run_means(rows)
    result = []
    for (method, withheld), cases in sorted(groups.items(), key=lambda item: _place(item[0])):
        for score in SCORES:
            members = {name: row for name, row in cases.items() if score in row}
            if not members:
                continue
            others = (groups.get((ORIGINAL, ""), {}), groups.get((REFERENCE_WEIGHTS, withheld), {}))
            figures = summary([row[score] for row in members.values()]).as_dict()
            of_runs = summary(means[method, withheld, score]).as_dict()
            result.append(
                {"method": method, "withheld": withheld, "score": score}
                | {key: figures.get(key, "") for key in ("n", "mean", "sd", "median")}
                | {"runs": of_runs["n"], "sd of runs": of_runs.get("sd", "")}
                | {"p against original": _p(members, others[0], score, same=method == ORIGINAL)}
                | {"p against full": _p(members, others[1], score, same=method == REFERENCE_WEIGHTS)}
            )
    return result


def run_means(rows: Iterable[Row]) -> dict[tuple[str, str, str], list[float]]:
    """The mean over cases of each run, by method, missing contrast and score."""
    values: dict[tuple[str, str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for score in SCORES:
            if score in row:
                values[row["method"], row["withheld"], score][row["run"]].append(row[score])
    return {key: [sum(found) / len(found) for found in runs.values()] for key, runs in values.items()}


def falls(rows: Sequence[Row]) -> list[Row]:
    """By how much the Dice of each region falls when CollaGAN imputes a contrast, in each run.

    `ET falls most` says for which contrast enhancing tumour loses most.
    """
    result = []
    for run in dict.fromkeys(row["run"] for row in rows):
        groups = pooled(row for row in rows if row["run"] == run)
        original = groups.get((ORIGINAL, ""), {})
        costs = {
            withheld: {score: _fall(original, groups[REFERENCE_WEIGHTS, withheld], score) for score in DICE}
            for withheld in WITHHELD
            if (REFERENCE_WEIGHTS, withheld) in groups
        }
        worst = max(costs, key=lambda name: costs[name]["ET Dice"], default=None)
        result += [
            {"run": run, "imputed": TITLES[name]}
            | {score.replace("Dice", "falls by"): value for score, value in cost.items()}
            | {"ET falls most": "yes" if name == worst else ""}
            for name, cost in costs.items()
        ]
    return result


def _fall(original: Mapping[str, Row], imputed: Mapping[str, Row], score: str) -> float:
    differences = [original[case][score] - row[score] for case, row in imputed.items() if case in original]
    return sum(differences) / len(differences)


def _p(first: Mapping[str, Row], second: Mapping[str, Row], score: str, *, same: bool) -> float | str:
    return "" if same else paired_p(first, {k: row for k, row in second.items() if score in row}, score)


def _place(group: Group) -> tuple[str, int]:
    return group[0], ORDER.index(group[1])


def page(summaries: Sequence[Row], costs: Sequence[Row]) -> str:
    """The five databases, the other ways of coping, the imputed images, and what each contrast costs."""
    cells = {(row["method"], row["withheld"], row["score"]): _cell(row) for row in summaries}
    groups = list(dict.fromkeys(key[:2] for key in cells))
    five = [
        group for group in [(ORIGINAL, ""), *((REFERENCE_WEIGHTS, w) for w in WITHHELD)] if group in groups
    ]
    pictured = [group for group in groups if any((*group, score) in cells for score in IMAGES)]
    worst = [row["imputed"] for row in costs if row["ET falls most"]]
    lines = [
        "# Which contrast can be imputed?",
        "",
        "Written by `benchmarks/brats_contrasts.py measure`. Mean ± SD over cases, each the mean of its",
        "runs. Where only truth or only the answer has a region there is no HD95.",
        "",
        "## Five databases: the originals, and each contrast imputed by CollaGAN",
        "",
        *_block(five, (*DICE, *HD95), cells, by_contrast=True),
        "",
        f"Enhancing tumour falls most without T1Gd in {worst.count('T1Gd')} of {len(worst)} runs.",
        "",
        *table(costs or [{"run": ""}]),
        "",
        "## All ways of coping",
        "",
        *_block(groups, (*DICE, *HD95), cells),
        "",
        "## Imputed images",
        "",
        *_block(pictured, IMAGES, cells),
    ]
    return "\n".join(lines) + "\n"


def _block(
    groups: Sequence[Group], scores: Sequence[str], cells: Mapping[tuple, str], *, by_contrast: bool = False
) -> list[str]:
    """A table with a row per method and missing contrast."""
    rows: list[Row] = []
    for method, withheld in groups:
        name = TITLES.get(withheld, "none")
        head = {"imputed": name} if by_contrast else {"method": method, "missing": name}
        rows.append(head | {score: cells.get((method, withheld, score), "") for score in scores})
    return table(rows) if rows else ["Nothing was measured."]


def _cell(row: Row) -> str:
    digits = 1 if row["score"].endswith(("mm", "dB")) else 3
    spread = f" ± {row['sd']:.{digits}f}" if row["sd"] != "" else ""
    return f"{row['mean']:.{digits}f}{spread}"
