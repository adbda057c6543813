"""The outer outline of a region as an ordered, closed, subpixel curve (marching squares)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Edges of a cell of four pixels: 0 low-y side, 1 high-x side, 2 high-y side, 3 low-x side. Key: which corners
# are inside, bit 0 (x, y), bit 1 (x+1, y), bit 2 (x+1, y+1), bit 3 (x, y+1). Each segment keeps the inside on
# the same hand.
# The two saddles (5, 10) do not occur in a hole-free, side-connected region.
_SEGMENTS = {
    1: (3, 0),
    2: (0, 1),
    3: (3, 1),
    4: (1, 2),
    6: (0, 2),
    7: (3, 2),
    8: (2, 3),
    9: (2, 0),
    11: (2, 1),
    12: (1, 3),
    13: (1, 0),
    14: (0, 3),
}


def largest_component(mask: ArrayLike) -> NDArray[np.bool_]:
    """Returns the largest side-connected component of a mask, holes filled; empty stays empty."""
    from scipy import ndimage

    labels, count = ndimage.label(np.asarray(mask, dtype=bool))
    if count == 0:
        return np.zeros(labels.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    return ndimage.binary_fill_holes(labels == 1 + np.argmax(sizes[1:]))


def outer_contour(field: ArrayLike, level: float = 0.5) -> NDArray[np.float64]:
    """Returns the outer outline of the largest component of `field > level`.

    Args:
        field: a mask or a probability map (x, y).
        level: the value on the outline; between pixel centres it is interpolated linearly.

    Returns:
        ordered points (n, 2), closed (the first is not repeated), in pixel coordinates; (0, 2) if there is
        none.
        Where the region meets the array's edge the outline runs half a pixel or less outside it.
    """
    values = np.asarray(field, dtype=np.float64)
    region = largest_component(values > level)
    if not region.any():
        return np.empty((0, 2))
    values, region = _isolated(values, region, level)
    return _follow(*_segments(values, region, level)) - 1.0


def touches_border(points: ArrayLike, shape: tuple[int, int], margin: float = 1.0) -> NDArray[np.bool_]:
    """Returns which contour points lie within `margin` pixels of the edge of an array of `shape` (x, y)."""
    array = np.asarray(points, dtype=float).reshape(-1, 2)
    upper = np.asarray(shape, dtype=float) - 1
    return np.any((array < margin) | (array > upper - margin), axis=1)


def closure(points: ArrayLike, centre: ArrayLike, bins: int = 72) -> float:
    """Returns the fraction of directions around `centre` in which the outline has a point (1 is closed)."""
    offset = np.asarray(points, dtype=float).reshape(-1, 2) - np.asarray(centre, dtype=float)
    angle = np.arctan2(offset[:, 1], offset[:, 0])
    sector = ((angle + np.pi) / (2 * np.pi) * bins).astype(int) % bins
    return len(np.unique(sector)) / bins


def _isolated(
    values: NDArray[np.float64], region: NDArray[np.bool_], level: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Returns field and region, padded by one pixel, where nothing but the region is above the level."""
    outside, inside = float(min(values.min(), 2 * level - values.max())), float(values.max())
    values = np.where(region, np.where(values > level, values, inside), values)
    values = np.where(~region & (values > level), outside, values)
    return np.pad(values, 1, constant_values=outside), np.pad(region, 1)


def _segments(
    values: NDArray[np.float64], region: NDArray[np.bool_], level: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Returns start and end crossing (indices) of every segment, and the place of each crossing."""
    width, height = region.shape
    code = region[:-1, :-1] | region[1:, :-1] << 1 | region[1:, 1:] << 2 | region[:-1, 1:].astype(int) << 3
    number = np.arange(width * height).reshape(width, height)
    # A crossing has the number of the pixel it starts from: along x first, then (offset) along y.
    along_x, along_y = number, number + width * height
    edge = [along_x[:-1, :-1], along_y[1:, :-1], along_x[:-1, 1:], along_y[:-1, :-1]]
    start, end = [], []
    for key, (first, last) in _SEGMENTS.items():
        cells = code == key
        start.append(edge[first][cells])
        end.append(edge[last][cells])
    return np.concatenate(start), np.concatenate(end), _positions(values, level)


def _positions(values: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    width, height = values.shape
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height), indexing="ij"), axis=-1).astype(float)
    places = []
    for axis in (0, 1):
        following = np.roll(values, -1, axis=axis)
        step = following - values
        with np.errstate(divide="ignore", invalid="ignore"):
            fraction = np.where(step == 0, 0.5, (level - values) / step)
        place = grid.copy()
        place[..., axis] += np.clip(fraction, 0.0, 1.0)
        places.append(place.reshape(-1, 2))
    return np.concatenate(places)


def _follow(
    start: NDArray[np.int64], end: NDArray[np.int64], positions: NDArray[np.float64]
) -> NDArray[np.float64]:
    following = dict(zip(start.tolist(), end.tolist(), strict=True))
    loop = [int(start[0])]
    while (step := following[loop[-1]]) != loop[0]:
        loop.append(step)
    return positions[loop]
