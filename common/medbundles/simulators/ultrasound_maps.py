"""Scenes for ultrasound: regions filled with tissues, painted in order at any set of points.

The beam grid that makes the echoes and the pixel grid that carries the labels are painted from the same list,
so the truth is exact at every resolution. Lengths are millimetres: x to the right, z away from the probe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

Floats = NDArray[np.float32]


class Region(Protocol):
    """A set of points in the plane."""

    @property
    def bounds(self) -> tuple[float, float, float]:
        """Centre x, z and radius of a circle that encloses the region; the radius may be infinite."""

    def inside(self, x: Floats, z: Floats) -> NDArray[np.bool_]:
        """Which of the points lie inside."""


@dataclass(frozen=True)
class Tissue:
    """How a tissue answers to sound.

    Args:
        echo: mean backscatter in dB, 0 for the brightest soft tissue.
        attenuation: dB per cm and MHz, one way.
        impedance: MRayl; its jumps make the specular echoes.
        grain: standard deviation in dB of the slow variation of `echo`.
        texture: which variation, a key of `TEXTURES`.
    """

    echo: float
    attenuation: float = 0.5
    impedance: float = 1.62
    grain: float = 1.0
    texture: str = "fine"


@dataclass(frozen=True)
class Part:
    """A region filled with a tissue, and the label it carries in the truth (None: whatever lies below)."""

    region: Region
    tissue: Tissue
    label: int | None = None


# Correlation lengths in mm, along the probe's surface and away from it.
TEXTURES = {
    "fine": (1.2, 1.2),
    "coarse": (4.0, 4.0),
    "layered": (14.0, 0.8),
    "streaky": (5.0, 0.9),
    "mottled": (2.2, 1.8),
}
_TILE = 256
_CELLS = 4.0  # tile samples per correlation length


@dataclass
class Maps:
    """Tissue maps on one grid: backscatter dB, attenuation dB/cm/MHz, impedance MRayl."""

    echo: Floats
    attenuation: Floats
    impedance: Floats


@dataclass(frozen=True)
class Scene:
    """Parts painted in order over a background; `seed` fixes the slow texture of the tissues."""

    background: Tissue
    parts: Sequence[Part] = ()
    seed: int = 0

    def paint(self, x: Floats, z: Floats, *, surface: float = np.inf) -> Maps:
        """Returns the maps at points (x, z); layered textures lie parallel to a probe of radius `surface`."""
        shape, x, z = x.shape, np.ravel(x).astype(np.float32), np.ravel(z).astype(np.float32)
        layers = [Part(Everywhere(), self.background), *self.parts]
        grain = {t: self._texture(t, x, z, surface) for t in {p.tissue.texture for p in layers}}
        echo, attenuation, impedance = (np.empty_like(x) for _ in range(3))
        for part in layers:
            hit, tissue = points_inside(part.region, x, z), part.tissue
            echo[hit] = tissue.echo + tissue.grain * grain[tissue.texture][hit]
            attenuation[hit], impedance[hit] = tissue.attenuation, tissue.impedance
        return Maps(echo.reshape(shape), attenuation.reshape(shape), impedance.reshape(shape))

    def labels(self, x: Floats, z: Floats) -> NDArray[np.uint8]:
        """Returns the label of each point, 0 where no part carries one."""
        shape, x, z = x.shape, np.ravel(x), np.ravel(z)
        out = np.zeros(x.shape, np.uint8)
        for part in self.parts:
            if part.label is not None:
                out[points_inside(part.region, x, z)] = part.label
        return out.reshape(shape)

    def _texture(self, name: str, x: Floats, z: Floats, surface: float) -> Floats:
        """A smooth random field of unit variance at the points, its layers parallel to the probe."""
        rng = np.random.default_rng([self.seed, sorted(TEXTURES).index(name)])
        white = rng.standard_normal((2, _TILE, _TILE))
        tile = sum(
            k * gaussian_filter(w, k * _CELLS / 2, mode="wrap") for k, w in zip((1, 4), white, strict=True)
        )
        tile = (tile / tile.std()).astype(np.float32)
        along, across = TEXTURES[name]
        if np.isfinite(surface):
            along_x, across_z = surface * np.arctan2(x, z + surface), np.hypot(x, z + surface) - surface
        else:
            along_x, across_z = x, z
        places = [along_x * (_CELLS / along), across_z * (_CELLS / across)]
        return map_coordinates(tile, places, order=1, mode="grid-wrap")


@dataclass(frozen=True)
class Everywhere:
    """The whole plane."""

    bounds: tuple[float, float, float] = (0.0, 0.0, np.inf)

    def inside(self, x: Floats, z: Floats) -> NDArray[np.bool_]:
        """True at every point."""
        return np.ones(x.shape, dtype=bool)


def points_inside(region: Region, x: Floats, z: Floats) -> NDArray[np.intp]:
    """Returns the indices of the flat points that lie in the region, testing only those within its bounds."""
    cx, cz, radius = region.bounds
    if not np.isfinite(radius):
        return np.flatnonzero(region.inside(x, z))
    near = np.flatnonzero((np.abs(x - cx) <= radius) & (np.abs(z - cz) <= radius))
    return near[region.inside(x[near], z[near])]
