"""Jaws of ellipsoids whose places are known, and volumes that are no jaws."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "dental_cbct_tooth_segmentation"))

from dental_teeth.arch import plain_arch
from dental_teeth.jaws import Jaws, split_jaws
from dental_teeth.truth import finder_in

WIDTHS = (5, 6, 7, 7, 7, 10, 10, 9)
ALL = tuple(10 * quadrant + position for quadrant in (1, 2, 3, 4) for position in range(1, 9))


@dataclass(frozen=True)
class Phantom:
    """Ellipsoids along two arches, in bone, in a head; lengths in millimetres to the left, back and up."""

    gap: float = 0.0
    teeth: tuple[int, ...] = ALL
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    turn: np.ndarray = field(default_factory=lambda: np.eye(3))
    overbite: float = 0.0
    size: float = 1.0
    marker: tuple[float, float, float] | None = None

    def centre(self, code: int) -> np.ndarray:
        """The middle of a tooth: arch lengths of its neighbours towards the midline add up."""
        quadrant, position = divmod(code, 10)
        upper = quadrant < 3
        arch = plain_arch(np.array([0, 0, 0, 27 if upper else 25.5, 2.4]), 2001)
        length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(arch, axis=0), axis=1))]
        along = sum(WIDTHS[: position - 1]) + WIDTHS[position - 1] / 2
        at = length[1000] + along * (1 if quadrant in (2, 3) else -1)
        u, v = (np.interp(at, length, arch[:, axis]) for axis in (0, 1))
        deep = self.overbite if upper and position < 4 else 0.0
        height = 10 + self.gap / 2 - deep
        return self.size * np.array([u, v - 20 - deep, height if upper else -height])

    def build(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns grey values (X, Y, Z) to left, back and up, FDI codes and the RAS affine."""
        extent = self.size * np.array([80.0, 72.0, 60.0 + self.gap])
        shape = np.ceil(extent / self.spacing).astype(int)
        axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, self.spacing, strict=True)]
        world = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
        points = world @ self.turn.T
        hu, labels = np.full(shape, 40.0, np.float32), np.zeros(shape, np.uint8)
        hu[points[..., 1] < -28 * self.size] = -1000
        for bone in (True, False):  # bone first, so that it covers no tooth
            for code in self.teeth:
                self._tooth(code, points, hu, labels, bone)
        if self.marker is not None:
            hu[np.linalg.norm(points - self.marker, axis=-1) < 2.5] = 12000
        hu += np.random.default_rng(0).normal(0, 30, shape)
        affine = np.diag([-1, -1, 1, 1.0]) @ np.diag([*self.spacing, 1.0])
        affine[:3, 3] = np.array([-1, -1, 1]) * [axis[0] for axis in axes]
        return hu, labels, affine

    def _tooth(self, code: int, points: np.ndarray, hu: np.ndarray, labels: np.ndarray, bone: bool) -> None:
        middle = self.turn.T @ self.centre(code) / self.spacing + (np.array(hu.shape) - 1) / 2
        reach = np.ceil(20 * self.size / np.array(self.spacing))
        near = tuple(slice(max(0, int(m - r)), int(m + r) + 2) for m, r in zip(middle, reach, strict=True))
        points, hu, labels = points[near], hu[near], labels[near]
        off = (points - self.centre(code)) / self.size
        radius = WIDTHS[code % 10 - 1] / 2
        outward = off[..., 2] * (1 if code < 30 else -1)  # from the bite
        if bone:
            hu[(np.hypot(off[..., 0], off[..., 1]) < 7) & (outward > -2) & (outward < 14)] = 1000
            return
        inside = np.hypot(off[..., 0], off[..., 1]) ** 2 / radius**2 + off[..., 2] ** 2 / 100 < 1
        hu[inside], labels[inside] = 1900, code
        hu[inside & (outward < -3)] = 2800


def known_jaws(hu: np.ndarray, labels: np.ndarray, affine: np.ndarray) -> Jaws:
    """The jaws of a scan whose teeth are known."""
    return split_jaws(hu, affine, finder_in(labels, affine))


def not_dental(kind: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    hu = rng.normal(0, 30, (70, 70, 40)).astype(np.float32)
    x, y, _ = np.meshgrid(*(np.arange(n) - n / 2 for n in hu.shape), indexing="ij")
    hu[np.hypot(x, y) > 32] = -1000
    if kind == "trunk":
        hu[np.hypot(x, y - 15) < 9] += 800
        hu[np.abs(np.hypot(x, y) - 28) < 2] += 700
    if kind == "thigh":
        hu[np.hypot(x, y) < 12] += 1200
    return np.full_like(hu, -1000) if kind == "air" else hu
