"""Where things are: millimetres along left, back and up of the bite, whatever grid the scan has.

Frame coordinates (u, v, w) grow to the patient's left, to the back and upwards, as voxel indices of an LPS
volume do, but w is at right angles to the bite: a tilted head is level in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from medbundles.errors import InputError
from medbundles.images import RAS_FROM_LPS, spacing_of

AIR_HU = -1000.0

Array = NDArray[np.float64]


class NotDentalError(InputError):
    """The volume shows no row of teeth and no jaw."""


@dataclass(frozen=True)
class Frame:
    """A turned coordinate system in the scanner's space.

    Attributes:
        rotation: 3x3, its rows are the frame's axes in LPS.
        origin: the frame's zero in LPS, in millimetres.
    """

    rotation: Array
    origin: Array

    def from_voxels(self, affine: Array) -> Array:
        """Returns the 4x4 matrix from voxel indices to frame coordinates, for the RAS affine of a volume."""
        turn = np.eye(4)
        turn[:3, :3], turn[:3, 3] = self.rotation, -self.rotation @ self.origin
        return turn @ RAS_FROM_LPS @ np.asarray(affine, float)

    def to_voxels(self, affine: Array) -> Array:
        """Returns the 4x4 matrix from frame coordinates to voxel indices."""
        return np.linalg.inv(self.from_voxels(affine))


def upright(affine: Array, shape: tuple[int, ...]) -> Frame:
    """Returns the frame along the scanner's own axes with its zero in the middle of a volume."""
    middle = RAS_FROM_LPS @ np.asarray(affine, float) @ np.r_[(np.asarray(shape) - 1) / 2, 1.0]
    return Frame(np.eye(3), middle[:3])


def transformed(points: Array, matrix: Array) -> Array:
    """Returns points (..., 3) moved by a 4x4 matrix."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def towards_left_back_up(volume: NDArray, affine: Array) -> tuple[NDArray, Array]:
    """Returns a view of a volume whose axes run nearest to left, back and up, and its affine.

    All that follows then gives the same answer to the last digit, however the same scan was stored.
    """
    change = ornt_transform(io_orientation(affine), axcodes2ornt("LPS"))
    return apply_orientation(volume, change), np.asarray(affine, float) @ inv_ornt_aff(change, volume.shape)


def shrunk(volume: NDArray, affine: Array, step_mm: float) -> tuple[NDArray[np.float32], Array]:
    """Returns a volume (X, Y, Z) averaged over blocks that are no longer than a step, and its affine.

    Works on a slab at a time: a full-size scan never exists as floating-point numbers.
    """
    factor = [max(1, int(step_mm / size + 1e-3)) for size in spacing_of(affine, 3)]
    factor = [min(f, n) for f, n in zip(factor, volume.shape, strict=True)]
    small = np.empty([n // f for n, f in zip(volume.shape, factor, strict=True)], np.float32)
    (fx, fy, fz), (_, ny, nz) = factor, small.shape
    for i in range(len(small)):
        slab = np.asarray(volume[i * fx : (i + 1) * fx, : ny * fy, : nz * fz], np.float32)
        small[i] = slab.reshape(fx, ny, fy, nz, fz).mean(axis=(0, 2, 4))
    blocks = np.diag([*factor, 1.0])
    blocks[:3, 3] = (np.asarray(factor) - 1) / 2
    return small, np.asarray(affine, float) @ blocks


def sample(
    volume: NDArray, points: NDArray, *, fill: float | None = AIR_HU, device: str | torch.device = "cpu"
) -> torch.Tensor:
    """Returns float32 values at voxel positions (..., 3), interpolated linearly.

    Only the part of the volume that the points lie in is copied to the device.

    Args:
        volume: (X, Y, Z).
        points: positions.
        fill: the value outside; None goes on with that of the nearest voxel.
        device: where to compute, and where the values are.
    """
    flat = np.asarray(points, np.float32).reshape(-1, 3)
    low, high = (np.array([pick(flat[:, axis]) for axis in range(3)]) for pick in (np.min, np.max))
    last = np.array(volume.shape) - (1 if fill is None else 0)
    low = np.clip(np.floor(low).astype(int), 0, last)
    high = np.clip(np.ceil(high).astype(int) + 1, low + 1 if fill is None else 0, volume.shape)
    if (high <= low).any():
        return torch.full(points.shape[:-1], float(fill), device=device)
    zero = 0.0 if fill is None else float(fill)
    part = np.asarray(volume[tuple(map(slice, low, high))], np.float32) - np.float32(zero)
    # grid_sample counts -1 to 1 from the first to the last voxel, its last axis first.
    scale = torch.from_numpy((2 / np.maximum(high - low - 1, 1)).astype(np.float32)).to(device)
    first = torch.from_numpy(low.astype(np.float32)).to(device)
    grid = ((torch.from_numpy(flat).to(device) - first) * scale - 1).flip(-1)
    image = torch.from_numpy(np.ascontiguousarray(part)).to(device)[None, None]
    padding = "border" if fill is None else "zeros"
    values = torch.nn.functional.grid_sample(
        image, grid.view(1, 1, 1, -1, 3), align_corners=True, padding_mode=padding
    )
    return values.reshape(points.shape[:-1]) + zero


def nearest(volume: NDArray, points: Array) -> NDArray:
    """Returns the values of the voxels nearest to positions (..., 3), 0 outside; for label maps."""
    x, y, z = (np.rint(points[..., axis]).astype(np.int32) for axis in range(3))
    inside = np.ones(x.shape, bool)
    for index, count in zip((x, y, z), volume.shape, strict=True):
        inside &= (index >= 0) & (index < count)
    found = np.zeros(x.shape, volume.dtype)
    found[inside] = volume[x[inside], y[inside], z[inside]]
    return found


@dataclass(frozen=True)
class Grid:
    """A regular grid along a frame's axes: where its first point is, and how far the points are apart."""

    start: Array
    step_mm: float

    def to_index(self) -> Array:
        """Returns the 4x4 matrix from frame coordinates to positions on the grid."""
        matrix = np.diag([*(1 / self.step_mm,) * 3, 1.0])
        matrix[:3, 3] = -self.start / self.step_mm
        return matrix

    def axis(self, axis: int, count: int) -> Array:
        """Returns the coordinates of the grid's points along an axis."""
        return self.start[axis] + self.step_mm * np.arange(count)


def on_frame(
    volume: NDArray, affine: Array, frame: Frame, step_mm: float, *, fill: float | None = AIR_HU
) -> tuple[NDArray[np.float32], Grid]:
    """Returns a volume resampled along a frame's axes, just large enough to hold it, and that grid."""
    matrix = frame.from_voxels(affine)
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in volume.shape], indexing="ij"), -1).reshape(-1, 3)
    places = transformed(corners.astype(float), matrix)
    start = places.min(0)
    shape = np.ceil((places.max(0) - start) / step_mm - 1e-6).astype(int) + 1
    grid, back = Grid(start, step_mm), np.linalg.inv(matrix)
    found = np.empty(shape, np.float32)
    plane = np.stack(np.meshgrid(*[grid.axis(i, shape[i]) for i in (1, 2)], indexing="ij"), -1)
    for first in range(0, shape[0], 16):
        u = grid.axis(0, shape[0])[first : first + 16]
        points = np.concatenate(
            [
                np.broadcast_to(u[:, None, None, None], (len(u), *plane.shape[:2], 1)),
                np.broadcast_to(plane, (len(u), *plane.shape)),
            ],
            axis=-1,
        )
        found[first : first + len(u)] = sample(volume, transformed(points, back), fill=fill).numpy()
    return found, grid
