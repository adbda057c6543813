"""One tooth cut out of a scan: a straight grid in the frame of its jaw, and what of it the panorama allows.

Seen from a patch all teeth are alike: its axes run along the arch towards the midline, outwards to cheek and
lips, and from the root to the crown. So left and right, upper and lower teeth are mirror images of one kind.
Shapes: X, Y and Z the axes of a patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dental_teeth.boxes import Box
from dental_teeth.frame import AIR_HU, Array, sample, transformed
from dental_teeth.jaws import UPPER
from dental_teeth.panorama import View
from medbundles.errors import OverrideError

SIZE = (56, 80, 104)  # 17 x 24 x 31 mm: the longest canine, and roots that lean
STEP_MM = 0.3
MOST = 5.0  # where the network's input is cut off: 4000 HU, denser than enamel
BOTH, LOOSE, TIGHT = "both", "loose", "tight"

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Patch:
    """A grid around a tooth.

    Attributes:
        view: the panorama that it was found on.
        box: where on it.
        matrix: 4x4, from positions on the grid to frame coordinates.
        size: points along each axis.
    """

    view: View
    box: Box
    matrix: Array
    size: tuple[int, int, int]

    def points(self) -> Array:
        """Returns the frame coordinates (X, Y, Z, 3) of the grid."""
        index = np.stack(np.meshgrid(*map(np.arange, self.size), indexing="ij"), -1)
        return transformed(index.astype(float), self.matrix)

    def to_voxels(self, affine: Array) -> Array:
        """Returns the 4x4 matrix from positions on the grid to voxels of a scan with this RAS affine."""
        return self.view.frame.to_voxels(affine) @ self.matrix

    def regions(self, mask: Mask | None = None, *, margin_px: int = 1) -> tuple[Mask, Mask]:
        """Returns which points (X, Y, Z) are seen within the box (loose) and which within a mask (tight).

        Args:
            mask: the tooth's pixels (columns, rows); without one, or with an empty one, tight is loose.
            margin_px: both are grown by so much, since rays are a pixel apart.
        """
        plane = transformed(self._plane(), self.matrix)[..., :2]
        column, depth = self.view.curve.place(plane)
        row = (self.view.top_mm - self._heights()) / self.view.pitch_mm
        box = self.box.grown(margin_px)
        near = np.abs(depth) <= self.view.depth_mm
        across = near & (column >= box.left - 0.5) & (column <= box.right - 0.5)
        up = (row >= box.top - 0.5) & (row <= box.bottom - 0.5)
        loose = across[..., None] & up
        if mask is None or not mask.any():
            return loose, loose
        seen = _grown(mask, margin_px)
        columns, rows = np.rint(column).astype(int), np.rint(row).astype(int)
        inside = (columns >= 0) & (columns < seen.shape[0])
        down = (rows >= 0) & (rows < seen.shape[1])
        found = seen[np.clip(columns, 0, seen.shape[0] - 1)][..., np.clip(rows, 0, seen.shape[1] - 1)]
        return loose, loose & found & inside[..., None] & down

    def _plane(self) -> Array:
        """The grid's positions (X, Y, 3) in its first layer."""
        x, y = np.meshgrid(*map(np.arange, self.size[:2]), indexing="ij")
        return np.stack([x, y, np.zeros_like(x)], -1).astype(float)

    def _heights(self) -> Array:
        """The heights (Z) of its layers in the frame, which is level in every patch."""
        return self.matrix[2, 3] + self.matrix[2, 2] * np.arange(self.size[2])


def patch_at(view: View, box: Box, *, size: Sequence[int] = SIZE, step_mm: float = STEP_MM) -> Patch:
    """Returns the patch whose middle is that of a box on a panorama, on the curve of the arch."""
    column, row = box.middle
    index = np.arange(len(view.curve.points))
    place, outwards = (
        np.array([np.interp(column, index, values[:, axis]) for axis in (0, 1)])
        for values in (view.curve.points, view.curve.normals)
    )
    outwards /= np.linalg.norm(outwards)
    to_left = np.array([-outwards[1], outwards[0]])
    to_middle = to_left if column <= (len(index) - 1) / 2 else -to_left
    crownwards = -1.0 if view.jaw == UPPER else 1.0
    matrix = np.eye(4)
    matrix[:2, 0], matrix[:2, 1], matrix[2, 2] = step_mm * to_middle, step_mm * outwards, step_mm * crownwards
    centre = np.array([*place, view.top_mm - view.pitch_mm * row])
    matrix[:3, 3] = centre - matrix[:3, :3] @ ((np.asarray(size) - 1) / 2)
    return Patch(view, box, matrix, (int(size[0]), int(size[1]), int(size[2])))


def cut(volume: NDArray, affine: Array, patch: Patch, *, device: str | torch.device = "cpu") -> torch.Tensor:
    """Returns the densities (X, Y, Z) of a scan on a patch."""
    hu = sample(volume, transformed(patch.points(), patch.view.frame.to_voxels(affine)), device=device)
    return density(hu)


def density(hu: torch.Tensor) -> torch.Tensor:
    """Returns what networks see of grey values: 0 for air, 1 for water, denser than enamel cut off."""
    return ((hu - AIR_HU) / -AIR_HU).clamp(0, MOST)


def hu_of(density: float) -> float:
    """The grey value of a density, up to where it is cut off."""
    return float(density) * -AIR_HU + AIR_HU


def channels(grey: torch.Tensor, patch: Patch, mask: Mask | None, regions: str = BOTH) -> torch.Tensor:
    """Returns what the network sees (2, X, Y, Z): the values in the loose and in the tight region, else 0.

    Args:
        grey: values (X, Y, Z) on the patch.
        patch: where they are.
        mask: the tooth's pixels (columns, rows) on the panorama.
        regions: "both", or the one that is shown in both channels: "loose" or "tight".

    Raises:
        OverrideError: there are no such regions.
    """
    known_regions(regions)
    loose, tight = (torch.from_numpy(region).to(grey.device) for region in patch.regions(mask))
    shown = {BOTH: (loose, tight), LOOSE: (loose, loose), TIGHT: (tight, tight)}[regions]
    return torch.stack([grey * region for region in shown])


def known_regions(name: str) -> str:
    """Returns the name of what the network is shown.

    Raises:
        OverrideError: it is not one of the three.
    """
    if name not in (BOTH, LOOSE, TIGHT):
        raise OverrideError(
            f"no regions '{name}'",
            expected=f"{BOTH}, {LOOSE} or {TIGHT}",
            source="option regions",
            advice="name one of them",
        )
    return name


def _grown(mask: Mask, margin: int) -> Mask:
    return ndimage.binary_dilation(mask, np.ones((3, 3), bool), iterations=margin) if margin > 0 else mask
