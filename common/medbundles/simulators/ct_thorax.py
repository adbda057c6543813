"""The wall of the simulated chest: skin, fat, muscles, breasts, ribs, spine, sternum, and the table below."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from medbundles.simulators.ct_canvas import Blob, Canvas, Floats, Shape, Tube, disc, joined, random_lobes
from medbundles.simulators.ct_tissues import fill

WALL_MM = 10.0  # thickness of the rib cage
SKIN_MM = 1.7


@dataclass(frozen=True)
class Build:
    """The body of one patient.

    Attributes:
        cage: outer border of the rib cage.
        fat_mm: under the skin, at the sides.
        muscle: size of the muscles, 1 for an average one.
        female: with breasts.
        age: 0 young to 1 old: calcium, thin bone, wide lungs.
        level: height of the slice, "vessels", "root" or "heart".
        liver: whether the slice cuts the dome of the liver.
    """

    cage: Blob
    fat_mm: float
    muscle: float
    female: bool
    age: float
    level: str
    liver: bool
    outline: tuple[tuple[int, float, float], ...] = field(repr=False)

    @property
    def depth(self) -> float:
        """Half the depth of the rib cage, mm."""
        return self.cage.axes[1]


def random_build(rng: np.random.Generator) -> Build:
    """Draws a patient who fits a field of 350 mm."""
    level = str(rng.choice(["heart", "heart", "root", "root", "vessels"]))
    return Build(
        cage=Blob(
            (0.0, -8.0),
            (rng.uniform(122, 138), rng.uniform(82, 97)),
            lobes=((2, 0.012 * rng.normal(), 0.0), (3, 0.03 + 0.008 * rng.normal(), np.pi / 2)),
            power=rng.uniform(2.15, 2.5),
        ),
        fat_mm=float(np.clip(rng.gamma(3.0, 3.6), 3, 22)),
        muscle=rng.uniform(0.7, 1.25),
        female=bool(rng.random() < 0.5),
        age=rng.random(),
        level=level,
        liver=bool(rng.random() < 0.6) and level == "heart",
        outline=random_lobes(rng, 0.004),
    )


@dataclass(frozen=True)
class AlongWall:
    """A bar that follows a wall at some depth.

    Args:
        wall: the border it follows.
        angle: of its middle about the wall's centre, 0 to the front, positive to the left.
        depth: of its axis outside the border, negative inside.
        half_length, half_width: of the bar.
    """

    wall: Blob
    angle: float
    depth: float
    half_length: float
    half_width: float

    @property
    def reach(self) -> tuple[float, float, float]:
        radii = np.linspace(0.3, 2.0, 400, dtype=np.float32) * np.float32(max(self.wall.axes))
        x = self.wall.centre[0] + radii * np.float32(np.sin(self.angle))
        y = self.wall.centre[1] - radii * np.float32(np.cos(self.angle))
        at = int(np.abs(self.wall.distance(x, y) - self.depth).argmin())
        return float(x[at]), float(y[at]), 1.4 * self.half_length + self.half_width

    def distance(self, x: Floats, y: Floats) -> Floats:
        dx, dy = x - np.float32(self.wall.centre[0]), y - np.float32(self.wall.centre[1])
        turn = (np.arctan2(dx, -dy) - np.float32(self.angle) + np.pi) % (2 * np.pi) - np.pi
        along = np.abs(turn) * np.hypot(dx, dy)
        across = self.wall.distance(x, y) - np.float32(self.depth)
        straight = max(self.half_length - self.half_width, 0.0)
        return (np.hypot(np.clip(along - straight, 0, None), across) - self.half_width).astype(np.float32)


def paint_table(canvas: Canvas, back_y: float) -> None:
    """Paints the table top, a curved shell with foam inside, and the mattress, below a back at y."""
    top = Blob((0.0, back_y - 265.0), (300.0, 283.0))
    shell = canvas.distance(top)
    aside = np.abs(canvas.x) - np.float32(205)
    for outer, thickness, fill_ in (
        (-14.0, 9.0, fill("table", -880, 12)),
        (-3.5, 2.0, fill("table", -110, 6)),
        (14.0, 17.5, fill("table", -950, 4)),
        (16.0, 2.0, fill("table", -110, 6)),
    ):
        band = np.maximum(shell - np.float32(outer), np.float32(outer - thickness) - shell)
        canvas.fill(np.maximum(np.maximum(band, aside), -canvas.y), fill_)


def paint_wall(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paints everything outside the pleura except bone: skin, fat, breasts, muscles."""
    body = _outline(canvas, build)
    cage = canvas.distance(build.cage)
    canvas.fill(body, fill("skin", 35, 10))
    canvas.fill(body + np.float32(SKIN_MM), fill("fat", -104, 5))
    _paint_septa(canvas, body + np.float32(4))
    if build.female:
        _paint_glands(canvas, build, rng)
    thickness = _muscle_thickness(canvas, build)
    bound = body + np.float32(SKIN_MM + 2)
    muscle = fill("muscle", rng.uniform(48, 62), 7)
    canvas.fill(np.maximum(cage - thickness, bound), muscle)
    _part_muscles(canvas, cage, thickness)
    for side in (-1, 1):
        size = 0.6 + 0.4 * build.muscle
        centre = (side * (5 + 20 * size), build.cage.centre[1] + build.depth + 11 * size)
        erector = Blob(centre, (22 * size, 14 * size), side * 0.12, random_lobes(rng, 0.04), 2.4)
        canvas.put(erector, muscle, bound)
    canvas.fill(cage, fill("muscle", 42, 12))
    canvas.fill(cage + np.float32(WALL_MM - 2.5), fill("fat", -90, 8))


def back_of(build: Build) -> float:
    """y of the skin at the back."""
    return build.cage.centre[1] + build.depth + 22 * build.muscle + 0.6 * build.fat_mm + 8


def _outline(canvas: Canvas, build: Build) -> Floats:
    """Distance to the skin."""
    (cx, cy), (a, b) = build.cage.centre, build.cage.axes
    front, back = cy - b - 13 - 0.7 * build.fat_mm, back_of(build)
    side = a + 11 * build.muscle + build.fat_mm
    trunk = Blob(
        (cx, (front + back) / 2), (side, (back - front) / 2), lobes=build.outline, power=build.cage.power
    )
    body = canvas.distance(trunk)
    if build.female:
        for sign in (-1, 1):
            body = joined(body, canvas.distance(_breast(build, sign, 0.0)), 14.0)
    return body


def _breast(build: Build, side: int, inset: float) -> Blob:
    """A breast as it lies on a patient on her back, or its gland, `inset` mm further in."""
    size = 0.75 + 0.025 * build.fat_mm
    centre = (side * 0.62 * build.cage.axes[0], build.cage.centre[1] - 0.80 * build.depth - 12 * size)
    return Blob(centre, (46 * size - inset, 27 * size - inset), side * 0.45)


def _paint_glands(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paints the glandular tissue: patchy, less of it with age."""
    patchy = canvas.textures["coarse"] + 0.7 * canvas.textures["medium"] - np.float32(0.2 + 1.1 * build.age)
    for side in (-1, 1):
        gland = canvas.distance(_breast(build, side, 9.0))
        canvas.fill(np.maximum(gland, -3 * patchy), fill("breast", rng.uniform(15, 45), 8))


def _paint_septa(canvas: Canvas, within: Floats) -> None:
    """Paints the thin strands that run through fat."""
    ridge = np.abs(canvas.textures["coarse"] + 0.35 * canvas.textures["medium"])
    canvas.fill(np.maximum(within, (ridge - np.float32(0.035)) * 7), fill("fat", -62, 12))


# Middle and width (rad, 0 to the front) and thickness (mm) of the muscles over the ribs: pectoral,
# serratus and latissimus, then those between shoulder blade and spine.
MUSCLES = ((0.75, 0.34, 13.0), (1.75, 0.38, 11.0), (2.45, 0.34, 12.0))


def _muscle_thickness(canvas: Canvas, build: Build) -> Floats:
    around = np.abs(np.arctan2(canvas.x, -(canvas.y - np.float32(build.cage.centre[1]))))
    thickness = np.full(canvas.hu.shape, 2.0, np.float32)
    for middle, width, size in MUSCLES:
        thickness += np.float32(size * build.muscle) * np.exp(-0.5 * ((around - middle) / width) ** 4)
    return thickness


def _part_muscles(canvas: Canvas, cage: Floats, thickness: Floats) -> None:
    """Paints the layers of fat between the muscles and between them and the ribs."""
    wave = np.float32(0.9) * canvas.textures["coarse"]
    for part, half_mm in ((0.5, 0.55), (0.06, 0.5)):
        plane = np.abs(cage - np.float32(part) * thickness + wave) - np.float32(half_mm)
        canvas.fill(np.maximum(plane, 7 - thickness), fill("fat", -70, 15))


def paint_bones(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paints ribs, their cartilage, sternum, spine and, high up, the shoulder blades."""
    _paint_ribs(canvas, build, rng)
    _paint_sternum(canvas, build, rng)
    _paint_spine(canvas, build, rng)
    if build.level == "vessels":
        for side in (-1, 1):
            blade = AlongWall(build.cage, side * rng.uniform(2.1, 2.4), 9.0 * build.muscle, 32, 2.6)
            _paint_bone(canvas, blade, 1.2, build)


def _paint_bone(canvas: Canvas, shape: Shape, shell_mm: float, build: Build) -> None:
    cortex = fill("bone", 780 - 250 * build.age, 60, "fine")
    marrow = fill("marrow", 240 - 130 * build.age, 26)
    canvas.put_walled(shape, shell_mm, cortex, marrow)


def _paint_ribs(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        count = int(rng.integers(5, 7))
        for angle in np.linspace(0.95, 2.62, count) + rng.uniform(-0.09, 0.09, count):
            rib = AlongWall(build.cage, side * angle, -4.4, rng.uniform(7, 22), rng.uniform(3.0, 4.4))
            _paint_bone(canvas, rib, rng.uniform(1.0, 1.5), build)
        cartilage = AlongWall(build.cage, side * rng.uniform(0.36, 0.5), -4.0, rng.uniform(14, 26), 4.6)
        canvas.put(cartilage, fill("cartilage", rng.uniform(85, 125), 10))
        if build.age > 0.6:
            canvas.put(Tube(*_spread(cartilage, rng), (0.8, 1.2)), fill("calcium", 420, 60))


def _spread(bar: AlongWall, rng: np.random.Generator) -> tuple[tuple[float, float], tuple[float, float]]:
    """Two points near the middle of a bar."""
    x, y, _ = bar.reach
    shift = rng.uniform(-4, 4, 4)
    return (x + float(shift[0]), y + float(shift[1]) / 3), (x + float(shift[2]), y + float(shift[3]) / 3)


def _paint_sternum(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    y = build.cage.centre[1] - build.depth + 2
    half = rng.uniform(15, 21)
    _paint_bone(canvas, Blob((rng.normal(0, 1.5), y), (half, rng.uniform(5.2, 7)), power=2.8), 1.2, build)
    for side in (-1, 1):  # internal mammary vessels
        canvas.put(disc((side * (half + 8), y + 8.5), rng.uniform(1.0, 1.5)), fill("vein", 150))


def spine_centre(build: Build) -> tuple[float, float]:
    """Middle of the vertebral body."""
    return 0.0, build.cage.centre[1] + build.depth - 33


def _paint_spine(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    x, y = spine_centre(build)
    canvas.put(Blob((x, y + 24), (15, 14)), fill("muscle", 45, 8))
    for side in (-1, 1):
        lamina = Tube((x + side * 15, y + 19), (x + side * 2, y + 35), (3.4, 3.2))
        wing = Tube((x + side * 15, y + 21), (x + side * 33, y + 33), (5.0, 3.8))
        pedicle = Tube((x + side * 12.5, y + 7), (x + side * 13.5, y + 22), (3.8, 3.4))
        for part in (wing, lamina, pedicle):
            _paint_bone(canvas, part, 1.3, build)
        _paint_bone(canvas, AlongWall(build.cage, side * 2.86, -5.5, 13, 4.0), 1.3, build)
    process = Tube(
        (x + rng.normal(0, 1), y + 36), (x + rng.normal(0, 1.5), y + rng.uniform(48, 58)), (3.4, 2.4)
    )
    _paint_bone(canvas, process, 1.2, build)
    width, height = rng.uniform(16, 19), rng.uniform(12.5, 15)
    _paint_bone(canvas, Blob((x, y), (width, height), 0.0, ((3, 0.035, np.pi / 2),), 2.4), 1.1, build)
    canvas.put(Blob((x, y + 19.5), (9.5, 8.0)), fill("fat", -40, 10))
    canvas.put(Blob((x, y + 19.5), (8.5, 7.0)), fill("spinal canal", 12, 2))
    canvas.put(Blob((x, y + 19), (4.6, 3.7)), fill("spinal canal", 42, 2))
