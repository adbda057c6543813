"""Grids in millimetres, random fields and sampling: what simulated anatomy is made with.

Volumes are torch tensors (X, Y, Z) or (channel, X, Y, Z); points are (3, X, Y, Z) in mm, x to the patient's
left, y to the back, z to the head. All random numbers come from the CPU, so a seed gives the same subject on
every device.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


class Draws:
    """Random numbers and fields of one named part of a subject, independent of those of all other parts."""

    def __init__(self, seed: int, part: str, device: torch.device | str = "cpu") -> None:
        self.rng = np.random.default_rng([seed, zlib.crc32(part.encode())])
        self.generator = torch.Generator().manual_seed(int(self.rng.integers(2**62)))
        self.device = torch.device(device)

    def uniform(self, low: float, high: float) -> float:
        """A number between two others."""
        return float(self.rng.uniform(low, high))

    def log_uniform(self, low: float, high: float) -> float:
        """A number between two others whose logarithm is evenly spread."""
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def factor(self, spread: float) -> float:
        """A positive number around 1 whose logarithm has a standard deviation, cut off at 2.5 of these."""
        return float(np.exp(spread * np.clip(self.rng.standard_normal(), -2.5, 2.5)))

    def chance(self, probability: float) -> bool:
        """True with a probability."""
        return bool(self.rng.random() < probability)

    def choice(self, weights: dict[str, float]) -> str:
        """One of the names, each as likely as its weight."""
        share = np.array(list(weights.values()))
        return str(self.rng.choice(list(weights), p=share / share.sum()))

    def white(self, shape: Sequence[int]) -> Tensor:
        """White noise of unit variance."""
        return torch.randn(*shape, generator=self.generator).to(self.device)

    def field(self, grid: Grid, length_mm: float, channels: int = 1) -> Tensor:
        """Smooth noise (channels, X, Y, Z) of about unit variance; it changes sign about every `length_mm`.

        The noise lives on knots that are fixed in space, so grids of other spacing see the same field.
        """
        knots = [int(np.ceil(2 * _HALF_FIELD_MM / length_mm)) + 4] * 3
        values = torch.randn(channels, *knots, generator=self.generator)
        for axis, places in enumerate(grid.axes()):
            basis = _cubic_basis(places.cpu() / length_mm + (knots[0] - 1) / 2, knots[0])
            values = along(values, basis, axis + 1)
        return values.to(self.device)

    def mixture(self, grid: Grid, lengths_mm: Sequence[float], channels: int = 1) -> Tensor:
        """The sum of fields of several lengths, of about unit variance."""
        parts = [self.field(grid, length, channels) for length in lengths_mm]
        return reduce(torch.add, parts) / len(parts) ** 0.5


# Half the side of the cube that random fields fill; no grid of a brain reaches further.
_HALF_FIELD_MM = 125.0
_CUBIC_VARIANCE = 0.4794  # of white noise after the cubic B-spline, along one axis


def _cubic_basis(places: Tensor, knots: int) -> Tensor:
    """Cubic B-spline weights (places, knots), scaled so that white noise keeps its variance."""
    distance = (places[:, None] - torch.arange(knots)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, near, far).float() / _CUBIC_VARIANCE**0.5


def along(volume: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """Applies a matrix (new, old) along one axis of a volume."""
    return torch.matmul(volume.movedim(axis, -1), matrix.T.to(volume)).movedim(-1, axis)


@dataclass(frozen=True)
class Grid:
    """A rectangular grid of points.

    Attributes:
        shape: points along x, y and z.
        spacing: mm between them.
        start: mm of the first point.
    """

    shape: tuple[int, int, int]
    spacing: float
    start: tuple[float, float, float]

    @classmethod
    def centred(cls, size_mm: Sequence[float], spacing: float) -> Grid:
        """A grid around the origin with voxels of a size that fill a box of about `size_mm`."""
        shape = tuple(max(1, round(size / spacing)) for size in size_mm)
        return cls(shape, spacing, tuple(-spacing * (n - 1) / 2 for n in shape))

    def axes(self, device: torch.device | str = "cpu") -> list[Tensor]:
        """The coordinates in mm along x, y and z."""
        return [
            first + self.spacing * torch.arange(n, device=device, dtype=torch.float32)
            for first, n in zip(self.start, self.shape, strict=True)
        ]

    def points(self, device: torch.device | str = "cpu") -> Tensor:
        """The coordinates (3, X, Y, Z) in mm of all points."""
        return torch.stack(torch.meshgrid(*self.axes(device), indexing="ij"))

    def crop(self, low: Sequence[int], high: Sequence[int]) -> Grid:
        """The part of the grid from index `low` to before `high`."""
        start = tuple(s + self.spacing * a for s, a in zip(self.start, low, strict=True))
        return Grid(tuple(b - a for a, b in zip(low, high, strict=True)), self.spacing, start)

    def sample(self, volume: Tensor, points: Tensor) -> Tensor:
        """Values of volumes (channel, X, Y, Z) on this grid at points in mm, linear; the edge continues."""
        last = [max(n - 1, 1) for n in self.shape]
        places = [(points[a] - self.start[a]) * (2 / (self.spacing * last[a])) - 1 for a in (2, 1, 0)]
        where = torch.stack(places, dim=-1)[None]
        return functional.grid_sample(
            volume[None], where, mode="bilinear", padding_mode="border", align_corners=True
        )[0]

    def resample(self, volume: Tensor, other: Grid) -> Tensor:
        """Volumes (..., X, Y, Z) on this grid, linearly interpolated on another one with the same axes."""
        for axis, (here, there) in enumerate(zip(self.axes(), other.axes(), strict=True)):
            place = ((there - here[0]) / self.spacing).clamp(0, len(here) - 1)
            weights = (1 - (place[:, None] - torch.arange(len(here))).abs()).clamp(min=0)
            volume = along(volume, weights, axis - 3 + volume.ndim)
        return volume


def smooth(volume: Tensor, sigma_mm: float, spacing: float) -> Tensor:
    """Gaussian smoothing of volumes (..., X, Y, Z)."""
    sigma = sigma_mm / spacing
    if sigma < 0.15:
        return volume
    for axis in range(volume.ndim - 3, volume.ndim):
        index = torch.arange(volume.shape[axis], dtype=torch.float32)
        weights = torch.exp(-((index[:, None] - index) ** 2) / (2 * sigma**2))
        volume = along(volume, weights / weights.sum(dim=1, keepdim=True), axis)
    return volume


def gradient(volume: Tensor, spacing: float) -> Tensor:
    """The gradient (3, X, Y, Z) per mm of a volume."""
    return torch.stack(torch.gradient(volume, spacing=spacing))


def exponential(velocity: Tensor, grid: Grid, squarings: int = 5) -> Tensor:
    """The displacement (3, X, Y, Z) in mm after following a stationary velocity; it never folds."""
    points = grid.points(velocity.device)
    displacement = velocity / 2**squarings
    for _ in range(squarings):
        displacement = displacement + grid.sample(displacement, points + displacement)
    return displacement
