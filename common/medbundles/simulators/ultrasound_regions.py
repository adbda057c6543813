"""Regions of the plane that anatomy is built from; every one tests points (x, z) in millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medbundles.simulators.ultrasound_maps import Floats, Region

Bounds = tuple[float, float, float]
Lobes = tuple[tuple[int, float, float], ...]


@dataclass(frozen=True)
class Blob:
    """An ellipse whose radius may swell and shrink around its centre.

    Args:
        centre: x, z.
        axes: semi-axes, the first along `angle`.
        angle: rad from +x towards +z.
        lobes: (order, relative size, phase) of each waviness; none makes it an exact ellipse.
    """

    centre: tuple[float, float]
    axes: tuple[float, float]
    angle: float = 0.0
    lobes: Lobes = ()

    @property
    def bounds(self) -> Bounds:
        """A circle around the swollen ellipse."""
        return (*self.centre, max(self.axes) * (1 + sum(abs(size) for _, size, _ in self.lobes)))

    def polar(self, x: Floats, z: Floats) -> tuple[Floats, Floats]:
        """Elliptic radius (1 on the outline, waviness included) and parameter angle of points."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        dx, dz = x - self.centre[0], z - self.centre[1]
        u, v = (dx * cos + dz * sin) / self.axes[0], (dz * cos - dx * sin) / self.axes[1]
        theta, radius = np.arctan2(v, u), np.hypot(u, v)
        if self.lobes:
            radius = radius / (1 + sum(size * np.cos(k * theta + phase) for k, size, phase in self.lobes))
        return radius, theta

    def inside(self, x: Floats, z: Floats) -> NDArray[np.bool_]:
        """Points within the outline."""
        return self.polar(x, z)[0] <= 1

    def shrunk(self, margin: float) -> Blob:
        """The same outline with both semi-axes shorter by `margin` (longer when negative)."""
        a, b = (max(axis - margin, 0.05) for axis in self.axes)
        return Blob(self.centre, (a, b), self.angle, self.lobes)


@dataclass(frozen=True)
class Arc:
    """A piece of the rim of a blob: between two elliptic radii and around one parameter angle."""

    blob: Blob
    radii: tuple[float, float]
    middle: float
    half_width: float

    @property
    def bounds(self) -> Bounds:
        """A circle around the whole rim."""
        x, z, radius = self.blob.bounds
        return x, z, radius * self.radii[1]

    def inside(self, x: Floats, z: Floats) -> NDArray[np.bool_]:
        """Points in the piece of rim."""
        radius, theta = self.blob.polar(x, z)
        off = np.abs((theta - self.middle + np.pi) % (2 * np.pi) - np.pi)
        return (radius >= self.radii[0]) & (radius <= self.radii[1]) & (off <= self.half_width)


@dataclass(frozen=True)
class Tube:
    """Points near a polyline of (x, z) points: within `radius`, which changes to `taper` of it at the end."""

    line: tuple[tuple[float, float], ...]
    radius: float
    taper: float = 1.0

    @property
    def bounds(self) -> Bounds:
        """A circle around the line's middle."""
        points = np.asarray(self.line)
        centre = (points.min(axis=0) + points.max(axis=0)) / 2
        reach = np.linalg.norm(points - centre, axis=1).max() + self.radius * max(1.0, self.taper)
        return float(centre[0]), float(centre[1]), float(reach)

    def inside(self, x: Floats, z: Floats) -> NDArray[np.bool_]:
        """Points near any segment of the line."""
        hit = np.zeros(x.shape, dtype=bool)
        widths = np.linspace(self.radius, self.radius * self.taper, len(self.line) - 1)
        for (x0, z0), (x1, z1), width in zip(self.line[:-1], self.line[1:], widths, strict=True):
            dx, dz = x1 - x0, z1 - z0
            along = np.clip(((x - x0) * dx + (z - z0) * dz) / max(dx * dx + dz * dz, 1e-9), 0, 1)
            hit |= (x - x0 - along * dx) ** 2 + (z - z0 - along * dz) ** 2 <= width**2
        return hit


@dataclass(frozen=True)
class Layer:
    """Depths between two limits below a probe's curved surface, both limits waving along it together."""

    top: float
    bottom: float
    probe_radius: float
    wave: float = 0.0
    period: float = 60.0
    phase: float = 0.0

    @property
    def bounds(self) -> Bounds:
        """Unlimited."""
        return 0.0, 0.0, np.inf

    def inside(self, x: Floats, z: Floats) -> NDArray[np.bool_]:
        """Points in the layer."""
        depth = np.hypot(x, z + self.probe_radius) - self.probe_radius
        if self.wave:
            along = self.probe_radius * np.arctan2(x, z + self.probe_radius)
            depth = depth - self.wave * np.sin(2 * np.pi * along / self.period + self.phase)
        return (depth >= self.top) & (depth < self.bottom)


@dataclass(frozen=True)
class Ripple:
    """A smooth displacement of the plane: a sum of plane waves (kx, kz, phase, shift in x, shift in z)."""

    waves: tuple[tuple[float, float, float, float, float], ...]

    @property
    def reach(self) -> float:
        """The largest possible displacement, mm."""
        return float(sum(np.hypot(sx, sz) for *_, sx, sz in self.waves))

    def moved(self, x: Floats, z: Floats) -> tuple[Floats, Floats]:
        """The displaced points."""
        dx, dz = np.zeros_like(x), np.zeros_like(z)
        for kx, kz, phase, shift_x, shift_z in self.waves:
            wave = np.sin(np.float32(kx) * x + np.float32(kz) * z + np.float32(phase))
            dx += np.float32(shift_x) * wave
            dz += np.float32(shift_z) * wave
        return x + dx, z + dz


@dataclass(frozen=True)
class Rippled:
    """A region with an irregular outline."""

    region: Region
    ripple: Ripple

    @property
    def bounds(self) -> Bounds:
        """Those of the region, widened by the ripple's reach."""
        x, z, radius = self.region.bounds
        return x, z, radius + self.ripple.reach

    def inside(self, x: Floats, z: Floats) -> NDArray[np.bool_]:
        """Points that the displacement brings into the region."""
        return self.region.inside(*self.ripple.moved(x, z))


@dataclass(frozen=True)
class Both:
    """The intersection of two regions; the first one's bounds decide where points are tested."""

    first: Region
    second: Region

    @property
    def bounds(self) -> Bounds:
        """Those of the first region."""
        return self.first.bounds

    def inside(self, x: Floats, z: Floats) -> NDArray[np.bool_]:
        """Points in both."""
        return self.first.inside(x, z) & self.second.inside(x, z)


def random_ripple(rng: np.random.Generator, size: float, *, longest: float = 30.0) -> Ripple:
    """Waves from a sixth of `longest` up to it, together about `size` mm high, the long ones higher."""
    lengths = np.geomspace(longest / 6, longest, 6)
    waves = []
    for length in lengths:
        toward, k = rng.uniform(0, 2 * np.pi), 2 * np.pi / length
        shift = size * (length / longest) ** 0.9 * rng.normal(0, 0.6, 2)
        wave = (k * np.cos(toward), k * np.sin(toward), rng.uniform(0, 2 * np.pi), *shift)
        waves.append(tuple(float(v) for v in wave))
    return Ripple(tuple(waves))


def random_lobes(rng: np.random.Generator, size: float) -> Lobes:
    """Waviness of orders 2 to 5 whose sizes fall with the order."""
    return tuple((k, size * rng.normal() / k, rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5))
