"""Slices of a simulated chest with contrast medium, at any moment of the heartbeat."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
from numpy.typing import NDArray

from medbundles.simulators.ct_canvas import Blob, Canvas, Floats, Tube, joined, random_lobes
from medbundles.simulators.ct_heart import Heart, paint_heart, random_heart
from medbundles.simulators.ct_lesions import Lesion
from medbundles.simulators.ct_lungs import (
    Twig,
    paint_fissures,
    paint_lung_vessels,
    paint_nodules,
    paint_parenchyma,
)
from medbundles.simulators.ct_thorax import (
    WALL_MM,
    Build,
    back_of,
    paint_bones,
    paint_table,
    paint_wall,
    random_build,
    spine_centre,
)
from medbundles.simulators.ct_tissues import LABELS, fill
from medbundles.simulators.ct_vessels import GreatVessel, envelope, great_vessels, paint_vessels

AIR = -1000.0
Tubes = tuple[list[GreatVessel], list[tuple[Blob, float]]]


@dataclass(frozen=True)
class Slice:
    """One simulated slice.

    Attributes:
        hu: the slice (x, y), x to the patient's left, y to the back.
        labels: number of the tissue in each pixel (x, y).
        tissues: the numbers by name.
        lesions: the nodules of the lungs.
        pixel_mm: size of a pixel.
        level: height of the slice: "vessels" above the heart, "root" of the aorta, "heart".
    """

    hu: Floats
    labels: NDArray[np.uint8]
    tissues: dict[str, int] = field(repr=False)
    lesions: list[Lesion]
    pixel_mm: float
    level: str

    def where(self, *tissues: str) -> NDArray[np.bool_]:
        """Mask (x, y) of some tissues."""
        return np.isin(self.labels, [self.tissues[name] for name in tissues])


def chest_slice(seed: int, phase: float = 0.75, size: int = 512, pixel_mm: float = 0.7) -> Slice:
    """Simulates a slice of a chest.

    Args:
        seed: of the patient; the same patient at another phase differs only by the heartbeat.
        phase: of the cardiac cycle, 0 to 1.
        size: pixels along x and y.
        pixel_mm: their size; a patient is up to 350 mm wide.
    """
    # Every part has its own stream, so that one that paints more or less does not change the others.
    streams = (np.random.default_rng([seed, part]) for part in count())
    build = random_build(next(streams))
    heart = random_heart(next(streams), build, phase)
    canvas = Canvas(size, pixel_mm, AIR, next(streams))
    places = next(streams).bit_generator.seed_seq
    vessels, airways = great_vessels(heart, build, np.random.default_rng(places))
    paint_table(canvas, back_of(build))
    paint_wall(canvas, build, next(streams))
    between = _mediastinum(canvas, build, heart, (vessels, airways))
    # What lies in the lungs is placed where there is lung when the heart is full, so that it does not jump.
    full = replace(heart, squeeze=0.0)
    widest = _mediastinum(canvas, build, full, great_vessels(full, build, np.random.default_rng(places)))
    lungs = _lungs(canvas, build, between), _lungs(canvas, build, widest)
    lesions = _paint_lungs(canvas, lungs, build, heart, next(streams))
    if build.liver:
        _paint_liver(canvas, build, next(streams))
    _paint_mediastinum(canvas, build, between, next(streams))
    if build.level != "vessels":
        paint_heart(canvas, heart, build, next(streams))
    paint_vessels(canvas, vessels, airways, build)
    paint_bones(canvas, build, next(streams))
    return Slice(canvas.hu, canvas.labels, dict(LABELS), lesions, pixel_mm, build.level)


def _mediastinum(canvas: Canvas, build: Build, heart: Heart, tubes: Tubes) -> Floats:
    """Distance to what lies between the lungs."""
    vessels, airways = tubes
    # Low down the vena cava runs through the liver, not through fat.
    shapes = [vessel.shape for vessel in vessels if not (build.liver and vessel.name == "vein")]
    shapes += [outline for outline, _ in airways]
    x, y = spine_centre(build)
    middle = canvas.distance(Blob((x + 1, y - 45), (13, build.depth)))
    middle = joined(middle, canvas.distance(Blob((x, y + 6), (25, 24))), 8.0)
    middle = joined(middle, envelope(canvas, shapes, 2.0), 8.0)
    return middle if build.level == "vessels" else joined(middle, heart.outer(canvas), 7.0)


def _lungs(canvas: Canvas, build: Build, mediastinum: Floats) -> Floats:
    """Distance to the lungs: what the rib cage encloses beside mediastinum and liver."""
    lung = np.maximum(canvas.distance(build.cage) + np.float32(WALL_MM), -mediastinum)
    return np.maximum(lung, -canvas.distance(_liver(build))) if build.liver else lung


def _liver(build: Build) -> Blob:
    """The dome of the liver under the right lung."""
    (x, y), (across, deep) = build.cage.centre, build.cage.axes
    size = 0.40 + 0.16 * build.age
    lobes = ((2, 0.04, 1.0), (3, 0.03, 6 * build.age))
    return Blob((x - 0.44 * across, y + 0.04 * deep), (size * across, (size + 0.12) * deep), 0.1, lobes)


def _paint_liver(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paints liver and its veins."""
    liver = _liver(build)
    within = np.maximum(
        canvas.distance(liver) + np.float32(1.5), canvas.distance(build.cage) + np.float32(WALL_MM + 1.5)
    )
    hu = rng.uniform(70, 118)
    canvas.put(liver, fill("muscle", 45), within - np.float32(1.5))
    canvas.put(liver, fill("liver", hu, 4), within)
    root = (liver.centre[0] + 0.72 * liver.axes[0], liver.centre[1] + 0.35 * liver.axes[1])
    for _ in range(int(rng.integers(3, 6))):
        angle, length = rng.uniform(2.2, 4.6), rng.uniform(0.5, 1.1) * liver.axes[0]
        end = (root[0] + length * np.cos(angle), root[1] + length * np.sin(angle))
        vein = fill("vein", hu + rng.uniform(15, 45))
        canvas.put(Tube(root, end, (rng.uniform(2.5, 4.5), 0.8)), vein, within)


def _paint_lungs(
    canvas: Canvas, lungs: tuple[Floats, Floats], build: Build, heart: Heart, rng: np.random.Generator
) -> list[Lesion]:
    """Paints the lungs, given now and as far as they reach at any time; returns their nodules."""
    lung, always = lungs
    cage = canvas.distance(build.cage) + np.float32(WALL_MM)
    canvas.fill(cage, fill("fat", -98, 7))
    paint_parenchyma(canvas, lung, build, rng)
    paint_fissures(canvas, lung, build, rng)
    hu = float(0.55 * heart.iodine[0] + 0.3 * heart.iodine[1])
    paint_lung_vessels(canvas, lungs, _hila(build, rng), hu, rng)
    return paint_nodules(canvas, always, int(rng.integers(0, 4)), rng)


def _hila(build: Build, rng: np.random.Generator) -> list[Twig]:
    """Roots of the vessel trees."""
    y = build.cage.centre[1] + 0.22 * build.depth
    roots = []
    for side in (-1, 1):
        for lean in (-0.9, -0.3, 0.3, 0.8):
            angle = lean + rng.normal(0, 0.2)
            at = (
                side * (rng.uniform(28, 38) - (12 if build.level == "vessels" else 0)),
                y + 14 * lean + rng.normal(0, 4),
            )
            roots.append(Twig(at, angle if side > 0 else np.pi - angle, rng.uniform(1.8, 3.8), 0))
    return roots


def _paint_mediastinum(canvas: Canvas, build: Build, between: Floats, rng: np.random.Generator) -> None:
    """Paints fat between the lungs, over whatever reached into it, the oesophagus and lymph nodes."""
    within = np.maximum(between, canvas.distance(build.cage) + np.float32(WALL_MM))
    x, y = spine_centre(build)
    gullet = Blob((x + rng.uniform(4, 11), y - 22), (rng.uniform(6, 9), rng.uniform(4, 5.5)), 0.3)
    canvas.fill(within, fill("fat", -98, 7))
    canvas.put(gullet, fill("oesophagus", 48, 6))
    if rng.random() < 0.4:
        canvas.put(Blob(gullet.centre, (2.2, 1.4)), fill("oesophagus", -700))
    for _ in range(int(rng.integers(2, 6)) if build.level == "vessels" else 1):
        at = (x + rng.uniform(-22, 22), y - rng.uniform(28, 90))
        node = Blob(
            at, (rng.uniform(2.5, 5), rng.uniform(2, 3.5)), rng.uniform(0, 3), random_lobes(rng, 0.04)
        )
        canvas.put(node, fill("lymph node", rng.uniform(50, 85), 5), within + np.float32(1.5))
