"""Parts of a fetus as they lie in the fluid: limbs across and along, hands, cord, trunk, head.

All carry one label. Lengths are millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from medbundles.simulators.ultrasound_abdomen import BLOOD, Body, abdomen_parts
from medbundles.simulators.ultrasound_head import head_parts
from medbundles.simulators.ultrasound_maps import Part, Region, Tissue
from medbundles.simulators.ultrasound_pockets import FETUS
from medbundles.simulators.ultrasound_regions import (
    Blob,
    Both,
    Rippled,
    Tube,
    random_lobes,
    random_ripple,
)

Point = tuple[float, float]
Line = tuple[Point, ...]


@dataclass(frozen=True)
class Fetus:
    """Sizes and tissues of one fetus.

    Args:
        trunk, head: half widths.
        limb: radius of an upper arm; a thigh is up to twice as thick.
        cord: radius.
        skin, flesh, bone: tissues.
    """

    trunk: float
    head: float
    limb: float
    cord: float
    skin: Tissue
    flesh: Tissue
    bone: Tissue

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Fetus:
        """A fetus between about 16 and 41 weeks."""
        age = rng.beta(2.2, 1.3)
        return cls(
            trunk=18 + 32 * age * rng.uniform(0.9, 1.1),
            head=18 + 28 * age * rng.uniform(0.95, 1.05),
            limb=3.2 + 6.5 * age * rng.uniform(0.8, 1.2),
            cord=3.5 + 4.0 * age * rng.uniform(0.8, 1.2),
            skin=Tissue(rng.uniform(-12, -4), 0.8, rng.uniform(1.62, 1.68), grain=3.0, texture="layered"),
            flesh=Tissue(rng.uniform(-21, -9), 0.55, 1.61, grain=2.0, texture="mottled"),
            bone=Tissue(rng.uniform(-4, 6), rng.uniform(4, 12), rng.uniform(1.72, 1.95), grain=3.0),
        )

    def limb_across(self, centre: Point, rng: np.random.Generator) -> list[Part]:
        """A limb cut across or obliquely, with one bone or two."""
        radius, turn = self.limb * rng.uniform(0.7, 2.0), rng.uniform(0, np.pi)
        outline = Blob(centre, (radius * rng.uniform(1, 1.7), radius), turn, random_lobes(rng, 0.06))
        thick, sides = radius * rng.uniform(0.14, 0.26), ((0.0,) if rng.random() < 0.6 else (-0.4, 0.4))
        parts = self._covered(outline, outline.shrunk(rng.uniform(0.5, 1.2)))
        for side in sides:
            place = (centre[0] + side * radius * np.cos(turn), centre[1] + side * radius * np.sin(turn))
            axes = (thick * rng.uniform(1, 2.5), thick)
            parts.append(Part(Blob(place, axes, turn + rng.normal(0, 0.3)), self.bone))
        return _labelled(parts, rng, 0.4)

    def limb_along(self, start: Point, toward: float, rng: np.random.Generator) -> list[Part]:
        """A limb cut along, of two segments with a joint between them; a hand or foot may end it."""
        radius, line = self.limb * rng.uniform(0.8, 1.5), [np.asarray(start)]
        angles = [toward, toward + rng.choice([-1, 1]) * rng.uniform(0.1, 1.6)]
        for angle in angles:
            step = self.limb * rng.uniform(5, 8)
            line.append(line[-1] + step * np.array([np.cos(angle), np.sin(angle)]))
        path = _points(line)
        parts = self._covered(Tube(path, radius, taper=0.75), Tube(path, radius - 0.8, taper=0.75))
        for first, last in pairwise(line):
            shaft = _points([first + share * (last - first) for share in (0.15, 0.5, 0.85)])
            parts.append(Part(Tube(shaft, radius * rng.uniform(0.13, 0.28)), self.bone))
        if rng.random() < 0.5:
            parts += self._digits(line[-1], angles[-1], radius * 0.75, rng)
        return _labelled(parts, rng, 0.8)

    def _digits(
        self, end: NDArray[np.float64], toward: float, radius: float, rng: np.random.Generator
    ) -> list[Part]:
        parts = [Part(Blob(_point(end), (1.5 * radius, 1.1 * radius), toward), self.flesh)]
        for spread in np.linspace(-0.6, 0.6, int(rng.integers(3, 6))):
            step = np.array([np.cos(toward + spread), np.sin(toward + spread)])
            line = _points([end + 1.1 * radius * step, end + radius * rng.uniform(2.2, 3.2) * step])
            parts += [
                Part(Tube(line, 0.28 * radius), self.skin),
                Part(Tube(line, 0.1 * radius), replace(self.bone, attenuation=2.0)),
            ]
        return parts

    def cord_loop(self, start: Point, rng: np.random.Generator) -> list[Part]:
        """A winding piece of cord: jelly, a vein, and two arteries that twist around it."""
        count, turn = int(rng.integers(3, 16)), rng.uniform(0, 2 * np.pi)
        line, bend = [np.asarray(start)], rng.normal(0, 0.25)
        for _ in range(count):
            turn += bend + rng.normal(0, 0.15)
            line.append(line[-1] + self.cord * 0.6 * np.array([np.cos(turn), np.sin(turn)]))
        path = np.array(line)
        across = np.gradient(path, axis=0)[:, ::-1] * [1, -1]
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        jelly = Tissue(rng.uniform(-34, -20), 0.3, rng.uniform(1.58, 1.62), grain=2.0)
        parts = [
            Part(Tube(_points(path), self.cord), replace(self.skin, attenuation=0.5)),
            Part(Tube(_points(path), self.cord - 0.6), jelly),
        ]
        pitch, phase = rng.uniform(3, 7), rng.uniform(0, 6.3)
        wind = 2 * np.pi * np.arange(len(path)) / pitch + phase
        for share, shift in ((0.36, 0.35), (0.2, 2.4), (0.2, 4.2)):
            vessel = _points(path + 0.5 * self.cord * np.sin(wind + shift)[:, None] * across)
            parts += [
                Part(Tube(vessel, share * self.cord + 0.5), replace(self.skin, attenuation=0.5)),
                Part(Tube(vessel, share * self.cord), BLOOD),
            ]
        return _labelled(parts, rng, 0.3)

    def trunk_across(self, centre: Point, rng: np.random.Generator) -> list[Part]:
        """Abdomen or pelvis cut across, with whatever of stomach, vein and kidneys lies in the plane."""
        body = Body(
            centre, self.trunk * rng.uniform(0.95, 1.15), self.trunk, rng.uniform(0, 2 * np.pi), _side(rng)
        )
        shown = {name for name in ("stomach", "vein", "kidneys") if rng.random() < 0.5} | {"spine"}
        parts = abdomen_parts(body, frozenset(shown), rng)
        if rng.random() < 0.35:
            parts += self._bladder(body.at(-0.3, rng.normal(0, 0.1)), rng)
        return _labelled(parts, rng, 0.0)

    def trunk_along(self, centre: Point, lean: float, rng: np.random.Generator) -> list[Part]:
        """Chest and belly cut along, with vertebrae that cast shadows and one or two organs full of fluid."""
        half, side = self.trunk * rng.uniform(1.5, 2.2), _side(rng)
        outline = Blob(centre, (half, self.trunk), lean, random_lobes(rng, 0.06))
        along, back = np.array([np.cos(lean), np.sin(lean)]), side * np.array([-np.sin(lean), np.cos(lean)])
        parts = self._covered(outline, outline.shrunk(rng.uniform(0.8, 2.0)))

        def at(f: float, g: float) -> Point:
            return _point(np.asarray(centre) + f * half * along + g * self.trunk * back)

        size = self.trunk * rng.uniform(0.2, 0.42)
        inside = [
            Part(Blob(at(rng.uniform(-0.5, 0.2), 0), (0.5 * half, 0.7 * self.trunk), lean), self._organ(rng))
        ]
        if rng.random() < 0.7:
            shape = Blob(at(rng.uniform(-0.4, 0.1), -0.1), (size, 0.6 * size), lean + rng.normal(0, 0.5))
            inside += [Part(shape.shrunk(-0.8), self.skin), Part(shape, _hollow(rng))]
        if rng.random() < 0.4:
            inside += self._bladder(at(rng.uniform(0.45, 0.65), -0.2), rng)
        for place in np.arange(-0.85, 0.85, 5.0 / half):
            vertebra = Blob(at(place, 0.72 - 0.3 * place**2), (1.6, 1.2 + 0.03 * self.trunk), lean)
            inside.append(Part(vertebra, self.bone))
        return _labelled(parts + [Part(Both(p.region, outline), p.tissue) for p in inside], rng, 1.0)

    def head_cut(self, centre: Point, rng: np.random.Generator) -> list[Part]:
        """A head with its skull."""
        long = self.head * rng.uniform(1.15, 1.4)
        return _labelled(
            head_parts(Body(centre, long, self.head, rng.uniform(0, 2 * np.pi), _side(rng)), rng), rng, 0
        )

    def _bladder(self, centre: Point, rng: np.random.Generator) -> list[Part]:
        size = self.trunk * rng.uniform(0.15, 0.42)
        shape = Blob(
            centre,
            (size, size * rng.uniform(0.6, 1)),
            rng.uniform(0, np.pi),
            random_lobes(rng, 0.1),
        )
        return [Part(shape.shrunk(-0.8), self.skin), Part(shape, _hollow(rng))]

    def _organ(self, rng: np.random.Generator) -> Tissue:
        return replace(self.flesh, echo=self.flesh.echo + rng.normal(0, 4), texture="coarse")

    def _covered(self, outer: Region, inner: Region) -> list[Part]:
        return [Part(outer, self.skin), Part(inner, self.flesh)]


def _hollow(rng: np.random.Generator) -> Tissue:
    """What fills stomach and bladder: it looks as dark as amniotic fluid."""
    return Tissue(rng.uniform(-60, -40), 0.05, rng.uniform(1.55, 1.6), grain=2.0)


def _labelled(parts: list[Part], rng: np.random.Generator, ripple: float) -> list[Part]:
    """The parts as parts of the fetus, with irregular outlines where a ripple is wanted."""
    if ripple == 0:
        return [replace(part, label=FETUS) for part in parts]
    wave = random_ripple(rng, ripple)
    return [Part(Rippled(part.region, wave), part.tissue, FETUS) for part in parts]


def _side(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def _point(position: NDArray[np.float64]) -> Point:
    return float(position[0]), float(position[1])


def _points(positions: list[NDArray[np.float64]] | NDArray[np.float64]) -> Line:
    return tuple(_point(position) for position in positions)
