"""A brain that nobody has: the average one, scaled, turned, warped, aged, with vessels and old lesions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medbundles.simulators.brain_maps import NAMES, Template
from medbundles.simulators.fields import Draws, Grid, exponential, gradient, smooth

# The atlas of the public data is smaller than the average brain, above all from head to foot.
_ATLAS = (1.03, 1.03, 1.12)
# Correlation lengths of the random warp and its sizes in mm.
_WARPS = ((55.0, 3.0), (28.0, 1.7), (14.0, 0.8))
_COARSE_MM = 4.0
_SHARP = 1.7  # averaging blurred the maps; raised to this power they are crisp again


@dataclass(frozen=True)
class Shape:
    """What is drawn of an anatomy.

    Attributes:
        scale: size of the brain along x, y and z against the atlas.
        turn: rotation about x, y and z, degrees.
        shift: mm.
        warp: strength of the random warp.
        ventricles: how far the ventricles' walls move outwards, mm.
        ribbon_mm: thickness of the cortex; what is farther from white matter is fluid.
        lesions: share of the white matter near ventricles that has aged.
        vessels: width of the vessels, mm.
    """

    scale: tuple[float, float, float]
    turn: tuple[float, float, float]
    shift: tuple[float, float, float]
    warp: float
    ventricles: float
    ribbon_mm: float
    lesions: float
    vessels: float

    @classmethod
    def draw(cls, draws: Draws) -> Shape:
        """Draws one; age widens ventricles and sulci and brings lesions, more or less together."""
        age = draws.uniform(0, 1)
        size = draws.factor(0.035)
        return cls(
            scale=tuple(size * draws.factor(0.025) for _ in range(3)),
            turn=tuple(draws.uniform(-5, 5) for _ in range(3)),
            shift=tuple(draws.uniform(-3, 3) for _ in range(3)),
            warp=draws.uniform(0.7, 1.3),
            ventricles=-0.8 + 4.0 * age * draws.uniform(0.3, 1.2),
            ribbon_mm=6.0 - 2.4 * age * draws.uniform(0.4, 1.2),
            lesions=max(0.0, 0.25 * (age - 0.3)) * draws.uniform(0, 1),
            vessels=draws.uniform(0.5, 1.5),
        )


@dataclass(frozen=True)
class Warp:
    """Where in the template a point of the subject lies."""

    matrix: Tensor
    shift: Tensor
    displacement: Tensor
    grid: Grid

    def __call__(self, points: Tensor) -> Tensor:
        """Template coordinates of points of the subject, both (3, X, Y, Z) in mm."""
        moved = points + self.grid.sample(self.displacement, points)
        return torch.einsum("ij,jxyz->ixyz", self.matrix, moved) + self.shift[:, None, None, None]


def draw_warp(shape: Shape, draws: Draws, template: Template) -> Warp:
    """Draws the smooth, invertible deformation of a subject."""
    grid = Grid.centred((208.0, 232.0, 184.0), _COARSE_MM)
    device = template.maps.device
    angles = np.deg2rad(shape.turn)
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [i for i in range(3) if i != axis]
        one = np.eye(3)
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        turn = turn @ one
    matrix = torch.tensor(np.diag(np.array(_ATLAS) / shape.scale) @ turn, dtype=torch.float32, device=device)
    shift = torch.tensor(shape.shift, dtype=torch.float32, device=device)
    velocity = sum(shape.warp * size * draws.field(grid, length, 3) for length, size in _WARPS)
    rigid = Warp(matrix, shift, torch.zeros_like(velocity), grid)
    ventricle = template.grid.sample(
        template.maps[NAMES.index("ventricle")][None], rigid(grid.points(device))
    )
    slope = gradient(smooth(ventricle[0], 5.0, _COARSE_MM), _COARSE_MM)
    slope = slope / slope.norm(dim=0).amax().clamp(min=1e-6)
    return Warp(matrix, shift, exponential(velocity + shape.ventricles * slope, grid), grid)


def tissues(template: Template, points: Tensor, ribbon_mm: float) -> dict[str, Tensor]:
    """The healthy brain at template coordinates.

    Returns:
        wm, gm, csf: fractions that add up to 1; ventricle, interior, iron and sinus as in `Template`; depth,
        mm inside the brain's surface.
    """
    maps = dict(zip(NAMES, template.grid.sample(template.maps, points), strict=True))
    sulcus = torch.sigmoid((maps["cortex"] - ribbon_mm) / 0.45) * (1 - maps["interior"])
    csf = torch.maximum(maps["csf"], sulcus).clamp(0, 1)
    fractions = torch.stack([maps["wm"] * (1 - sulcus), maps["gm"] * (1 - sulcus), csf]).clamp(min=1e-4)
    fractions = fractions**_SHARP
    fractions = fractions / fractions.sum(dim=0)
    kept = {name: maps[name] for name in ("ventricle", "depth", "interior", "iron", "sinus")}
    return {"wm": fractions[0], "gm": fractions[1], "csf": fractions[2], **kept}


def old_lesions(parts: dict[str, Tensor], grid: Grid, draws: Draws, share: float) -> Tensor:
    """Fraction (X, Y, Z) of white matter with lesions of age: caps at the ventricles and scattered spots."""
    white = parts["wm"]
    noise = draws.mixture(grid, (7.0, 4.0))[0]
    if share <= 0:
        return torch.zeros_like(white)
    near = smooth(parts["ventricle"], 5.0, grid.spacing)
    # At the ventricles lesions are frequent, elsewhere only the noise's peaks make one.
    score = noise + 6 * near * (share / 0.2) ** 0.5 - (2.6 - 3.2 * share)
    return torch.sigmoid(4 * score) * white


def vessels(parts: dict[str, Tensor], grid: Grid, draws: Draws, width_mm: float) -> Tensor:
    """Fraction (X, Y, Z) of vessels: sinuses, curves in sulci, and finer ones in white matter."""
    length = 14.0
    first, second = draws.field(grid, length, 2)
    # Where two smooth fields are both zero is a curve; fields of this length change by 1 in about 8 mm.
    distance = torch.hypot(first, second) * 8.0
    radius = width_mm * (0.35 + 0.9 * (parts["csf"] > 0.25) + 0.2 * (parts["gm"] > 0.5))
    inside = torch.sigmoid((radius - distance) / 0.3) * (parts["depth"] > 0)
    return torch.maximum(inside * (1 - parts["ventricle"].clamp(0, 1)), parts["sinus"])


def choroid(parts: dict[str, Tensor], grid: Grid, draws: Draws) -> Tensor:
    """Fraction (X, Y, Z) of choroid plexus, in clumps within the ventricles."""
    noise = draws.mixture(grid, (9.0, 3.5))[0]
    return torch.sigmoid(5 * (noise - 1.1)) * parts["ventricle"].clamp(0, 1) * parts["csf"]


def coverings(depth: Tensor, grid: Grid, draws: Draws) -> dict[str, Tensor]:
    """Fractions of what a bad brain mask leaves: dura and, beyond the skull's dark inner table, marrow fat.

    Fluid fills the rest of what lies outside the brain.
    """
    noise = draws.mixture(grid, (12.0, 5.0), 2)
    dura = torch.sigmoid((-depth - 1.5 - 0.4 * noise[0]) / 0.3)
    skull = torch.sigmoid((-depth - 3.2) / 0.4)
    fat = torch.sigmoid((-depth - 5.0 - noise[1]) / 0.4)
    return {"dura": dura * (1 - skull) * (1 - fat), "fat": 0.25 * skull * (1 - fat) + fat}
