"""The simulated heart, beating.

Chambers are placed in the heart's own frame: along its axis from the crux to the apex, and across it to the
right and front. Contraction runs from 0 (end of diastole) to 1 (end of systole).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medbundles.simulators.ct_canvas import Blob, Canvas, Floats, Lobes, disc, joined, random_lobes
from medbundles.simulators.ct_thorax import Build
from medbundles.simulators.ct_tissues import fill

SYSTOLE = 0.36  # phase at which the ventricles are smallest


def contraction(phase: float) -> float:
    """How far the ventricles are contracted at a phase of the cardiac cycle, 0 to 1."""
    late = (phase - SYSTOLE + 0.5) % 1.0 - 0.5
    width = 0.15 if late < 0 else 0.13
    return float(np.exp(-0.5 * (late / width) ** 2))


@dataclass(frozen=True)
class Heart:
    """One patient's heart at one moment.

    Attributes:
        crux: where the four chambers meet, mm.
        turn: of the axis from the left towards the front, rad.
        scale: size, 1 for an average one.
        squeeze: contraction, 0 to 1.
        iodine: HU of the blood on the left side and on the right side.
        wall_hu, wall_mm: of the left ventricle's muscle at rest.
        fat_mm: over the heart.
        root: whether the slice cuts the root of the aorta.
        low: whether it passes below the lung veins, through the floor of the left atrium.
        lobes: irregularity of each outline.
    """

    crux: tuple[float, float]
    turn: float
    scale: float
    squeeze: float
    iodine: tuple[float, float]
    wall_hu: float
    wall_mm: float
    fat_mm: float
    root: bool
    low: bool
    lobes: tuple[Lobes, ...]

    def place(self, along: float, across: float) -> tuple[float, float]:
        """A point of the heart's frame in the slice."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        # The base moves to the apex when the ventricles contract.
        along = along + 9 * self.squeeze * np.clip(1 - along / 60, 0, 1)
        x, y = along * cos - across * sin, -along * sin - across * cos
        return float(self.crux[0] + self.scale * x), float(self.crux[1] + self.scale * y)

    def blob(
        self,
        place: tuple[float, float],
        axes: tuple[float, float],
        tilt: float,
        lobes: int,
        grow: float = 0.0,
    ) -> Blob:
        """An ellipse in the heart's frame, `grow` mm wider than its axes; `tilt` turns it to the front."""
        size = (self.scale * axes[0] + grow, self.scale * axes[1] + grow)
        return Blob(self.place(*place), size, -self.turn - tilt, self.lobes[lobes])

    def left_ventricle(self, grow: float = 0.0) -> Blob:
        """The cavity; the wall thickens as it shrinks."""
        s = self.squeeze
        axes = (37 * (1 - 0.14 * s), (17 if self.root else 21) * (1 - 0.36 * s))
        return self.blob((40, -19), axes, 0.03, 0, grow)

    def left_wall(self) -> float:
        """Thickness of the left ventricle's wall, mm."""
        return self.wall_mm * (1 + 0.45 * self.squeeze)

    def right_ventricle(self, grow: float = 0.0) -> Blob:
        """The cavity, of which the left ventricle's wall covers a part."""
        s = self.squeeze
        across = (26, 30)[self.root]
        return self.blob((27, across - 2 * s), (42 * (1 - 0.12 * s), 23 * (1 - 0.24 * s)), -0.06, 1, grow)

    def left_atrium(self, grow: float = 0.0) -> Blob:
        """The cavity; it fills while the ventricles contract."""
        s = self.squeeze
        size = self.scale * (0.66 if self.low else 1.0)
        across, deep = size * 31 * (1 + 0.05 * s), size * 18 * (1 + 0.12 * s)
        return Blob(
            self.place(-15, -22) if self.low else self.place(-19, -21),
            (across + grow, deep + grow),
            0.08,
            self.lobes[2],
        )

    def right_atrium(self, grow: float = 0.0) -> Blob:
        """The cavity; it fills while the ventricles contract."""
        s = self.squeeze
        return self.blob((-23, 29), (20 * (1 + 0.12 * s), 25 * (1 + 0.08 * s)), 0.2, 3, grow)

    def outer(self, canvas: Canvas) -> Floats:
        """Distance to the pericardium: it bridges the grooves between the chambers."""
        shapes = [
            self.left_ventricle(self.left_wall()),
            self.right_ventricle(3.0),
            self.left_atrium(2.0),
            self.right_atrium(2.5),
        ]
        distance = canvas.distance(shapes[0])
        for shape in shapes[1:]:
            distance = joined(distance, canvas.distance(shape), 13.0)
        return distance - np.float32(self.fat_mm)


def random_heart(rng: np.random.Generator, build: Build, phase: float) -> Heart:
    """Draws a heart that fits a patient; the draw does not depend on the phase."""
    left = rng.uniform(290, 430)
    x, y = rng.normal(1, 4), build.cage.centre[1] - 0.14 * build.depth + rng.normal(0, 2)
    return Heart(
        crux=(float(x), float(y)),
        turn=rng.uniform(0.5, 0.85),
        scale=rng.uniform(0.84, 0.98) * build.depth / 88,
        squeeze=contraction(phase),
        iodine=(left, left * rng.uniform(0.35, 0.95)),
        wall_hu=rng.uniform(88, 118),
        wall_mm=rng.uniform(8.5, 11.5),
        fat_mm=rng.uniform(2, 6),
        root=build.level == "root",
        low=build.liver,
        lobes=tuple(random_lobes(rng, 0.028) for _ in range(4)),
    )


def paint_heart(canvas: Canvas, heart: Heart, build: Build, rng: np.random.Generator) -> None:
    """Paints pericardium, chambers, coronary arteries and calcium."""
    outer = heart.outer(canvas)
    canvas.fill(outer, fill("muscle", 25, 8))
    canvas.fill(outer + np.float32(0.9), fill("fat", -96, 8))
    left, right = heart.iodine
    muscle = fill("myocardium", heart.wall_hu, 6)
    canvas.put_walled(heart.right_ventricle(3.0), 3.0, muscle, fill("right ventricle", right, 9, "coarse"))
    canvas.put_walled(heart.right_atrium(2.0), 2.0, muscle, fill("right atrium", 0.9 * right, 22, "coarse"))
    wall = heart.left_wall()
    canvas.put_walled(heart.left_ventricle(wall), wall, muscle, fill("left ventricle", left, 7))
    _paint_papillaries(canvas, heart, muscle, rng)
    canvas.put_walled(heart.left_atrium(1.8), 1.8, muscle, fill("left atrium", 0.97 * left, 7))
    if not heart.low:
        _paint_lung_veins(canvas, heart, rng)
    if heart.root:
        _paint_root(canvas, heart, build, rng)
    _paint_coronaries(canvas, heart, build, rng)


def _paint_papillaries(canvas: Canvas, heart: Heart, muscle: object, rng: np.random.Generator) -> None:
    cavity = heart.left_ventricle()
    for side in (-1, 1):
        along, size = rng.uniform(40, 56), rng.uniform(2.8, 4.2)
        across = -19 + side * cavity.axes[1] / heart.scale * 0.62
        canvas.put(heart.blob((along, across), (1.5 * size, size), 0.0, 0), muscle)


def _paint_lung_veins(canvas: Canvas, heart: Heart, rng: np.random.Generator) -> None:
    """Paints the veins that enter the left atrium from both sides."""
    x, y = heart.left_atrium().centre
    for side in (-1, 1):
        out = (x + side * rng.uniform(36, 44), y + rng.uniform(0, 13))
        vein = _tube((x + side * 22, y), out, rng.uniform(4, 5.5))
        canvas.put(vein, fill("vein", 0.95 * heart.iodine[0], 6))


def _tube(start: tuple[float, float], end: tuple[float, float], radius: float) -> Blob:
    """A vessel cut lengthwise, as an ellipse that ends round."""
    length = np.hypot(end[0] - start[0], end[1] - start[1])
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    turn = float(np.arctan2(end[1] - start[1], end[0] - start[0]))
    return Blob(middle, (length / 2 + radius, radius), turn, power=3.0)


def _paint_root(canvas: Canvas, heart: Heart, build: Build, rng: np.random.Generator) -> None:
    """Paints the root of the aorta in the middle of the heart, with three sinuses."""
    radius = rng.uniform(13.5, 16.5) * heart.scale * (1 + 0.05 * heart.squeeze)
    root = Blob(heart.place(-2, 3), (radius, radius), 0.0, ((3, 0.045, rng.uniform(0, 6.3)),))
    canvas.put(Blob(root.centre, (radius + 1.6, radius + 1.6)), fill("fat", -30, 8))
    canvas.put_walled(root, 1.3, fill("aorta", 70), fill("aorta", heart.iodine[0], 6))
    if build.age > 0.65:
        angle = rng.uniform(0, 2 * np.pi)
        at = (root.centre[0] + 0.8 * radius * np.cos(angle), root.centre[1] + 0.8 * radius * np.sin(angle))
        canvas.put(Blob(at, (2.2, 1.1), angle + np.pi / 2), fill("calcium", rng.uniform(600, 1100)))


# Grooves in which the right, anterior descending and circumflex coronary artery run: where to start in the
# heart's frame, and which way to go until the muscle ends.
GROOVES = (((0.0, 25.0), (0.05, 1.0)), ((45.0, 2.0), (0.45, 1.0)), ((2.0, -22.0), (0.15, -1.0)))


def _groove(
    heart: Heart, start: tuple[float, float], way: tuple[float, float], clear: float
) -> tuple[float, float]:
    """Returns the first point of a groove that lies `clear` mm off all muscle."""
    steps = np.arange(0, 60, 0.5)
    points = np.array([heart.place(start[0] + t * way[0], start[1] + t * way[1]) for t in steps], np.float32)
    walls = (heart.left_ventricle(heart.left_wall()), heart.right_ventricle(3.0), heart.right_atrium(2.0))
    distances = [shape.distance(*points.T) for shape in (*walls, heart.left_atrium(1.8))]
    free = np.flatnonzero(np.min(distances, axis=0) > clear)
    x, y = points[free[0] if len(free) else -1].tolist()
    return x, y


def _paint_coronaries(canvas: Canvas, heart: Heart, build: Build, rng: np.random.Generator) -> None:
    blood = fill("coronary artery", 0.92 * heart.iodine[0])
    for start, way in GROOVES:
        radius, stretch, turn = rng.uniform(1.2, 2.1), rng.uniform(1.0, 2.2), rng.uniform(0, np.pi)
        plaque, size, hu = rng.random(), rng.uniform(0.6, 1.3), rng.uniform(650, 1250)
        place = _groove(heart, start, way, radius + 0.6)
        canvas.put(Blob(place, (stretch * radius, radius), turn), blood)
        if plaque < 0.25 + 0.5 * build.age:
            canvas.put(disc((place[0] + 0.8 * radius, place[1]), size), fill("calcium", hu))
