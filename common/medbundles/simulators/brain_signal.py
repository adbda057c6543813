"""Signal equations of the four contrasts, and the tissues' relaxation times; all drawn for every subject."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from medbundles.simulators.fields import Draws


@dataclass(frozen=True)
class Tissue:
    """T1 and T2 in ms, proton density, and relative variation within the tissue."""

    t1: float
    t2: float
    density: float
    grain: float = 0.02

    def varied(self, draws: Draws, spread: float, t1: float, t2: float) -> Tissue:
        """The tissue of one subject; `t1` and `t2` are the factors of the field strength."""
        return replace(
            self,
            t1=self.t1 * t1 * draws.factor(spread),
            t2=self.t2 * t2 * draws.factor(spread),
            density=self.density * draws.factor(spread / 3),
        )


# At 3 T. The first block varies little between people, the second is different in every patient.
HEALTHY = {
    "wm": Tissue(850, 70, 0.70),
    "gm": Tissue(1350, 92, 0.82, 0.025),
    "nuclei": Tissue(1080, 62, 0.77),
    "csf": Tissue(4200, 1500, 1.0, 0.01),
    "vessel": Tissue(1650, 14, 0.6, 0.05),
    "choroid": Tissue(1700, 140, 0.9, 0.05),
    "dura": Tissue(900, 35, 0.6, 0.1),
    "fat": Tissue(380, 65, 0.85, 0.15),
}
DISEASED = {
    "aged": Tissue(1300, 135, 0.84, 0.04),
    "oedema": Tissue(1700, 165, 0.88, 0.05),
    "solid": Tissue(1480, 112, 0.86, 0.09),
    "fluid": Tissue(2700, 340, 0.95, 0.06),
    "blood": Tissue(620, 90, 0.84, 0.15),
    "cavity": Tissue(3900, 900, 1.0, 0.02),
}
LESIONS = frozenset(DISEASED)


def draw_tissues(draws: Draws) -> dict[str, Tissue]:
    """The tissues of one subject on a scanner between 1.5 and 3 T."""
    field = draws.uniform(0, 1)
    t1, t2 = 0.72 + 0.28 * field, 1.1 - 0.1 * field
    fluids = {"csf": 0.96 + 0.04 * field, "cavity": 0.96 + 0.04 * field}
    healthy = {name: one.varied(draws, 0.05, fluids.get(name, t1), t2) for name, one in HEALTHY.items()}
    diseased = {name: one.varied(draws, 0.12, fluids.get(name, t1), t2) for name, one in DISEASED.items()}
    usual = {name: DISEASED[name].varied(draws, 0.0, t1, t2) for name in ("oedema", "solid")}
    diseased["solid"] = _together(diseased["solid"], diseased["oedema"], usual)
    return healthy | diseased


def _together(solid: Tissue, oedema: Tissue, usual: dict[str, Tissue]) -> Tissue:
    """Solid tumour that varies from patient to patient with the oedema around it, and little by itself.

    Whoever outlines a core sees where it ends. Were both drawn independently, some cores would look
    like their oedema, and their outline would be a truth that no image shows.
    """

    def follow(name: str) -> float:
        own, theirs = (
            math.log(getattr(one, name) / getattr(usual[kind], name))
            for one, kind in ((solid, "solid"), (oedema, "oedema"))
        )
        return getattr(usual["solid"], name) * math.exp(0.85 * theirs + 0.5 * own)

    return replace(solid, t1=follow("t1"), t2=follow("t2"), density=follow("density"))


@dataclass(frozen=True)
class Sequence:
    """A pulse sequence: se, mprage, spgr or flair; times in ms, flip angle in degrees."""

    kind: str
    tr: float
    te: float
    ti: float = 0.0
    flip: float = 90.0

    def signal(self, t1: Tensor, t2: Tensor, density: Tensor) -> Tensor:
        """Magnitude for relaxation times in ms."""
        recovery = torch.exp(-self.tr / t1)
        if self.kind == "spgr":
            angle = math.radians(self.flip)
            weight = math.sin(angle) * (1 - recovery) / (1 - math.cos(angle) * recovery)
        elif self.kind == "mprage":
            weight = 1 - 2 * torch.exp(-self.ti / t1) / (1 + recovery)
        elif self.kind == "flair":
            weight = 1 - 2 * torch.exp(-self.ti / t1) + recovery
        else:
            weight = 1 - recovery
        return density * weight.abs() * torch.exp(-self.te / t2)


def draw_sequence(contrast: str, draws: Draws, fluid_t1: float) -> Sequence:
    """The sequence of a contrast; FLAIR is tuned to null fluid of a T1, more or less well."""
    if contrast == "t2":
        return Sequence("se", draws.uniform(3000, 6500), draws.uniform(78, 120))
    if contrast == "flair":
        tr = draws.uniform(7500, 11000)
        null = fluid_t1 * math.log(2 / (1 + math.exp(-tr / fluid_t1)))
        return Sequence("flair", tr, draws.uniform(85, 140), null * draws.uniform(0.93, 1.04))
    kind = draws.choice({"se": 0.4, "mprage": 0.3, "spgr": 0.3})
    if kind == "se":
        return Sequence("se", draws.uniform(420, 750), draws.uniform(8, 16))
    if kind == "spgr":
        return Sequence("spgr", draws.uniform(7, 25), draws.uniform(2, 5), flip=draws.uniform(15, 28))
    return Sequence("mprage", draws.uniform(1900, 2400), draws.uniform(2, 4), draws.uniform(850, 1100))


@dataclass(frozen=True)
class Texture:
    """Relative variations (3, X, Y, Z) of T1, T2 and density, of unit variance, in brain and in lesions."""

    brain: Tensor
    lesion: Tensor

    def of(self, name: str) -> Tensor:
        """The variation that a tissue follows."""
        return self.lesion if name in LESIONS else self.brain


def render(
    fractions: dict[str, Tensor], tissues: dict[str, Tissue], sequence: Sequence, texture: Texture
) -> Tensor:
    """The image (X, Y, Z) of fractions of tissues; small variations enter by the signal's derivatives."""
    image = torch.zeros_like(next(iter(fractions.values())))
    for name, fraction in fractions.items():
        mean, *slopes = _expansion(tissues[name], sequence)
        variation = sum(slope * field for slope, field in zip(slopes, texture.of(name), strict=True))
        image += fraction * (mean + tissues[name].grain * variation).clamp(min=0)
    return image


def _expansion(tissue: Tissue, sequence: Sequence) -> tuple[float, float, float, float]:
    """The signal and its derivatives by the logarithms of T1, T2 and density."""
    t1, t2, density = (torch.tensor(v, dtype=torch.float64) for v in (tissue.t1, tissue.t2, tissue.density))
    step = 0.02
    mean = sequence.signal(t1, t2, density)
    by_t1 = (sequence.signal(t1 * (1 + step), t2, density) - mean) / step
    by_t2 = (sequence.signal(t1, t2 * (1 + step), density) - mean) / step
    return float(mean), float(by_t1), float(by_t2), float(mean)


RELAXIVITY = 4.3e-3  # of gadolinium, per ms and mM


def uptake(tissue: Tissue, sequence: Sequence, millimolar: Tensor) -> Tensor:
    """What gadolinium adds to the signal of a tissue, for each concentration."""
    t2, density = millimolar.new_tensor(tissue.t2), millimolar.new_tensor(tissue.density)
    t1 = 1 / (1 / tissue.t1 + RELAXIVITY * millimolar)
    before = sequence.signal(millimolar.new_tensor(tissue.t1), t2, density)
    return sequence.signal(t1, t2, density) - before


def as_numbers(tissues: dict[str, Tissue]) -> dict[str, dict[str, float]]:
    """The tissues as nested dictionaries."""
    return {name: asdict(tissue) for name, tissue in tissues.items()}
