"""What counts as amniotic fluid in a simulated frame, and the deepest vertical pocket of it, exactly.

Fluid in a broad shadow of bone or gas is not fluid to anyone who reads the frame, and it is not labelled.
Fluid in the haze under the near wall is: it has a label of its own and counts for the depth.
Points (x, z) and lengths are millimetres, z along the middle beam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter1d, grey_opening, map_coordinates

from medbundles.simulators.ultrasound import APERTURE_LINES, Probe
from medbundles.simulators.ultrasound_display import View
from medbundles.simulators.ultrasound_maps import Floats, Maps, Region, Scene

Mask = NDArray[np.bool_]

FLUID, FETUS, REVERBERATION = 1, 2, 3
MIN_WIDTH_MM = 10.0
FINE_MM = 0.3  # grid on which the deepest column is looked for; its ends are then found exactly
BORDER_POINTS = 65  # looked at between the last point in the fluid and the first beyond it
PIECE = 8192  # points that are labelled together
HAZE_SEEN_DB = -38.0  # backscatter from which haze in the fluid is visible
SOFT_LOSS = 1.0  # dB per cm and MHz; whatever absorbs more casts a shadow
HIDDEN_DB = 20.0  # two-way loss in bone or gas beyond which nothing can be told
READ_ACROSS_MM = 10.0  # width of a shadow up to which a reader fills in what lies in it


@dataclass(frozen=True)
class Haze:
    """Reverberation between the probe and the layers of the near wall, which fills the fluid under them.

    Args:
        radius: of the probe's surface.
        top: depth of the lower edge of the near wall.
        level: dB there.
        fall: dB per mm of depth.
        middle, half_width: rad; the beams along which the wall is flat enough to answer.
        period, contrast: mm between the stripes that repeat the wall's layers, and their height in dB.
    """

    radius: float
    top: float
    level: float
    fall: float
    middle: float = 0.0
    half_width: float = 1.0
    period: float = 5.0
    contrast: float = 4.0

    def mean(self, x: Floats, z: Floats) -> Floats:
        """Level in dB at points, without stripes."""
        below = np.hypot(x, z + self.radius) - self.radius - self.top
        off = (np.arctan2(x, z + self.radius) - self.middle) / self.half_width
        return self.level - self.fall * np.maximum(below, 0) - 6 * off**4

    def echo(self, x: Floats, z: Floats) -> Floats:
        """Level in dB at points with its stripes."""
        depth = np.hypot(x, z + self.radius) - self.radius - self.top
        depth = depth + 0.2 * self.period * np.sin(x / 7) * np.sin(x / 17 + 1)
        stripes = np.cos(2 * np.pi * depth / self.period) + 0.5 * np.cos(5.1 * np.pi * depth / self.period)
        return self.mean(x, z) + self.contrast * stripes


@dataclass(frozen=True)
class FluidScene(Scene):
    """A scene in whose fluid there may be haze."""

    haze: Haze | None = None

    def paint(self, x: Floats, z: Floats, *, surface: float = np.inf) -> Maps:
        """Returns the maps; the power of the haze adds to that of the tissue."""
        maps = super().paint(x, z, surface=surface)
        if self.haze is not None:
            power = 10 ** (maps.echo / 10) + 10 ** (self.haze.echo(x, z) / 10)
            maps.echo = (10 * np.log10(power)).astype(np.float32)
        return maps

    def labels(self, x: Floats, z: Floats) -> NDArray[np.uint8]:
        """Returns the labels of points; fluid in visible haze has its own."""
        out = self._painted_labels(x, z)
        if self.haze is not None:
            out[(out == FLUID) & (self.haze.mean(x, z) >= HAZE_SEEN_DB)] = REVERBERATION
        return out

    def _painted_labels(self, x: Floats, z: Floats) -> NDArray[np.uint8]:
        """Labels painted piece by piece of the grid, each with the few parts that reach it."""
        flat_x, flat_z, pieces = np.ravel(x), np.ravel(z), []
        for start in range(0, flat_x.size, PIECE):
            px, pz = flat_x[start : start + PIECE], flat_z[start : start + PIECE]
            near = [part for part in self.parts if part.label is not None and _reaches(part.region, px, pz)]
            pieces.append(Scene(self.background, near).labels(px, pz))
        return np.concatenate(pieces).reshape(x.shape)


def _reaches(region: Region, x: Floats, z: Floats) -> bool:
    """Whether the box around some points meets that around a region."""
    cx, cz, radius = region.bounds
    return bool(
        x.min() <= cx + radius
        and x.max() >= cx - radius
        and z.min() <= cz + radius
        and z.max() >= cz - radius
    )


@dataclass(frozen=True)
class Seen:
    """What a probe shows of a scene in a frame.

    Args:
        scene, probe, view: what is looked at, and how.
        shadow: two-way loss in dB in bone and gas, on the beam grid (depth, line).
    """

    scene: Scene
    probe: Probe
    view: View
    shadow: Floats

    @classmethod
    def of(cls, scene: Scene, probe: Probe, view: View, maps: Maps | None = None) -> Seen:
        """Works out the shadows of a scene; `maps` are those on the probe's grid where they are known."""
        maps = maps or scene.paint(*probe.grid(), surface=probe.radius)
        return cls(scene, probe, view, shadow_loss(maps, probe))

    def labels(self, x: Floats, z: Floats) -> NDArray[np.uint8]:
        """Returns labels of points; 0 outside the sector, and fluid in deep, broad shadow is no fluid."""
        out = self.scene.labels(x, z)
        depth, angle = self.probe.beam_coordinates(x, z)
        inside = (depth >= 0) & (depth <= self.probe.depth) & (np.abs(angle) <= self.probe.half_angle)
        row = depth * ((self.probe.samples - 1) / self.probe.depth)
        line = (angle / self.probe.half_angle + 1) * ((self.probe.lines - 1) / 2)
        loss = map_coordinates(self.shadow, [row, line], order=1, mode="nearest")
        out[~inside | (is_fluid(out) & (loss > HIDDEN_DB))] = 0
        return out

    def frame_labels(self) -> NDArray[np.uint8]:
        """Returns the label map (X, Y) of the frame."""
        return self.labels(*self.view.grid())

    def deepest_pocket(self, spacing: float = FINE_MM) -> Caliper | None:
        """Returns the clinician's measurement within the frame; None without a pocket wide enough."""
        reach = [self.view.spacing * (n - 1) for n in self.view.size]
        fine = View(self.view.origin, spacing, tuple(int(length / spacing) + 1 for length in reach))
        fluid = is_fluid(self.labels(*fine.grid()))
        found = deepest_column(fluid, spacing)
        if found is None:
            return None
        x = fine.origin[0] + spacing * found.column
        first, last = (fine.origin[1] + spacing * row for row in (found.start, found.stop - 1))

        low, high, near = self.view.origin[1], self.view.origin[1] + reach[1], 2.5 * spacing
        top = self._border(x, first, max(first - near, low))
        bottom = self._border(x, last, min(last + near, high))
        return Caliper((x, top), (x, bottom), found.width)

    def _border(self, x: float, inside: float, outside: float) -> float:
        """Where a pocket ends in a column between a depth in it and one beyond.

        That is the border of the fluid, to 0.01 mm, or where the pocket becomes too narrow.
        """
        z = np.linspace(inside, outside, BORDER_POINTS)
        dry = np.flatnonzero(~is_fluid(self.labels(np.full_like(z, x), z)))
        return float((z[dry[0]] + z[max(dry[0] - 1, 0)]) / 2 if len(dry) else inside)


@dataclass(frozen=True)
class Caliper:
    """The deepest vertical pocket: its two ends in mm and how wide the pocket is along it."""

    top: tuple[float, float]
    bottom: tuple[float, float]
    width_mm: float

    @property
    def depth_mm(self) -> float:
        """Length of the caliper."""
        return self.bottom[1] - self.top[1]


@dataclass(frozen=True)
class Column:
    """A vertical run of fluid on a grid: its column, first row, row after the last, median width in mm."""

    column: int
    start: int
    stop: int
    width: float


def is_fluid(labels: NDArray[np.uint8]) -> Mask:
    """Returns where the labels say fluid, clear or in haze."""
    return (labels == FLUID) | (labels == REVERBERATION)


def shadow_loss(maps: Maps, probe: Probe) -> Floats:
    """Returns the two-way loss in dB that bone and gas add along each beam, down to each sample.

    Of a shadow narrower than `READ_ACROSS_MM` only the loss beside it counts: a reader sees the pocket go on.
    """
    step = probe.depth / (probe.samples - 1) / 10
    extra = np.maximum(maps.attenuation - SOFT_LOSS, 0) * np.float32(2 * probe.frequency * step)
    loss = np.minimum(np.cumsum(extra, axis=0), 3 * HIDDEN_DB)
    loss = gaussian_filter1d(loss, APERTURE_LINES * probe.lines / 400, axis=1, mode="nearest")
    arcs = (probe.radius + probe.depths()) * (2 * probe.half_angle / (probe.lines - 1))
    for row, arc in enumerate(arcs):
        if loss[row].max() > HIDDEN_DB:
            loss[row] = grey_opening(loss[row], max(1, round(READ_ACROSS_MM / arc)), mode="nearest")
    return loss


def deepest_column(fluid: Mask, spacing: float, min_width: float = MIN_WIDTH_MM) -> Column | None:
    """Returns the longest unbroken vertical run of wide fluid in a mask (X, Y), or None.

    Fluid is wide where a line of `min_width` mm across, or a disc as wide, fits in it over the point: the
    round ends of a pocket are measured, narrow clefts are not.
    """
    width = run_lengths(fluid) * spacing
    columns, starts, stops = _vertical_runs((width >= min_width) | _disc_fits(fluid, spacing, min_width / 2))
    if len(columns) == 0:
        return None
    # Of the columns that share the greatest depth the middle one is taken, as a reader would.
    deepest = np.flatnonzero(stops - starts == (stops - starts).max())
    best = deepest[len(deepest) // 2]
    column, start, stop = int(columns[best]), int(starts[best]), int(stops[best])
    return Column(column, start, stop, float(np.median(width[column, start:stop])))


def _disc_fits(fluid: Mask, spacing: float, radius: float) -> Mask:
    """Where a disc that lies in the fluid reaches; borders run halfway between samples."""
    to_border = distance_transform_edt(np.pad(fluid, 1))[1:-1, 1:-1] * spacing - spacing / 2
    centres = to_border >= radius
    if not centres.any():
        return centres
    return fluid & (distance_transform_edt(~centres) * spacing <= radius + spacing / 2)


def run_lengths(mask: Mask) -> NDArray[np.int32]:
    """Returns, at each true pixel of (X, Y), how many true pixels lie in its run along X; 0 elsewhere."""
    index = np.arange(mask.shape[0], dtype=np.int32)[:, None]
    before = np.maximum.accumulate(np.where(mask, np.int32(-1), index), axis=0)
    after = np.where(mask, np.int32(mask.shape[0]), index)[::-1]
    after = np.minimum.accumulate(after, axis=0)[::-1]
    return np.where(mask, after - before - 1, 0)


def _vertical_runs(mask: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Column, first row and row after the last of every run along Y."""
    steps = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    columns, starts = np.nonzero(steps == 1)
    return columns, starts, np.nonzero(steps == -1)[1]
