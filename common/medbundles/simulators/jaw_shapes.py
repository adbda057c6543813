"""The shape of one tooth: crown, roots, enamel and pulp as signed distances in its own frame.

In the frame of a tooth m runs away from the midline of the arch (distal), b to the cheek (buccal) and h from
the neck to the tip of the crown, in mm; the neck lies at h = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medbundles.simulators.jaw_canvas import FAR, Floats, ball, both, either, oval

Profile = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Root:
    """One root.

    Attributes:
        start: m and b of its middle at the neck.
        spread: how far its tip lies from there.
        bend: mm by which the tip is bent along m.
        radii: along m and b at the neck.
        length: from the neck.
    """

    start: tuple[float, float]
    spread: tuple[float, float]
    bend: float
    radii: tuple[float, float]
    length: float


@dataclass(frozen=True)
class Shape:
    """Sizes of one tooth.

    Attributes:
        kind: "incisor", "canine", "premolar" or "molar".
        width, depth: of the crown along m and b.
        crown, root: its height and the length of the longest root.
        roots: all roots.
        formed: part of the roots that has grown; an apex stays open below 1.
        pulp: size of the pulp, 1 for a young adult's.
        cusps: m and b of the cusps, as shares of half the width and depth.
    """

    kind: str
    width: float
    depth: float
    crown: float
    root: float
    roots: tuple[Root, ...]
    formed: float
    pulp: float
    cusps: tuple[tuple[float, float], ...]

    @property
    def length(self) -> float:
        """From the tip of the crown to the end of the longest root."""
        return self.crown + self.root * self.formed


@dataclass(frozen=True)
class Look:
    """What the teeth of one kind have in common: profiles from the neck (0) to the tip (1).

    Attributes:
        width, depth: share of the crown's half width and half depth at heights.
        power: of the superellipse around it; above 2 it has corners.
        enamel: greatest thickness, mm.
        rise: mm by which the neck is higher between teeth.
        groove: depth of the grooves between cusps, mm.
        chamber: semi-axes of the pulp chamber as shares of half width, half depth and crown height.
        centre: height of the chamber's middle, as a share of the crown.
    """

    width: Profile
    depth: Profile
    power: float
    enamel: float
    rise: float
    groove: float
    chamber: tuple[float, float, float]
    centre: float


LOOKS = {
    "incisor": Look(
        ((0, 0.3, 0.7, 0.9, 1), (0.70, 0.86, 1.0, 1.0, 0.95)),
        ((0, 0.2, 0.45, 0.75, 1), (0.93, 1.0, 0.76, 0.42, 0.16)),
        2.3, 1.0, 2.2, 0.0, (0.26, 0.17, 0.42), 0.12,
    ),
    "canine": Look(
        ((0, 0.45, 0.65, 0.85, 1), (0.74, 0.96, 1.0, 0.64, 0.14)),
        ((0, 0.2, 0.45, 0.8, 1), (0.93, 1.0, 0.82, 0.48, 0.14)),
        2.2, 1.2, 1.8, 0.0, (0.22, 0.20, 0.38), 0.10,
    ),
    "premolar": Look(
        ((0, 0.6, 1), (0.72, 1.0, 0.84)),
        ((0, 0.35, 1), (0.90, 1.0, 0.68)),
        2.4, 1.6, 0.8, 1.6, (0.20, 0.36, 0.28), 0.06,
    ),
    "molar": Look(
        ((0, 0.6, 1), (0.82, 1.0, 0.90)),
        ((0, 0.35, 1), (0.90, 1.0, 0.76)),
        3.0, 2.0, 0.4, 1.8, (0.28, 0.28, 0.20), 0.02,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Layers:
    """Signed distances of one tooth's parts in a window.

    Attributes:
        tooth: crown and roots.
        crown: the crown alone, also where roots are.
        enamel: the enamel.
        chamber: the pulp chamber.
        canals: the canals of the roots.
        canal_radius: their radius, mm.
    """

    tooth: Floats
    crown: Floats
    enamel: Floats
    chamber: Floats
    canals: Floats
    canal_radius: Floats


def layers(shape: Shape, m: Floats, b: Floats, h: Floats) -> Layers:
    """The parts of a tooth at points of its frame."""
    look = LOOKS[shape.kind]
    crown = crown_distance(shape, m, b, h)
    roots, canals, radius = _roots(shape, m, b, -h)
    tooth = np.where(h > 0, crown, roots)
    neck = look.rise * ((2 * m / shape.width) ** 2 - 0.4)
    thick = look.enamel * np.clip((h - neck) / (0.45 * shape.crown), 0, 1) ** 0.6
    enamel = np.maximum(np.maximum(tooth, -(crown + thick)), neck - h)
    size = (shape.width / 2, shape.depth / 2, shape.crown)
    axes = [shape.pulp * s * c for s, c in zip(size, look.chamber, strict=True)]
    chamber = ball((m, b, h), (0, 0, look.centre * shape.crown), axes)
    return Layers(tooth, crown, enamel, chamber, canals, radius)


def crown_distance(shape: Shape, m: Floats, b: Floats, h: Floats) -> Floats:
    """Signed distance to the crown, which goes on below the neck as a column."""
    look = LOOKS[shape.kind]
    a, c = crown_axes(shape, np.clip(h / np.float32(shape.crown), 0, 1))
    # Front teeth are narrower on the side of the tongue.
    lean = {"incisor": 0.12, "canine": 0.12}.get(shape.kind, 0.04)
    a = a * (1 + lean * np.clip(2 * b / shape.depth, -1, 1) - lean * 0.5)
    return both(oval(m, b, a, c, look.power), (h - _top(shape, m, b)) * np.float32(0.85), 0.5)


def crown_axes(shape: Shape, height: Floats | float) -> tuple[Floats, Floats]:
    """Half width and half depth of the crown at shares of its height."""
    look = LOOKS[shape.kind]
    a = np.interp(height, *look.width).astype(np.float32) * np.float32(shape.width / 2)
    c = np.interp(height, *look.depth).astype(np.float32) * np.float32(shape.depth / 2)
    return a, c


def _top(shape: Shape, m: Floats, b: Floats) -> Floats | float:
    """Height of the chewing surface or edge."""
    a, c = shape.width / 2, shape.depth / 2
    if shape.kind == "incisor":
        return shape.crown - 0.8 * (m / np.float32(a)) ** 4
    if shape.kind == "canine":
        return shape.crown
    gaps = [np.hypot((m - p * a) / (0.55 * a), (b - q * c) / (0.5 * c)) for p, q in shape.cusps]
    gap = np.minimum(np.minimum.reduce(gaps), np.float32(1.2)) / np.float32(1.2)
    top = shape.crown - LOOKS[shape.kind].groove * gap**1.5
    # The inner cusp of premolars is the lower one.
    return top - (0.9 * np.clip(-b / np.float32(c), 0, 1) if shape.kind == "premolar" else 0)


def _roots(shape: Shape, m: Floats, b: Floats, d: Floats) -> tuple[Floats, Floats, Floats]:
    """Distance to the roots, to their canals, and the canals' radius, at depths below the neck."""
    nearest = _trunk(shape, m, b, d)
    canals = np.full_like(m, FAR)
    radius = np.zeros_like(m)
    for root in shape.roots:
        u = np.clip(d / np.float32(root.length), 0, 1)
        x = m - np.float32(root.start[0]) - root.spread[0] * u**1.3 - root.bend * u**2.5
        y = b - np.float32(root.start[1]) - root.spread[1] * u**1.3
        taper = 0.98 * (1 - u**2.2) ** 0.75 + np.float32(0.02)
        end = root.length * shape.formed
        # The flank leans inwards, so that a level distance overstates the true one.
        steep = 1.65 * u**1.2 * np.maximum(1 - u**2.2, 0.02) ** -0.25 * min(root.radii) / root.length
        side = oval(x, y, root.radii[0] * taper, root.radii[1] * taper) / np.sqrt(1 + steep**2)
        nearest = either(nearest, np.maximum(side, d - np.float32(end)), 0.5)
        canal, canal_radius = _canal(shape, root, (x, y, d), taper)
        radius = np.where(canal < canals, canal_radius, radius)
        canals = np.minimum(canals, canal)
    return nearest, canals, radius


def _trunk(shape: Shape, m: Floats, b: Floats, d: Floats) -> Floats:
    """Distance to the part of the root that is not yet divided."""
    if len(shape.roots) < 2:
        return np.full_like(m, FAR)
    trunk = 0.32 * shape.root
    narrow = 1 - 0.15 * np.clip(d / np.float32(trunk), 0, 1) ** 2
    a, c = crown_axes(shape, 0.0)
    side = oval(m, b, a * narrow, c * narrow, LOOKS[shape.kind].power)
    return both(side, d - np.float32(trunk), 0.6)


def _canal(
    shape: Shape, root: Root, place: tuple[Floats, Floats, Floats], taper: Floats
) -> tuple[Floats, Floats]:
    """Distance to the canal of a root, and its radius; wide at the end of a root that still grows."""
    x, y, d = place
    end = root.length * shape.formed
    u = np.clip(d / np.float32(end), 0, 1)
    radius = shape.pulp * (0.45 - 0.28 * u)
    if shape.formed < 1:
        open_end = np.maximum(root.radii[0] * taper - 0.7, 0.2)
        radius = radius + (open_end - radius) * np.clip(2 * u - 1, 0, 1)
    # Roots that are deeper than wide have a flat canal.
    flat = np.float32(np.clip(root.radii[1] / root.radii[0], 1, 1.7))
    canal = np.hypot(x, y / flat) - radius
    last = d - np.float32(end if shape.formed < 1 else 0.96 * end)
    return np.maximum(np.maximum(canal, last), -d), radius.astype(np.float32)
