"""Times methods in turn, each in a process of its own, so that each has its own peak of memory."""

import logging
import os
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from inference_methods import floor, methods
from inference_scenes import SCENES, WINDOWS, Scene
from paired_tables import Row

from medbundles.memory import GB, peak_bytes
from medbundles.windows import windows

logger = logging.getLogger(__name__)

REFERENCE = "ours, exact"


def timed(scene: str, work: Path, rounds: int, threads: int, chosen: list[str]) -> list[Row]:
    """A row per method: seconds of each round, processor seconds, peak memory, and its answer's file.

    Args:
        scene: one of `SCENES`.
        work: the folder of what is made.
        rounds: how often each method is timed, after one that is not; methods take turns.
        threads: of each process.
        chosen: names of methods.
    """
    context = get_context("spawn")
    workers, rows = {}, {}
    for name in chosen:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, scene, name, str(work), threads), daemon=True)
        process.start()
        workers[name] = (process, ours)
        rows[name] = _begin(name, ours)  # one by one: together their warm-ups take many times as long
    for number in range(rounds):
        for name, (_, link) in workers.items():
            if "error" not in rows[name]:
                link.send("run")
                wall, processor = link.recv()
                rows[name]["seconds"].append(wall)
                rows[name]["processor"].append(processor)
                logger.info("%s, round %d, %s: %.2f s", scene, number + 1, name, wall)
    for name, (process, link) in workers.items():
        if "error" not in rows[name]:
            link.send("end")
            rows[name] |= link.recv()
        process.join(10)
    return list(rows.values())


def _begin(name: str, link: Connection) -> Row:
    error = link.recv()
    if error:
        logger.warning("%s: %s", name, error)
    return {"method": name, "seconds": [], "processor": []} | ({"error": error} if error else {})


def _serve(link: Connection, scene_name: str, method: str, work: str, threads: int) -> None:
    """The other end: prepares and warms up a method, then times it whenever asked."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    folder = Path(work)
    scene = SCENES[scene_name](folder)
    with torch.inference_mode():
        try:
            run = methods(scene, folder)[method]()
            answer = run()
        except Exception as error:  # a method that cannot run this network is a finding, not an end
            link.send(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            return
        link.send("")
        while link.recv() == "run":
            wall, processor = time.perf_counter(), time.process_time()
            answer = run()
            link.send((time.perf_counter() - wall, time.process_time() - processor))
    link.send({"peak_gb": peak_bytes() / GB} | _kept(answer, folder))


def _kept(answer: torch.Tensor, folder: Path) -> Row:
    path = folder / f"answer_{os.getpid()}.pt"
    torch.save(answer.half() if answer.numel() > 2**27 else answer, path)
    return {"answer": str(path)}


def agreement(scene: Scene, rows: list[Row]) -> None:
    """Adds to each row how far its answer is from the exact one: Dice of all labels, largest difference."""
    exact = next((row for row in rows if row["method"] == REFERENCE and "answer" in row), None)
    if exact is None:
        return
    truth = torch.load(exact["answer"], weights_only=True).float()
    for row in rows:
        if "answer" not in row:
            continue
        answer = torch.load(row["answer"], weights_only=True).float()
        row["largest difference"] = float((answer - truth).abs().max())
        if scene.labels is not None:
            row["Dice"] = _dice(scene.labels(answer), scene.labels(truth))
        Path(row.pop("answer")).unlink() if row is not exact else None
    Path(exact.pop("answer")).unlink()


def _dice(found: torch.Tensor, truth: torch.Tensor) -> float:
    """The mean Dice of the labels above 0 that are in either map."""
    scores = []
    for label in range(1, int(max(found.max(), truth.max())) + 1):
        mine, other = found == label, truth == label
        total = int(mine.sum() + other.sum())
        if total:
            scores.append(2 * int((mine & other).sum()) / total)
    return sum(scores) / len(scores) if scores else 1.0


def floor_of(scene: Scene) -> dict[str, Any]:
    """The floor beside the measurements, for as many windows as `balanced` needs of a whole scene."""
    count = 1
    if scene.kind == WINDOWS:
        window = [min(w, n) for w, n in zip(scene.window, scene.image.shape[2:], strict=True)]
        count = len(list(windows(scene.image.shape[2:], window, 0.25)))
    else:
        count = scene.image.shape[0] if scene.image.ndim == 4 else scene.image.shape[-1]
    return {"asked": count, **floor(scene, count)}
