"""Grid, frames and materials of the simulated jaw, and the shapes it is painted with.

Points are in mm. In the field x runs to the patient's left, y to the back and z up, from the middle of the
field; a frame turns and shifts them into the coordinates of a part. Signed distances are negative inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import EllipsisType

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Vector = NDArray[np.float64]
Window = tuple[slice, slice, slice]
Where = Window | tuple[NDArray[np.intp], ...] | EllipsisType
FAR = 9.0  # mm, a distance at which nothing is
_SLAB_VOXELS = 250_000


@dataclass(frozen=True)
class Frame:
    """An affine map from the field's mm to the coordinates of a part.

    Attributes:
        turn: matrix (3, 3).
        shift: mm (3,), added after the turn.
    """

    turn: Vector = field(default_factory=lambda: np.eye(3))
    shift: Vector = field(default_factory=lambda: np.zeros(3))

    def then(self, turn: Vector, origin: Sequence[float] | Vector) -> Frame:
        """This frame followed by another, which puts `origin` (in this frame) at zero and then turns."""
        return Frame(turn @ self.turn, turn @ (self.shift - np.asarray(origin)))

    def back(self, points: Vector) -> Vector:
        """Points (n, 3) of the part in the field's mm."""
        return np.linalg.solve(self.turn, (np.atleast_2d(points) - self.shift).T).T


def turned(axis: int, degrees: float) -> Vector:
    """The matrix that turns a point around x, y or z (0, 1, 2) by the right-hand rule."""
    angle = np.deg2rad(degrees)
    out = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[i, i] = out[j, j] = np.cos(angle)
    out[i, j], out[j, i] = -np.sin(angle), np.sin(angle)
    return out


@dataclass(frozen=True)
class Field:
    """The grid of voxels, centred on the origin.

    Attributes:
        shape: voxels along x, y and z.
        spacing: mm between them.
    """

    shape: tuple[int, int, int]
    spacing: float

    @classmethod
    def covering(cls, size_mm: Sequence[float], spacing: float) -> Field:
        """The grid that fills a box of about this size."""
        x, y, z = (max(1, round(size / spacing)) for size in size_mm)
        return cls((x, y, z), spacing)

    def affine(self) -> NDArray[np.float64]:
        """The affine (4, 4) from voxels to RAS mm."""
        flip = np.array([-1.0, -1.0, 1.0])
        out = np.diag([*(flip * self.spacing), 1.0])
        out[:3, 3] = -flip * self.spacing * (np.array(self.shape) - 1) / 2
        return out

    def axis(self, which: int) -> Floats:
        """The coordinates in mm along one axis."""
        n = self.shape[which]
        return ((np.arange(n) - (n - 1) / 2) * self.spacing).astype(np.float32)

    def points(self, frame: Frame, window: Window) -> tuple[Floats, Floats, Floats]:
        """Coordinates of the window's voxels in a frame, three arrays (X, Y, Z)."""
        x, y, z = (self.axis(i)[window[i]] for i in range(3))
        turn, shift = frame.turn.astype(np.float32), frame.shift.astype(np.float32)
        first, second, third = (
            turn[i, 0] * x[:, None, None] + (turn[i, 1] * y[:, None] + (turn[i, 2] * z + shift[i]))
            for i in range(3)
        )
        return first, second, third

    def around(self, points: Vector, margin: float) -> Window | None:
        """The window that holds points (n, 3) of the field and a margin in mm; None outside the field."""
        middle = (np.array(self.shape) - 1) / 2
        low = np.floor((points.min(axis=0) - margin) / self.spacing + middle).astype(int)
        high = np.ceil((points.max(axis=0) + margin) / self.spacing + middle).astype(int) + 1
        low, high = np.maximum(low, 0), np.minimum(high, self.shape)
        if np.any(high <= low):
            return None
        a, b, c = (slice(int(i), int(j)) for i, j in zip(low, high, strict=True))
        return a, b, c

    def slabs(self) -> Iterator[Window]:
        """The whole field in pieces, so that memory stays small."""
        thick = max(1, _SLAB_VOXELS // (self.shape[1] * self.shape[2]))
        for start in range(0, self.shape[0], thick):
            stop = min(start + thick, self.shape[0])
            yield slice(start, stop), slice(0, self.shape[1]), slice(0, self.shape[2])


class Canvas:
    """The materials of all voxels, painted one over the other.

    Attributes:
        field: the grid.
        materials: name to amount, arrays (X, Y, Z): "soft" and "mineral", and those that were painted.
    """

    def __init__(self, field: Field, soft: float) -> None:
        self.field = field
        self.materials: dict[str, Floats] = {
            "soft": np.full(field.shape, soft, np.float32),
            "mineral": np.zeros(field.shape, np.float32),
        }

    def fill(self, where: Where, share: Floats, **amounts: float | Floats) -> None:
        """Replaces a share of each voxel by other materials.

        Args:
            where: the voxels.
            share: part of each that is replaced, 0 to 1.
            amounts: of the materials in what is put there; the others are absent from it.
        """
        for name in amounts:
            if name not in self.materials:
                self.materials[name] = np.zeros(self.field.shape, np.float32)
        keep = 1 - share
        for name, material in self.materials.items():
            mixed = material[where] * keep
            if name in amounts:
                mixed += share * amounts[name]
            material[where] = mixed

    def cut(self, where: Where) -> Canvas:
        """A canvas of some voxels only, to be painted with `...` and put back by `paste`."""
        part = Canvas.__new__(Canvas)
        part.field = self.field
        part.materials = {name: material[where] for name, material in self.materials.items()}
        return part

    def paste(self, where: Where, part: Canvas) -> None:
        """Puts back what `cut` took from the same voxels."""
        for name, material in part.materials.items():
            self.materials[name][where] = material

    def share(self, distance: Floats) -> Floats:
        """The part of each voxel that lies inside a shape, from its signed distance."""
        return np.clip(0.5 - distance / np.float32(self.field.spacing), 0, 1)

    def band(self, distance: Floats, inner: float, outer: float) -> Floats:
        """The part of each voxel with a distance between two limits; thin layers keep their amount."""
        return self.share(distance - np.float32(outer)) - self.share(distance - np.float32(inner))

    def rod(self, distance: Floats, radius: float | Floats) -> Floats:
        """The part of each voxel inside a rod that may be thinner than the voxels."""
        whole = np.minimum(np.pi * np.square(radius) / self.field.spacing**2, 1).astype(np.float32)
        return self.share(distance) * whole


def oval(x: Floats, y: Floats, a: Floats | float, b: Floats | float, power: float = 2.0) -> Floats:
    """Signed distance to a superellipse with semi-axes a and b, exact near it."""
    u, v = np.abs(x) / a, np.abs(y) / b
    if power == 2:
        level = np.maximum(np.hypot(u, v), np.float32(1e-3))
        slope = np.hypot(u / a, v / b) / level
    else:
        level = np.maximum((u**power + v**power) ** (1 / power), np.float32(1e-3))
        slope = np.hypot((u / level) ** (power - 1) / a, (v / level) ** (power - 1) / b)
    return ((level - 1) / np.maximum(slope, 0.5 / np.maximum(a, b))).astype(np.float32)


def ball(points: Sequence[Floats], centre: Sequence[float], axes: Sequence[float]) -> Floats:
    """Signed distance to an ellipsoid, exact near it."""
    parts = [(p - np.float32(c)) / np.float32(a) for p, c, a in zip(points, centre, axes, strict=True)]
    level = np.maximum(np.sqrt(sum(p * p for p in parts)), np.float32(1e-3))
    slope = np.sqrt(sum((p / np.float32(a)) ** 2 for p, a in zip(parts, axes, strict=True))) / level
    return ((level - 1) / np.maximum(slope, 0.3 / max(axes))).astype(np.float32)


def rod(points: Sequence[Floats], start: Vector, end: Vector) -> Floats:
    """Distance to the line between two points."""
    way = (end - start).astype(np.float32)
    away = [p - np.float32(s) for p, s in zip(points, start, strict=True)]
    along = sum(q * w for q, w in zip(away, way, strict=True)) / np.float32(max(way @ way, 1e-6))
    along = np.clip(along, 0, 1)
    return np.sqrt(sum((q - along * w) ** 2 for q, w in zip(away, way, strict=True)))


def both(first: Floats, second: Floats, round_mm: float = 0.0) -> Floats:
    """Distance of what two regions share, its edge rounded."""
    if not round_mm:
        return np.maximum(first, second)
    gap = first - second
    return (first + second + np.sqrt(gap * gap + np.float32(round_mm**2))) * np.float32(0.5)


def either(first: Floats, second: Floats, round_mm: float = 0.0) -> Floats:
    """Distance of two regions together, the notch between them filled."""
    return -both(-first, -second, round_mm)
