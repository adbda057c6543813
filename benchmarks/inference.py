"""How fast is inference, and what does each mode cost? Ours beside MONAI, nnU-Net and exported networks.

`measure` times them in turn on simulated cases, `memory` shows how memory grows with a volume. Needs the
extra `bench`. See README.md beside this file.
"""

import json
import logging
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire
import torch
from inference_files import file_to_file
from inference_memory import SIZES, grown
from inference_methods import methods
from inference_report import write_report
from inference_runs import agreement, floor_of, timed
from inference_scenes import SCENES
from trained_runs import listed

from medbundles.evaluation import write_rows
from medbundles.zoo.workflows import thread_count

logger = logging.getLogger(__name__)

ROUNDS = 5
FILES = "brain, file to file"


def measure(
    work: str,
    *,
    only: str = "",
    without: str = "",
    rounds: int = ROUNDS,
    threads: int = 0,
    out: str = "benchmarks/results",
) -> None:
    """Times every method on every scene, and writes `inference.csv` and `inference.md`.

    Args:
        work: the folder of simulated cases and exported networks. What was measured is kept in
            WORK/measured, a file per scene, and joins what is measured now.
        only: the scenes, with semicolons; all unless given.
        without: the methods to leave out, with semicolons.
        rounds: how often each method is timed; the median counts.
        threads: of the processor; all unless given.
        out: the folder of the results.
    """
    folder = Path(work).resolve()
    (folder / "measured").mkdir(parents=True, exist_ok=True)
    count = int(threads) or thread_count()
    torch.set_num_threads(count)
    for name in listed(only.split(";") if only else [*SCENES, FILES], [*SCENES, FILES]):
        started = _files if name == FILES else _scene
        found = started(name, folder, int(rounds), count, without.split(";"))
        found |= {
            "scene": name,
            "threads": count,
            "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        }
        path = folder / "measured" / f"{name.replace(',', '').replace(' ', '_')}.json"
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for line in write_report(folder / "measured", [*SCENES, FILES], Path(out)):
        logger.info(line)


def memory(
    work: str,
    *,
    sizes: str | Sequence[int] = SIZES,
    limit_gb: float | None = None,
    out: str = "benchmarks/results",
) -> None:
    """Labels volumes of growing size and writes the memory that it took to `inference_memory.csv`.

    Args:
        work: where the volumes lie meanwhile.
        sizes: voxels a side, with commas.
        limit_gb: the memory limit; none unless given.
        out: the folder of the results.
    """
    rows = grown(
        Path(work).resolve(),
        [
            int(size)
            for size in (
                sizes.split(",") if isinstance(sizes, str) else [sizes] if isinstance(sizes, int) else sizes
            )
        ],
        limit_gb,
    )
    Path(out).mkdir(parents=True, exist_ok=True)
    write_rows(rows, Path(out) / "inference_memory.csv")


def _scene(name: str, folder: Path, rounds: int, threads: int, without: list[str]) -> dict[str, Any]:
    scene = SCENES[name](folder)
    rows = timed(
        name, folder, rounds, threads, [each for each in methods(scene, folder) if each not in without]
    )
    agreement(scene, rows)
    return {"size": list(scene.image.shape), "floor": floor_of(scene), "rows": rows}


def _files(name: str, folder: Path, rounds: int, threads: int, without: list[str]) -> dict[str, Any]:
    return {"size": [240, 240, 155], "rows": file_to_file(folder, rounds, threads)}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    fire.Fire({"measure": measure, "memory": memory})
