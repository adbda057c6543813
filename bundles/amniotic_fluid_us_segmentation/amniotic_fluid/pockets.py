"""How deep a pocket of amniotic fluid is: four rules, from the longest column of a mask to the clinician's.

A label map (X, Y) is looked up on a sheet whose columns run along the transducer's vertical, in samples of
half a pixel. Depth is measured along a column, width across it. Pixels are areas: what covers n pixels along
an axis is n pixels long, and whole numbers are the centres of pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medbundles.measure import Calibration

FLUID, PARTS, REVERBERATION = 1, 2, 3
WET = (FLUID, REVERBERATION)  # fluid under reverberation is fluid
WIDTH_MM = 10.0
SPECK_MM2 = 4.0  # floating matter; a cord or a limb is larger
MOST_SAMPLES = 2400  # along an axis of a sheet
NO_FLUID = "no amniotic fluid was found in this frame"
TOO_NARROW = f"amniotic fluid was found, but no pocket of it is {WIDTH_MM:g} mm wide"

Mask = NDArray[np.bool_]
Point = tuple[float, float]


@dataclass(frozen=True)
class Geometry:
    """Where down is in a frame, and how large its pixels are.

    Attributes:
        vertical: direction away from the transducer along its central beam, in pixels of the frame (x, y).
        calibration: the pixel size; without one lengths are in pixels and widths are not checked.
    """

    vertical: Point = (0.0, 1.0)
    calibration: Calibration = field(default_factory=Calibration)

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Size of a pixel along x and y, 1 without calibration."""
        return np.asarray(self.calibration.spacing_mm or (1.0, 1.0), float)

    @property
    def axes(self) -> NDArray[np.float64]:
        """Unit vectors across and along the vertical as rows, in the unit of the calibration."""
        down = self.calibration.vector(self.vertical)
        length = np.linalg.norm(down)
        if not np.isfinite(length) or length == 0:
            raise ValueError(f"The vertical of a frame needs a direction, got {self.vertical}.")
        x, y = down / length
        return np.array([[y, -x], [x, y]])


@dataclass(frozen=True)
class Pocket:
    """A measured pocket; lengths are in millimetres, or in pixels without calibration.

    Attributes:
        depth: the fluid along the measured column.
        ends: where the caliper begins, on the side of the transducer, and ends; (x, y) in pixels.
        component: the fluid (X, Y) that the column lies in.
        width: the median of the fluid's widths through the points of the column.
    """

    depth: float
    ends: tuple[Point, Point]
    component: Mask
    width: float


Found = tuple[Pocket | None, str]  # what a rule gives: a pocket, or None and the reason
Rule = Callable[[NDArray[Any], Geometry], Found]


def deepest_pocket(labels: NDArray[Any], geometry: Geometry) -> Found:
    """Returns the deepest pocket by the clinician's rule, see `find_pockets`; None and the reason if none."""
    return _first(find_pockets(labels, geometry), labels)


def find_pockets(labels: NDArray[Any], geometry: Geometry) -> list[Pocket]:
    """Returns what the clinician's rule measures in each pocket that it accepts, the deepest first.

    A pocket is a side-connected component of fluid. The caliper is its longest unbroken column of points that
    are wide enough: over each of them a line of 10 mm across the vertical, or a disc of 10 mm, can be laid
    inside the fluid. So round ends of a pocket count and narrow clefts do not. Whatever is not fluid breaks
    column and width, fetal parts and cord too, but for enclosed specks up to 4 mm2. Between equal columns
    the middle one is taken.
    """
    return _measured(labels, geometry, _longest_run)


def longest_column(labels: NDArray[Any], geometry: Geometry) -> Found:
    """Returns the column with most fluid, whatever lies between its parts; depth counts the fluid only."""
    return _fullest(wet(labels), geometry)


def longest_column_of_largest(labels: NDArray[Any], geometry: Geometry) -> Found:
    """Returns the column with most fluid of the largest component; gaps in it are passed over."""
    numbers, count = ndimage.label(wet(labels))
    if count == 0:
        return None, NO_FLUID
    return _fullest(numbers == 1 + np.argmax(np.bincount(numbers.ravel())[1:]), geometry)


def longest_wide_column(labels: NDArray[Any], geometry: Geometry) -> Found:
    """Returns the column with most fluid in one component where that is 10 mm wide; gaps are passed over.

    It is `find_pockets` but for fetal parts and cord: they do not break the column.
    """
    return _first(_measured(labels, geometry, _fullest_column), labels)


RULES: dict[str, Rule] = {
    "longest column": longest_column,
    "largest component": longest_column_of_largest,
    "and 10 mm wide": longest_wide_column,
    "and free of cord and limbs": deepest_pocket,
}


class Sheet:
    """A mask (X, Y) on square samples: first axis across the vertical, second away from the transducer."""

    def __init__(self, mask: Mask, geometry: Geometry) -> None:
        self.geometry, self.axes = geometry, geometry.axes
        where = np.argwhere(mask)
        low, high = where.min(axis=0) - 0.5, where.max(axis=0) + 0.5
        corners = np.array([[x, y] for x in (low[0], high[0]) for y in (low[1], high[1])])
        reach = (corners * geometry.spacing) @ self.axes.T
        self.origin, extent = reach.min(axis=0), np.ptp(reach, axis=0)
        self.step = max(float(geometry.spacing.min()) / 2, float(extent.max()) / MOST_SAMPLES)
        self.wet = self._sampled(mask, np.ceil(extent / self.step - 1e-6).astype(int))

    def _sampled(self, mask: Mask, size: NDArray[np.int_]) -> Mask:
        across, along = (
            (o + self.step * (np.arange(n) + 0.5)) for o, n in zip(self.origin, size, strict=True)
        )
        inside = np.ones(tuple(size), bool)
        index = []
        for axis, length in enumerate(mask.shape):
            place = across[:, None] * self.axes[0, axis] + along[None] * self.axes[1, axis]
            nearest = np.rint(place / self.geometry.spacing[axis]).astype(int)
            inside &= (nearest >= 0) & (nearest < length)
            index.append(np.clip(nearest, 0, length - 1))
        return mask[tuple(index)] & inside

    def wide(self) -> Mask:
        """True in fluid over which a line across, or a disc, of 10 mm fits; all fluid without calibration."""
        if self.geometry.calibration.spacing_mm is None:
            return self.wet
        line = _stretches(self.wet) * self.step >= WIDTH_MM - self.step / 2
        return line | self._disc(WIDTH_MM / 2)

    def _disc(self, radius: float) -> Mask:
        """Returns the fluid that discs of a radius reach that lie wholly in fluid."""
        # The edge of the fluid is half a step nearer than the first sample beyond it.
        to_edge = ndimage.distance_transform_edt(np.pad(self.wet, 1))[1:-1, 1:-1] * self.step - self.step / 2
        centres = to_edge >= radius
        if not centres.any():
            return centres
        return self.wet & (ndimage.distance_transform_edt(~centres) * self.step <= radius + self.step / 2)

    def pocket(self, column: int, fluid: Mask, component: Mask) -> Pocket:
        """Returns the pocket whose caliper covers the samples `fluid` (along) of a column."""
        along = np.flatnonzero(fluid)
        ends = [self._pixel(column + 0.5, end) for end in (along[0], along[-1] + 1)]
        width = float(np.median(_stretches(self.wet)[column, along])) * self.step
        return Pocket(len(along) * self.step, (ends[0], ends[1]), component, width)

    def _pixel(self, across: float, along: float) -> Point:
        place = (self.origin + self.step * np.array([across, along])) @ self.axes
        x, y = place / self.geometry.spacing
        return float(x), float(y)


def wet(labels: NDArray[Any]) -> Mask:
    """True where a label map is fluid, under reverberation or not."""
    return np.isin(labels, WET)


def _components(mask: Mask) -> Iterator[Mask]:
    numbers, count = ndimage.label(mask)
    for number in range(1, count + 1):
        yield numbers == number


def _measured(
    labels: NDArray[Any], geometry: Geometry, choose: Callable[[Mask], tuple[int, Mask] | None]
) -> list[Pocket]:
    """Returns every component in which `choose` finds a column of wide fluid, the deepest first."""
    pockets = []
    for component in _components(wet(labels)):
        sheet = Sheet(_without_specks(component, geometry), geometry)
        column = choose(sheet.wide())
        if column is not None:
            pockets.append(sheet.pocket(*column, component))
    return sorted(pockets, key=lambda pocket: -pocket.depth)


def _first(pockets: list[Pocket], labels: NDArray[Any]) -> Found:
    return (pockets[0], "") if pockets else (None, TOO_NARROW if wet(labels).any() else NO_FLUID)


def _without_specks(component: Mask, geometry: Geometry) -> Mask:
    """Returns a pocket with its enclosed specks filled; without calibration nobody knows what is one."""
    if geometry.calibration.spacing_mm is None:
        return component
    holes, count = ndimage.label(ndimage.binary_fill_holes(component) & ~component)
    sizes = np.bincount(holes.ravel(), minlength=count + 1) * geometry.spacing.prod()
    sizes[0] = np.inf
    return component | (sizes <= SPECK_MM2)[holes]


def _fullest(mask: Mask, geometry: Geometry) -> Found:
    if not mask.any():
        return None, NO_FLUID
    sheet = Sheet(mask, geometry)
    column = _fullest_column(sheet.wet)
    return (None, NO_FLUID) if column is None else (sheet.pocket(*column, mask), "")


def _fullest_column(mask: Mask) -> tuple[int, Mask] | None:
    """Returns the column with most samples, and which they are; None in an empty mask."""
    if not mask.any():
        return None
    count = mask.sum(axis=1)
    column = _middle(np.flatnonzero(count == count.max()))
    return column, mask[column]


def _longest_run(mask: Mask) -> tuple[int, Mask] | None:
    """Returns the column with the longest unbroken run, and the samples of the run; None in an empty mask."""
    if not mask.any():
        return None
    columns, starts, stops = _runs(mask)
    longest = np.flatnonzero(stops - starts == (stops - starts).max())
    column = _middle(np.unique(columns[longest]))
    run = longest[columns[longest] == column][0]
    samples = np.zeros(mask.shape[1], bool)
    samples[starts[run] : stops[run]] = True
    return column, samples


def _middle(columns: NDArray[np.int_]) -> int:
    """Returns the middle of the longest group of neighbouring columns."""
    groups = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    longest = max(groups, key=len)
    return int(longest[len(longest) // 2])


def _runs(mask: Mask) -> tuple[NDArray[np.int_], NDArray[np.int_], NDArray[np.int_]]:
    """Returns the line (first axis), start and end (second axis) of each unbroken run."""
    change = np.diff(mask.astype(np.int8), axis=1, prepend=0, append=0)
    lines, starts = np.nonzero(change == 1)
    return lines, starts, np.nonzero(change == -1)[1]


def _stretches(mask: Mask) -> NDArray[np.int_]:
    """Returns, for each sample of a mask, the length of the unbroken run across that it lies in."""
    _, starts, stops = _runs(mask.T)
    lengths = np.zeros(mask.T.shape, int)
    lengths[mask.T] = np.repeat(stops - starts, stops - starts)
    return lengths.T
