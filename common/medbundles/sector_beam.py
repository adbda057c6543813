"""Where the ultrasound beams of a frame come from: its sector mask and the apex on which its beams meet.

A shadow runs along the beam that casts it, so a network is told depth and angle along the beams. Frames
are arrays (X, Y): columns to the right, rows away from the probe. Many stored frames are cut-outs in which no
edge of the sector is visible; they get the geometry of a common convex probe.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# A frame without visible edges: half the opening angle across its width, as a convex abdominal probe has.
DEFAULT_HALF_ANGLE = math.radians(32)
PLAUSIBLE_HALF_ANGLE = (math.radians(12), math.radians(55))
DARK = 0.02
EDGE_SUPPORT = 0.6


@dataclass(frozen=True)
class Beam:
    """The apex (x, y) in pixels, above the frame, and half the angle over which the beams spread."""

    apex: tuple[float, float]
    half_angle: float
    found: bool

    def depth_and_angle(self, shape: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Per pixel, the distance from the apex in frame heights and the angle from straight down in pi/4."""
        x, y = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
        dx, dy = x - self.apex[0], y - self.apex[1]
        depth = (np.hypot(dx, dy) - max(0.0, -self.apex[1])) / shape[1]
        angle = np.arctan2(dx, np.maximum(dy, 1e-3)) / (math.pi / 4)
        return depth.astype(np.float32), angle.astype(np.float32)


def sector_mask(frame: NDArray[np.floating]) -> NDArray[np.bool_]:
    """True in the insonified part of a frame (X, Y) with values in 0..1: its largest bright part, filled."""
    bright = ndimage.uniform_filter(frame, 3) > DARK
    bright = ndimage.binary_opening(bright, iterations=2)
    closed = ndimage.binary_closing(np.pad(bright, 12), iterations=10)[12:-12, 12:-12]
    labels, count = ndimage.label(ndimage.binary_fill_holes(closed))
    if count == 0:
        return np.ones(frame.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())[1:]
    return labels == 1 + int(np.argmax(sizes))


def find_beam(mask: NDArray[np.bool_]) -> Beam:
    """The beam geometry whose outer lines are the left and right edge of a sector mask (X, Y)."""
    width, height = mask.shape
    left, right = _side_edge(mask), _side_edge(mask[::-1])
    if right is not None:
        right = (width - 1 - right[0], -right[1])
    apex = _apex(left, right, centre=(width - 1) / 2)
    if apex is not None and -3 * height < apex[1] < 0.4 * height:
        # x = a + b y along each edge, so b is the tangent of its angle from straight down.
        half_angle = max(math.atan(abs(edge[1])) for edge in (left, right) if edge is not None)
        if PLAUSIBLE_HALF_ANGLE[0] <= half_angle <= PLAUSIBLE_HALF_ANGLE[1]:
            return Beam(apex, half_angle, found=True)
    distance = width / 2 / math.tan(DEFAULT_HALF_ANGLE)
    return Beam(((width - 1) / 2, height - distance), DEFAULT_HALF_ANGLE, found=False)


def visible_sector(mask: NDArray[np.bool_], beam: Beam) -> NDArray[np.bool_]:
    """The sector (X, Y) with its dark parts: shadows are inside the scan although nothing is seen in them."""
    depth, angle = beam.depth_and_angle(mask.shape)
    if beam.found:
        opening = beam.half_angle / (math.pi / 4) + 0.01
        return (np.abs(angle) <= opening) & (depth >= depth[mask].min()) & (depth <= depth[mask].max())
    columns, rows = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    inside = np.zeros_like(mask)
    inside[columns[0] : columns[-1] + 1, rows[0] : rows[-1] + 1] = True
    return inside


def _side_edge(mask: NDArray[np.bool_]) -> tuple[float, float] | None:
    """The line x = a + b y along the low-x side of the mask, opening with depth; None if not straight."""
    rows = np.flatnonzero(mask.any(axis=0))
    first = mask.argmax(axis=0)[rows]
    # Where the mask reaches the border of the frame the edge is the crop's, not the sector's.
    free = first > 2
    rows, first = rows[free].astype(float), first[free].astype(float)
    if len(rows) < mask.shape[1] // 6:
        return None
    line = _consensus_line(rows, first)
    if line is None or not -math.tan(PLAUSIBLE_HALF_ANGLE[1]) < line[1] < -math.tan(
        PLAUSIBLE_HALF_ANGLE[0] / 2
    ):
        return None
    return line


def _consensus_line(y: NDArray[np.floating], x: NDArray[np.floating]) -> tuple[float, float] | None:
    """The line x = a + b y that most points support, refitted on them; None without a clear majority."""
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(y), (200, 2))
    picks = picks[np.abs(y[picks[:, 0]] - y[picks[:, 1]]) > 0.1 * np.ptp(y)]
    if len(picks) == 0:
        return None
    slope = (x[picks[:, 1]] - x[picks[:, 0]]) / (y[picks[:, 1]] - y[picks[:, 0]])
    offset = x[picks[:, 0]] - slope * y[picks[:, 0]]
    residual = np.abs(x[None] - offset[:, None] - slope[:, None] * y[None])
    support = (residual < 2).mean(axis=1)
    best = int(np.argmax(support))
    if support[best] < EDGE_SUPPORT:
        return None
    b, a = np.polyfit(y[residual[best] < 2], x[residual[best] < 2], 1)
    return float(a), float(b)


def _apex(
    left: tuple[float, float] | None, right: tuple[float, float] | None, centre: float
) -> tuple[float, float] | None:
    if left is not None and right is not None:
        y = (right[0] - left[0]) / (left[1] - right[1])
        return left[0] + left[1] * y, y
    edge = left or right
    if edge is None:
        return None
    # One visible edge: a scan is symmetric about its middle line, taken to be that of the frame.
    return centre, (centre - edge[0]) / edge[1]
