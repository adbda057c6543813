"""Growth of a glioma: cells spread and multiply, water follows along white matter, tissue is pushed aside.

Tumour cells and oedema both obey du/dt = div(D grad u) + rho u (1 - u) with little diffusion in grey matter
and none in fluid. Kept is when the front arrived, which tells how deep a point lies inside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medbundles.simulators.fields import Draws, Grid, gradient, smooth

# Diffusion and growth per step, in units of the grid's spacing; a front then moves by 0.4 to 0.5 voxels.
_DIFFUSION, _GROWTH = 0.15, 0.3
_STEPS = 260
_AFTER = 8  # steps beyond the final size, so that the surface lies between arrivals


@dataclass(frozen=True)
class Growth:
    """What is drawn of a tumour's growth.

    Attributes:
        foci: number of places where it starts; 0 for a brain without tumour.
        core_ml, oedema_ml: volumes to reach before the tissue is pushed aside.
        core_grey, oedema_grey: diffusion in grey matter against white.
        push: how far tissue is pushed, as a part of the core's radius.
        uneven: how much the speed of growth differs from place to place.
    """

    foci: int
    core_ml: float
    oedema_ml: float
    core_grey: float
    oedema_grey: float
    push: float
    uneven: float

    @classmethod
    def draw(cls, draws: Draws) -> Growth:
        """Draws one; whole tumours have 1 to about 120 mL."""
        foci = int(draws.choice({"0": 0.04, "1": 0.74, "2": 0.14, "3": 0.08}))
        core = draws.log_uniform(1.2, 55)
        oedema = (0.05 if draws.chance(0.12) else draws.log_uniform(0.3, 5.0)) * core
        return cls(
            foci=foci,
            core_ml=core,
            oedema_ml=min(max(oedema, 1.0 - core), 110 - core),
            core_grey=draws.uniform(0.25, 0.8),
            oedema_grey=draws.log_uniform(0.01, 0.1),
            push=draws.uniform(0.0, 0.4),
            uneven=draws.uniform(0.2, 0.9),
        )


@dataclass(frozen=True)
class Tumour:
    """Where a tumour is: signed mm from the surface of core and of whole tumour, negative inside."""

    core: Tensor
    whole: Tensor
    push: Tensor
    radius: float

    def maps(self) -> Tensor:
        """Both distances (2, X, Y, Z)."""
        return torch.stack([self.core, self.whole])


_FAR = 20.0


def grow(growth: Growth, parts: dict[str, Tensor], grid: Grid, draws: Draws) -> Tumour:
    """Grows a tumour in healthy tissue.

    Args:
        growth: its sizes.
        parts: the tissue, as `brain_anatomy.tissues` gives it.
        grid: grid of the tissue, about 2 mm.
        draws: source of its place.
    """
    nowhere = torch.full_like(parts["wm"], _FAR)
    if not growth.foci:
        return Tumour(nowhere, nowhere, torch.zeros(3, *nowhere.shape, device=nowhere.device), 0.0)
    seeds = _seeds(growth.foci, parts, grid, draws)
    solid = (1 - parts["csf"]).clamp(0, 1) * (parts["depth"] > 1)
    solid = solid * torch.exp(growth.uneven * (draws.mixture(grid, (24.0, 11.0))[0] - 1)).clamp(max=1)
    core = _spread(seeds, _medium(parts, solid, growth.core_grey), growth.core_ml, grid, growth.foci)
    inside = (core < 0).float()
    total = float((core < 0).sum()) * grid.spacing**3 / 1000 + growth.oedema_ml
    whole = _spread(inside, _medium(parts, solid, growth.oedema_grey), total, grid, growth.foci)
    radius = (3 * growth.core_ml * 1000 / (4 * math.pi * growth.foci)) ** (1 / 3)
    return Tumour(core, torch.minimum(core, whole), _push(growth, core, whole, parts, grid, radius), radius)


def _seeds(foci: int, parts: dict[str, Tensor], grid: Grid, draws: Draws) -> Tensor:
    """Small balls in white matter of the hemispheres; all but the first start with fewer cells."""
    white = (parts["wm"] > 0.55) & (parts["depth"] > 6) & (parts["interior"] < 0.7)
    places = torch.nonzero(white).cpu()
    points = grid.points(white.device)
    out = torch.zeros_like(parts["wm"])
    for number in range(foci):
        place = places[int(draws.rng.integers(len(places)))]
        centre = points[:, place[0], place[1], place[2]][:, None, None, None]
        cells = 1.0 if number == 0 else draws.log_uniform(1e-4, 0.5)
        out = torch.maximum(out, cells * torch.exp(-((points - centre) ** 2).sum(dim=0) / (2 * 2.2**2)))
    return out


def _medium(parts: dict[str, Tensor], solid: Tensor, grey: float) -> Tensor:
    """Relative speed of spread."""
    return ((parts["wm"] + grey * parts["gm"]) * solid).clamp(min=1e-5)


def _spread(cells: Tensor, medium: Tensor, volume_ml: float, grid: Grid, foci: int) -> Tensor:
    """Lets cells spread until they fill a volume; returns signed mm from the surface, negative inside.

    Millimetres are those of balls, one for each focus, of the volume at the time: the front of a small tumour
    is slower than that of a large one.
    """
    target = max(volume_ml * 1000 / grid.spacing**3, 4.0)
    flux = [_DIFFUSION * _between(medium, axis) for axis in range(3)]
    growth = _GROWTH * medium.clamp(min=0.02) * (medium > 1e-3)
    arrival = torch.where(cells > 0.5, 1 - cells, torch.full_like(cells, torch.inf))
    counts, left = [0.0, float((cells > 0.5).sum())], _AFTER
    for step in range(1, _STEPS):
        before, cells = cells, _step(cells, flux, growth)
        now = (cells >= 0.5) & torch.isinf(arrival)
        arrival = torch.where(now, step + (0.5 - before) / (cells - before).clamp(min=1e-6), arrival)
        counts.append(float((cells >= 0.5).sum()))
        left -= counts[-1] >= target
        if not left:
            break
    radii = np.cbrt(3 * np.maximum.accumulate(counts) / (4 * np.pi * foci)) * grid.spacing
    final = np.cbrt(3 * min(target, counts[-1]) / (4 * np.pi * foci)) * grid.spacing
    depth = _look_up(arrival, torch.tensor(radii - final, dtype=torch.float32, device=cells.device))
    return torch.where(torch.isinf(arrival), _FAR, depth)


def _look_up(time: Tensor, values: Tensor) -> Tensor:
    """The value at each time, linear between whole ones; after the last the last value remains."""
    time = time.clamp(0, len(values) - 1)
    early = time.long().clamp(max=len(values) - 2)
    return torch.lerp(values[early], values[early + 1], time - early)


def _between(medium: Tensor, axis: int) -> Tensor:
    """Harmonic mean of neighbours along an axis: no flux into fluid."""
    count = medium.shape[axis] - 1
    a, b = medium.narrow(axis, 0, count), medium.narrow(axis, 1, count)
    return 2 * a * b / (a + b)


def _step(cells: Tensor, flux: list[Tensor], growth: Tensor) -> Tensor:
    change = growth * cells * (1 - cells)
    for axis, factor in enumerate(flux):
        count = cells.shape[axis] - 1
        flow = factor * (cells.narrow(axis, 1, count) - cells.narrow(axis, 0, count))
        change.narrow(axis, 0, count).add_(flow)
        change.narrow(axis, 1, count).sub_(flow)
    return cells + change


def _push(
    growth: Growth, core: Tensor, whole: Tensor, parts: dict[str, Tensor], grid: Grid, radius: float
) -> Tensor:
    """Displacement (3, X, Y, Z) in mm: what is seen at p was at p + displacement before the tumour pushed."""
    width = 0.7 * radius + 4
    mass = smooth((core < 0).float() + 0.25 * (whole < 0).float(), width, grid.spacing)
    slope = gradient(mass, grid.spacing)
    slope = slope / slope.norm(dim=0).amax().clamp(min=1e-6)
    held = (parts["depth"] / 12).clamp(0, 1)  # the skull does not give way
    return growth.push * radius * held * slope
