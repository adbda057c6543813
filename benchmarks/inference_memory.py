"""How the memory of a process grows with a volume: label maps in windows, from a file to a file."""

import logging
import threading
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from paired_tables import Row
from torch import Tensor, nn

from medbundles.inferers import AutocastInferer, WindowInferer
from medbundles.memory import GB, own_bytes

logger = logging.getLogger(__name__)

WINDOW, CLASSES, WIDTH = 64, 3, 8
SIZES = (128, 256, 384, 512, 768)
EVERY_S = 0.002


def grown(work: Path, sizes: list[int], limit_gb: float | None) -> list[Row]:
    """A row per size: seconds, and memory before and at the peak, each in a process of its own."""
    rows = []
    for size in sizes:
        ours, theirs = get_context("spawn").Pipe()
        process = get_context("spawn").Process(target=_serve, args=(theirs, str(work), size, limit_gb))
        process.start()
        rows.append({"side": size, "volume GB": size**3 * 4 / GB, "limit GB": limit_gb or ""} | ours.recv())
        process.join()
        logger.info("%s", rows[-1])
    return rows


def _serve(link: Connection, work: str, size: int, limit_gb: float | None) -> None:
    path = Path(work) / f"volume_{size}.raw"
    volume = _volume(path, size)
    network = nn.Sequential(
        nn.Conv3d(1, WIDTH, 3, padding=1), nn.ReLU(), nn.Conv3d(WIDTH, CLASSES, 3, padding=1)
    )
    inferer = AutocastInferer(WindowInferer(WINDOW, reduce=_labels, memory_limit=limit_gb))
    before, started = own_bytes(), time.perf_counter()
    with _Peak() as peak, torch.inference_mode():
        labels = inferer(volume, network.eval())
    found = {"seconds": time.perf_counter() - started, "before GB": before / GB, "peak GB": peak.bytes / GB}
    link.send(found | {"labels": int(labels[..., ::8].max()) + 1})
    path.unlink()


def _volume(path: Path, size: int) -> Tensor:
    """Noise in a file, of which only the pages in use are in memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = np.memmap(path, np.float32, "w+", shape=(1, 1, size, size, size))
    generator = np.random.default_rng(0)
    for row in range(size):
        volume[0, 0, row] = generator.standard_normal((size, size), np.float32)
    volume.flush()
    return torch.from_numpy(volume)


def _labels(answer: Tensor) -> Tensor:
    return answer.argmax(0, keepdim=True).to(torch.uint8)


class _Peak:
    """The most memory that the process held for itself inside the block, looked at every few milliseconds."""

    def __enter__(self) -> "_Peak":
        self.bytes, self._on = own_bytes(), True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._on = False
        self._thread.join()

    def _watch(self) -> None:
        while self._on:
            self.bytes = max(self.bytes, own_bytes())
            time.sleep(EVERY_S)
