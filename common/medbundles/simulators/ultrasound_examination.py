"""What differs between amniotic fluid examinations: how much fluid there is, probe, layers and frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medbundles.simulators.ultrasound import Probe
from medbundles.simulators.ultrasound_display import View
from medbundles.simulators.ultrasound_maps import Tissue
from medbundles.simulators.ultrasound_pockets import Haze
from medbundles.simulators.ultrasound_uterus import WALL

QUADRANTS = 4
SIZES = ((640, 392), (800, 540), (959, 661), (720, 576))


def draw_index(rng: np.random.Generator) -> float:
    """An amniotic fluid index in mm: mostly normal, too little and too much often enough to be learnt."""
    kind = rng.random()
    if kind < 0.14:
        return float(rng.uniform(0, 60))
    if kind > 0.88:
        return float(rng.uniform(230, 350))
    return float(np.clip(rng.normal(148, 42), 50, 260))


def draw_depths(rng: np.random.Generator, afi_mm: float) -> tuple[float, ...]:
    """How an index spreads over the quadrants; with little fluid some have none."""
    shares = rng.dirichlet(np.full(QUADRANTS, 9.0))
    empty = rng.random(QUADRANTS) < 0.45 * np.exp(-afi_mm / 60)
    if empty.all():
        empty[rng.integers(QUADRANTS)] = afi_mm < 5
    shares = np.where(empty, 0, shares)
    depths = afi_mm * shares / max(shares.sum(), 1e-9)
    return tuple(float(depth) if depth >= 4 else 0.0 for depth in depths)


def draw_layers(rng: np.random.Generator) -> tuple[tuple[float, Tissue], ...]:
    """Skin, then one to five layers of fat and muscle, then the wall of the womb."""
    tops = [0.0, 0.06, *np.sort(rng.uniform(0.12, 0.72, rng.integers(1, 5))), rng.uniform(0.75, 0.9)]
    tissues = [Tissue(-8, 0.7, 1.65, grain=3.0, texture="layered")]
    for _ in tops[1:-1]:
        tissues.append(
            Tissue(
                rng.uniform(-22, -9),
                rng.uniform(0.4, 0.7),
                rng.uniform(1.57, 1.65),
                grain=rng.uniform(1.5, 4),
                texture=str(rng.choice(["layered", "streaky"])),
            )
        )
    return tuple(
        zip((float(top) for top in tops), [*tissues, replace(WALL, echo=rng.uniform(-20, -9))], strict=True)
    )


def draw_probe(rng: np.random.Generator, depth: float, near: float) -> Probe:
    """A convex probe that reaches `depth` and still shows tissue there, just or easily."""
    frequency = rng.uniform(2.5, 4.6)
    return Probe(
        radius=rng.uniform(38, 62),
        half_angle=rng.uniform(0.48, 0.72),
        depth=depth,
        frequency=frequency,
        bandwidth=rng.uniform(0.4, 0.8),
        focus=near + rng.uniform(0.2, 0.7) * (depth - near),
        f_number=rng.uniform(1.6, 4.0),
        tgc=rng.uniform(0.42, 0.52),
        noise=-14 - 0.085 * frequency * depth - rng.uniform(8, 32),
        clutter=rng.uniform(-34, -18),
        slice_mm=rng.uniform(0.2, 0.9),
        unevenness=rng.uniform(0.3, 3),
    )


def draw_view(rng: np.random.Generator, probe: Probe, size: tuple[int, int] | None) -> View:
    """The whole sector, or, in a quarter of the patients, a window from which its sides are cut off."""
    size = size or SIZES[rng.integers(len(SIZES))]
    lift = probe.radius * (1 - np.cos(probe.half_angle))
    if rng.random() < 0.75:
        top = -lift - rng.uniform(0, 6)
        height = probe.depth * rng.uniform(0.98, 1.03) - top
        width = 2 * (probe.radius + probe.depth) * np.sin(probe.half_angle)
        spacing = max(height / size[1], 0.9 * width / size[0])
    else:
        top = -lift * rng.uniform(-0.3, 0.6)
        spacing = (probe.depth * rng.uniform(0.94, 1.0) - top) / size[1]
    left = -spacing * size[0] * rng.uniform(0.46, 0.54)
    return View((float(left), float(top)), float(spacing), size)


def draw_haze(rng: np.random.Generator) -> tuple[float, float]:
    """Reverberation: its level in dB under the near wall, and its fall per mm."""
    return float(rng.uniform(-28, -13)), float(rng.uniform(0.7, 2.2))


def haze_under(probe: Probe, near: float, haze: tuple[float, float], rng: np.random.Generator) -> Haze:
    """Reverberation of a level and fall under a near wall of thickness `near`, along some of the beams."""
    return Haze(
        radius=probe.radius,
        top=near,
        level=haze[0],
        fall=haze[1],
        middle=float(rng.uniform(-0.5, 0.5) * probe.half_angle),
        half_width=float(rng.uniform(0.4, 1.6) * probe.half_angle),
        period=near / int(rng.integers(3, 7)),
        contrast=float(rng.uniform(1.5, 6)),
    )
