"""What int8 costs each bundle: its own scores on simulated cases, the size of the files, time of an answer.

    python benchmarks/int8.py measure OUTPUT [BUNDLE ...]    # exports; rows go to OUTPUT/int8.csv
    python benchmarks/int8.py report OUTPUT/int8.csv         # the table in Markdown

Cases are those of `medbundles export --int8 true`: simulated, of patients that no training or card has.
"""

from __future__ import annotations

import csv
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from medbundles.errors import ExportError
from medbundles.evaluation import write_rows
from medbundles.zoo.export import Exported, export
from medbundles.zoo.export_formats import Run, read_onnx
from medbundles.zoo.export_networks import Exportable, exportables
from medbundles.zoo.find import bundle_folders, find_bundle

HEADS = (
    "bundle",
    "network",
    "score",
    "n",
    "float32",
    "int8",
    "difference (SD)",
    "file MB",
    "seconds",
    "outcome",
)
TIMES = 5


def measure(output: Path, names: Sequence[str]) -> Path:
    """Exports bundles in float32 and int8, and writes a row per network and score; returns the table."""
    table = output / "int8.csv"
    rows = read(table) if table.is_file() else []
    for folder in [find_bundle(name) for name in names] or bundle_folders():
        rows = [row for row in rows if row["bundle"] != folder.name] + list(of_bundle(folder, output))
        output.mkdir(parents=True, exist_ok=True)
        write_rows(rows, table)
    return table


def of_bundle(folder: Path, output: Path) -> Iterator[dict[str, Any]]:
    """The rows of a bundle."""
    plain, before = export(folder, "onnx", output)
    try:
        place, results = export(folder, "onnx", output, int8=True)
    except ExportError as error:
        yield {"bundle": folder.name, "outcome": f"refused: {error.found}"}
        return
    items = {item.name: item for item in exportables(folder)}
    files = {result.name: plain / result.file for result in before if result.file}
    for result in results:
        if result.name not in files:
            continue
        if not result.file:
            yield {"bundle": folder.name, "network": result.name, "outcome": f"refused: {result.reason}"}
            continue
        seconds = [_seconds(items[result.name], path) for path in (files[result.name], place / result.file)]
        yield from _rows(folder.name, result, seconds)


def _rows(bundle: str, result: Exported, seconds: Sequence[float]) -> Iterator[dict[str, Any]]:
    note = result.int8 or {}
    sizes = {"bytes_float32": note["bytes_float32"], "bytes_int8": note["bytes"]}
    times = {"seconds_float32": seconds[0], "seconds_int8": seconds[1]}
    for score in note["scores"]:
        yield {"bundle": bundle, "network": result.name, **score, **sizes, **times, "outcome": note["recipe"]}


def _seconds(item: Exportable, path: Path) -> float:
    """The median time of an answer on the size that the metadata describe, after one that does not count."""
    run, inputs = read_onnx(path), item.inputs(1, item.fixed_size())
    return statistics.median([_timed(run, inputs) for _ in range(TIMES + 1)][1:])


def _timed(run: Run, inputs: Sequence[torch.Tensor]) -> float:
    started = time.perf_counter()
    run(*inputs)
    return time.perf_counter() - started


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def report(rows: Sequence[Mapping[str, str]]) -> str:
    """The rows as a table in Markdown."""
    lines = ["| " + " | ".join(HEADS) + " |", "| " + " | ".join("---" for _ in HEADS) + " |"]
    return "\n".join(lines + ["| " + " | ".join(_cells(row)) + " |" for row in rows]) + "\n"


def _cells(row: Mapping[str, str]) -> list[str]:
    if not row.get("score"):
        return [row["bundle"], row.get("network", ""), *[""] * (len(HEADS) - 3), row["outcome"]]
    number = {
        key: float(row[key])
        for key in row
        if key not in ("bundle", "network", "score", "outcome") and row[key]
    }
    return [
        row["bundle"],
        row["network"],
        row["score"],
        f"{number['n']:.0f}",
        f"{number['float32']:.4f}",
        f"{number['int8']:.4f}",
        f"{number['difference']:+.4f} ({number['sd']:.4f})",
        f"{number['bytes_float32'] / 1e6:.2f} to {number['bytes_int8'] / 1e6:.2f}",
        f"{number['seconds_float32']:.3f} to {number['seconds_int8']:.3f}",
        row["outcome"],
    ]


def main(words: Sequence[str]) -> None:
    """Runs one of the two commands."""
    command, path, *names = words
    if command == "measure":
        print(measure(Path(path), names))
    else:
        print(report(read(Path(path))), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
