"""Figures of evaluations: kept with the weights that they were measured with, the chief ones in the metadata.

`docs/evaluation.json` holds a summary per group of cases and the sha256 of the weights, `docs/evaluation.csv`
the rows of single cases. Groups of one evaluation join those of another, such as real cases those of
simulated ones, as long as the weights are the same. `medbundles.headline` in the metadata names those that
become MONAI's `eval_metrics`, each as group, score and figure:
`"tooth_dice_mean": ["simulated: teeth", "Dice", "mean"]`.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medbundles.errors import InputError
from medbundles.evaluation import write_rows
from medbundles.io import atomic_path
from medbundles.zoo.find import read_json, read_metadata
from medbundles.zoo.format_json import format_text
from medbundles.zoo.source import as_dict

EVALUATION, WEIGHTS, METADATA = "docs/evaluation.json", "models/model.pt", "configs/metadata.json"
ROWS = "docs/evaluation.csv"
DIGITS = 4


def weights_sum(path: Path) -> str:
    """The sha256 of a weights file; '' if there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def keep(results: Path, folder: Path, weights_file: Path | None = None) -> None:
    """Takes the groups of an evaluation, and their rows, into a bundle's `docs`.

    Groups that are there already stay beside them if they were measured with the same weights.

    Args:
        results: the evaluation.json that the evaluation wrote, with evaluation.csv beside it.
        folder: the bundle.
        weights_file: what was measured; the bundle's own unless given.
    """
    path, new = folder / EVALUATION, read_json(results)
    weights = weights_sum(weights_file or folder / WEIGHTS)
    old = read_json(path) if path.is_file() else {}
    before = as_dict(old.get("groups")) if old.get("weights") == weights else {}
    groups = dict(sorted({**before, **as_dict(new.get("groups"))}.items()))
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [row for row in _rows(folder / ROWS) if row["group"] in before.keys() - as_dict(new.get("groups"))]
    write_rows(rows + _rows(results.with_suffix(".csv")), folder / ROWS)
    with atomic_path(path) as temporary:
        text = json.dumps(new | {"weights": weights, "groups": groups}, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table of cases, without cells that are empty; none without a table."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [{key: cell for key, cell in row.items() if cell} for row in csv.DictReader(file)]


def headline(folder: Path) -> dict[str, float] | None:
    """The `eval_metrics` that the metadata ask for, from `docs/evaluation.json`; None if they ask for none.

    Raises:
        InputError: a figure that they name is not there.
    """
    wanted = as_dict(as_dict(read_metadata(folder).get("medbundles")).get("headline"))
    path = folder / EVALUATION
    if not wanted or not path.is_file():
        return None
    groups = as_dict(read_json(path).get("groups"))
    return {name: _figure(groups, *place, source=path) for name, place in wanted.items()}


def _figure(groups: dict[str, Any], group: str, score: str, figure: str, *, source: Path) -> float:
    value = as_dict(as_dict(groups.get(group)).get(score)).get(figure)
    if not isinstance(value, int | float):
        raise InputError(
            f"no figure '{figure}' of '{score}' for '{group}'",
            expected="what medbundles.headline of the metadata names",
            source=source,
            advice="evaluate on these data, too, with --update_card true; what was measured is kept",
        )
    return float(f"{value:.{DIGITS}g}")


def write_headline(folder: Path) -> None:
    """Brings `eval_metrics` in the metadata up to date."""
    found, path = headline(folder), folder / METADATA
    metadata = read_metadata(folder)
    if found is None or metadata.get("eval_metrics") == found:
        return
    text = format_text(json.dumps(metadata | {"eval_metrics": found}, ensure_ascii=False))
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def stale(folder: Path) -> Iterator[tuple[str, str, str]]:
    """File, problem and remedy for figures that are not those of the present weights."""
    path = folder / EVALUATION
    if not path.is_file():
        return
    if read_json(path).get("weights") != weights_sum(folder / WEIGHTS):
        advice = f"run medbundles evaluate {folder.name} --dataset_dir CASES --update_card true"
        yield EVALUATION, "the figures were measured with other weights", advice
    try:
        found = headline(folder)
    except InputError as error:
        yield METADATA, f"medbundles.headline: {error.found}", "name figures of docs/evaluation.json"
        return
    if found is not None and found != read_metadata(folder).get("eval_metrics"):
        advice = f"run medbundles card {folder.name}"
        yield METADATA, "eval_metrics are not those of docs/evaluation.json", advice
