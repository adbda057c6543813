"""The tables of `inference.py`: a row per scene and method, with the spread of its rounds."""

import json
import statistics
from pathlib import Path
from typing import Any

from paired_tables import Row, table

from medbundles.evaluation import write_rows
from medbundles.io import atomic_path

OURS = "ours, balanced"


def write_report(folder: Path, scenes: list[str], out: Path) -> list[str]:
    """Writes `inference.csv` and `inference.md` from the measured scenes, and returns the page's lines."""
    found = {
        one["scene"]: one for path in sorted(folder.glob("*.json")) for one in [json.loads(path.read_text())]
    }
    measured = [found[name] for name in scenes if name in found]
    rows = [row for scene in measured for row in _rows(scene)]
    out.mkdir(parents=True, exist_ok=True)
    write_rows(rows, out / "inference.csv")
    lines = list(_page(measured, rows))
    with atomic_path(out / "inference.md") as path:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


def _rows(scene: dict[str, Any]) -> list[Row]:
    seconds = {row["method"]: statistics.median(row["seconds"]) for row in scene["rows"] if row["seconds"]}
    ours = seconds.get(OURS)
    rows = []
    for row in scene["rows"]:
        taken = row["seconds"]
        rows.append(
            {
                "scene": scene["scene"],
                "method": row["method"],
                "n": len(taken),
                "median s": statistics.median(taken) if taken else "",
                "least s": min(taken, default=""),
                "most s": max(taken, default=""),
                "processor s": statistics.median(row["processor"]) if taken else "",
                "times ours": seconds[row["method"]] / ours if taken and ours else "",
                "peak GB": row.get("peak_gb", ""),
                "Dice with exact": row.get("Dice", ""),
                "largest difference": row.get("largest difference", ""),
                "note": row.get("error", ""),
            }
        )
    return rows


def _page(measured: list[dict[str, Any]], rows: list[Row]) -> list[str]:
    lines = [
        "# Inference: ours beside its peers",
        "",
        "Written by `benchmarks/inference.py measure`. Simulated cases; methods took turns, each in a",
        "process of its own. `times ours`: the median beside that of `balanced`. Dice: mean of all labels,",
        "with `exact`.",
    ]
    for scene in measured:
        mine = [
            {k: v for k, v in row.items() if k != "scene"} for row in rows if row["scene"] == scene["scene"]
        ]
        lines += ["", f"## {scene['scene']}", ""]
        size = " x ".join(str(n) for n in scene["size"])
        lines += [
            f"{size}, {scene['threads']} threads, {scene['machine']}.",
            *_floor(scene),
            "",
            *table(mine),
        ]
    return lines


def _floor(scene: dict[str, Any]) -> list[str]:
    if "floor" not in scene:
        return []
    floor = scene["floor"]
    return [
        f"Floor: {floor['operations'] / 1e9:.0f} G operations in {floor['asked']} passes, at the rate",
        f"of a large convolution {floor['float32 s']:.2f} s in float32 and {floor['bfloat16 s']:.2f} s in",
        f"bfloat16; copying takes {floor['copy s']:.3f} s.",
    ]
