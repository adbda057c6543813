"""The simulated lungs: parenchyma, vessel trees, bronchi, fissures, nodules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt

from medbundles.simulators.ct_canvas import Blob, Canvas, Fill, Floats, Tube, disc, random_lobes
from medbundles.simulators.ct_lesions import Lesion
from medbundles.simulators.ct_thorax import Build
from medbundles.simulators.ct_tissues import fill

PIECES = 4  # straight pieces that a vessel is drawn with between its branchings
STAYING = 0.78  # chance that a branch stays in the slice
BRONCHIAL_MM = 1.3  # radius from which a vessel cut across has a visible bronchus beside it
SMALLEST_MM = 0.3  # radius of the smallest vessel drawn
SUBPLEURAL_MM = 4.0  # from the pleura, where vessels are too small to see
THROUGH_PLANE = (160, 280)  # number of vessels cut across


@dataclass(frozen=True)
class Twig:
    """One piece of a vessel tree: where it starts, its direction, radius and generation."""

    at: tuple[float, float]
    angle: float
    radius: float
    generation: int


def paint_parenchyma(canvas: Canvas, lung: Floats, build: Build, rng: np.random.Generator) -> None:
    """Paints the lung: denser towards the back, coarser and darker with age."""
    mean, slope = rng.uniform(-880, -835) - 25 * build.age, rng.uniform(25, 75)
    pleura = fill("muscle", -250, 0)
    canvas.fill(lung - np.float32(0.4), pleura)
    canvas.fill(lung, fill("lung", mean, 9, "fine"))
    inside = np.clip(0.5 - lung / np.float32(canvas.pixel_mm), 0, 1)
    lean = np.clip(canvas.y / np.float32(build.depth), -1, 1) * np.float32(slope)
    patches = 10 * canvas.textures["medium"] + 12 * canvas.textures["coarse"]
    if build.age > 0.7:  # emphysema
        patches = patches - 70 * np.clip(canvas.textures["medium"] - 0.9, 0, 1)
    canvas.hu += inside * (lean + patches).astype(np.float32)


def paint_lung_vessels(
    canvas: Canvas, lungs: tuple[Floats, Floats], roots: list[Twig], hu: float, rng: np.random.Generator
) -> None:
    """Paints vessel trees that grow from their roots, bronchi beside the large ones, vessels cut across.

    Args:
        canvas: the slice.
        lungs: distance to the lungs now, where vessels end, and to where there is lung at any time.
        roots: of the trees.
        hu: of the blood.
        rng: source of the branching.
    """
    clear = lungs[0] + np.float32(1.0)
    blood = fill("lung vessel", hu)
    pending = list(roots)
    while pending:
        twig = pending.pop()
        if twig.generation < 3 and rng.random() < 0.3:
            _paint_bronchus(canvas, twig, clear)
        tip = _paint_twig(canvas, twig, blood, clear, rng)
        for side in (-1, 1):
            radius = tip.radius * rng.uniform(0.58, 0.82)
            angle = tip.angle + side * rng.uniform(0.1, 0.7)
            # The others leave the slice.
            if radius > SMALLEST_MM and rng.random() < STAYING:
                pending.append(Twig(tip.at, angle, radius, twig.generation + 1))
    _paint_cut_across(canvas, lungs[1], blood, rng)


def _paint_twig(canvas: Canvas, twig: Twig, blood: Fill, within: Floats, rng: np.random.Generator) -> Twig:
    """Paints a curved piece of vessel and returns its far end."""
    (x, y), angle, radius = twig.at, twig.angle, twig.radius
    turn, step = rng.normal(0, 0.13), rng.uniform(2.5, 6.0) * 0.93**twig.generation
    for _ in range(PIECES):
        end = (x + step * np.cos(angle), y + step * np.sin(angle))
        thin = 0.94 * radius
        canvas.put(Tube((x, y), end, (radius, thin)), _partial(blood, thin), within)
        (x, y), angle, radius = end, angle + turn, thin
    return Twig((x, y), angle, radius, twig.generation)


def _partial(blood: Fill, radius: float) -> Fill:
    """A small vessel fills only a part of a thick slice, so it looks fainter."""
    share = float(np.clip(radius / 1.2, 0.3, 1.0))
    return Fill(-850 + share * (blood.hu + 850), blood.label)


def _paint_bronchus(canvas: Canvas, twig: Twig, lung: Floats) -> None:
    """Paints an air-filled tube beside a vessel."""
    cos, sin = np.cos(twig.angle), np.sin(twig.angle)
    radius, length, aside = 0.75 * twig.radius + 0.5, 4.5 * twig.radius, 1.9 * twig.radius + 0.5
    start = (twig.at[0] - aside * sin, twig.at[1] + aside * cos)
    end = (start[0] + length * cos, start[1] + length * sin)
    canvas.put(Tube(start, end, (radius, 0.85 * radius)), fill("airway", -480), lung)
    # The lumen runs past both ends of the wall: a bronchus has no lid.
    before, after = (start[0] - cos, start[1] - sin), (end[0] + 2 * cos, end[1] + 2 * sin)
    canvas.put(Tube(before, after, (radius - 0.6, 0.85 * radius - 0.6)), fill("airway", -950), lung)


def _paint_cut_across(canvas: Canvas, lung: Floats, blood: Fill, rng: np.random.Generator) -> None:
    """Paints vessels that run through the slice, the smaller the nearer to the pleura."""
    deep = np.clip(-lung, 0, 40)
    places = np.argwhere(deep > SUBPLEURAL_MM)
    number = int(rng.integers(*THROUGH_PLANE))
    draws = rng.random((number, 4))
    if not len(places):
        return
    half = (np.array(canvas.hu.shape) - 1) / 2
    for place, width, stretch, angle in draws:
        index = places[int(place * len(places))]
        x, y = (index - half) * canvas.pixel_mm
        radius = 0.4 + (0.4 + 1.9 * deep[tuple(index)] / 40) * width**2
        dot = Blob((float(x), float(y)), (radius * (1 + 1.5 * stretch**2), radius), float(angle * np.pi))
        canvas.put(dot, _partial(blood, radius), lung)
        if radius > BRONCHIAL_MM:
            at = (float(x + 2.1 * radius), float(y - 0.6 * radius))
            canvas.put(disc(at, radius), fill("airway", -380), lung)
            canvas.put(disc(at, radius - 0.6), fill("airway", -950), lung)


def paint_fissures(canvas: Canvas, lung: Floats, build: Build, rng: np.random.Generator) -> None:
    """Paints the major fissure of each lung, a thin curved line from the hilum to the side."""
    for side in (-1, 1):
        radius = rng.uniform(150, 260)
        at = (side * 0.55 * build.cage.axes[0], build.cage.centre[1] + rng.uniform(5, 30))
        bend = 1 if rng.random() < 0.5 else -1
        circle = canvas.distance(disc((at[0] - side * 40, at[1] + bend * radius), radius))
        line = np.abs(circle) - np.float32(0.25)
        own = -side * canvas.x
        canvas.fill(np.maximum(np.maximum(line, own), lung + np.float32(1)), fill("lung", -700))


def paint_nodules(canvas: Canvas, lung: Floats, number: int, rng: np.random.Generator) -> list[Lesion]:
    """Paints nodules at free places of the lung and returns them, their contrast against the lung there."""
    room = distance_transform_edt(lung < -6) * canvas.pixel_mm
    half = (np.array(canvas.hu.shape) - 1) / 2
    nodules = []
    for _ in range(number):
        radius, draw, kind = rng.uniform(1.8, 6.0), rng.random(), rng.random()
        lobes = random_lobes(rng, 0.05, (2, 3, 5))
        places = np.argwhere(room > radius)
        if not len(places):
            continue
        index = places[int(draw * len(places))]
        x, y = ((index - half) * canvas.pixel_mm).tolist()
        hu = 350.0 if kind < 0.12 else -560.0 if kind < 0.3 else 25.0 + 60 * (kind - 0.3)
        nodules.append(Lesion((x, y), radius, hu - float(np.median(canvas.hu[lung < -6]))))
        canvas.put(Blob((x, y), (radius, radius), 0.0, lobes), fill("nodule", hu, 8, "fine"))
        room = np.minimum(room, np.hypot(canvas.x - x, canvas.y - y) - 2 * radius)
    return nodules
