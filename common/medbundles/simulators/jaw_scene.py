"""Stands the teeth in the field, who owns which voxel, and paints them with their dental work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label as components

from medbundles.simulators.jaw_canvas import FAR, Canvas, Field, Floats, Frame, Window
from medbundles.simulators.jaw_metal import Works, paint_works
from medbundles.simulators.jaw_shapes import layers
from medbundles.simulators.jaw_teeth import Tooth

DENTINE = {"soft": 0.64, "mineral": 1.50}
ENAMEL = {"soft": 0.12, "mineral": 2.83}
PULP = {"soft": 1.02, "mineral": 0.0}
SAC_MM = 1.1  # soft tissue around the crown of an impacted tooth
_MARGIN_MM = 1.8  # around a tooth, in which its distance is known


@dataclass(frozen=True)
class Dentition:
    """All teeth in the field.

    Attributes:
        places: all 32 places of a dentition.
        teeth: those that stand in the field, also in part.
        frames: of the upper (True) and lower jaw.
        windows: the voxels around each place that the field reaches.
        distance: mm to the nearest tooth, `FAR` away from all.
        owner: FDI code of that tooth.
        labels: FDI codes inside the teeth; the nearest tooth owns a voxel.
        field: the grid.
    """

    places: Sequence[Tooth]
    teeth: list[Tooth]
    frames: dict[bool, Frame]
    windows: dict[int, Window]
    distance: Floats
    owner: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    field: Field

    def is_cut(self, tooth: Tooth) -> bool:
        """Whether a part of a tooth lies outside the field."""
        window = self.windows.get(tooth.fdi)
        if window is None:
            return True
        mask = self.labels[window] == tooth.fdi
        faces = zip(window, self.field.shape, range(3), strict=True)
        low_high = [(part.start == 0, part.stop == size, axis) for part, size, axis in faces]
        return not mask.any() or any(
            (low and mask.take(0, axis).any()) or (high and mask.take(-1, axis).any())
            for low, high, axis in low_high
        )


def _margin(tooth: Tooth) -> float:
    return _MARGIN_MM + (SAC_MM if tooth.state == "impacted" else 0.0)


def window_of(field: Field, tooth: Tooth, frames: dict[bool, Frame]) -> Window | None:
    """The voxels around a tooth."""
    frame = tooth.frame(frames[tooth.upper])
    reach = max(tooth.shape.width, tooth.shape.depth) / 2 + _margin(tooth)
    return field.around(frame.back(tooth.ends()), reach)


def stand_teeth(field: Field, places: Sequence[Tooth], frames: dict[bool, Frame]) -> Dentition:
    """Measures the distance of every voxel to its nearest tooth, and labels the teeth."""
    distance = np.full(field.shape, FAR, np.float32)
    owner = np.zeros(field.shape, np.uint8)
    windows = {tooth.fdi: window_of(field, tooth, frames) for tooth in places}
    windows = {fdi: window for fdi, window in windows.items() if window is not None}
    teeth = [tooth for tooth in places if tooth.state != "missing" and tooth.fdi in windows]
    # Teeth that stand in the row come first: an impacted one gives way where both are equally near.
    for tooth in sorted(teeth, key=lambda tooth: tooth.state == "impacted"):
        window = windows[tooth.fdi]
        m, b, h = field.points(tooth.frame(frames[tooth.upper]), window)
        near = _near(tooth, m, b, h)
        own = np.full(m.shape, FAR, np.float32)
        own[near] = layers(tooth.shape, m[near], b[near], h[near]).tooth
        nearer = own < distance[window]
        distance[window][nearer] = own[nearer]
        owner[window][nearer] = tooth.fdi
    labels = np.where(distance < 0, owner, 0).astype(np.uint8)
    for tooth in teeth:
        _keep_largest(labels[windows[tooth.fdi]], tooth.fdi)
    return Dentition(places, teeth, frames, windows, distance, owner, labels, field)


def _near(tooth: Tooth, m: Floats, b: Floats, h: Floats) -> NDArray[np.bool_]:
    """Where a tooth can be within the margin; roots may spread a little beyond its crown."""
    shape = tooth.shape
    margin = _margin(tooth)
    low, high, wide = shape.crown - shape.length - margin, shape.crown + margin, margin + 0.8
    flat = np.hypot(m / (shape.width / 2 + wide), b / (shape.depth / 2 + wide)) < 1.15
    return flat & (h > low) & (h < high)


def _keep_largest(labels: NDArray[np.uint8], fdi: int) -> None:
    """Takes a tooth's number from all but its largest piece, in place."""
    parts, count = components(labels == fdi)
    if count > 1:
        sizes = np.bincount(parts.ravel())[1:]
        labels[(parts > 0) & (parts != 1 + sizes.argmax())] = 0


def paint_teeth(canvas: Canvas, dentition: Dentition, works: Works) -> None:
    """Paints the teeth over the background, and the dental work over the teeth."""
    for tooth in dentition.teeth:
        _paint_tooth(canvas, dentition, tooth)
    for tooth in dentition.places:
        window, pieces = dentition.windows.get(tooth.fdi), works.teeth.get(tooth.fdi)
        if window is None or not pieces:
            continue
        place = canvas.field.points(tooth.frame(dentition.frames[tooth.upper]), window)
        free = (dentition.owner[window] == tooth.fdi) | (dentition.distance[window] > 0)
        paint_works(canvas, window, tooth.shape, pieces, place=place, free=free)


def _paint_tooth(canvas: Canvas, dentition: Dentition, tooth: Tooth) -> None:
    window, shape = dentition.windows[tooth.fdi], tooth.shape
    reach = SAC_MM if tooth.state == "impacted" else 0.0
    mask = dentition.distance[window] < reach + canvas.field.spacing
    mask &= dentition.owner[window] == tooth.fdi
    where = tuple(part.start + index for part, index in zip(window, np.nonzero(mask), strict=True))
    points = canvas.field.points(tooth.frame(dentition.frames[tooth.upper]), window)
    m, b, h = (p[mask] for p in points)
    parts = layers(shape, m, b, h)
    part = canvas.cut(where)
    if tooth.state == "impacted":  # its crown lies in a sac
        sac = np.where(h > 0, parts.tooth - np.float32(reach), np.float32(FAR))
        part.fill(..., part.share(sac), **PULP)
    part.fill(..., part.share(parts.tooth), **DENTINE)
    part.fill(..., part.share(parts.enamel), **ENAMEL)
    part.fill(..., part.share(np.maximum(parts.chamber, parts.tooth + np.float32(0.3))), **PULP)
    # The canal of a root that still grows is open at its end.
    grows = (shape.formed < 1) & (h < 0.6 * (shape.crown - shape.length))
    cover = np.where(grows, np.float32(-FAR), parts.tooth + np.float32(0.2))
    canals = np.maximum(parts.canals, cover)
    part.fill(..., part.rod(canals, np.maximum(parts.canal_radius, 0.1)), **PULP)
    canvas.paste(where, part)
