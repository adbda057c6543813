"""Panoramas: sums of a scan along rays across the dental arch, and labels seen along the same rays.

Pictures are arrays (columns, rows): the first column is at the patient's right end of the arch, the first
row on top. Streaks of metal run in the slices and so across many columns: a sum along a ray meets bright
and dark ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dental_teeth.arch import COLUMNS, PITCH_MM, ArchCurve, fit_arch
from dental_teeth.frame import AIR_HU, Array, Frame, nearest, sample
from dental_teeth.jaws import LOWER, UPPER, Jaws
from medbundles.errors import InputError

ROWS = 192
BEYOND_BITE_MM = 8.0  # shown on the other side of the border: a canine may cross it
DEPTH_MM = 12.0  # half the length of a ray; teeth are 5 to 11 mm thick and their roots lean
RAY_STEP_MM = 0.4
METAL_HU = 4000.0
UPPER_QUADRANTS, LOWER_QUADRANTS = (1, 2, 5, 6), (3, 4, 7, 8)
_CHUNK = 2_000_000  # points sampled at a time

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class View:
    """How one jaw is looked at.

    Attributes:
        jaw: "upper" or "lower".
        frame: level with the bite.
        curve: a point per column.
        rows: height of the picture, in steps of the curve's `pitch_mm`.
        top_mm: height w of the first row.
        depth_mm: rays reach so far to both sides of the curve.
    """

    jaw: str
    frame: Frame
    curve: ArchCurve
    rows: int
    top_mm: float
    depth_mm: float

    @property
    def shape(self) -> tuple[int, int]:
        """Columns and rows."""
        return len(self.curve.points), self.rows

    @property
    def pitch_mm(self) -> float:
        """Size of a pixel, the same along both axes on the curve."""
        return self.curve.pitch_mm

    def steps(self, step_mm: float = RAY_STEP_MM) -> int:
        """Returns how many points a ray has when they are so far apart."""
        return 2 * int(np.ceil(self.depth_mm / step_mm)) + 1

    def rays(self, columns: slice, matrix: Array, *, step_mm: float = RAY_STEP_MM) -> NDArray[np.float32]:
        """Returns points (columns, rows, steps, 3) on the rays of some columns, moved by a 4x4 matrix.

        Args:
            columns: which ones.
            matrix: from frame coordinates to those wanted, such as the voxels of a scan.
            step_mm: about how far the points on a ray are apart.
        """
        depth = np.linspace(-self.depth_mm, self.depth_mm, self.steps(step_mm))
        flat = self.curve.points[columns, None] + depth[:, None] * self.curve.normals[columns, None]
        height = self.top_mm - self.pitch_mm * np.arange(self.rows)
        # A matrix moves places in the level plane and heights each by themselves: few products, then sums.
        places = (flat @ matrix[:3, :2].T + matrix[:3, 3]).astype(np.float32)
        return places[:, None] + np.outer(height, matrix[:3, 2]).astype(np.float32)[:, None]

    def place(self, points: Array) -> tuple[Array, Array, Array]:
        """Returns column, row (both fractional) and outward distance in mm of frame coordinates (..., 3)."""
        column, depth = self.curve.place(points[..., :2])
        return column, (self.top_mm - points[..., 2]) / self.pitch_mm, depth

    def points(self, column: Array, row: Array, depth: Array) -> Array:
        """Returns the frame coordinates (..., 3) of places in the picture: the inverse of `place`."""
        index = np.arange(len(self.curve.points))
        parts = [
            np.interp(column, index, self.curve.points[:, axis])
            + depth * np.interp(column, index, self.curve.normals[:, axis])
            for axis in (0, 1)
        ]
        return np.stack([*parts, self.top_mm - self.pitch_mm * np.asarray(row, float)], -1)


def view_of(
    jaws: Jaws,
    jaw: str,
    *,
    columns: int = COLUMNS,
    rows: int = ROWS,
    pitch_mm: float = PITCH_MM,
    depth_mm: float = DEPTH_MM,
) -> View:
    """Returns how to look at one jaw: the bite near the lower edge of the upper picture and the reverse.

    Raises:
        InputError: the jaw is not in the field of view.
        NotDentalError: it has no arch.
    """
    if jaw not in jaws.present:
        raise InputError(
            f"no {jaw} jaw in this volume",
            expected=f"one of {', '.join(jaws.present)}",
            advice="ask only for the jaws that the split found",
        )
    curve = fit_arch(jaws.jaws[jaw], columns=columns, pitch_mm=pitch_mm)
    top = (rows - 1) * pitch_mm - BEYOND_BITE_MM if jaw == UPPER else BEYOND_BITE_MM
    return View(jaw=jaw, frame=jaws.jaws[jaw].frame, curve=curve, rows=rows, top_mm=top, depth_mm=depth_mm)


def views(jaws: Jaws, **options: float) -> dict[str, View]:
    """Returns the view of each jaw in the field of view, upper first; options as of `view_of`."""
    return {jaw: view_of(jaws, jaw, **options) for jaw in (UPPER, LOWER) if jaw in jaws.present}


def panorama(
    volume: NDArray,
    affine: Array,
    view: View,
    jaws: Jaws,
    *,
    step_mm: float = RAY_STEP_MM,
    device: str | torch.device = "cpu",
) -> NDArray[np.float32]:
    """Returns the picture (columns, rows) of one jaw: attenuation along each ray as millimetres of water.

    What belongs to the other jaw is left out, and metal counts as 4000 HU, so that it hides no tooth.
    """
    picture = np.empty(view.shape, np.float32)
    jaw = jaws.jaws[view.jaw]
    for columns in _chunks(view, step_mm):
        points = view.rays(columns, view.frame.to_voxels(affine), step_mm=step_mm)
        values = sample(volume, points, device=device)
        water = (values.clamp(AIR_HU, METAL_HU) - AIR_HU) / -AIR_HU
        own = jaw.own_at(view.rays(columns, jaw.grid.to_index(), step_mm=step_mm), device=device)
        total = (water * (own / jaw.grid.step_mm + 0.5).clamp(0, 1)).sum(-1)
        picture[columns] = (total * (2 * view.depth_mm / (points.shape[2] - 1))).cpu().numpy()
    return picture


def project_labels(
    labels: NDArray, affine: Array, view: View, *, step_mm: float = RAY_STEP_MM
) -> dict[int, Mask]:
    """Returns the mask (columns, rows) of every tooth of the view's jaw, by its code: where any ray meets it.

    Masks of crowded teeth overlap, as the teeth do along the rays; nothing of a tooth is hidden by another.

    Args:
        labels: FDI codes (X, Y, Z).
        affine: RAS affine of the labels.
        view: the jaw; codes of the other one are left out.
        step_mm: distance of the points on a ray.
    """
    quadrants = UPPER_QUADRANTS if view.jaw == UPPER else LOWER_QUADRANTS
    wanted = [int(code) for code in np.unique(labels) if code // 10 in quadrants]
    masks = {code: np.zeros(view.shape, bool) for code in wanted}
    matrix = view.frame.to_voxels(affine)
    for columns in _chunks(view, step_mm):
        seen = nearest(labels, view.rays(columns, matrix, step_mm=step_mm))
        for code in np.intersect1d(np.unique(seen), wanted):
            masks[int(code)][columns] = (seen == code).any(-1)
    return {code: mask for code, mask in masks.items() if mask.any()}


def _chunks(view: View, step_mm: float) -> Iterator[slice]:
    """Yields columns, few enough at a time for any memory."""
    size = max(1, _CHUNK // (view.rows * view.steps(step_mm)))
    for first in range(0, view.shape[0], size):
        yield slice(first, min(first + size, view.shape[0]))
