"""Random windows on a standardised ultrasound frame (4, X, Y), and a veil of grey over it.

Stored frames are cut-outs: fluid may end at the side of the picture, corners and boxes are painted black to
hide text, and where the sector ends must be read from what is left. Array classes do the work, the `...d`
classes map keys.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, RandomizableTransform
from numpy.typing import NDArray
from torch import Tensor

from medbundles.sector import beam_channels

NOTHING = 0  # label of what is painted over
CORNER = ((0.03, 0.14), (0.04, 0.2))  # ranges of a black corner's width and height, as shares of the frame
BOX = ((0.12, 0.32), (0.04, 0.18))  # the same of a box at the foot of the frame


class RandWindow(Randomizable):
    """Blackens what lies beyond a random window, and reads the sector and its beams from what is left.

    Args:
        prob: share of the frames that are cut.
        cut: most of the width or height that is cut off at one side.
        side_prob: share of the sides that are cut.
        paint_prob: share of the corners and feet of the frame that are painted over.
    """

    def __init__(
        self, prob: float = 0.5, cut: float = 0.35, side_prob: float = 0.4, paint_prob: float = 0.2
    ) -> None:
        self.prob, self.cut, self.side_prob, self.paint_prob = prob, cut, side_prob, paint_prob
        self.shown: NDArray[np.bool_] | None = None

    def randomize(self, data: tuple[int, int]) -> None:
        """Draws a window for frames of the shape (X, Y)."""
        self.shown = None
        if self.R.random() >= self.prob:
            return
        left, right, top, bottom = (
            self.R.uniform(0, self.cut) if self.R.random() < self.side_prob else 0.0 for _ in range(4)
        )
        self.shown = np.zeros(data, bool)
        columns = slice(int(left * data[0]), int((1 - right) * data[0]))
        rows = slice(int(top * data[1]), int((1 - bottom) * data[1]))
        self.shown[columns, rows] = True
        for ranges, row in ((CORNER, top), (CORNER, top), (BOX, 1 - bottom), (BOX, 1 - bottom)):
            if self.R.random() < self.paint_prob:
                self._paint(ranges, self.R.choice([left, 1 - right]), row)

    def _paint(self, ranges: tuple[tuple[float, float], ...], column: float, row: float) -> None:
        """Hides a rectangle around a corner of the window, so that a quarter of it lies in the window."""
        half = [self.R.uniform(*each) for each in ranges]
        x, y = (
            slice(max(0, round((at - reach) * n)), max(0, round((at + reach) * n)))
            for at, reach, n in zip((column, row), half, self.shown.shape, strict=True)
        )
        self.shown[x, y] = False

    def frame(self, frame: Tensor) -> Tensor:
        """The frame (grey, sector, depth, angle) in the current window; call `randomize` for a new one."""
        if self.shown is None:
            return frame
        grey = frame[0].cpu().numpy() * self.shown
        return torch.cat(
            [torch.from_numpy(grey)[None], torch.from_numpy(beam_channels(grey)).to(frame.dtype)]
        )

    def label(self, label: Tensor) -> Tensor:
        """The labels (1, X, Y) in the current window."""
        if self.shown is None:
            return label
        return torch.where(torch.from_numpy(self.shown), label, torch.full_like(label, NOTHING))


class RandWindowd(Randomizable, MapTransform):
    """Dictionary form of `RandWindow`; the first key is the frame, the others are its labels."""

    def __init__(self, keys: KeysCollection, **settings: Any) -> None:
        MapTransform.__init__(self, keys)
        self.window = RandWindow(**settings)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandWindowd:
        self.window.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        images = {key: torch.as_tensor(data[key]).as_subclass(Tensor) for key in self.key_iterator(data)}
        self.window.randomize(tuple(images[self.keys[0]].shape[1:]))
        for key, image in images.items():
            data[key] = self.window.frame(image) if key == self.keys[0] else self.window.label(image)
        return data


class RandVeild(MapTransform, RandomizableTransform):
    """Lifts the dark parts of the sector of a frame (4, X, Y), more or less with depth: gain, and clutter.

    Args:
        keys: frames.
        prob: share of the frames.
        most: of the brightest grey value that what was black may have.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.3, most: float = 0.25) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.most = most

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            self.randomize(None)
            if self._do_transform:
                data[key] = self._veiled(torch.as_tensor(data[key]).as_subclass(Tensor))
        return data

    def _veiled(self, frame: Tensor) -> Tensor:
        grey, sector, depth, _ = frame
        level = self.R.uniform(0, self.most) * (1 + self.R.uniform(-0.8, 0.8) * (2 * depth - 1))
        grain = torch.from_numpy(self.R.standard_normal(grey.shape).astype(np.float32))
        veil = (level * (1 + 0.25 * grain) * sector).clamp(0, 1)
        return torch.cat([(grey + (1 - grey).clamp_min(0) * veil)[None], frame[1:]])
