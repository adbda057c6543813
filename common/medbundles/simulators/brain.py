"""Simulated patients with a glioma in T1, T1 after gadolinium, T2 and FLAIR, laid out like the BraTS data.

Average tissue maps are deformed into a person, a tumour grows in them and pushes tissue aside, and the
signal equations make the contrasts, with sequences and tissues drawn for every subject. Enhancement comes
from a source of its own: it changes T1Gd and the labels, and nothing in the other contrasts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medbundles.contrasts import CONTRASTS
from medbundles.devices import choose_device
from medbundles.simulators import brain_anatomy as anatomy
from medbundles.simulators import brain_faults as faulty
from medbundles.simulators import brain_lesion as lesions
from medbundles.simulators import brain_signal as signals
from medbundles.simulators import brain_tumour as tumours
from medbundles.simulators.brain_maps import template
from medbundles.simulators.fields import Draws, Grid

SIZE_MM = (240, 240, 155)
_GROWTH_MM = 2.0
_AROUND_MM = 7.0  # what is computed around the brain


@dataclass(frozen=True)
class Subject:
    """One simulated patient.

    Attributes:
        seed: the number it was made from.
        images: contrast to float32 (X, Y, Z); exactly 0 outside the mask and positive inside.
        labels: uint8 (X, Y, Z): 1 core that does not enhance, 2 oedema, 3 enhancing tumour.
        mask: the brain as stripped.
        enhancement: mM of gadolinium in enhancing tumour, float32 (X, Y, Z).
        affine: 4x4 RAS.
        parameters: everything that was drawn, and the volumes in mL.
    """

    seed: int
    images: dict[str, NDArray[np.float32]]
    labels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    enhancement: NDArray[np.float32]
    affine: NDArray[np.float64]
    parameters: dict[str, Any]


@dataclass(frozen=True)
class _Person:
    """A subject before it is scanned, on the grid of the box around its brain."""

    grid: Grid
    box: tuple[slice, ...]
    parts: dict[str, Tensor]
    lesion: lesions.Lesion
    fractions: dict[str, Tensor]
    drawn: dict[str, Any]


@torch.no_grad()
def subject(
    seed: int,
    *,
    size: tuple[int, int, int] = SIZE_MM,
    spacing_mm: float = 1.0,
    faults: bool = True,
    enhancement_seed: int | None = None,
    device: str | torch.device = "cpu",
) -> Subject:
    """Simulates a subject; the same seed gives the same one, at every spacing and, up to rounding, device.

    Args:
        seed: the number to draw from.
        size: the field in mm; its voxels have `spacing_mm`, so 2 mm give an array of half the size.
        spacing_mm: size of the voxels.
        faults: False leaves out shading, noise, slices, misfit and errors of the brain mask.
        enhancement_seed: draws another enhancement of the same tumour.
        device: where to compute.

    Raises:
        PackageError: nilearn, which carries the maps of the average brain, is not installed.
    """
    where = choose_device(device)
    field = Grid.centred(size, spacing_mm)
    person = _person(seed, field, seed if enhancement_seed is None else enhancement_seed, where)
    stripping = faulty.Stripping.draw(Draws(seed, "stripping"))
    mask = person.parts["depth"] > 0
    if faults:
        mask = faulty.strip(person.parts, person.grid, stripping, Draws(seed, "mask", where))
    images, drawn = _scan(person, mask, seed, faults)
    labels = lesions.without_specks(torch.where(mask, person.lesion.labels, 0), spacing_mm)
    gadolinium = person.lesion.enhancing * person.lesion.gadolinium * mask
    volumes = _volumes(labels, spacing_mm)
    drawn = person.drawn | {"stripping": asdict(stripping)} | drawn | {"volumes_ml": volumes}
    return Subject(
        seed,
        {name: _whole(image, field, person.box) for name, image in images.items()},
        _whole(labels.to(torch.uint8), field, person.box),
        _whole(mask, field, person.box),
        _whole(gadolinium, field, person.box),
        affine(spacing_mm),
        drawn,
    )


def affine(spacing_mm: float) -> NDArray[np.float64]:
    """The affine of the public data (x to the left, y to the back), its corner kept at every spacing."""
    half = (spacing_mm - 1) / 2
    out = np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])
    out[:3, 3] = (-half, 239 - half, half)
    return out


def _person(seed: int, field: Grid, enhancement_seed: int, device: torch.device) -> _Person:
    average = template().to(device)
    draws = Draws(seed, "anatomy", device)
    shape = anatomy.Shape.draw(draws)
    warp = anatomy.draw_warp(shape, draws, average)
    coarse = Grid.centred((200.0, 232.0, 180.0), _GROWTH_MM)
    before = anatomy.tissues(average, warp(coarse.points(device)), shape.ribbon_mm)
    draws = Draws(seed, "tumour", device)
    growth = tumours.Growth.draw(draws)
    tumour = tumours.grow(growth, before, coarse, draws)
    box = _box(before["depth"], coarse, field)
    grid = field.crop([s.start for s in box], [s.stop for s in box])
    points = grid.points(device)
    points = points + coarse.resample(tumour.push, grid)
    parts = anatomy.tissues(average, warp(points), shape.ribbon_mm)
    lesion, look, agent = lesions.compose(
        coarse.sample(tumour.maps(), points),
        parts,
        grid,
        Draws(seed, "look", device),
        Draws(enhancement_seed, "enhancement", device),
    )
    drawn = {"anatomy": shape, "growth": growth, "look": look, "enhancement": agent}
    fractions = _fractions(parts, lesion, grid, shape, Draws(seed, "details", device))
    return _Person(grid, box, parts, lesion, fractions, {k: asdict(v) for k, v in drawn.items()})


def _box(depth: Tensor, coarse: Grid, field: Grid) -> tuple[slice, ...]:
    """The part of the field that holds the brain and a little around it."""
    out = []
    for axis, (places, mine) in enumerate(zip(coarse.axes(), field.axes(), strict=True)):
        others = [a for a in range(3) if a != axis]
        held = places[(depth > 0).cpu().sum(dim=others) > 0]
        near = (mine > held[0] - _AROUND_MM) & (mine < held[-1] + _AROUND_MM)
        index = torch.nonzero(near).flatten()
        out.append(slice(int(index[0]), int(index[-1]) + 1))
    return tuple(out)


def _fractions(
    parts: dict[str, Tensor], lesion: lesions.Lesion, grid: Grid, shape: anatomy.Shape, draws: Draws
) -> dict[str, Tensor]:
    """Fractions of all tissues, which add up to 1 in every voxel."""
    aged = anatomy.old_lesions(parts, grid, draws, shape.lesions)
    tubes = anatomy.vessels(parts, grid, draws, shape.vessels)
    plexus = anatomy.choroid(parts, grid, draws)
    outside = anatomy.coverings(parts["depth"], grid, draws)
    rest = (1 - sum(outside.values())).clamp(0, 1)
    tumour = (lesion.core + lesion.oedema + lesion.cavity).clamp(0, 1)
    healthy = rest * (1 - tumour)
    tubes, plexus = tubes * healthy, plexus * healthy
    healthy = (healthy - tubes - plexus).clamp(min=0)
    grey = parts["gm"] * healthy
    out = {
        "wm": (parts["wm"] - aged).clamp(min=0) * healthy,
        "gm": grey * (1 - parts["iron"]),
        "nuclei": grey * parts["iron"],
        "csf": parts["csf"] * healthy,
        "aged": aged * healthy,
        "vessel": tubes,
        "choroid": plexus,
        "oedema": lesion.oedema * rest,
        "solid": (lesion.core - lesion.fluid - lesion.blood).clamp(min=0) * rest,
        "fluid": lesion.fluid * rest,
        "blood": lesion.blood * rest,
        "cavity": lesion.cavity * rest,
    }
    return out | outside


def _scan(person: _Person, mask: Tensor, seed: int, faults: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All contrasts, and what was drawn for them."""
    device = mask.device
    tissues = signals.draw_tissues(Draws(seed, "tissues"))
    source = Draws(seed, "texture", device)
    texture = signals.Texture(
        source.mixture(person.grid, (14.0, 4.0), 3), source.mixture(person.grid, (7.0, 2.5), 3)
    )
    brain = person.parts["depth"] > 1
    images, drawn = {}, {"tissues": signals.as_numbers(tissues), "sequences": {}, "acquisitions": {}}
    for contrast in CONTRASTS:
        sequence = signals.draw_sequence(contrast, Draws(seed, f"sequence {contrast}"), tissues["csf"].t1)
        image = signals.render(person.fractions, tissues, sequence, texture)
        if contrast == "t1gd":
            image = image + _gadolinium(person, tissues, sequence, Draws(seed, "gadolinium", device))
        draws = Draws(seed, f"acquisition {contrast}", device)
        plan = faulty.Acquisition.draw(draws)
        image = (
            faulty.acquire(image, brain, person.grid, plan, draws) if faults else image / image[brain].mean()
        )
        images[contrast] = (plan.scale * image).clamp(min=1e-3) * mask
        drawn["sequences"][contrast], drawn["acquisitions"][contrast] = asdict(sequence), asdict(plan)
    return images, drawn


# Concentrations in mM after one dose, where no tumour is; in blood while the images are taken.
_BLOOD, _PLEXUS, _DURA = (1.0, 3.0), (0.3, 1.0), (0.1, 0.6)
_BLOOD_VOLUME = {"wm": 0.02, "gm": 0.045, "nuclei": 0.04}


def _gadolinium(
    person: _Person, tissues: dict[str, signals.Tissue], sequence: signals.Sequence, draws: Draws
) -> Tensor:
    """What gadolinium adds to an image: in tumour, vessels, plexus, dura and, barely, everywhere."""
    lesion, parts = person.lesion, person.fractions
    blood = draws.uniform(*_BLOOD)
    # Slow blood is bright after gadolinium, its void before is that of fast blood.
    vessel = signals.Tissue(1650, 60, 0.8)
    amounts = {
        "vessel": (vessel, blood),
        "choroid": (tissues["choroid"], draws.uniform(*_PLEXUS)),
        "dura": (tissues["dura"], draws.uniform(*_DURA)),
    }
    amounts |= {name: (tissues[name], blood * share) for name, share in _BLOOD_VOLUME.items()}
    added = lesion.enhancing * signals.uptake(tissues["solid"], sequence, lesion.gadolinium)
    for name, (tissue, millimolar) in amounts.items():
        added = added + parts[name] * signals.uptake(tissue, sequence, torch.tensor(millimolar))
    return added


def _volumes(labels: Tensor, spacing_mm: float) -> dict[str, float]:
    """Volumes of whole tumour, tumour core and enhancing tumour, mL."""
    counts = torch.bincount(labels.flatten().long(), minlength=4).tolist()
    voxel = spacing_mm**3 / 1000
    regions = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
    return {name: voxel * sum(counts[value] for value in values) for name, values in regions.items()}


def _whole(part: Tensor, field: Grid, box: tuple[slice, ...]) -> NDArray:
    """A box put back into the field of zeros."""
    inside = part.cpu().numpy()
    out = np.zeros(field.shape, inside.dtype)
    out[box] = inside
    return out
