"""The curve along a dental arch: a plain arch fitted to all teeth, then drawn to their middle line.

The plain arch gives every tooth a place along the jaw and a distance from it, whatever is missing between;
the middle line follows in these coordinates, which is what a skeleton of the arch is without its side
branches. Gaps are bridged and both ends extended smoothly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage, optimize
from scipy.spatial import ConvexHull, cKDTree

from dental_teeth.frame import Array, NotDentalError
from dental_teeth.jaws import Jaw

COLUMNS = 640
PITCH_MM = 0.25
BAND_MM = 16.0  # from the bite: crowns and most of the roots, not the body of the jaw
# An adult's arch through the middle of its teeth, to the last molar: v = v0 + DEPTH (|u| / width) ** power.
DEPTH_MM = 42.0
TYPICAL = {"yaw": (0.0, 8.0), "width": (27.0, 4.0), "power": (2.4, 0.4)}
WIDTHS, POWERS, MAX_YAW = (13.0, 42.0), (1.5, 4.0), 40.0
MISFIT_MM = 4.0
MAX_SHIFT_MM = 9.0
MIN_SHARE, MAX_SPREAD_MM = 0.6, 5.5
BLOB_SHARE, BLOB_MM = 0.92, 4.5  # of its convex hull; standard deviation across
MIN_LENGTH_MM = 5.0


@dataclass(frozen=True)
class ArchCurve:
    """A curve in the level plane with a point per column, from the patient's right to the left.

    Attributes:
        points: (columns, 2) coordinates u, v in the frame.
        pitch_mm: distance of neighbouring points along the curve.
        first, last: the columns between which there are teeth; the curve goes on beyond both.
        spread_mm: typical distance of dense tissue from the curve.
        share: how much of the dense tissue lies near the curve.
    """

    points: Array
    pitch_mm: float
    first: int
    last: int
    spread_mm: float
    share: float

    @cached_property
    def normals(self) -> Array:
        """Unit vectors (columns, 2) at right angles to the curve, outwards to cheek and lips."""
        along = np.gradient(self.points, axis=0)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        return np.stack([along[:, 1], -along[:, 0]], 1)

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.points)

    def place(self, points: Array) -> tuple[Array, Array]:
        """Returns column (fractional) and outward distance in millimetres of points (..., 2) from the curve.

        Those of its nearest point; beyond its ends the curve counts as going straight on.
        """
        _, index = self._tree.query(points)
        normal, offset = self.normals[index], points - self.points[index]
        along = np.stack([-normal[..., 1], normal[..., 0]], -1)
        depth = (offset * normal).sum(-1)
        # Normals of neighbouring columns are closer together on the inside of a bend.
        turn = np.gradient(np.unwrap(np.arctan2(self.normals[:, 1], self.normals[:, 0]))) / self.pitch_mm
        stretch = np.maximum(1 + turn[index] * depth, 0.2)
        step = (offset * along).sum(-1) / stretch / self.pitch_mm
        inner = (index > 0) & (index < len(self.points) - 1)
        return index + np.where(inner, np.clip(step, -1, 1), step), depth


def fit_arch(jaw: Jaw, *, columns: int = COLUMNS, pitch_mm: float = PITCH_MM) -> ArchCurve:
    """Returns the curve of one jaw; its middle column is the front of the arch.

    Raises:
        NotDentalError: the dense tissue does not lie along an arch.
    """
    points, weight = arch_region(jaw)
    if _is_blob(points, jaw.grid.step_mm):
        raise _no_arch()
    plain = _fitted(points, weight)
    return _drawn(plain, points, weight, columns, pitch_mm)


def arch_region(jaw: Jaw) -> tuple[Array, Array]:
    """Returns places (n, 2) in the level plane where teeth are seen from above, and how clearly."""
    near = np.abs(jaw.grid.axis(2, jaw.teeth.shape[2])) <= BAND_MM
    seen = jaw.teeth[:, :, near].max(2) if near.any() else np.zeros((1, 1), np.float32)
    if not (seen > 0.5).any():
        raise _no_arch()
    mask = ndimage.binary_closing(np.pad(seen > 0.5, 3), iterations=2)[3:-3, 3:-3]
    index = np.argwhere(mask)
    return jaw.grid.start[:2] + jaw.grid.step_mm * index, seen[mask].astype(float) + 0.1


def plain_arch(params: Array, count: int = 161) -> Array:
    """Returns points (count, 2), right to left, of the arch with parameters u0, v0, yaw, width, power."""
    u0, v0, yaw, width, power = params
    u = width * np.linspace(-1.08, 1.08, count)
    v = DEPTH_MM * np.abs(u / width) ** power
    turn = np.deg2rad(yaw)
    return np.stack([u0 + u * np.cos(turn) - v * np.sin(turn), v0 + u * np.sin(turn) + v * np.cos(turn)], 1)


def _is_blob(points: Array, step: float) -> bool:
    """Whether dense tissue fills its outline and is broad both ways: a shaft or vertebra, not a row."""
    across = float(np.sqrt(np.linalg.eigvalsh(np.cov(points.T))[0])) if len(points) > 3 else 0.0
    return across > BLOB_MM and len(points) * step**2 > BLOB_SHARE * ConvexHull(points).volume


def _fitted(points: Array, weight: Array) -> Array:
    """The parameters of the plain arch nearest to most of the dense tissue, among several beginnings."""
    if len(points) > 800:
        chosen = np.random.default_rng(0).choice(len(points), 800, replace=False)
        points, weight = points[chosen], weight[chosen]
    low, high = np.percentile(points, 3, axis=0), np.percentile(points, 97, axis=0)
    middle = (low + high) / 2

    def cost(params: Array) -> float:
        yaw, width, power = params[2:]
        sound = WIDTHS[0] <= width <= WIDTHS[1] and POWERS[0] <= power <= POWERS[1]
        if not sound or abs(yaw) > MAX_YAW:
            return 1e3
        far, _ = cKDTree(plain_arch(params)).query(points)
        misfit = np.average(far**2 / (far**2 + MISFIT_MM**2), weights=weight)
        usual = zip((yaw, width, power), TYPICAL.values(), strict=True)
        return float(misfit + 0.006 * sum(((value - mean) / sd) ** 2 for value, (mean, sd) in usual))

    starts = [(u, v, 0.0, 27.0, 2.4) for u in (middle[0], low[0], high[0]) for v in (low[1] + 3, low[1] - 20)]
    starts = sorted(starts, key=lambda start: cost(np.array(start)))[:3]
    best = min((_descended(cost, np.array(start), 1.0, 180) for start in starts), key=cost)
    # Begun anew with small steps: one run stops beside the front of the arch, and differently in a mirror.
    return _descended(cost, best, -0.3, 260)


def _descended(cost: Callable[[Array], float], start: Array, size: float, most: int) -> Array:
    """Where Nelder and Mead's search ends that begins with steps of some size."""
    simplex = start + np.vstack([np.zeros(5), size * np.diag([6.0, 6.0, 6.0, 3.0, 0.4])])
    options = {"maxfev": most, "xatol": 0.02, "fatol": 1e-6, "initial_simplex": simplex}
    return optimize.minimize(cost, start, method="Nelder-Mead", options=options).x


def _drawn(params: Array, points: Array, weight: Array, columns: int, pitch: float) -> ArchCurve:
    """The plain arch moved to the middle of what lies beside it, in columns of equal length."""
    plain = _even(plain_arch(params, 1001), columns, pitch)
    curve = ArchCurve(plain, pitch, 0, columns - 1, 0.0, 0.0)
    column, depth = curve.place(points)
    near = (np.abs(depth) < MAX_SHIFT_MM) & (column >= 0) & (column <= columns - 1)
    shift = _middle_line(column[near], depth[near], weight[near], columns, pitch)
    moved = _even(plain + shift[:, None] * curve.normals, columns, pitch)
    curve = ArchCurve(moved, pitch, 0, columns - 1, 0.0, 0.0)
    column, depth = curve.place(points)
    near = (np.abs(depth) < MAX_SHIFT_MM) & (column >= 0) & (column <= columns - 1)
    share = float(weight[near].sum() / weight.sum())
    if near.sum() < 3:
        raise _no_arch()
    first, last = np.percentile(column[near], (0.5, 99.5))
    spread = float(np.sqrt(np.average(depth[near] ** 2, weights=weight[near])))
    if share < MIN_SHARE or spread > MAX_SPREAD_MM or (last - first) * pitch < MIN_LENGTH_MM:
        raise _no_arch()
    return ArchCurve(moved, pitch, int(first), int(np.ceil(last)), spread, share)


def _middle_line(column: Array, depth: Array, weight: Array, columns: int, pitch: float) -> Array:
    """Returns a smooth distance from the plain arch per column, a penalised spline through the middles.

    It is stiff over a few teeth, goes straight on over gaps, and returns to the plain arch at the ends.
    """
    knots = max(8, round(columns * pitch / 2))
    bins = np.clip((column / columns * knots).astype(int), 0, knots - 1)
    middle, trust = np.zeros(knots), np.zeros(knots)
    for k in np.unique(bins):
        here = bins == k
        low, high = np.percentile(depth[here], (4, 96))
        middle[k], trust[k] = (low + high) / 2, min(1.0, weight[here].sum() / 6)
    bend = np.diff(np.eye(knots), 2, axis=0)
    slope = np.diff(np.eye(knots), 1, axis=0)
    system = np.diag(trust + 2e-3) + 12.0 * bend.T @ bend + 0.1 * slope.T @ slope
    smooth = np.linalg.solve(system, trust * middle)
    at = (np.arange(knots) + 0.5) * columns / knots
    shift = np.interp(np.arange(columns), at, smooth)
    return np.clip(ndimage.gaussian_filter1d(shift, 2.0 / pitch, mode="nearest"), -MAX_SHIFT_MM, MAX_SHIFT_MM)


def _even(points: Array, columns: int, pitch: float) -> Array:
    """Points at equal distances along a curve, its front in the middle, extended straight at both ends."""
    length = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    front = length[len(points) // 2]
    wanted = front + (np.arange(columns) - (columns - 1) / 2) * pitch
    found = np.stack([np.interp(wanted, length, points[:, axis]) for axis in (0, 1)], 1)
    for end, beyond in ((0, np.minimum(wanted, 0.0)), (-1, np.maximum(wanted - length[-1], 0.0))):
        step = max(2, len(points) // 40)
        inner = points[step] if end == 0 else points[-1 - step]
        outward = (points[end] - inner) / max(float(np.linalg.norm(points[end] - inner)), 1e-9)
        found += np.abs(beyond)[:, None] * outward
    return found


def _no_arch() -> NotDentalError:
    return NotDentalError(
        "no row of teeth: what looks like teeth does not lie along an arch",
        expected="a cone-beam CT of one or both jaws, upright within 25 degrees of the header's axes",
        advice="check the orientation in the header, and that the volume shows the teeth",
    )
