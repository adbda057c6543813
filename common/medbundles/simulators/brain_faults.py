"""What a scanner and its preprocessing do to an image: shading, slices, noise, misfit, poor stripping."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medbundles.simulators.fields import Draws, Grid, along, smooth


@dataclass(frozen=True)
class Acquisition:
    """What is drawn for one contrast.

    Attributes:
        bias: strength of the shading.
        noise: standard deviation of the noise, as a part of the mean signal.
        axis: along which slices are stacked.
        slice_mm: their thickness.
        blur_mm: sigma of the blur within slices.
        shift_mm, turn_deg: misfit to the other contrasts.
        gamma: exponent of the grey scale.
        scale: mean grey value.
    """

    bias: float
    noise: float
    axis: int
    slice_mm: float
    blur_mm: float
    shift_mm: tuple[float, float, float]
    turn_deg: tuple[float, float, float]
    gamma: float
    scale: float

    @classmethod
    def draw(cls, draws: Draws) -> Acquisition:
        """Draws one; one in three has thin slices."""
        misfit = draws.uniform(0, 1) if draws.chance(0.5) else 0.0
        return cls(
            bias=draws.uniform(0.02, 0.16),
            noise=draws.log_uniform(0.01, 0.07),
            axis=int(draws.choice({"2": 0.75, "0": 0.15, "1": 0.1})),
            slice_mm=1.0 if draws.chance(0.35) else draws.uniform(1.5, 5.5),
            blur_mm=draws.uniform(0.0, 0.7),
            shift_mm=tuple(misfit * draws.uniform(-0.7, 0.7) for _ in range(3)),
            turn_deg=tuple(misfit * draws.uniform(-0.7, 0.7) for _ in range(3)),
            gamma=draws.uniform(0.88, 1.12),
            scale=draws.log_uniform(120, 2500),
        )


def acquire(image: Tensor, brain: Tensor, grid: Grid, plan: Acquisition, draws: Draws) -> Tensor:
    """The image as a scanner delivers it, its mean over the brain about 1."""
    image = image * torch.exp(plan.bias * draws.mixture(grid, (110.0, 60.0))[0])
    image = smooth(image / image[brain].mean(), plan.blur_mm, grid.spacing)
    down, up = slices(image.shape[plan.axis], grid.spacing, plan.slice_mm, draws.uniform(0, 1))
    image = along(image, down, plan.axis)
    real = image + plan.noise * draws.white(image.shape)
    image = along(torch.hypot(real, plan.noise * draws.white(image.shape)), up, plan.axis)
    if any(plan.shift_mm) or any(plan.turn_deg):
        image = grid.sample(image[None], _misfit(grid.points(image.device), plan))[0]
    return image.clamp(min=0) ** plan.gamma


def slices(count: int, spacing: float, thickness: float, offset: float) -> tuple[Tensor, Tensor]:
    """Matrices that average voxels into slices, and that put slices back on voxels by linear interpolation.

    Args:
        count: voxels along the axis.
        spacing: their size in mm.
        thickness: of the slices, in mm; voxels are kept when it is not greater than theirs.
        offset: of the first slice, as a part of the thickness.
    """
    if thickness <= spacing:
        return torch.eye(count), torch.eye(count)
    place = spacing * (torch.arange(count) + 0.5)
    middle = thickness * (torch.arange(int(count * spacing / thickness) + 2) - 0.5 + offset)
    overlap = torch.minimum(place + spacing / 2, middle[:, None] + thickness / 2) - torch.maximum(
        place - spacing / 2, middle[:, None] - thickness / 2
    )
    down = overlap.clamp(min=0)
    kept = down.sum(dim=1) > 0.25 * thickness
    down, middle = down[kept], middle[kept]
    within = place.clamp(float(middle[0]), float(middle[-1]))
    up = (1 - (within[:, None] - middle).abs() / thickness).clamp(min=0)
    return down / down.sum(dim=1, keepdim=True), up


def _misfit(points: Tensor, plan: Acquisition) -> Tensor:
    """Points moved by a small rotation and shift; for angles this small the cross product is a rotation."""
    turn = points.new_tensor([math.radians(a) for a in plan.turn_deg])[:, None, None, None]
    shift = points.new_tensor(plan.shift_mm)[:, None, None, None]
    return points + torch.linalg.cross(turn.expand_as(points), points, dim=0) + shift


@dataclass(frozen=True)
class Stripping:
    """What is drawn of the brain mask that all contrasts share.

    Attributes:
        offset_mm: how much too wide it is (negative: too tight).
        rough_mm: unevenness of its border.
        bites: places where it cuts into the brain.
        remnants: part of the surface where scalp or skull remains.
        sulci: whether fluid at the surface is cut away.
    """

    offset_mm: float
    rough_mm: float
    bites: int
    remnants: float
    sulci: bool

    @classmethod
    def draw(cls, draws: Draws) -> Stripping:
        """Draws one."""
        return cls(
            offset_mm=-0.4 + 0.8 * float(draws.rng.standard_normal()),
            rough_mm=draws.uniform(0.2, 1.3),
            bites=int(draws.rng.integers(1, 4)) if draws.chance(0.15) else 0,
            remnants=draws.uniform(0.01, 0.06) if draws.chance(0.2) else 0.0,
            sulci=draws.chance(0.25),
        )


def strip(parts: dict[str, Tensor], grid: Grid, plan: Stripping, draws: Draws) -> Tensor:
    """The brain mask as an imperfect program finds it."""
    depth, csf = parts["depth"], parts["csf"]
    border = plan.offset_mm + plan.rough_mm * draws.mixture(grid, (16.0, 6.0))[0]
    if plan.remnants:
        level = math.sqrt(2) * torch.special.erfinv(torch.tensor(1 - 2 * plan.remnants)).item()
        border = border + 6 * torch.sigmoid(8 * (draws.field(grid, 14.0)[0] - level))
    mask = depth + border > 0
    if plan.sulci:
        mask = mask & ~((csf > 0.75) & (depth < 3))
    surface = torch.nonzero((depth > 0) & (depth < 2)).cpu()
    points = grid.points(depth.device)
    for _ in range(plan.bites):
        place = surface[int(draws.rng.integers(len(surface)))]
        centre = points[:, place[0], place[1], place[2]][:, None, None, None]
        mask = mask & (((points - centre) ** 2).sum(dim=0) > draws.uniform(3, 10) ** 2)
    return mask
