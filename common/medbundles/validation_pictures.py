"""Pictures of the first validation cases for TensorBoard: image, truth and answer, epoch by epoch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from torch import Tensor

from medbundles.headers import plain
from medbundles.weights import is_writer

KEYS = ("image", "label", "pred")
COLOURS = np.array(
    [[255, 176, 0], [57, 184, 255], [255, 110, 180], [127, 224, 127], [201, 162, 255], [255, 92, 72]],
    np.uint8,
)
MOST_LABELS = 64  # integers beyond that are grey values
SHARE = 0.5  # of a colour where a label is


class ValidationPictures:
    """Writes a picture for each of the first validation cases to TensorBoard, after every validation.

    Image, truth and answer stand side by side. Labels, as numbers or one-hot, are painted on the image; what
    is no labels is grey, in the window of the image. Of a volume it shows the slice with most of the truth.

    Args:
        log_dir: the folder of the events.
        cases: how many.
    """

    def __init__(self, log_dir: str | os.PathLike, cases: int = 2) -> None:
        self.log_dir, self.cases = str(log_dir), int(cases)
        self._pictures: list[NDArray[np.uint8]] = []

    def attach(self, engine: Engine) -> None:
        """Registers the collecting and the writing with an evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def begin(self, engine: Engine) -> None:
        """Forgets the last validation."""
        self._pictures = []

    def collect(self, engine: Engine) -> None:
        """Draws cases of the current batch until there are enough."""
        output = engine.state.output
        for case in output if isinstance(output, list) else _decollated(output):
            if len(self._pictures) < self.cases and is_writer() and (picture := draw(case)) is not None:
                self._pictures.append(picture)

    def write(self, engine: Engine) -> None:
        """Writes the pictures of this epoch."""
        if not self._pictures:
            return
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(self.log_dir) as writer:
            for number, picture in enumerate(self._pictures):
                writer.add_image(f"validation/{number}", picture, engine.state.epoch, dataformats="HWC")


def draw(case: Mapping[str, Any]) -> NDArray[np.uint8] | None:
    """The picture (rows, columns, 3) of a case; None if its image is none."""
    arrays = {key: _array(case.get(key)) for key in KEYS}
    image = arrays["image"]
    if image is None:
        return None
    shown = {key: a for key, a in arrays.items() if a is not None and a.shape[1:] == image.shape[1:]}
    if image.ndim == 4:
        depth = _fullest(shown.get("label", image))
        shown = {key: array[..., depth] for key, array in shown.items()}
    grey = shown["image"][0]
    low, high = float(grey.min()), float(grey.max())
    panels = [_panel(shown[key], grey, (low, high), own=key == "image") for key in KEYS if key in shown]
    return np.concatenate(panels, axis=1)


def _panel(
    array: NDArray[np.float32], grey: NDArray[np.float32], window: tuple[float, float], *, own: bool
) -> NDArray[np.uint8]:
    labels = None if own else as_labels(array)
    base = _windowed(grey if labels is not None else array[0], window)
    picture = np.repeat(base[..., None], 3, axis=-1)
    if labels is not None:
        there = labels > 0
        colours = COLOURS[(labels[there] - 1) % len(COLOURS)]
        picture[there] = ((1 - SHARE) * picture[there] + SHARE * colours).astype(np.uint8)
    return picture.swapaxes(0, 1)  # arrays are (x, y)


def as_labels(array: NDArray[np.float32]) -> NDArray[np.int64] | None:
    """The label (X, Y) of each pixel, from numbers (1, X, Y) or channels (K, X, Y); None if it has none.

    Of channels that exclude each other the first is background; of others, the last that is there counts.
    """
    values = np.unique(array)
    if len(values) > MOST_LABELS or values[0] < 0 or not np.array_equal(values, np.round(values)):
        return None
    if len(array) == 1:
        return array[0].astype(np.int64)
    if values[-1] > 1:
        return None
    if np.all(array.sum(0) == 1):
        return array.argmax(0)
    numbers = np.arange(1, len(array) + 1).reshape(-1, 1, 1)
    return (numbers * (array > 0)).max(0).astype(np.int64)


def _windowed(grey: NDArray[np.float32], window: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = window
    return (255 * np.clip((grey - low) / max(high - low, 1e-6), 0, 1)).astype(np.uint8)


def _fullest(array: NDArray[np.float32]) -> int:
    """The slice of a volume (C, X, Y, Z) with most labels; the middle one where there are none."""
    foreground = array[-1] if len(array) > 1 else array[0]
    counts = (foreground > 0).sum(axis=(0, 1))
    return int(counts.argmax()) if counts.any() and as_labels(array[..., 0]) is not None else len(counts) // 2


def _array(value: Any) -> NDArray[np.float32] | None:
    """A tensor (C, X, Y) or (C, X, Y, Z) as an array; None if it is none."""
    if not isinstance(value, Tensor) or value.ndim not in (3, 4) or not value.numel():
        return None
    return plain(value).detach().to("cpu", torch.float32).numpy()


def _decollated(output: Any) -> list[Mapping[str, Any]]:
    """The cases of a batch, given as a dictionary of tensors (B, C, ...)."""
    if not isinstance(output, Mapping):
        return []
    tensors = {key: output[key] for key in KEYS if isinstance(output.get(key), Tensor)}
    count = min((len(tensor) for tensor in tensors.values()), default=0)
    return [{key: tensor[i] for key, tensor in tensors.items()} for i in range(count)]
