"""From pictures back to the scan: the voxels that a box or a mask on a panorama can have come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dental_teeth.frame import Array, transformed
from dental_teeth.panorama import View

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Box:
    """A rectangle on a panorama in pixels: from its first column and row up to, not with, its last ones."""

    left: float
    top: float
    right: float
    bottom: float

    def grown(self, margin: float) -> Box:
        """Returns the box with so many pixels more on every side."""
        return Box(self.left - margin, self.top - margin, self.right + margin, self.bottom + margin)


@dataclass(frozen=True)
class Region:
    """A part of the scan's own grid.

    Attributes:
        slices: where it is in the scan.
        loose: voxels that project into the box.
        tight: voxels that project into the mask.
    """

    slices: tuple[slice, slice, slice]
    loose: Mask
    tight: Mask


def box_of(mask: Mask) -> Box:
    """Returns the smallest box around a mask (columns, rows).

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("An empty mask has no box.")
    columns, rows = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def back_project(
    view: View,
    affine: Array,
    shape: tuple[int, ...],
    box: Box,
    *,
    mask: Mask | None = None,
    margin_px: int = 1,
) -> Region:
    """Returns the voxels of a scan whose rays go through a box, and those whose rays go through a mask.

    Args:
        view: the view on which the box was found.
        affine: RAS affine of the scan.
        shape: of the scan.
        box: the tooth on the panorama; what of it is outside the picture counts too.
        mask: the tooth's pixels (columns, rows); without one the tight region is the loose one.
        margin_px: both are grown by so much, since rays are a pixel apart.

    Raises:
        ValueError: the box lies outside the scan.
    """
    box = box.grown(margin_px)
    slices = _bounds(view, affine, shape, box)
    index = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in slices], indexing="ij"), -1)
    points = transformed(index.astype(float), view.frame.from_voxels(affine))
    column, row, depth = _places(view, points)
    loose = (np.abs(depth) <= view.depth_mm) & (column >= box.left - 0.5) & (column <= box.right - 0.5)
    loose &= (row >= box.top - 0.5) & (row <= box.bottom - 0.5)
    return Region(slices, loose, loose & _seen(mask, column, row, margin_px) if mask is not None else loose)


def _places(view: View, points: Array) -> tuple[Array, Array, Array]:
    """As `View.place`, to a quarter of a pixel: looked up in the level plane, where voxels share places."""
    low, step = points[..., :2].reshape(-1, 2).min(0), view.pitch_mm / 2
    index = np.rint((points[..., :2] - low) / step).astype(np.int32)
    counts = index.reshape(-1, 2).max(0) + 1
    plane = low + step * np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), -1)
    column, depth = view.curve.place(plane)
    at = index[..., 0], index[..., 1]
    return column[at], (view.top_mm - points[..., 2]) / view.pitch_mm, depth[at]


def _bounds(view: View, affine: Array, shape: tuple[int, ...], box: Box) -> tuple[slice, slice, slice]:
    """The voxels around the corners of all rays through a box."""
    columns = np.linspace(box.left - 0.5, box.right - 0.5, max(3, int(box.right - box.left) + 1))
    corners = np.meshgrid(
        columns, [box.top - 0.5, box.bottom - 0.5], [-view.depth_mm, view.depth_mm], indexing="ij"
    )
    voxels = transformed(view.points(*corners), view.frame.to_voxels(affine)).reshape(-1, 3)
    low = np.clip(np.floor(voxels.min(0)).astype(int), 0, shape)
    high = np.clip(np.ceil(voxels.max(0)).astype(int) + 1, 0, shape)
    if (high <= low).any():
        raise ValueError("The box lies outside the scan.")
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _seen(mask: Mask, column: Array, row: Array, margin: int) -> Mask:
    """Whether the pixel nearest to each place belongs to a mask that was grown by a margin."""
    grown = ndimage.binary_dilation(mask, np.ones((3, 3), bool), iterations=margin) if margin > 0 else mask
    index = np.rint(np.stack([column, row], -1)).astype(int)
    inside = ((index >= 0) & (index < grown.shape)).all(-1)
    found = np.zeros(column.shape, bool)
    found[inside] = grown[tuple(index[inside].T)]
    return found
