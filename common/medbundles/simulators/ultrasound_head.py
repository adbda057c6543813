"""The fetal head in the plane of the ventricles: skull, midline, cavum, thalami, choroid plexus, sulci."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medbundles.simulators.ultrasound_abdomen import Body
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

HEAD = 5
EARLY_MM = 110.0  # semi-axes' circumference up to which plexus fills the brain, about 14 weeks


def head_parts(head: Body, rng: np.random.Generator) -> list[Part]:
    """Returns the head; its outline is the outer border of the skull, f runs to the occiput."""
    echo = rng.uniform(-26, -13) if is_early(head) else rng.uniform(-29, -18)
    brain = Tissue(echo, rng.uniform(0.25, 0.45), 1.60, grain=rng.uniform(2, 4), texture="mottled")
    thick = rng.uniform(0.9, 2.0) * (head.size / 40) ** 0.6
    skull = Tissue(
        rng.uniform(0, 9), rng.uniform(1.0, 3.0), rng.uniform(1.64, 1.7), grain=3.0, texture="coarse"
    )
    scalp = Tissue(rng.uniform(-16, -6), 0.6, 1.64, grain=2.0)
    inner = head.outline.shrunk(thick)
    parts = [
        Part(head.outline.shrunk(-rng.uniform(0.5, 3.5) * min(head.size / 40, 1)), scalp),
        Part(head.outline, skull, HEAD),
    ]
    parts += _sutures(head, thick, rng)
    parts.append(Part(inner, brain))
    ripple = random_ripple(rng, 0.02 * head.size, longest=0.6 * head.size)
    inside = [Part(Both(Rippled(p.region, ripple), inner), p.tissue) for p in _inside(head, brain, rng)]
    return parts + inside


def is_early(head: Body) -> bool:
    """Whether the head is of the first weeks in which it is measured."""
    return 2 * np.pi * head.size < EARLY_MM


def early_parts(head: Body, rng: np.random.Generator) -> list[Part]:
    """The fluid around an early fetus and, often, its trunk beside the head; painted before the head.

    Up to about 14 weeks a frame shows much of the fetus, and the trunk is as wide as the head.
    """
    shift = rng.normal(0, 0.35, 2) * head.size
    middle = (head.centre[0] + float(shift[0]), head.centre[1] + float(shift[1]))
    axes = (head.size * rng.uniform(1.3, 2.6), head.size * rng.uniform(1.1, 1.7))
    fluid = Tissue(rng.uniform(-60, -40), 0.02, 1.56, grain=2.0)
    pool = Blob(middle, axes, rng.normal(0, 0.5), random_lobes(rng, 0.15))
    return [Part(pool, fluid), *(_trunk(head, rng) if rng.random() < 0.6 else [])]


def _trunk(head: Body, rng: np.random.Generator) -> list[Part]:
    """Neck and trunk, unlabelled, and perhaps an organ and a limb."""
    side, lean = rng.choice([-1.0, 1.0]), rng.normal(0, 0.5)
    towards = head.pose + (0.0 if rng.random() < 0.5 else side * np.pi / 2) + lean
    step = np.array([np.cos(towards), np.sin(towards)])
    axes = (head.size * rng.uniform(0.8, 1.7), head.size * rng.uniform(0.6, 1.0))
    middle = np.asarray(head.centre) + (head.size * rng.uniform(0.75, 1.1) + axes[0]) * step
    flesh = Tissue(rng.uniform(-22, -10), 0.6, 1.63, grain=3.0, texture="mottled")
    skin = Tissue(rng.uniform(-14, -2), 0.7, rng.uniform(1.64, 1.69), grain=3.0)
    trunk = Blob(_point(middle), axes, towards + rng.normal(0, 0.25), random_lobes(rng, 0.12))
    neck = Tube((head.centre, _point(middle)), head.size * rng.uniform(0.3, 0.6))
    parts = [Part(trunk, skin), Part(trunk.shrunk(rng.uniform(0.4, 1.2)), flesh), Part(neck, flesh)]
    if rng.random() < 0.6:
        organ = Blob(_point(middle), (axes[0] * 0.3, axes[1] * 0.3), towards)
        parts.append(Part(organ, Tissue(rng.uniform(-46, -5), 0.4, 1.61, grain=3.0, texture="mottled")))
    if rng.random() < 0.6:
        across = np.array([-step[1], step[0]]) * rng.choice([-1.0, 1.0])
        elbow = middle + axes[1] * rng.uniform(1.0, 1.4) * across
        hand = elbow + head.size * rng.uniform(0.4, 1.0) * (across * rng.normal(0, 0.5) - step)
        line = (_point(middle), _point(elbow), _point(hand))
        parts.append(Part(Tube(line, head.size * rng.uniform(0.1, 0.2), taper=0.7), skin))
    return parts


def _point(position: NDArray[np.float64]) -> tuple[float, float]:
    return float(position[0]), float(position[1])


def _sutures(head: Body, thick: float, rng: np.random.Generator) -> list[Part]:
    """Gaps of the skull, where it is soft and sound passes."""
    soft = Tissue(rng.uniform(-14, -6), 0.6, 1.63)
    radii = (1 - 1.4 * thick / head.size, 1.0)
    return [
        Part(Arc(head.outline, radii, rng.uniform(-np.pi, np.pi), rng.uniform(0.03, 0.12)), soft)
        for _ in range(rng.integers(1, 5))
    ]


def _inside(head: Body, brain: Tissue, rng: np.random.Generator) -> list[Part]:
    return [
        *_sulci(head, brain, rng),
        *_thalami(head, brain, rng),
        *_choroid(head, brain, rng),
        *_midline(head, rng),
    ]


def _midline(head: Body, rng: np.random.Generator) -> list[Part]:
    """The falx as broken bright strokes, and in front of the middle the cavum between two walls."""
    line = Tissue(rng.uniform(-17, -8), 0.6, 1.63, grain=4, texture="mottled")
    parts = []
    for start, stop in ((-0.95, -0.48), (-0.2, 0.25), (0.3, 0.92)):
        if rng.random() < 0.85:
            ends = [head.at(f + rng.normal(0, 0.05), rng.normal(0, 0.012)) for f in (start, stop)]
            parts.append(Part(Tube(tuple(ends), rng.uniform(0.15, 0.4)), line))
    if rng.random() < 0.75:
        f, half = rng.uniform(-0.42, -0.3), rng.uniform(0.025, 0.05)
        parts.append(Part(head.blob(f, 0, (0.11, half + 0.015)), line))
        parts.append(Part(head.blob(f, 0, (0.11, half)), Tissue(-42, 0.05, 1.59)))
    return parts


def _thalami(head: Body, brain: Tissue, rng: np.random.Generator) -> list[Part]:
    if rng.random() < 0.3:
        return []
    tissue = Tissue(brain.echo + rng.uniform(-6, 2), 0.5, 1.61)
    return [Part(head.blob(0.02, side * 0.13, (0.2, 0.11), side * 0.3), tissue) for side in (-1, 1)]


def _choroid(head: Body, brain: Tissue, rng: np.random.Generator) -> list[Part]:
    """Ventricles with bright plexus in them, filling an early brain; the near one is often lost in haze."""
    parts = []
    larger = rng.uniform(1.2, 1.8) if is_early(head) else 1.0
    for side in (-1, 1):
        if rng.random() < 0.3:
            continue
        f, g, turn = rng.uniform(0.25, 0.5), side * rng.uniform(0.28, 0.42), side * rng.uniform(0.1, 0.5)
        long = larger * rng.uniform(0.22, 0.36)
        ventricle = head.blob(f, g, (long, larger * rng.uniform(0.08, 0.15)), turn)
        parts.append(Part(ventricle, Tissue(rng.uniform(-48, -32), 0.1, 1.59)))
        plexus = head.blob(
            f - 0.04, g, (long * rng.uniform(0.5, 0.8), larger * rng.uniform(0.06, 0.12)), turn
        )
        plexus = Blob(plexus.centre, plexus.axes, plexus.angle, random_lobes(rng, 0.15))
        parts.append(
            Part(plexus, Tissue(brain.echo + rng.uniform(5, 13), 0.5, 1.61, grain=3.0, texture="mottled"))
        )
    return parts


def _sulci(head: Body, brain: Tissue, rng: np.random.Generator) -> list[Part]:
    """Bright short strokes: insula, fissures and folds."""
    parts = []
    for _ in range(rng.integers(6, 40)):
        f, g = rng.uniform(-0.8, 0.85), rng.uniform(-0.75, 0.75)
        turn, length = rng.uniform(0, np.pi), rng.uniform(0.04, 0.25)
        bend = rng.normal(0, 0.05, 2)
        ends = [head.at(f + s * length * np.cos(turn), g + s * length * np.sin(turn)) for s in (-0.5, 0.5)]
        line = (ends[0], head.at(f + bend[0], g + bend[1]), ends[1])
        tissue = Tissue(brain.echo + rng.uniform(2, 14), 0.6, rng.uniform(1.6, 1.63), grain=3.0)
        parts.append(Part(Tube(line, rng.uniform(0.2, 0.9)), tissue))
    return parts
