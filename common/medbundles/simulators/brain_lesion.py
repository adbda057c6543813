"""What a grown tumour consists of: oedema, solid core, fluid, blood, a cavity, and where it enhances.

What T1, T2 and FLAIR show is drawn from one source, the enhancement from another that knows only the outline
of the core and that fluid does not enhance: the other contrasts cannot tell whether or where a solid part
enhances.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medbundles.simulators.fields import Draws, Grid

CORE, OEDEMA, ENHANCING = 1, 2, 3
SPECK_ML = 0.05


@dataclass(frozen=True)
class Look:
    """What is drawn of a tumour's visible parts.

    Attributes:
        rough_mm: roughness of its surface.
        edge_mm: width over which the core passes into its surroundings.
        fringe_mm: width over which oedema fades out.
        oedema: amount of water at the outer border of the oedema, as a part of that near the core.
        fluid: depth at which fluid begins, as a part of the greatest; 1 for none.
        blood: part of the core with blood products that are bright in T1.
        cavity: depth at which a resection cavity begins, as a part of the greatest; 1 for none.
    """

    rough_mm: float
    edge_mm: float
    fringe_mm: float
    oedema: float
    fluid: float
    blood: float
    cavity: float

    @classmethod
    def draw(cls, draws: Draws) -> Look:
        """Draws one; every second core has fluid, one in ten a cavity."""
        return cls(
            rough_mm=draws.uniform(0.5, 2.2),
            edge_mm=draws.uniform(0.3, 1.0),
            fringe_mm=draws.uniform(0.3, 1.2),
            oedema=draws.uniform(0.6, 1.0),
            fluid=draws.uniform(0.3, 0.8) if draws.chance(0.55) else 1.0,
            blood=draws.uniform(0.02, 0.15) if draws.chance(0.25) else 0.0,
            cavity=draws.uniform(0.1, 0.5) if draws.chance(0.1) else 1.0,
        )


@dataclass(frozen=True)
class Enhancement:
    """What is drawn of a tumour's enhancement.

    Attributes:
        kind: none, ring, broken ring, patches or all of the core.
        from_mm, width_mm: depth at which a ring begins, and its mean thickness.
        rough: relative variation of these.
        millimolar: mean concentration of gadolinium.
    """

    kind: str
    from_mm: float
    width_mm: float
    rough: float
    millimolar: float

    @classmethod
    def draw(cls, draws: Draws) -> Enhancement:
        """Draws one; a quarter of the tumours does not enhance."""
        kinds = {"none": 0.24, "ring": 0.38, "broken ring": 0.18, "patches": 0.12, "all": 0.08}
        return cls(
            kind=draws.choice(kinds),
            from_mm=0.0 if draws.chance(0.65) else draws.uniform(0.5, 4.0),
            width_mm=draws.log_uniform(1.8, 7.0),
            rough=draws.uniform(0.15, 0.5),
            millimolar=draws.log_uniform(0.3, 1.8),
        )


@dataclass(frozen=True)
class Lesion:
    """Fractions (X, Y, Z) of a tumour's parts, labels, and mM of gadolinium in the enhancing part.

    core covers solid, fluid, blood and the enhancing part; oedema and cavity lie beside it.
    """

    core: Tensor
    oedema: Tensor
    fluid: Tensor
    blood: Tensor
    cavity: Tensor
    enhancing: Tensor
    gadolinium: Tensor
    labels: Tensor


def compose(
    distances: Tensor, parts: dict[str, Tensor], grid: Grid, look: Draws, enhancement: Draws
) -> tuple[Lesion, Look, Enhancement]:
    """Draws the parts of a tumour.

    Args:
        distances: mm from the surface of core and whole tumour (2, X, Y, Z), negative inside.
        parts: the tissue.
        grid: its grid.
        look, enhancement: the two independent sources.
    """
    seen, agent = Look.draw(look), Enhancement.draw(enhancement)
    noise = look.mixture(grid, (10.0, 4.0), 3)
    rough = distances + seen.rough_mm * torch.stack([noise[0], 1.5 * noise[1]])
    # Where no tumour is near, roughness must not make one.
    rough = torch.where(distances > 6.0, distances, rough)
    core = (
        torch.sigmoid(-rough[0] / seen.edge_mm) * (1 - parts["ventricle"].clamp(0, 1)) * (parts["depth"] > 0)
    )
    whole = torch.sigmoid(-torch.minimum(rough[1], rough[0]) / seen.fringe_mm) * (1 - parts["csf"])
    depth = (-distances[0]).clamp(min=0)
    deepest = float(depth.amax())
    cavity = _deeper(depth, seen.cavity, deepest, noise[2]) * core
    fluid = _deeper(depth, seen.fluid, deepest, noise[1]) * (1 - cavity)
    blood = torch.sigmoid(6 * (noise[0] - 2.2 + 6 * seen.blood)) * (1 - fluid) if seen.blood else 0 * core
    where, concentration = enhance(depth, grid, agent, enhancement)
    enhancing = where * core * (1 - fluid) * (1 - cavity)
    core = core * (1 - cavity)
    oedema = whole * (1 - core - cavity).clamp(0, 1) * _water(distances[0], seen, noise[2])
    labels = _labels(core, cavity, whole, enhancing)
    lesion = Lesion(core, oedema, fluid * core, blood * core, cavity, enhancing, concentration, labels)
    return lesion, seen, agent


def enhance(depth: Tensor, grid: Grid, agent: Enhancement, draws: Draws) -> tuple[Tensor, Tensor]:
    """Where a core enhances, as a fraction, and mM of gadolinium there; it sees nothing but the depth."""
    slow, fast, sector = draws.mixture(grid, (10.0, 4.0), 3)
    concentration = agent.millimolar * torch.exp(0.3 * fast)
    if agent.kind == "none":
        return torch.zeros_like(depth), concentration
    if agent.kind == "all":
        return torch.ones_like(depth), concentration
    if agent.kind == "patches":
        return torch.sigmoid(6 * (slow - 0.4)), concentration
    width = agent.width_mm * (1 + agent.rough * slow)
    begin = agent.from_mm * (1 + agent.rough * fast)
    soft = 0.5 * max(grid.spacing, 0.6)
    inner = torch.sigmoid((begin + width - depth) / soft)
    outer = torch.sigmoid((depth - begin) / soft) if agent.from_mm else torch.ones_like(depth)
    if agent.kind == "broken ring":
        outer = outer * torch.sigmoid(6 * (draws.field(grid, 22.0)[0] + 0.3 * sector + 0.1))
    return inner * outer, concentration


def _deeper(depth: Tensor, part: float, deepest: float, noise: Tensor) -> Tensor:
    """Fraction of what lies deeper than a part of the greatest depth, with an uneven border."""
    if part >= 1:
        return torch.zeros_like(depth)
    return torch.sigmoid((depth - deepest * part * (1 + 0.25 * noise)) / 0.5)


def _water(core: Tensor, look: Look, noise: Tensor) -> Tensor:
    """How much water the oedema holds: most near the core."""
    near = torch.exp(-core.clamp(min=0) / 10)
    return (look.oedema + (1 - look.oedema) * near + 0.08 * noise).clamp(0.3, 1)


def _labels(core: Tensor, cavity: Tensor, whole: Tensor, enhancing: Tensor) -> Tensor:
    """The label that most of a voxel has; a cavity holds no tumour."""
    labels = torch.where(whole > 0.5, OEDEMA, 0)
    labels = torch.where(core > 0.5, CORE, labels)
    labels = torch.where((core > 0.5) & (enhancing > 0.5 * core), ENHANCING, labels)
    return torch.where(cavity > 0.5, 0, labels).to(torch.uint8)


def without_specks(labels: Tensor, spacing: float) -> Tensor:
    """The labels with enhancing tumour counted as core where there is too little in all to be outlined."""
    enhancing = labels == ENHANCING
    if float(enhancing.sum()) * spacing**3 / 1000 >= SPECK_ML:
        return labels
    return torch.where(enhancing, CORE, labels)
