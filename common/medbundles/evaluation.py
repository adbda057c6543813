"""Scores of every case of an evaluation, gathered into the tables and figures that a model card quotes."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medbundles.io import atomic_path, case_name
from medbundles.metrics import bland_altman, summary

if TYPE_CHECKING:
    from ignite.engine import Engine

logger = logging.getLogger(__name__)

MEASURED, TRUE = " measured mm", " true mm"
WORST, TILE = 5, (640, 560)


class ScoreTable:
    """Collects `scores` and `group` of each case and, at the end, writes and logs their summary.

    Scores of parts of a case, such as single teeth, come as a list of rows; a row may name its own group.

    Writes `evaluation.csv` (a row per case), `evaluation.json` (a summary per group) and, where cases have a
    preview, `worst_<group>.png` with those of the largest errors to a folder.

    Args:
        output_dir: the folder.
        header: what else `evaluation.json` states, such as the data and the split.
    """

    def __init__(self, output_dir: str | Path, header: Mapping[str, Any] | None = None) -> None:
        self.output_dir = Path(output_dir)
        self.header = dict(header or {})
        self.rows: list[dict[str, Any]] = []
        self.previews: dict[tuple[str, str], Path] = {}  # by group and case

    def attach(self, engine: Engine) -> None:
        """Registers collecting with every iteration of an evaluator and writing with its end."""
        from ignite.engine import Events

        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def collect(self, engine: Engine) -> None:
        """Adds the cases of the current batch that were scored."""
        for case in engine.state.batch:
            if isinstance(case, Mapping) and "scores" in case:
                name = case_name(case["image"].meta["filename_or_obj"])
                scores = case["scores"] if isinstance(case["scores"], list) else [case["scores"]]
                rows = [{"group": case["group"], "case": name, **row} for row in scores]
                self.rows += rows
                if preview := case.get("outputs", {}).get("preview"):
                    self.previews |= {(row["group"], name): self.output_dir / preview for row in rows}

    def write(self, engine: Engine) -> None:
        """Writes both files whole and logs the summary."""
        self.output_dir.mkdir(parents=True, exist_ok=True)
        write_rows(self.rows, self.output_dir / "evaluation.csv")
        result = {**self.header, "groups": summarise(self.rows)}
        with atomic_path(self.output_dir / "evaluation.json") as path:
            path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        for group in result["groups"]:
            cases = list(dict.fromkeys(row["case"] for row in worst_first(self.rows, group)))[:WORST]
            pictures = [self.previews[group, case] for case in cases if (group, case) in self.previews]
            if pictures:
                write_sheet(pictures, self.output_dir / f"worst_{group}.png")
        for line in table(result["groups"]):
            logger.info("%s", line)


def write_rows(rows: list[dict[str, Any]], path: Path) -> None:
    """Writes rows as csv with every column that any row has."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def summarise(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """The summary of each score in each group of cases.

    Lengths that come as a measured and a true value are turned into their errors. A length that was not
    measured counts as an error of 100 %, so that giving up never looks better than being wrong.
    """
    rows = list(rows)
    groups = {}
    for group in sorted({row["group"] for row in rows}):
        members = [row for row in rows if row["group"] == group]
        names = dict.fromkeys(key for row in members for key in row if key not in ("group", "case"))
        scores = {name: _values(members, name) for name in names if not name.endswith((MEASURED, TRUE))}
        result = {name: summary(values).as_dict() for name, values in scores.items()}
        for name in [name.removesuffix(TRUE) for name in names if name.endswith(TRUE)]:
            result |= _length_errors(members, name)
        groups[group] = result
    return groups


def worst_first(rows: Iterable[Mapping[str, Any]], group: str) -> list[Mapping[str, Any]]:
    """The cases of a group, largest relative error of a length first; without lengths, lowest score first."""
    members = [row for row in rows if row["group"] == group]
    return sorted(members, key=_badness, reverse=True)


def _badness(row: Mapping[str, Any]) -> float:
    names = [key.removesuffix(TRUE) for key in row if key.endswith(TRUE)]
    if names:
        errors = [abs(float(row[name + MEASURED]) / float(row[name + TRUE]) - 1) for name in names]
        return max(error if math.isfinite(error) else 1.0 for error in errors)
    return -min((float(value) for key, value in row.items() if key not in ("group", "case")), default=0.0)


def write_sheet(pictures: list[Path], path: Path) -> None:
    """Writes pictures side by side, each shrunk into a tile, in rows of three."""
    from PIL import Image

    columns = min(3, len(pictures))
    sheet = Image.new("RGB", (columns * TILE[0], -(-len(pictures) // columns) * TILE[1]))
    for index, picture in enumerate(pictures):
        tile = Image.open(picture).convert("RGB")
        tile.thumbnail(TILE)
        sheet.paste(tile, (index % columns * TILE[0], index // columns * TILE[1]))
    with atomic_path(path) as temporary:
        sheet.save(temporary)


def _values(rows: Iterable[Mapping[str, Any]], name: str) -> list[float]:
    return [float(row[name]) for row in rows if name in row and row[name] != ""]


def _length_errors(rows: list[Mapping[str, Any]], name: str) -> dict[str, dict[str, float]]:
    pairs = [(float(row[name + MEASURED]), float(row[name + TRUE])) for row in rows if name + TRUE in row]
    found = [(measured, true) for measured, true in pairs if math.isfinite(measured)]
    filled = [(measured if math.isfinite(measured) else 0.0, true) for measured, true in pairs]
    relative = [100 * abs(measured - true) / true for measured, true in filled]
    result = {
        f"{name} absolute error mm": summary([abs(measured - true) for measured, true in filled]).as_dict(),
        f"{name} relative error %": summary(relative).as_dict(),
        f"{name} not measured": {"n": len(pairs), "count": len(pairs) - len(found)},
    }
    if len(found) > 1:
        measured, true = np.array(found).T
        result[f"{name} Bland-Altman mm"] = bland_altman(measured, true).as_dict()
    return result


def table(groups: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """The summary as lines of text: a heading per group, a line per score with every figure named."""
    lines = []
    for group, scores in groups.items():
        lines.append(f"[{group}]")
        for name, figures in scores.items():
            shown = ", ".join(f"{key} {_shown(value)}" for key, value in figures.items())
            lines.append(f"  {name}: {shown}")
    return lines


def _shown(value: float) -> str:
    return f"{value:d}" if isinstance(value, int) else f"{value:.4g}"
