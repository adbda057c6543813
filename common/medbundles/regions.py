"""Nested regions of a brain tumour: from label maps and back, their volumes, and their RANO diameters.

Label values of a map: 1 necrotic and non-enhancing core, 2 oedema, 3 enhancing tumour. Nested regions: tumour
core TC = {1, 3}, whole tumour WT = {1, 2, 3}, enhancing tumour ET = {3}, in this order wherever they are
channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medbundles.images import spacing_of
from medbundles.measure import Measurement, measurement

CORE, OEDEMA, ENHANCING = 1, 2, 3
LABEL_NAMES = {CORE: "necrotic and non-enhancing core", OEDEMA: "oedema", ENHANCING: "enhancing tumour"}
REGIONS: dict[str, tuple[int, ...]] = {
    "TC": (CORE, ENHANCING),
    "WT": (CORE, OEDEMA, ENHANCING),
    "ET": (ENHANCING,),
}
RANO_MEASURABLE_MM = 10.0
MM3_PER_ML = 1000.0

Array = TypeVar("Array")
Piece = tuple[float, int, NDArray[np.int64], NDArray[np.bool_]]  # bound, slice, corner, mask


@dataclass(frozen=True)
class Bidimensional:
    """The longest diameter of a lesion in one slice and the longest chord perpendicular to it.

    Attributes:
        longest_mm: the first diameter.
        perpendicular_mm: the second.
        axis: the voxel axis that the slice is perpendicular to.
        index: the slice.
        longest_ends: both ends of the first diameter in voxel coordinates, (2, 3).
        perpendicular_ends: of the second.
    """

    longest_mm: float
    perpendicular_mm: float
    axis: int
    index: int
    longest_ends: NDArray[np.float64]
    perpendicular_ends: NDArray[np.float64]

    @property
    def product_mm2(self) -> float:
        """The product of both, by which RANO judges response."""
        return self.longest_mm * self.perpendicular_mm

    @property
    def measurable(self) -> bool:
        """Whether RANO counts the lesion as measurable: both diameters reach 10 mm."""
        return min(self.longest_mm, self.perpendicular_mm) >= RANO_MEASURABLE_MM


def region_mask(labels: Array, region: str) -> Array:
    """Returns where a label map (array or tensor of any shape) belongs to `TC`, `WT` or `ET`."""
    first, *others = REGIONS[region]
    mask = labels == first
    for value in others:
        mask = mask | (labels == value)
    return mask


def merge_regions(probabilities: Array, thresholds: Sequence[float] | float = 0.5) -> Array:
    """Returns the label map, of the same type, from nested regions; the inner region wins.

    Args:
        probabilities: (3, ...) in the order of `REGIONS`: TC, WT, ET; an array or a tensor.
        thresholds: one, or one per region; a region begins above it.
    """
    if len(probabilities) != len(REGIONS):
        raise ValueError(f"nested regions have {len(REGIONS)} channels, got {len(probabilities)}")
    limits = [thresholds] * 3 if isinstance(thresholds, int | float) else list(thresholds)
    if len(limits) != len(REGIONS):
        raise ValueError(f"one threshold, or {len(REGIONS)}, got {len(limits)}")
    core, whole, enhancing = (channel > limit for channel, limit in zip(probabilities, limits, strict=True))
    labels = whole * OEDEMA
    labels = labels * ~core + core * CORE
    return labels * ~enhancing + enhancing * ENHANCING


def volume_ml(mask: ArrayLike, affine: ArrayLike) -> float:
    """Returns the volume of a mask (x, y, z) in millilitres; slanted axes count as they are."""
    voxel = abs(float(np.linalg.det(np.asarray(affine, float)[:3, :3])))
    return float(np.count_nonzero(mask)) * voxel / MM3_PER_ML


def axial_axis(affine: ArrayLike) -> int:
    """Returns the voxel axis that runs most nearly from the feet to the head."""
    axes = np.asarray(affine, float)[:3, :3]
    return int(np.argmax(np.abs(axes[2] / np.linalg.norm(axes, axis=0))))


def bidimensional(mask: ArrayLike, affine: ArrayLike) -> Bidimensional | None:
    """Returns the diameters of the lesion, in the axial slice where their product is largest.

    Each connected piece of a slice is a lesion of its own. Its outline runs half-way between the centres of
    the voxels inside and outside, and its diameters are those of its convex hull: both are exact, with the
    millimetres of each axis. None if the mask is empty.
    """
    region, axis = np.asarray(mask, dtype=bool), axial_axis(affine)
    if region.ndim != 3:
        raise ValueError(f"bidimensional measurement takes a volume, got {region.ndim} axes")
    spacing = np.delete(spacing_of(np.asarray(affine, float), 3), axis)
    best: Bidimensional | None = None
    for bound, index, corner, piece in _pieces(np.moveaxis(region, axis, 0), spacing):
        if best is not None and bound <= best.product_mm2:
            break
        points = (_outline(piece) + corner) * spacing
        found = _placed(*_diameters(_hull(points)), spacing=spacing, axis=axis, index=index)
        best = found if best is None or found.product_mm2 > best.product_mm2 else best
    return best


def _pieces(planes: NDArray[np.bool_], spacing: NDArray[np.float64]) -> list[Piece]:
    """Returns the connected pieces of all slices, cut out, those first whose product may be largest."""
    from scipy import ndimage

    found: list[Piece] = []
    for index in np.flatnonzero(planes.any(axis=(1, 2))):
        pieces, _ = ndimage.label(planes[index], structure=np.ones((3, 3)))
        for number, box in enumerate(ndimage.find_objects(pieces), start=1):
            sides = np.array([part.stop - part.start for part in box]) * spacing
            corner = np.array([part.start for part in box])
            # Half the product is at most the area of the hull, which the box holds.
            found.append((2 * float(sides.prod()), int(index), corner, pieces[box] == number))
    return sorted(found, key=lambda item: -item[0])


def region_measurements(
    labels: ArrayLike,
    affine: ArrayLike,
    *,
    calibrated: bool = True,
    unreliable: Mapping[str, str] | None = None,
) -> list[Measurement]:
    """Returns volume and both diameters of WT, TC and ET of a label map (x, y, z).

    Args:
        labels: the map.
        affine: 4x4, from voxel to millimetres.
        calibrated: whether these are millimetres; if not, volumes are in voxels and lengths in pixels.
        unreliable: by region, why its values must not be read; they are then None with this reason.
    """
    affine = np.asarray(affine, float) if calibrated else np.eye(4)
    found: list[Measurement] = []
    for region in ("WT", "TC", "ET"):
        mask = np.asarray(region_mask(np.asarray(labels), region))
        reason = (unreliable or {}).get(region)
        found += _measured(region, mask, affine, calibrated, reason)
    return found


def diameter_lines(
    labels: ArrayLike, affine: ArrayLike, region: str = "ET"
) -> tuple[Bidimensional | None, list[dict[str, Any]]]:
    """Returns the diameters of a region and the lines that a picture of their slice shows."""
    found = bidimensional(np.asarray(region_mask(np.asarray(labels), region)), affine)
    if found is None:
        return None, []
    lines = []
    for ends, length in (
        (found.longest_ends, found.longest_mm),
        (found.perpendicular_ends, found.perpendicular_mm),
    ):
        start, end = (tuple(float(v) for v in np.delete(point, found.axis)) for point in ends)
        lines.append({"kind": "line", "from": start, "to": end, "label": f"{length:.0f} mm"})
    return found, lines


def _measured(
    region: str, mask: NDArray[np.bool_], affine: NDArray[np.float64], calibrated: bool, reason: str | None
) -> list[Measurement]:
    names = (f"{region} volume", f"{region} longest diameter", f"{region} perpendicular diameter")
    units = ("mL", "mm", "mm") if calibrated else ("voxels", "px", "px")
    if reason is not None:
        return [measurement(name, None, unit, reason) for name, unit in zip(names, units, strict=True)]
    size = volume_ml(mask, affine) if calibrated else float(np.count_nonzero(mask))
    lesion = bidimensional(mask, affine)
    if lesion is None:
        why = f"No {region} was found."
        lengths = [
            measurement(name, None, unit, why) for name, unit in zip(names[1:], units[1:], strict=True)
        ]
    else:
        values = (lesion.longest_mm, lesion.perpendicular_mm)
        lengths = [measurement(*item) for item in zip(names[1:], values, units[1:], strict=True)]
    return [measurement(names[0], size, units[0]), *lengths]


def _outline(piece: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Points half-way from the voxels of a piece to their neighbours, (n, 2); inner voxels add none."""
    padded = np.pad(piece, 1)
    points = []
    for axis in (0, 1):
        for step in (-1, 1):
            edge = padded & ~np.roll(padded, -step, axis=axis)
            place = np.argwhere(edge) - 1.0
            place[:, axis] += step / 2
            points.append(place)
    return np.concatenate(points)


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial import ConvexHull

    return points[ConvexHull(points).vertices]  # four midpoints per voxel: never all on one line


def _diameters(hull: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the ends of the longest diameter of a convex polygon and of its longest perpendicular chord."""
    apart = np.linalg.norm(hull[:, None] - hull[None], axis=-1)
    first, second = np.unravel_index(int(np.argmax(apart)), apart.shape)
    along = (hull[second] - hull[first]) / apart[first, second]
    across = np.array([-along[1], along[0]])
    place, height = hull @ along, hull @ across
    # The length of a chord is concave and piecewise linear in its place: its maximum is at a vertex.
    upper, lower = (_chain(place, height * sign, sign) for sign in (1, -1))
    lengths = upper(place) - lower(place)
    best = float(place[int(np.argmax(lengths))])
    chord = [best * along + float(side(np.array([best]))[0]) * across for side in (lower, upper)]
    return np.stack([hull[first], hull[second]]), np.stack(chord)


def _chain(place: NDArray[np.float64], height: NDArray[np.float64], sign: int) -> Any:
    """Returns one side of a convex polygon as a function of the place along its longest diameter."""
    left, right = int(np.argmin(place)), int(np.argmax(place))
    line = height[left] + (place - place[left]) * (height[right] - height[left]) / np.ptp(place)
    side = np.unique(np.r_[left, right, np.flatnonzero(height >= line - 1e-9)])
    order = side[np.lexsort((height[side], place[side]))]
    last = np.r_[np.diff(place[order]) > 1e-12, True]  # the highest of vertices at one place
    order = order[last]
    return lambda where: sign * np.interp(where, place[order], height[order])


def _placed(
    longest: NDArray[np.float64],
    across: NDArray[np.float64],
    *,
    spacing: NDArray[np.float64],
    axis: int,
    index: int,
) -> Bidimensional:
    lengths = [float(np.linalg.norm(ends[1] - ends[0])) for ends in (longest, across)]
    ends = [np.insert(ends / spacing, axis, index, axis=1) for ends in (longest, across)]
    return Bidimensional(lengths[0], lengths[1], axis, index, ends[0], ends[1])
