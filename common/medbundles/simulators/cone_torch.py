"""Cone-beam projection and backprojection in torch, on any device.

Shapes: volume (material, X, Y, Z); projection of one view (material, rows, columns); projections (view, rows,
columns). Geometry and axes: see `cbct_scanner`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medbundles.simulators.cbct_scanner import Scanner
from medbundles.simulators.fields import Grid

# Steps along a ray that share their interpolation in z: within them z moves by a seventh of a voxel at most.
SLAB = 4
BLOCK_VOXELS = 3_000_000  # backprojected at once, which bounds the memory
Pose = tuple[float, tuple[float, float, float]]


class Rays:
    """Sums along the rays of one scanner through one volume.

    A ray's x and y depend on its column only, and its z is proportional to its row. So each depth is first
    interpolated in x and y, whole columns of voxels at once, and then in z, which is a product with a matrix.

    Args:
        volume: amounts (material, X, Y, Z).
        grid: where its voxels are.
        scanner: the geometry.
    """

    def __init__(self, volume: Tensor, grid: Grid, scanner: Scanner) -> None:
        self.grid, self.scanner, self.device = grid, scanner, volume.device
        self.materials, x, y, z = volume.shape
        self._table = volume.permute(1, 2, 0, 3).reshape(x * y, self.materials * z).contiguous()
        self._u, self._v = (self._tensor(places) for places in (scanner.u, scanner.v))
        self._depth = self._tensor(self._depths())
        along_u, along_v = self._u / scanner.source_detector_mm, self._v / scanner.source_detector_mm
        self._step = grid.spacing * torch.sqrt(1 + along_u**2 + along_v[:, None] ** 2)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)

    def _depths(self) -> np.ndarray:
        """Distances from the source along the central ray, in whole slabs that cover the volume."""
        ends = [
            (start, start + self.grid.spacing * n)
            for start, n in zip(self.grid.start, self.grid.shape, strict=True)
        ]
        radius = math.hypot(*(max(abs(a), abs(b)) for a, b in ends[:2])) + self.grid.spacing
        count = SLAB * math.ceil(2 * radius / self.grid.spacing / SLAB)
        return self.scanner.source_axis_mm + self.grid.spacing * (np.arange(count) - (count - 1) / 2)

    def view(self, pose: Pose) -> Tensor:
        """Returns amount times mm (material, rows, columns) in one view.

        Args:
            pose: angle of the source in rad, and how far the volume was moved in mm.
        """
        angle, shift = pose
        places, weights = self._in_plane(angle, shift)
        slabs = functional.embedding_bag(places, self._table, per_sample_weights=weights, mode="sum")
        slabs = slabs.view(-1, len(self._u) * self.materials, self.grid.shape[2])
        total = torch.zeros(slabs.shape[1], len(self._v), device=self.device)
        for slab, in_z in zip(slabs, self._in_z(shift[2]), strict=True):
            total.addmm_(slab, in_z)
        return total.view(len(self._u), self.materials, -1).permute(1, 2, 0) * self._step

    def _in_plane(self, angle: float, shift: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
        """Columns of voxels, and their weights, that make up each slab of each detector column."""
        cos, sin = math.cos(angle), math.sin(angle)
        across = self._u / self.scanner.source_detector_mm * self._depth.view(-1, SLAB, 1)
        along = (self._depth - self.scanner.source_axis_mm).view(-1, SLAB, 1)
        nearest, share = [], []
        for place, axis in ((along * cos - across * sin, 0), (along * sin + across * cos, 1)):
            index = (place - shift[axis] - self.grid.start[axis]) / self.grid.spacing
            low = index.floor()
            nearest.append((low.long(), low.long() + 1))
            share.append((1 - (index - low), index - low))
        places, weights = [], []
        rows, columns = self.grid.shape[:2]
        for i in (0, 1):
            for j in (0, 1):
                a, b = nearest[0][i], nearest[1][j]
                inside = (a >= 0) & (a < rows) & (b >= 0) & (b < columns)
                places.append((a * columns + b) * inside)
                weights.append(share[0][i] * share[1][j] * inside)
        # (slab, step, column) of each of four neighbours to one row of neighbours per slab and column.
        return tuple(
            torch.stack(part).permute(1, 3, 2, 0).flatten(0, 1).flatten(1) for part in (places, weights)
        )

    def _in_z(self, shift: float) -> Tensor:
        """Weights (slab, Z, rows) of linear interpolation at the middle of each slab."""
        middle = self._depth.view(-1, SLAB).mean(dim=1)
        place = self._v * middle[:, None] / self.scanner.source_detector_mm - shift - self.grid.start[2]
        voxels = torch.arange(self.grid.shape[2], device=self.device)
        return (1 - (place[:, None] / self.grid.spacing - voxels[:, None]).abs()).clamp(min=0)


@torch.no_grad()
def project(volume: Tensor, grid: Grid, scanner: Scanner, poses: Iterable[Pose]) -> Iterator[Tensor]:
    """Yields amount times mm (material, rows, columns) of each view."""
    rays = Rays(volume, grid, scanner)
    for pose in poses:
        yield rays.view(pose)


@torch.no_grad()
def backproject(filtered: Tensor, grid: Grid, scanner: Scanner) -> Tensor:
    """Returns the sum (X, Y, Z) of the projections that `cone_filter.filtered` gives, weighted by distance.

    Beyond its edge a projection is continued by its last row and column.
    """
    x, y, z = grid.axes(filtered.device)
    rows_at_once = max(1, BLOCK_VOXELS // (len(y) * len(z)))
    blocks = [_backproject(filtered, (part, y, z), scanner) for part in x.split(rows_at_once)]
    return torch.cat(blocks)


def _backproject(filtered: Tensor, axes: tuple[Tensor, Tensor, Tensor], scanner: Scanner) -> Tensor:
    x, y, z = axes
    total = filtered.new_zeros(len(x) * len(y), len(z))
    where = filtered.new_empty(1, len(x) * len(y), len(z), 2)
    half_u, half_v = (scanner.pitch_mm * n / 2 for n in reversed(filtered.shape[1:]))
    for view, angle in zip(filtered, scanner.angles, strict=True):
        cos, sin = math.cos(angle), math.sin(angle)
        depth = (scanner.source_axis_mm + x[:, None] * cos + y * sin).flatten()
        across = (y * cos - x[:, None] * sin).flatten()
        magnification = scanner.source_detector_mm / depth
        where[0, ..., 0] = ((across * magnification - scanner.widened_offset_mm) / half_u)[:, None]
        torch.mul((magnification / half_v)[:, None], z, out=where[0, ..., 1])
        values = functional.grid_sample(view[None, None], where, padding_mode="border", align_corners=False)[
            0, 0
        ]
        total.addcmul_(values, ((scanner.source_axis_mm / depth) ** 2)[:, None])
    return total.view(len(x), len(y), len(z))
