"""Rectangles on panoramas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Box:
    """A rectangle on a panorama in pixels: from its first column and row up to, not with, its last ones."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def middle(self) -> tuple[float, float]:
        """The fractional column and row of its middle, as indices of pixels count: 0 amid the first pixel."""
        return (self.left + self.right - 1) / 2, (self.top + self.bottom - 1) / 2

    def grown(self, margin: float) -> Box:
        """Returns the box with so many pixels more on every side."""
        return Box(self.left - margin, self.top - margin, self.right + margin, self.bottom + margin)


def box_of(mask: Mask) -> Box:
    """Returns the smallest box around a mask (columns, rows).

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("An empty mask has no box.")
    columns, rows = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
