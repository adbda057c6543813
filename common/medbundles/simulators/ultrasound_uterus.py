"""What surrounds a fetus in a scan: the mother's wall, womb, fluid, placenta, limbs, cord, lost contact."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from medbundles.simulators.ultrasound_maps import Part, Tissue
from medbundles.simulators.ultrasound_pockets import FETUS, FLUID
from medbundles.simulators.ultrasound_regions import (
    Blob,
    Both,
    Layer,
    Rippled,
    Tube,
    random_lobes,
    random_ripple,
)

SKIN = Tissue(-8, 0.8, 1.66, grain=3.0, texture="layered")
BONE = Tissue(-2, 6.0, 1.85, grain=3.0)
WALL = Tissue(-11, 0.5, 1.64, grain=4.0, texture="coarse")


def fluid(rng: np.random.Generator) -> Tissue:
    """Amniotic fluid, sometimes with floating particles."""
    return Tissue(rng.uniform(-70, -50) if rng.random() < 0.8 else rng.uniform(-45, -34), 0.06, 1.54)


@dataclass(frozen=True)
class Womb:
    """Where the fetus lies.

    Args:
        fetus: outline of the part of the fetus that is scanned.
        extent: its half width and half height.
        near: depth of its nearest point below the probe.
        probe_radius: mm.
    """

    fetus: Blob
    extent: tuple[float, float]
    near: float
    probe_radius: float

    def parts(self, rng: np.random.Generator) -> list[Part]:
        """Everything around the fetus, from back to front; fluid, limbs and cord carry their labels."""
        cavity, amount = self._cavity(rng)
        water = fluid(rng)
        parts = self._far_tissue(rng)
        parts += [Part(cavity.shrunk(-rng.uniform(2, 9)), WALL), Part(cavity, water, FLUID)]
        parts += self._placenta(rng)
        ripple = random_ripple(rng, rng.uniform(0.5, 3.5), longest=60)
        parts = [replace(part, region=Rippled(part.region, ripple)) for part in parts]
        parts += self._near_layers(rng)
        if amount > 4:
            parts += [replace(piece, label=FETUS) for piece in self._pieces(cavity, rng)]
        return parts + self._lost_contact(rng)

    def _cavity(self, rng: np.random.Generator) -> tuple[Blob, float]:
        """The fluid's outline and about how far it reaches beyond the fetus."""
        amount = rng.choice(
            [rng.uniform(0.2, 2), rng.uniform(2, 12), rng.uniform(12, 45)], p=[0.25, 0.4, 0.35]
        )
        half_width, half_height = self.extent
        x, z = self.fetus.centre
        slip = rng.normal(0, 0.6 * amount, 2)
        axes = (half_width + amount * rng.uniform(0.8, 2.0), half_height + amount * rng.uniform(0.4, 1.0))
        return Blob(
            (x + slip[0], z + 0.5 * slip[1]), axes, rng.normal(0, 0.15), random_lobes(rng, 0.22)
        ), amount

    def _placenta(self, rng: np.random.Generator) -> list[Part]:
        """A thick bright layer behind, in front of or beside the fetus, or none."""
        side = rng.choice(["behind", "before", "beside", "none"], p=[0.4, 0.15, 0.2, 0.25])
        if side == "none":
            return []
        tissue = Tissue(rng.uniform(-12, 0), rng.uniform(0.35, 0.55), 1.63, grain=2.5, texture="mottled")
        thick, long = rng.uniform(9, 24), rng.uniform(45, 90)
        x, z = self.fetus.centre
        half_width, half_height = self.extent
        turn = rng.normal(0, 0.25)
        if side == "behind":
            centre = (x + rng.normal(0, 30), z + half_height + thick * rng.uniform(0.7, 1.3))
        elif side == "before":
            centre = (x + rng.normal(0, 25), z - half_height - thick * rng.uniform(0.3, 1.0))
        else:
            sign = rng.choice([-1, 1])
            turn += sign * rng.uniform(0.9, 1.5)
            centre = (x + sign * (half_width + thick * rng.uniform(0.6, 1.4)), z + rng.normal(10, 15))
        return [Part(Blob(centre, (long, thick), turn, random_lobes(rng, 0.08)), tissue)]

    def _far_tissue(self, rng: np.random.Generator) -> list[Part]:
        """Patches of brighter and darker tissue around the womb."""
        parts = []
        for _ in range(rng.integers(4, 14)):
            toward, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 2.6)
            x = self.fetus.centre[0] + distance * self.extent[0] * np.cos(toward)
            z = self.fetus.centre[1] + distance * self.extent[1] * np.sin(toward)
            axes = (rng.uniform(6, 40), rng.uniform(2, 16))
            texture = str(rng.choice(["streaky", "mottled", "coarse"]))
            tissue = Tissue(rng.uniform(-32, -6), 0.55, rng.uniform(1.59, 1.65), rng.uniform(2, 5), texture)
            parts.append(Part(Blob((x, z), axes, rng.normal(0, 0.5), random_lobes(rng, 0.3)), tissue))
        return parts

    def _near_layers(self, rng: np.random.Generator) -> list[Part]:
        """Skin, fat, muscle and the wall of the womb, parallel to the probe, never deeper than the fetus."""
        deep = self.near * rng.uniform(0.75, 1.0)
        cuts = np.sort(rng.uniform(0.1, 0.95, rng.integers(1, 6))) * deep
        limits = [0.0, rng.uniform(1, 2.5), *cuts[cuts > 3], deep]
        wave, period, phase = rng.uniform(0, 0.12) * min(deep, 14), rng.uniform(50, 160), rng.uniform(0, 6.3)
        parts = []
        for index, (top, bottom) in enumerate(pairwise(limits)):
            tissue = Tissue(
                echo=-8 if index == 0 else rng.uniform(-22, -9),
                attenuation=rng.uniform(0.4, 0.7),
                impedance=rng.uniform(1.57, 1.66),
                grain=rng.uniform(1.5, 4),
                texture=str(rng.choice(["layered", "streaky"])),
            )
            flat = (0.0 if index == 0 else wave, period, phase)
            parts.append(Part(Layer(top if index else -9, bottom, self.probe_radius, *flat), tissue))
        for cut in cuts:
            line = Layer(cut, cut + rng.uniform(0.4, 1.2), self.probe_radius, wave, period, phase)
            parts.append(
                Part(line, replace(SKIN, echo=rng.uniform(-20, -8), impedance=rng.uniform(1.61, 1.65)))
            )
        ripple = random_ripple(rng, rng.uniform(0.02, 0.08) * deep, longest=80)
        return [Part(Rippled(p.region, ripple), p.tissue) for p in parts]

    def _pieces(self, cavity: Blob, rng: np.random.Generator) -> list[Part]:
        """Cross-sections of limbs and loops of cord that float beside the fetus."""
        parts: list[Part] = []
        for _ in range(rng.integers(0, 5)):
            toward, distance = rng.uniform(0, 2 * np.pi), rng.uniform(1.12, 1.7)
            x = self.fetus.centre[0] + distance * self.extent[0] * np.cos(toward)
            z = self.fetus.centre[1] + distance * self.extent[1] * np.sin(toward)
            if not cavity.inside(np.float32([x]), np.float32([z]))[0]:
                continue
            made = limb((x, z), rng) if rng.random() < 0.55 else cord((x, z), rng)
            ripple = random_ripple(rng, rng.uniform(0.2, 1.0))
            parts += [Part(Both(Rippled(p.region, ripple), cavity), p.tissue) for p in made]
        return parts

    def _lost_contact(self, rng: np.random.Generator) -> list[Part]:
        """Gas between probe and skin, or a rib of the mother: everything behind it is dark."""
        if rng.random() > 0.35:
            return []
        parts = []
        for _ in range(rng.integers(1, 3)):
            angle = rng.choice([-1, 1]) * rng.uniform(0.15, 0.6)
            depth, width = rng.uniform(1, 6), rng.uniform(3, 22) * rng.uniform(0.3, 1)
            centre = ((self.probe_radius + depth) * np.sin(angle),)
            centre += ((self.probe_radius + depth) * np.cos(angle) - self.probe_radius,)
            loss = rng.uniform(2, 16)
            for shrink in (1.0, 0.8, 0.6):
                blob = Blob(centre, (width * shrink, 1.8 * shrink), -angle)
                parts.append(Part(blob, Tissue(-6, loss * (1.6 - shrink), 1.62, texture="layered")))
        return parts


def limb(centre: tuple[float, float], rng: np.random.Generator) -> list[Part]:
    """A limb cut across or obliquely: skin, flesh, and bone that casts a shadow."""
    radius, turn = rng.uniform(4, 12), rng.uniform(0, np.pi)
    flesh = Blob(centre, (radius * rng.uniform(1, 2.2), radius), turn, random_lobes(rng, 0.08))
    bone = Blob(
        centre, (radius * rng.uniform(0.2, 1.2), radius * rng.uniform(0.12, 0.22)), turn + rng.normal(0, 0.2)
    )
    meat = Tissue(rng.uniform(-18, -8), 0.5, 1.62, grain=1.5)
    return [Part(flesh, SKIN), Part(flesh.shrunk(rng.uniform(0.6, 1.3)), meat), Part(bone, BONE)]


def cord(centre: tuple[float, float], rng: np.random.Generator) -> list[Part]:
    """A piece of cord: vessels with bright walls in jelly."""
    turn, length = rng.uniform(0, np.pi), rng.uniform(0, 14)
    dx, dz = length / 2 * np.cos(turn), length / 2 * np.sin(turn)
    parts = []
    for side, radius in ((0.0, 2.6), (3.6, 1.4), (-3.4, 1.3)):
        x, z = centre[0] - side * np.sin(turn), centre[1] + side * np.cos(turn)
        line = ((x - dx, z - dz), (x + rng.normal(0, 1), z + rng.normal(0, 1)), (x + dx, z + dz))
        parts += [
            Part(Tube(line, radius + 0.6), Tissue(-8, 0.4, 1.66)),
            Part(Tube(line, radius), Tissue(-50, 0.1, 1.6)),
        ]
    return parts
