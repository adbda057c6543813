"""What dentists leave in a mouth: fillings, root fillings, crowns, bridges, implants and brackets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from medbundles.simulators.fields import Draws
from medbundles.simulators.jaw_canvas import FAR, Canvas, Floats, Frame, Vector, Window, oval, rod
from medbundles.simulators.jaw_shapes import Layers, Shape, crown_axes, layers
from medbundles.simulators.jaw_teeth import Tooth

CLASSES = ("titanium", "cobalt_chrome", "amalgam", "gold", "zirconia", "composite", "gutta_percha")
CROWNS = {"cobalt_chrome": 0.45, "zirconia": 0.35, "gold": 0.2}
STEEL = "cobalt_chrome"  # of brackets and wires; it stops X-rays as that alloy does
_WIRE_MM = 0.25


@dataclass(frozen=True)
class Work:
    """One piece of dental work.

    Attributes:
        kind: "filling", "crown", "root_filling", "implant", "pontic" or "bracket".
        material: its class.
        sizes: mm or shares, as the kind needs.
    """

    kind: str
    material: str
    sizes: tuple[float, ...] = ()


@dataclass
class Works:
    """All dental work of a patient.

    Attributes:
        teeth: FDI code to the pieces on that tooth or in its place.
        bars: rows of FDI codes whose pieces are joined, and "bridge" or "wire".
    """

    teeth: dict[int, list[Work]] = field(default_factory=dict)
    bars: list[tuple[str, tuple[int, ...], str]] = field(default_factory=list)

    def add(self, fdi: int, work: Work) -> None:
        """Adds a piece to a tooth."""
        self.teeth.setdefault(fdi, []).append(work)

    def materials(self, fdi: int) -> tuple[str, ...]:
        """The classes at a tooth, each once."""
        return tuple(dict.fromkeys(work.material for work in self.teeth.get(fdi, ())))


def plan_metal(seed: int, level: str, teeth: Sequence[Tooth], implants: bool) -> Works:
    """Draws the dental work of a patient.

    Args:
        seed: everything follows from it; the teeth do not change with the level.
        level: "none", "some" or "heavy".
        teeth: all 32 places.
        implants: whether lost teeth may have been replaced.
    """
    works, draws = Works(), Draws(seed, f"metal {level}")
    if level == "none":
        return works
    heavy = level == "heavy"
    if implants:
        _replace_teeth(works, teeth, draws, (0.5, 0.6) if heavy else (0.2, 0.25))
    if draws.chance(0.3 if heavy else 0.06):
        for upper in (True, False):
            if heavy or draws.chance(0.6):
                _add_brackets(works, [tooth for tooth in teeth if tooth.upper == upper])
    wanted = int(draws.rng.integers(9, 17) if heavy else draws.rng.integers(2, 6))
    free = [t for t in teeth if t.state == "present" and t.fdi not in works.teeth]
    weights = np.array([(0.4, 0.4, 0.3, 1.0, 1.3, 2.4, 2.2, 0.8)[t.position - 1] for t in free])
    count = min(wanted, len(free))
    chosen = draws.rng.choice(len(free), count, replace=False, p=weights / weights.sum()) if count else ()
    for order, index in enumerate(chosen):
        _restore(works, free[int(index)], draws, (0.5 if heavy else 0.2) if order else 1.0)
    return works


def _replace_teeth(works: Works, teeth: Sequence[Tooth], draws: Draws, chances: tuple[float, float]) -> None:
    """Bridges over gaps with both neighbours, with the first chance, else implants with the second."""
    there = {tooth.fdi: tooth.state == "present" for tooth in teeth}
    for tooth in teeth:
        bridge, implant, material = draws.chance(chances[0]), draws.chance(chances[1]), draws.choice(CROWNS)
        thick, sizes = draws.uniform(0.7, 1.2), (draws.uniform(1.7, 2.3), draws.uniform(8.5, 12.0))
        if tooth.state != "missing" or tooth.position == 8:
            continue
        ends = (tooth.fdi - 1, tooth.fdi + 1)
        if bridge and tooth.position > 1 and all(there.get(end) and end not in works.teeth for end in ends):
            for end in ends:
                works.add(end, Work("crown", material, (thick,)))
            works.add(tooth.fdi, Work("pontic", material))
            works.bars.append(("bridge", (ends[0], tooth.fdi, ends[1]), material))
        elif implant:
            works.add(tooth.fdi, Work("implant", "titanium", sizes))
            works.add(tooth.fdi, Work("pontic", material))


def _add_brackets(works: Works, teeth: Sequence[Tooth]) -> None:
    row = [t for t in teeth if t.state == "present" and t.position <= 6]
    row = sorted((t for t in row if t.fdi not in works.teeth), key=lambda tooth: tooth.way)
    for tooth in row:
        works.add(tooth.fdi, Work("bracket", STEEL))
    if len(row) > 1:
        works.bars.append(("wire", tuple(tooth.fdi for tooth in row), STEEL))


def _restore(works: Works, tooth: Tooth, draws: Draws, crown: float) -> None:
    """Gives a tooth a filling or, with a chance, a crown; both may come with a root filling."""
    front = tooth.position <= 3
    dense = draws.chance(0.0 if front else 0.65)
    if draws.chance(crown):
        works.add(tooth.fdi, Work("crown", draws.choice(CROWNS), (draws.uniform(0.7, 1.3),)))
    else:
        # Size along m and b, place along m and depth; some reach the side of the crown.
        spot = draws.rng.choice([-0.55, 0.0, 0.0, 0.55]) if not front else draws.rng.choice([-0.7, 0.7])
        sizes = (draws.uniform(0.4, 0.75), draws.uniform(0.3, 0.6), float(spot), draws.uniform(1.8, 3.0))
        works.add(tooth.fdi, Work("filling", "amalgam" if dense else "composite", sizes))
    if draws.chance(0.35):
        works.add(tooth.fdi, Work("root_filling", "gutta_percha"))


Place = tuple[Floats, Floats, Floats]


def _filling(shape: Shape, work: Work, parts: Layers, place: Place) -> Floats:
    m, b, h = place
    a, c = shape.width / 2, shape.depth / 2
    if shape.kind in ("incisor", "canine"):
        spot = np.hypot(m - work.sizes[2] * a, h - 0.55 * shape.crown) - 0.3 * shape.width
        return np.maximum(np.maximum(spot, parts.tooth), -h)
    side = oval(m - np.float32(work.sizes[2] * a), b, work.sizes[0] * a, work.sizes[1] * c)
    floor = shape.crown - 1.0 - work.sizes[3] - h
    return np.maximum(np.maximum(side, floor), parts.tooth)


def _crown(shape: Shape, work: Work, parts: Layers, place: Place) -> Floats:
    return np.maximum(np.maximum(parts.crown, -(parts.crown + np.float32(work.sizes[0]))), 0.6 - place[2])


def _pontic(shape: Shape, work: Work, parts: Layers, place: Place) -> Floats:
    return np.maximum(parts.crown, 0.8 - place[2])


def _implant(shape: Shape, work: Work, parts: Layers, place: Place) -> Floats:
    m, b, h = place
    radius, length = work.sizes
    away = np.hypot(m, b)
    # The screw begins near the crest, below the neck; a post carries the crown.
    thread = 0.12 * np.sin(h * np.float32(2 * np.pi / 0.9)) - 0.6 * np.clip(
        (-h - 0.6 * length) / length, 0, 1
    )
    screw = np.maximum(away - radius - thread, np.maximum(h + 2.5, -h - 2.5 - length))
    post = np.maximum(away - np.float32(1.5), np.maximum(-h - 2.6, h - 0.55 * np.float32(shape.crown)))
    return np.minimum(screw, post)


def _root_filling(shape: Shape, work: Work, parts: Layers, place: Place) -> Floats:
    low_chamber = np.maximum(parts.chamber, place[2] - 0.1 * np.float32(shape.crown))
    return np.minimum(parts.canals, low_chamber)


def _bracket(shape: Shape, work: Work, parts: Layers, place: Place) -> Floats:
    m, b, h = place
    face, middle = _face(shape)
    box = np.maximum(np.abs(m) - 1.5, np.abs(h - middle) - 1.6)
    return np.maximum(np.maximum(box, np.abs(b - face - 0.5) - 0.9), -parts.tooth)


def _face(shape: Shape) -> tuple[float, float]:
    """b of the buccal surface, and the height at which a bracket sits."""
    height = 0.5 if shape.kind in ("incisor", "canine") else 0.58
    return float(crown_axes(shape, height)[1]), height * shape.crown


PIECES: dict[str, Callable[[Shape, Work, Layers, Place], Floats]] = {
    "filling": _filling,
    "crown": _crown,
    "pontic": _pontic,
    "implant": _implant,
    "root_filling": _root_filling,
    "bracket": _bracket,
}
_ORDER = ("root_filling", "filling", "crown", "pontic", "implant", "bracket")


def paint_works(
    canvas: Canvas,
    window: Window,
    shape: Shape,
    works: Sequence[Work],
    *,
    place: Place,
    free: NDArray[np.bool_],
) -> None:
    """Paints the pieces on one tooth, or in its place.

    Args:
        canvas: is painted on.
        window: the voxels.
        shape: of the tooth.
        works: the pieces.
        place: m, b and h of the voxels.
        free: True where no other tooth is.
    """
    parts = layers(shape, *place)
    for work in sorted(works, key=lambda work: _ORDER.index(work.kind)):
        distance = np.where(free, PIECES[work.kind](shape, work, parts, place), np.float32(FAR))
        share = canvas.share(distance)
        if work.kind == "root_filling":
            share = np.minimum(share, canvas.rod(distance, np.maximum(parts.canal_radius, 0.1)))
        canvas.fill(window, share, **{work.material: 1.0})


def paint_bars(canvas: Canvas, works: Works, teeth: dict[int, Tooth], frames: dict[bool, Frame]) -> None:
    """Paints what joins the pieces of bridges, and the wires of brackets."""
    for kind, codes, material in works.bars:
        radius = _WIRE_MM if kind == "wire" else 1.3
        row = [teeth[code] for code in codes]
        nodes = [frames[tooth.upper].back(_node(tooth, kind))[0] for tooth in row]
        for start, end in pairwise(nodes):
            window = canvas.field.around(np.stack([start, end]), radius + 2 * canvas.field.spacing)
            if window is None:
                continue
            points = canvas.field.points(Frame(), window)
            distance = rod(points, start, end) - np.float32(radius)
            canvas.fill(window, canvas.rod(distance, radius), **{material: 1.0})


def _node(tooth: Tooth, kind: str) -> Vector:
    """The point of a jaw's frame where a wire or a bridge holds on to a tooth."""
    face, middle = _face(tooth.shape)
    local = np.array([0.0, face + 1.1, middle] if kind == "wire" else [0.0, 0.0, 0.5 * tooth.shape.crown])
    return tooth.neck + local @ tooth.axes
