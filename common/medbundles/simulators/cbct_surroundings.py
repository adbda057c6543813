"""The head around a scanned volume: ellipsoids, whose path along a ray outside the volume is exact.

The field of a dental scanner is smaller than the head, so every view also looks through tissue that no volume
holds; this is what truncates the projections.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ellipsoid:
    """A part of the head; mm about the axis of rotation, x to the left, y to the back, z up.

    Attributes:
        centre, axes: middle and half axes.
        material, amount: what it is made of; the amount adds to that of other parts.
    """

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    material: str
    amount: float

    def span(self, source: Floats, direction: Floats) -> tuple[Floats, Floats]:
        """Where rays enter and leave, in mm along unit directions (..., 3); equal for a miss."""
        start = (source - np.array(self.centre)) / self.axes
        step = direction / self.axes
        a, b = (step**2).sum(axis=-1), step @ start
        root = np.sqrt(np.maximum(b**2 - a * ((start**2).sum() - 1), 0))
        return (-b - root) / a, (-b + root) / a


def head(
    centre: tuple[float, float, float] = (0.0, 54.0, 0.0),
    axes: tuple[float, float, float] = (74.0, 94.0, 140.0),
) -> tuple[Ellipsoid, ...]:
    """Returns a head about the middle of the dental arch: soft tissue, cervical spine, rami of the lower jaw.

    Args:
        centre, axes: of the soft tissue, as the scanned volume shows the face.
    """
    rami = (Ellipsoid((side * 47.0, 52.0, 10.0), (5.0, 14.0, 40.0), "mineral", 0.9) for side in (1, -1))
    spine = Ellipsoid((0.0, 88.0, 0.0), (14.0, 16.0, 300.0), "mineral", 0.45)
    return (Ellipsoid(centre, axes, "soft", 1.0), spine, *rami)


HEAD = head()


@dataclass(frozen=True)
class Outside:
    """Everything outside a box that holds the scanned volume.

    Attributes:
        low, high: corners of the box.
        parts: ellipsoids; what of them lies inside the box does not count.
        front: y before which there is nothing, where the volume already shows the air before the face.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    parts: tuple[Ellipsoid, ...]
    front: float = -np.inf

    def lengths(self, source: Floats, direction: Floats) -> Iterator[tuple[str, Floats]]:
        """The amount times length of each part's material along rays from a point outside the head.

        Args:
            source: (3,).
            direction: unit vectors (..., 3).
        """
        box = _crossing(source, direction, self.low, self.high)
        # A half-space, as a box without ends.
        far = (np.inf,) * 3
        behind = _crossing(source, direction, (-np.inf, self.front, -np.inf), far)
        for part in self.parts:
            span = _common(part.span(source, direction), behind)
            inner = _common(span, box)
            yield part.material, part.amount * ((span[1] - span[0]) - (inner[1] - inner[0]))


def _common(one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """The part that two intervals share; empty ones have equal ends."""
    low = np.maximum(one[0], other[0])
    return low, np.maximum(np.minimum(one[1], other[1]), low)


def _crossing(
    source: Floats, direction: Floats, low: tuple[float, ...], high: tuple[float, ...]
) -> tuple[Floats, Floats]:
    """Where rays enter and leave a box."""
    # A ray along a face would divide by zero.
    step = np.where(np.abs(direction) < 1e-12, 1e-12, direction)
    near, far = (np.array(low) - source) / step, (np.array(high) - source) / step
    enter = np.minimum(near, far).max(axis=-1)
    return enter, np.maximum(np.maximum(near, far).min(axis=-1), enter)
