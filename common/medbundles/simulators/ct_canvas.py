"""Anatomy painted on a slice: shapes with soft borders, filled with tissues in order.

A shape knows the signed distance to its border, negative inside; a pixel on a border gets both tissues by the
part that each covers. Lengths are mm from the middle of the slice: x to the patient's left, y to the back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Floats = NDArray[np.float32]
Lobes = tuple[tuple[int, float, float], ...]  # order, size and phase of a wave around a border
Window = tuple[slice, slice]

TEXTURE_MM = {"fine": 0.7, "medium": 2.0, "coarse": 7.0}
FAR = 1e3  # mm, a distance at which nothing is


class Shape(Protocol):
    """A region of the plane."""

    @property
    def reach(self) -> tuple[float, float, float]:
        """Centre x, y and radius of a circle that encloses the shape."""

    def distance(self, x: Floats, y: Floats) -> Floats:
        """Signed distance to the border, exact near it."""


@dataclass(frozen=True)
class Blob:
    """An ellipse, its border in waves.

    Args:
        centre, axes: position and semi-axes.
        angle: of the first axis against x, rad, towards the back.
        lobes: the waves.
        power: 2 for an ellipse, more for one with corners.
    """

    centre: tuple[float, float]
    axes: tuple[float, float]
    angle: float = 0.0
    lobes: Lobes = ()
    power: float = 2.0

    @property
    def reach(self) -> tuple[float, float, float]:
        swell = 1 + sum(abs(size) for _, size, _ in self.lobes)
        corners = 2 ** max(0.5 - 1 / self.power, 0)
        return (*self.centre, max(self.axes) * swell * corners)

    def distance(self, x: Floats, y: Floats) -> Floats:
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        dx, dy = x - np.float32(self.centre[0]), y - np.float32(self.centre[1])
        u = (dx * cos + dy * sin) / np.float32(self.axes[0])
        v = (dy * cos - dx * sin) / np.float32(self.axes[1])
        level, slope = self._level(u, v)
        border = np.float32(1)
        if self.lobes:
            around = np.arctan2(v, u)
            border = 1 + sum(size * np.cos(m * around + np.float32(phase)) for m, size, phase in self.lobes)
        return ((level / border - 1) / slope).astype(np.float32)

    def grown(self, mm: float) -> Blob:
        """The same shape with wider axes."""
        return replace(self, axes=(self.axes[0] + mm, self.axes[1] + mm))

    def _level(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """A function of the plane that is 1 on the ellipse, and its slope per mm."""
        p, (a, b) = self.power, self.axes
        u, v = np.abs(u), np.abs(v)
        level = np.maximum(np.hypot(u, v) if p == 2 else (u**p + v**p) ** (1 / p), 1e-4)
        slope = np.hypot((u / level) ** (p - 1) / a, (v / level) ** (p - 1) / b)
        return level, np.maximum(slope, 0.5 / max(a, b))


@dataclass(frozen=True)
class Tube:
    """A round rod between two points, its radius changing evenly."""

    start: tuple[float, float]
    end: tuple[float, float]
    radii: tuple[float, float]

    @property
    def reach(self) -> tuple[float, float, float]:
        (x0, y0), (x1, y1) = self.start, self.end
        return (x0 + x1) / 2, (y0 + y1) / 2, float(np.hypot(x1 - x0, y1 - y0)) / 2 + max(self.radii)

    def distance(self, x: Floats, y: Floats) -> Floats:
        (x0, y0), (x1, y1) = self.start, self.end
        length = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-6)
        along = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length, 0, 1)
        away = np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0))
        return (away - self.radii[0] - along * (self.radii[1] - self.radii[0])).astype(np.float32)


def disc(centre: tuple[float, float], radius: float) -> Blob:
    """A circle."""
    return Blob(centre, (radius, radius))


def random_lobes(rng: np.random.Generator, size: float, orders: Sequence[int] = (2, 3, 4, 5)) -> Lobes:
    """Random waves for a border, the finer the smaller."""
    draws = [(rng.normal(0, 0.6), rng.uniform(0, 2 * np.pi)) for _ in orders]
    return tuple(
        (m, float(size * w * 2 / m), float(phase)) for m, (w, phase) in zip(orders, draws, strict=True)
    )


def joined(first: Floats, second: Floats, round_mm: float) -> Floats:
    """Distance of the union of two regions, the notch between them rounded off."""
    blend = np.clip(0.5 + (second - first) / np.float32(2 * round_mm), 0, 1)
    return second + blend * (first - second) - np.float32(round_mm) * blend * (1 - blend)


@dataclass(frozen=True)
class Fill:
    """What a region is filled with.

    Attributes:
        hu: mean.
        label: tissue number in the truth, None to leave the one below.
        grain: standard deviation of the texture, HU.
        texture: a key of `TEXTURE_MM`.
    """

    hu: float
    label: int | None
    grain: float = 0.0
    texture: str = "medium"


class Canvas:
    """A slice being painted.

    Args:
        size: pixels along x and y.
        pixel_mm: their size.
        background: HU at the start, label 0.
        rng: source of the textures.
    """

    def __init__(self, size: int, pixel_mm: float, background: float, rng: np.random.Generator) -> None:
        self.pixel_mm = pixel_mm
        places = (pixel_mm * (np.arange(size) - (size - 1) / 2)).astype(np.float32)
        self.x, self.y = places[:, None], places[None]
        self.hu = np.full((size, size), background, np.float32)
        self.labels = np.zeros((size, size), np.uint8)
        self.textures = {name: self._texture(rng, mm) for name, mm in TEXTURE_MM.items()}

    def _texture(self, rng: np.random.Generator, length_mm: float) -> Floats:
        noise = gaussian_filter(
            rng.standard_normal(self.hu.shape, dtype=np.float32), length_mm / self.pixel_mm, mode="wrap"
        )
        return noise / noise.std()

    def distance(self, shape: Shape) -> Floats:
        """Signed distance to a shape everywhere."""
        return shape.distance(self.x, self.y)

    def put(self, shape: Shape, fill: Fill, within: Floats | None = None) -> None:
        """Paints a shape, or the part of it inside a region given by its distance everywhere."""
        window = self._window(*shape.reach)
        distance = shape.distance(self.x[window[0]], self.y[:, window[1]])
        if within is not None:
            distance = np.maximum(distance, within[window])
        self._paint(distance, fill, window)

    def fill(self, distance: Floats, fill: Fill) -> None:
        """Paints a region given by its distance everywhere."""
        self._paint(distance, fill, (slice(None), slice(None)))

    def put_walled(self, shape: Shape, wall_mm: float, wall: Fill, inside: Fill) -> None:
        """Paints a shape with a wall: the wall lies within the shape's border."""
        window = self._window(*shape.reach)
        distance = shape.distance(self.x[window[0]], self.y[:, window[1]])
        self._paint(distance, wall, window)
        self._paint(distance + np.float32(wall_mm), inside, window)

    def _window(self, x: float, y: float, radius: float) -> Window:
        size, edge = len(self.hu), radius + 2 * self.pixel_mm
        bounds = [
            [int(np.floor((at + d) / self.pixel_mm + (size - 1) / 2)) for d in (-edge, edge)] for at in (x, y)
        ]
        (a, b), (c, d) = [[min(max(v, 0), size) for v in (low, high + 2)] for low, high in bounds]
        return slice(a, b), slice(c, d)

    def _paint(self, distance: Floats, fill: Fill, window: Window) -> None:
        cover = np.clip(0.5 - distance / np.float32(self.pixel_mm), 0, 1)
        value = np.float32(fill.hu)
        if fill.grain:
            value = value + np.float32(fill.grain) * self.textures[fill.texture][window]
        self.hu[window] += cover * (value - self.hu[window])
        if fill.label is not None:
            self.labels[window][cover > 0.5] = fill.label
