"""The great vessels and airways of the simulated chest, beside and above the heart."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from medbundles.simulators.ct_canvas import FAR, Blob, Canvas, Floats, disc, joined, random_lobes
from medbundles.simulators.ct_heart import Heart
from medbundles.simulators.ct_thorax import Build, spine_centre
from medbundles.simulators.ct_tissues import fill


@dataclass(frozen=True)
class GreatVessel:
    """A vessel of the mediastinum cut across: outline, wall, blood."""

    name: str
    shape: Blob
    wall_mm: float
    hu: float


def great_vessels(
    heart: Heart, build: Build, rng: np.random.Generator
) -> tuple[list[GreatVessel], list[tuple[Blob, float]]]:
    """Returns the vessels behind and, at the level of the great vessels, above the heart; and the airways.

    The airways are outlines with the thickness of their wall.
    """
    left, right = heart.iodine
    x, y = spine_centre(build)
    radius = rng.uniform(10, 13.5) + 2 * build.age + 0.6 * heart.squeeze
    descending = disc((x + 24 + rng.normal(0, 2), y - 12 + rng.normal(0, 3)), radius)
    azygos = disc((x - 9, y - 17), rng.uniform(2.5, 4))
    vessels = [GreatVessel("aorta", descending, 1.2, 0.97 * left), GreatVessel("vein", azygos, 0.4, 140.0)]
    if build.liver:
        cava = Blob((x - 27, y - 33), (rng.uniform(10, 13), rng.uniform(8, 11)), 0.4)
        vessels.append(GreatVessel("vein", cava, 0.5, rng.uniform(90, 150)))
    if build.level != "vessels":
        return vessels, []
    cx, cy = heart.crux[0] - 4, heart.crux[1] - 12
    beat = 0.9 * heart.squeeze
    ascending = disc((cx - 7, cy - 14), rng.uniform(14, 17.5) + beat)
    trunk = Blob((cx + 27, cy - 20), (rng.uniform(13, 16) + beat, 17 + beat), 0.5, random_lobes(rng, 0.03))
    branch = Blob((cx - 12, cy + 11), (38, rng.uniform(7, 9) + 0.5 * beat), -0.16, random_lobes(rng, 0.03))
    hila = ((cx - 45, cy + 19), (cx + 39, cy + 17))
    vein = Blob((cx - 33, cy - 8), (rng.uniform(8, 10), rng.uniform(7, 9)))
    vessels += [
        *(GreatVessel("pulmonary artery", disc(at, rng.uniform(6.5, 8)), 0.6, 0.95 * right) for at in hila),
        GreatVessel("pulmonary artery", branch, 0.8, 0.95 * right),
        GreatVessel("pulmonary artery", trunk, 0.8, 0.95 * right),
        GreatVessel("aorta", ascending, 1.3, left),
        GreatVessel("vein", vein, 0.6, right * rng.uniform(0.6, 1.6)),
    ]
    bronchi = [(Blob((cx + 2 + s * 19, cy + 29), (8.0, 6.5), s * 0.4), 1.3) for s in (-1, 1)]
    return vessels, bronchi


def envelope(canvas: Canvas, shapes: list[Blob], fat_mm: float) -> Floats:
    """Distance to the fat around shapes, which fills the notches between them."""
    distance = np.full(canvas.hu.shape, FAR, np.float32)
    for shape in shapes:
        distance = joined(distance, canvas.distance(shape) - np.float32(fat_mm), 8.0)
    return distance


def paint_vessels(
    canvas: Canvas, vessels: list[GreatVessel], airways: list[tuple[Blob, float]], build: Build
) -> None:
    """Paints vessels and airways over the fat of the mediastinum."""
    # A vessel and its branches share their blood: all walls of a kind come before any of its blood.
    for name, group in groupby(vessels, key=lambda vessel: vessel.name):
        kind = list(group)
        for vessel in kind:
            canvas.put(vessel.shape, fill(name, 60))
        for vessel in kind:
            canvas.put(vessel.shape.grown(-vessel.wall_mm), fill(name, vessel.hu, 6))
    for vessel in vessels:
        if vessel.name == "aorta" and build.age > 0.6:
            _paint_plaque(canvas, vessel.shape, 2 * np.pi * build.age * 7)
    for outline, wall in airways:
        canvas.put_walled(outline, wall, fill("airway", 30), fill("airway", -985))


def _paint_plaque(canvas: Canvas, vessel: Blob, angle: float) -> None:
    """Paints calcium in the wall of a round vessel."""
    radius = vessel.axes[0] - 0.7
    at = (vessel.centre[0] + radius * np.cos(angle), vessel.centre[1] + radius * np.sin(angle))
    canvas.put(Blob(at, (2.8, 0.9), angle + np.pi / 2), fill("calcium", 850))
