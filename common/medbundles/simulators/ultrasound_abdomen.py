"""The fetal abdomen cut across: skin line, liver, stomach bubble, umbilical vein, vertebra, ribs, vessels.

Positions are in the body's own frame, in units of the semi-axes: f runs from the front (-1) to the back (+1),
g to the fetus's left (positive), where the stomach lies.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from medbundles.simulators.ultrasound_maps import Part, Tissue
from medbundles.simulators.ultrasound_regions import (
    Arc,
    Blob,
    Both,
    Rippled,
    Tube,
    random_lobes,
    random_ripple,
)

ABDOMEN, STOMACH, VEIN, SPINE = 1, 2, 3, 4
BLOOD = Tissue(-46, 0.15, 1.605)


@dataclass(frozen=True)
class Body:
    """The outline of the abdomen and its pose.

    Args:
        centre: mm.
        half_depth: semi-axis from front to back, mm.
        half_width: semi-axis across, mm.
        pose: direction of the back, rad from +x towards +z.
        flip: 1 or -1, whether left follows from the back by turning towards +z or away.
    """

    centre: tuple[float, float]
    half_depth: float
    half_width: float
    pose: float
    flip: int = 1
    outline: Blob = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outline", Blob(self.centre, (self.half_depth, self.half_width), self.pose))

    @property
    def size(self) -> float:
        """Geometric mean of the semi-axes, mm."""
        return float(np.sqrt(self.half_depth * self.half_width))

    def extent(self) -> tuple[float, float]:
        """Half width along x and half height along z of the outline, mm."""
        cos, sin = np.cos(self.pose), np.sin(self.pose)
        return (
            float(np.hypot(self.half_depth * cos, self.half_width * sin)),
            float(np.hypot(self.half_depth * sin, self.half_width * cos)),
        )

    def at(self, f: float, g: float) -> tuple[float, float]:
        """The point (x, z) in mm at body coordinates (f, g)."""
        cos, sin = np.cos(self.pose), np.sin(self.pose)
        u, v = f * self.half_depth, self.flip * g * self.half_width
        return self.centre[0] + u * cos - v * sin, self.centre[1] + u * sin + v * cos

    def blob(self, f: float, g: float, axes: tuple[float, float], turn: float = 0.0) -> Blob:
        """An ellipse at (f, g), its axes in units of the body's size, turned from the front-back axis."""
        return Blob(self.at(f, g), (axes[0] * self.size, axes[1] * self.size), self.pose + self.flip * turn)


def abdomen_parts(body: Body, structures: frozenset[str], rng: np.random.Generator) -> list[Part]:
    """Returns the abdomen from back to front; `structures`: those of stomach, vein, spine, kidneys cut."""
    liver = Tissue(
        echo=rng.uniform(-15, -10),
        attenuation=rng.uniform(0.4, 0.6),
        grain=rng.uniform(1.5, 3.5),
        texture=str(rng.choice(["mottled", "coarse"], p=[0.7, 0.3])),
    )
    wall, inner = _wall(body, liver, rng)
    parts = _shading(body, liver, rng) + _organs(body, liver, rng) + _vessels(body, rng)
    if "kidneys" in structures:
        parts += _kidneys(body, rng)
    if "stomach" in structures:
        parts += _stomach(body, liver, rng)
    if "vein" in structures:
        parts += _vein(body, rng)
    ripple = random_ripple(rng, 0.03 * body.size, longest=0.6 * body.size)
    inside = [Part(Both(Rippled(p.region, ripple), inner), p.tissue, p.label) for p in parts]
    spine = _spine(body, rng) if "spine" in structures else []
    ripple = random_ripple(rng, 0.02 * body.size, longest=0.3 * body.size)
    back = [Part(Both(Rippled(p.region, ripple), body.outline), p.tissue, p.label) for p in spine]
    return wall + inside + _ribs(body, rng) + back


def _wall(body: Body, liver: Tissue, rng: np.random.Generator) -> tuple[list[Part], Blob]:
    """Skin, fat and muscle, the inner lining, and the filling; also the outline of the inside.

    The skin's own scatter is hardly above the liver's: what shines is the interface where it faces the beam.
    """
    skin = rng.uniform(0.5, 1.3) * (body.size / 40) ** 0.5
    fat = rng.uniform(0.005, 0.1) * body.size
    lining = rng.uniform(0.4, 1.4) * (body.size / 40) ** 0.5
    bright = Tissue(
        liver.echo + rng.uniform(-9, 3), rng.uniform(0.6, 1.2), rng.uniform(1.63, 1.69), grain=3.0
    )
    flesh = Tissue(liver.echo + rng.uniform(-16, 0), 0.55, rng.uniform(1.58, 1.62), grain=2.0)
    muscle = Tissue(liver.echo + rng.uniform(-8, 6), 0.7, rng.uniform(1.63, 1.69), grain=3.0)
    outer, ripple = body.outline, random_ripple(rng, 0.012 * body.size, longest=body.size)
    inner = outer.shrunk(skin + fat + lining)
    layers = [Part(outer, bright, ABDOMEN)]
    for depth, tissue in ((skin, flesh), (skin + fat, muscle), (skin + fat + lining, liver)):
        layers.append(Part(Both(Rippled(outer.shrunk(depth), ripple), outer), tissue))
    return layers, inner


def _shading(body: Body, liver: Tissue, rng: np.random.Generator) -> list[Part]:
    """Broad parts of the liver that are a little brighter or darker."""
    parts = []
    for _ in range(rng.integers(2, 7)):
        tissue = replace(liver, echo=liver.echo + rng.normal(0, 2.2), grain=rng.uniform(1.5, 3.5))
        shape = body.blob(*rng.uniform(-0.7, 0.7, 2), tuple(rng.uniform(0.15, 0.5, 2)), rng.uniform(0, 3))
        parts.append(Part(Blob(shape.centre, shape.axes, shape.angle, random_lobes(rng, 0.3)), tissue))
    return parts


def _organs(body: Body, liver: Tissue, rng: np.random.Generator) -> list[Part]:
    """Spleen, adrenals, gallbladder and gut: what a network must not take for the labelled structures."""
    parts = []
    if rng.random() < 0.6:
        tissue = Tissue(liver.echo + rng.uniform(-6, 1), 0.5, 1.62, grain=2.0, texture="coarse")
        parts.append(Part(body.blob(0.3, 0.62, (0.33, 0.14), rng.normal(0.4, 0.3)), tissue))
    for side in (-1, 1):
        if rng.random() < 0.5:
            turn = side * rng.uniform(0.2, 1.0)
            shape = body.blob(0.42, side * rng.uniform(0.22, 0.36), (0.13, 0.055), turn)
            parts.append(Part(shape, Tissue(liver.echo - rng.uniform(4, 10), 0.5, 1.62)))
    if rng.random() < 0.12:
        gallbladder = body.blob(-0.3, -0.38, (0.15, 0.05), rng.normal(-0.4, 0.3))
        parts.append(Part(gallbladder, Tissue(-45, 0.05, 1.59)))
    for _ in range(rng.integers(3, 16)):
        shape = body.blob(*rng.uniform(-0.7, 0.75, 2), tuple(rng.uniform(0.012, 0.07, 2)), rng.uniform(0, 3))
        parts.append(Part(shape, Tissue(liver.echo + rng.uniform(-5, 9), 0.5, rng.uniform(1.60, 1.64))))
    return parts


def _vessels(body: Body, rng: np.random.Generator) -> list[Part]:
    """Aorta, vena cava and branches in the liver, each a dark lumen with or without a bright wall."""
    parts = []
    for f, g, radius in ((0.5, 0.1, 0.05), (0.36, -0.14, 0.05)):
        if rng.random() < 0.8:
            where = (f + rng.normal(0, 0.04), g + rng.normal(0, 0.04))
            lumen = body.blob(*where, (radius * rng.uniform(0.6, 1.2), radius * rng.uniform(0.6, 1.2)))
            parts += [Part(lumen.shrunk(-0.4), Tissue(-8, 0.5, 1.64)), Part(lumen, BLOOD)]
    for _ in range(rng.integers(3, 14)):
        line = _stroke(body, (rng.uniform(-0.7, 0.5), rng.uniform(-0.8, 0.7)), rng.uniform(0.02, 0.2), rng)
        radius = body.size * rng.uniform(0.006, 0.022)
        if rng.random() < 0.5:
            parts.append(Part(Tube(line, radius + 0.5), Tissue(rng.uniform(-11, -5), 0.5, 1.64)))
        parts.append(
            Part(Tube(line, radius, taper=rng.uniform(0.2, 1)), Tissue(rng.uniform(-46, -22), 0.15, 1.61))
        )
    return parts


def _stroke(
    body: Body, middle: tuple[float, float], length: float, rng: np.random.Generator
) -> tuple[tuple[float, float], ...]:
    """A bent line of body length `length` around `middle` (f, g), in mm."""
    (f, g), turn, bend = middle, rng.uniform(0, 2 * np.pi), rng.normal(0, 0.25) * length
    s = np.linspace(-0.5, 0.5, 6)
    along, off = s * length, bend * (1 - 4 * s**2)
    return tuple(
        body.at(f + a * np.cos(turn) - o * np.sin(turn), g + a * np.sin(turn) + o * np.cos(turn))
        for a, o in zip(along, off, strict=True)
    )


def _ribs(body: Body, rng: np.random.Generator) -> list[Part]:
    """Pieces of rib in the wall, more of them towards the back."""
    parts = []
    for side in (-1, 1):
        for middle in rng.uniform(0.45, 2.3, rng.integers(0, 4)):
            radius, thick = rng.uniform(0.86, 0.93), rng.uniform(0.012, 0.035)
            piece = Arc(body.outline, (radius, radius + thick), side * middle, rng.uniform(0.05, 0.3))
            tissue = Tissue(rng.uniform(-8, 4), rng.uniform(1, 7), rng.uniform(1.66, 1.8), grain=3.0)
            parts.append(Part(Rippled(piece, random_ripple(rng, 0.008 * body.size)), tissue))
    return [Part(Both(p.region, body.outline), p.tissue) for p in parts]


def _kidneys(body: Body, rng: np.random.Generator) -> list[Part]:
    """Both kidneys beside the vertebra: darker cortex, bright sinus, sometimes a dark pelvis."""
    parts = []
    for side in (-1, 1):
        f, g, turn = rng.uniform(0.32, 0.5), side * rng.uniform(0.3, 0.42), side * rng.uniform(-0.5, 0.6)
        a, b = rng.uniform(0.19, 0.26), rng.uniform(0.14, 0.19)
        cortex = body.blob(f, g, (a, b), turn)
        parts += [
            Part(cortex.shrunk(-0.6), Tissue(-8, 0.5, 1.64)),
            Part(cortex, Tissue(rng.uniform(-24, -17), 0.5, 1.62, grain=2.0)),
            Part(body.blob(f, g, (a * 0.45, b * 0.3), turn), Tissue(-8, 0.5, 1.63)),
        ]
        if rng.random() < 0.6:
            parts.append(Part(body.blob(f, g * 0.9, (a * 0.2, b * 0.2), turn), Tissue(-46, 0.05, 1.59)))
    return parts


def _stomach(body: Body, liver: Tissue, rng: np.random.Generator) -> list[Part]:
    """The bubble on the left: round, oval or kidney-shaped, with a rim of wall and sometimes haze in it."""
    f, g = rng.uniform(-0.15, 0.34), rng.uniform(0.28, 0.56)
    long = rng.uniform(0.12, 0.34)
    axes = (long, long * rng.uniform(0.42, 0.95))
    bubble = body.blob(f, g, axes, rng.normal(0, 0.6))
    bubble = Blob(bubble.centre, bubble.axes, bubble.angle, random_lobes(rng, rng.uniform(0.05, 0.3)))
    haze = rng.uniform(-56, -42) if rng.random() < 0.6 else rng.uniform(-38, -25)
    wall = Tissue(liver.echo + rng.uniform(-3, 4), 0.5, 1.63, grain=2.0)
    content = Tissue(haze, 0.05, rng.uniform(1.56, 1.6), grain=4, texture="coarse")
    return [Part(bubble.shrunk(-rng.uniform(0.3, 1.4)), wall), Part(bubble, content, STOMACH)]


def _vein(body: Body, rng: np.random.Generator) -> list[Part]:
    """The umbilical part of the portal vein: a hockey stick that bends to the right, or a piece of it."""
    start, stop, bend = rng.uniform(-0.7, -0.42), rng.uniform(-0.2, 0.05), rng.uniform(0.1, 0.4)
    if rng.random() < 0.5:
        start, bend = rng.uniform(-0.48, -0.32), rng.uniform(0.0, 0.25)
    s = np.linspace(0, 1, 14)
    turning = np.maximum(s - rng.uniform(0.4, 0.65), 0)
    f = start + (stop - start) * np.sin(np.pi / 2 * np.minimum(s * rng.uniform(0.9, 1.25), 1))
    g = rng.normal(0.02, 0.07) + rng.normal(0, 0.1) * (s - 0.3) - bend * turning**1.4 * 2.4
    line = tuple(body.at(p, q) for p, q in zip(f, g, strict=True))
    radius, taper = body.size * rng.uniform(0.035, 0.07), rng.uniform(0.6, 1.2)
    wall = Tissue(rng.uniform(-14, -7), 0.5, rng.uniform(1.63, 1.66), grain=3.0)
    lumen = Tissue(rng.uniform(-52, -32), 0.1, 1.605, grain=2.0)
    outer = Tube(line, radius + rng.uniform(0.2, 0.6), taper)
    return [Part(outer, wall), Part(Tube(line, radius, taper), lumen, VEIN)]


def _spine(body: Body, rng: np.random.Generator) -> list[Part]:
    """A vertebra: its outline is the label; ossification centres in it shine and cast shadows."""
    f, scale = rng.uniform(0.64, 0.76), rng.uniform(0.85, 1.25)
    flesh = Tissue(rng.uniform(-20, -10), rng.uniform(0.7, 3.5), 1.63, grain=3.0)
    parts = [Part(body.blob(f, 0, (0.15 * scale, 0.15 * scale)), flesh, SPINE)]
    if rng.random() < 0.7:
        parts.append(Part(body.blob(f + 0.03 * scale, 0, (0.035, 0.045)), Tissue(-32, 0.2, 1.6)))
    turn, loss = rng.normal(0, 0.15), rng.uniform(1, 6)
    for df, dg, a, b in ((-0.075, 0.0, 0.05, 0.06), (0.055, 0.085, 0.05, 0.03), (0.055, -0.085, 0.05, 0.03)):
        size = scale * rng.uniform(0.7, 1.25)
        bone = Tissue(rng.uniform(-5, 8), loss * rng.uniform(0.6, 1.3), rng.uniform(1.66, 1.8), grain=3.0)
        parts.append(Part(body.blob(f + df * scale, dg * scale, (a * size, b * size), turn - 4 * dg), bone))
    return parts
