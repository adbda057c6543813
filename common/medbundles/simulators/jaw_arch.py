"""The curve that the teeth of a jaw stand on, and a patient's jaws as a whole.

The frame of a jaw has x to the left, y to the back and r from the chewing plane towards the roots: up in the
upper jaw, down in the lower one. On the arch, s is the way from the midline, positive on the patient's left,
and d the distance outwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from medbundles.simulators.fields import Draws
from medbundles.simulators.jaw_canvas import Floats, Frame, Vector, turned

CONDYLE = (0.0, 68.0, 34.0)  # mm, the hinge of the lower jaw in the head
_TABLE_MM, _TABLE_HALF = 1.0, 90.0


@dataclass(frozen=True)
class Arch:
    """A jaw's arch: y = front + depth (|x| / width)^power up to its end, then straight on.

    Attributes:
        front: y of the arch at the midline, mm.
        width: half width at the end.
        depth: from the front to the end.
        power: 2 for a parabola, more for a square arch.
        inset: mm by which the curve is moved inwards, at the front and at the sides.
    """

    front: float
    width: float
    depth: float
    power: float
    inset: tuple[float, float] = (0.0, 0.0)

    @cached_property
    def curve(self) -> tuple[Vector, Vector]:
        """Ways s >= 0 (n,) and points (n, 2) of the left half, with a straight piece behind the end."""
        x = np.linspace(0, self.width, 3000)
        points = np.stack([x, self.front + self.depth * (x / self.width) ** self.power], axis=1)
        way = _way(points)
        tangent = np.gradient(points, axis=0)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        inset = np.interp(way, [0, 22], self.inset)
        points = points + inset[:, None] * np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
        points[:, 0] -= points[0, 0]
        # The straight piece turns a little inwards, as the last molars do.
        last = turned(2, 6.0)[:2, :2] @ tangent[-1]
        points = np.concatenate([points, points[-1] + np.arange(0.1, 60, 0.1)[:, None] * last])
        return _way(points), points

    def at(self, s: float) -> tuple[Vector, Vector, Vector]:
        """Point, direction away from the midline and direction outwards, each (2,), at a way on the arch."""
        way, points = self.curve
        place = _along(way, points, abs(s))
        tangent = _along(way, points, abs(s) + 0.5) - _along(way, points, max(abs(s) - 0.5, 0))
        tangent = tangent / np.linalg.norm(tangent)
        side = np.array([-1.0 if s < 0 else 1.0, 1.0])
        return place * side, tangent * side, np.array([tangent[1], -tangent[0]]) * side

    @cached_property
    def _table(self) -> Vector:
        """|s| and d (2, X, Y) on a grid of the plane."""
        way, points = self.curve
        way, points = way[::4], points[::4]
        ticks = np.arange(-_TABLE_HALF, _TABLE_HALF + _TABLE_MM / 2, _TABLE_MM)
        # Both sides are mirror images: one half is measured.
        x, y = np.meshgrid(ticks[ticks >= 0], ticks, indexing="ij")
        distance, index = cKDTree(points).query(np.stack([x, y], axis=-1))
        tangent = np.gradient(points, axis=0)[index]
        away = np.stack([x, y], axis=-1) - points[index]
        outside = away[..., 0] * tangent[..., 1] - away[..., 1] * tangent[..., 0] > 0
        d = np.where(outside, distance, -distance)
        half = np.stack([way[index], d])
        return np.concatenate([half[:, :0:-1], half], axis=1)

    def locate(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """s and d at points of the plane."""
        where = np.stack([x, y]) / np.float32(_TABLE_MM) + np.float32(_TABLE_HALF / _TABLE_MM)
        s, d = (
            map_coordinates(table, where, order=1, mode="nearest", output=np.float32) for table in self._table
        )
        return np.where(x < 0, -s, s), d


def _way(points: Vector) -> Vector:
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])


def _along(way: Vector, points: Vector, s: float) -> Vector:
    return np.array([np.interp(s, way, points[:, i]) for i in range(2)])


@dataclass(frozen=True)
class Patient:
    """What both jaws of a patient share.

    Attributes:
        scale: size of everything; 1 is an average adult.
        arch: of the upper jaw.
        overjet, overbite: how far the upper front teeth stand before and over the lower ones, mm.
        spee: sag of the chewing plane, mm.
        gap: mm between the cusps of the first molars; 0 when the jaws are closed.
        age: 0 young to 1 old.
        loss: bone lost around the necks, mm.
        missing: probability that a tooth is gone.
        squeeze: room for the front teeth of the upper and the lower jaw; below 1 they are crowded.
        density: mineral of the spongy bone.
    """

    scale: float
    arch: Arch
    overjet: float
    overbite: float
    spee: float
    gap: float
    age: float
    loss: float
    missing: float
    squeeze: tuple[float, float]
    density: float

    def jaw_arch(self, upper: bool) -> Arch:
        """The arch of one jaw: the lower one runs inside the upper one."""
        return self.arch if upper else self._lower_arch

    @cached_property
    def _lower_arch(self) -> Arch:
        return replace(self.arch, inset=(self.overjet, 2.1 * self.scale))

    def height(self, s: float, y: float, upper: bool) -> float:
        """r of the tips of the teeth at a place of the arch; the teeth of both jaws interlock."""
        front = np.interp(abs(s) / self.scale, [0, 14, 22, 26], [1, 1, 0.3, 0])
        deep = 0.75 * self.scale + front * max(self.overbite - 1.5 * self.scale, -1.5) / 2
        bow = self.spee * (((y + 2) / (25 * self.scale)) ** 2 - 0.4)
        return float(-deep + (bow if upper else -bow))

    def frame(self, head: Frame, upper: bool) -> Frame:
        """The frame of one jaw; the lower one swings around its hinge."""
        if upper:
            return head
        hinge = np.array(CONDYLE) * self.scale
        reach = hinge[1] - 8 * self.scale
        # Cusps interlock by 1.5 mm when the jaws are closed.
        swing = turned(0, np.rad2deg((self.gap + 1.5 * self.scale) / reach) if self.gap else 0.0)
        swung = head.then(swing.T, hinge).then(np.eye(3), -hinge)
        return swung.then(np.diag([1.0, 1.0, -1.0]), np.zeros(3))


def draw_patient(seed: int, scale: float, closed: bool | None) -> Patient:
    """Draws a patient; whether the jaws are closed changes nothing else."""
    draws = Draws(seed, "patient")
    size = scale * draws.factor(0.035)
    width, depth = 28.5 * size * draws.factor(0.03), 47 * size * draws.factor(0.03)
    arch = Arch(-26.0 * size, width, depth, draws.uniform(2.15, 2.9))
    age, rng = draws.uniform(0, 1), draws.rng
    squeeze = [{"crowded": 0.93, "even": 0.99, "spaced": 1.03}[_crowding(draws)] for _ in range(2)]
    drawn = Patient(
        scale=size,
        arch=arch,
        overjet=size * max(rng.normal(3.1, 0.5), 2.4),
        overbite=size * rng.normal(2.2, 0.6),
        spee=size * draws.uniform(0.2, 1.6),
        gap=0.0,
        age=age,
        loss=size * max(0.0, rng.normal(2.4 * age - 0.6, 0.8)),
        missing=0.01 + 0.10 * age**2 * draws.factor(0.5),
        squeeze=(squeeze[0] + rng.normal(0, 0.01), squeeze[1] + rng.normal(0, 0.01)),
        density=draws.uniform(0.2, 0.36),
    )
    gap, apart = draws.uniform(3, 8), draws.chance(0.5)
    if closed is None:
        closed = not apart
    return drawn if closed else replace(drawn, gap=gap * size)


def _crowding(draws: Draws) -> str:
    return draws.choice({"crowded": 0.3, "even": 0.55, "spaced": 0.15})
