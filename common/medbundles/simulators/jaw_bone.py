"""The bone of both jaws, its canal, sinuses and palate, painted around the roots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from medbundles.simulators.fields import Draws
from medbundles.simulators.jaw_arch import Patient
from medbundles.simulators.jaw_canvas import FAR, Canvas, Floats, Vector, Where, both, either
from medbundles.simulators.jaw_teeth import Tooth

CORTEX = {"soft": 0.82, "mineral": 1.10}
LIGAMENT_MM, LAMINA_MM = 0.22, 0.45
_MESH_MM, _MESH = 0.9, 64  # knots of the spongy bone's texture, repeated


@dataclass(frozen=True)
class Ridge:
    """The alveolar ridge of one jaw along its arch.

    Attributes:
        ways: s of the knots, rising.
        crest: r of its edge there.
        middle: d of its middle at the edge.
        lean: growth of that d per mm of depth.
        half: half its width at the edge.
        floor: r of the tips of the roots, or where they were.
    """

    ways: Vector
    crest: Vector
    middle: Vector
    lean: Vector
    half: Vector
    floor: Vector

    def at(self, s: Floats) -> Edge:
        """The ridge at ways along the arch."""
        columns = (self.crest, self.middle, self.lean, self.half, self.floor)
        return Edge(*(np.interp(s, self.ways, column).astype(np.float32) for column in columns))


class Edge(NamedTuple):
    """The ridge at single points; the names are those of `Ridge`."""

    crest: Floats
    middle: Floats
    lean: Floats
    half: Floats
    floor: Floats


def ridge(teeth: Sequence[Tooth], patient: Patient, draws: Draws) -> Ridge:
    """The ridge of one jaw: its edge follows the necks, and sinks where teeth are gone."""
    rows = []
    arch = patient.jaw_arch(teeth[0].upper)
    for tooth in sorted(teeth, key=lambda tooth: tooth.way):
        rows.append(_knot(tooth, patient, draws, arch.at(tooth.way)))
    knots = np.array(rows)
    between = (knots[1:] + knots[:-1]) / 2
    # The edge is higher between two teeth; where one is gone it is level.
    stands = np.array([row[-1] for row in rows])
    between[:, 1] -= 1.1 * patient.scale * stands[1:] * stands[:-1]
    order = np.concatenate([knots, between])
    order = order[np.argsort(order[:, 0])]
    return Ridge(*(order[:, i] for i in range(6)))


def _knot(tooth: Tooth, patient: Patient, draws: Draws, place: tuple[Vector, Vector, Vector]) -> list[float]:
    """Way, crest, middle, lean, half width, floor, and 1 where a tooth stands."""
    k, stands = patient.scale, float(tooth.state == "present")
    point, _, out = place
    axis, neck, shape = tooth.axes[2], tooth.neck, tooth.shape
    if tooth.state == "impacted":  # the ridge is that of the tooth's place
        neck, axis = (
            np.array([*point, 1.5 * k if tooth.position == 8 else shape.crown]),
            np.array([0, 0, -1.0]),
        )
    dips = draws.chance(0.06 + 0.15 * patient.age), draws.uniform(1, 4)
    worn = draws.uniform(1.5, 3 + 4 * patient.age), draws.uniform(0.55, 0.9)
    crest = neck[2] + k * (1.8 + patient.loss + draws.rng.normal(0, 0.25))
    crest += k * (dips[1] if dips[0] and stands else 0) + (0 if stands else k * worn[0])
    lean = -(axis[:2] @ out) / max(-axis[2], 0.5)
    middle = (neck[:2] - point) @ out + lean * (crest - neck[2])
    half = (0.42 * shape.depth + 0.9 * k) * (1 if stands else worn[1])
    return [tooth.way, crest, middle, np.clip(lean, -0.35, 0.35), half, neck[2] + shape.root, stands]


class Texture:
    """Marrow and beams of spongy bone, of unit spread, the same in space on every grid."""

    def __init__(self, seed: int) -> None:
        noise = Draws(seed, "spongy bone").rng.standard_normal((_MESH,) * 3, dtype=np.float32)
        smooth = gaussian_filter(noise, 0.8, mode="wrap")
        self._knots = smooth / smooth.std()

    def at(self, points: Sequence[Floats]) -> Floats:
        """The texture at points in mm."""
        where = np.stack(points) / np.float32(_MESH_MM)
        return map_coordinates(self._knots, where, order=1, mode="grid-wrap", output=np.float32)


def lower_bone(points: Sequence[Floats], sd: tuple[Floats, Floats], edge: Edge, k: float) -> Floats:
    """Signed distance to the body and the ramus of the lower jaw, without the sockets' walls.

    Args:
        points: x, y and r.
        sd: ways and distances from the arch.
        edge: the ridge there.
        k: scale of the patient.
    """
    k, r, (s, d) = np.float32(k), points[2], sd
    depth, back = r - edge.crest, np.abs(s)
    far = np.clip(back / (55 * k), 0, 1)
    below = np.clip(depth - 6 * k, 0, 20 * k)
    # Below the roots the body runs outwards: to the chin at the front, to its angle at the back.
    middle = edge.middle + edge.lean * np.clip(depth, 0, 8 * k) + (0.1 - 0.12 * far * (1 - far)) * below
    grow = np.interp(depth / k, [0, 4, 10, 20, 30], [0, 0.7, 1.9, 2.4, 0.8]).astype(np.float32) * k
    side = np.abs(d - middle) - edge.half - grow
    base = edge.floor + k * (17 - 5 * far)
    body = both(side, np.maximum(-depth, r - base), 2.5)
    rear = (60 + 0.28 * np.clip(8 - r / k, 0, 60)) * k
    ramus = both(np.abs(d - 6 * k) - 4.4 * k, rear - back, 4.0)
    return either(body, both(ramus, r - base, 3.0), 4.0)


def upper_bone(
    points: Sequence[Floats], sd: tuple[Floats, Floats], edge: Edge, under: Floats, k: float
) -> Floats:
    """Signed distance to the alveolar process and the hard palate; `under` is the height of its vault."""
    k, (_, y, r), (s, d) = np.float32(k), points, sd
    depth, back = r - edge.crest, np.abs(s)
    far = np.clip(back / (40 * k), 0, 1)
    lean = edge.lean * np.clip(depth, 0, 14 * k)
    middle = edge.middle + lean - 0.08 * np.clip(depth - 6 * k, 0, 12 * k)
    grow = np.interp(depth / k, [0, 4, 10, 18], [0, 0.8, 2.0, 3.4]).astype(np.float32) * k
    side = np.abs(d - middle) - edge.half - grow * (0.6 + 0.6 * far)
    process = both(side, np.maximum(-depth, r - edge.floor - 9 * k), 2.5)
    process = both(process, back - 66 * k, 6.0)
    plate = np.maximum(under - r, r - np.maximum(under + 2.4 * k, _nasal_floor(y, k)))
    plate = np.maximum(plate, np.maximum(d + 1, y - 17 * k))
    return either(process, plate, 2.0)


def vault(sd: tuple[Floats, Floats], edge: Ridge, patient: Patient) -> Floats:
    """r of the palate's underside."""
    k, inner = np.float32(patient.scale), np.clip(-sd[1] / np.float32(patient.scale) - 3, 0, None)
    return np.float32(edge.crest.mean()) + k * (0.5 + 11.5 * (1 - np.exp(-((inner / 9) ** 1.6))))


def _nasal_floor(y: Floats, k: float) -> Floats:
    """r up to which bone is solid; thick behind the front teeth."""
    return np.interp(y / k, [-20, -8, 10], [30, 23, 20]).astype(np.float32) * k


def nose(points: Sequence[Floats], patient: Patient, draws: Draws) -> Floats:
    """Signed distance to the air of the nose, on both sides of its septum."""
    k = np.float32(patient.scale)
    x, y, r = points
    bent = draws.rng.normal(0, 1.0)
    across = np.abs(x - bent * np.clip((r / k - 22) / 8, 0, 1))
    half = np.hypot((across - 7.5 * k) / 5.5, (r - 34 * k) / 11) - 1
    turbinate = np.hypot((across - 11 * k) / 4, (r - 30 * k) / 4.5) - 1
    return np.maximum(np.maximum(half * 5.5, -turbinate * 4), -17 * k - y) * np.float32(1.0)


def sinus(points: Sequence[Floats], edge: Ridge, patient: Patient, draws: Draws) -> Floats:
    """Signed distance to the air of both maxillary sinuses, whose floors dip between the roots."""
    k = np.float32(patient.scale)
    x, y, r = points
    out = np.full_like(x, FAR)
    tips = float(np.interp(40 * k, edge.ways, edge.floor))
    for side in (-1, 1):
        low, wide = draws.uniform(-3.0, 5.0) * k, draws.factor(0.08)
        axes = (10.5 * k * wide, 14 * k * wide, 14 * k)
        centre = (side * 24 * k, 6 * k, tips + low + axes[2])
        parts = [(p - np.float32(c)) / np.float32(a) for p, c, a in zip((x, y, r), centre, axes, strict=True)]
        waves = 0.05 * np.sin(y / (2.2 * k) + np.float32(draws.uniform(0, 6)))
        level = np.sqrt(np.sqrt(sum(np.square(part * part) for part in parts)))
        out = np.minimum(out, (level + waves - 1) * axes[0])
    return out.astype(np.float32)


def canal(r: Floats, sd: tuple[Floats, Floats], floor: Floats, k: float) -> Floats:
    """Distance to the middle of the nerve's canal, from the ramus to the premolars."""
    k, (s, d) = np.float32(k), sd
    back = np.abs(s) / k
    depth = floor + k * np.interp(back, [28, 34, 50, 62, 72], [2, 5, 4, 2, -8]).astype(np.float32)
    middle = k * np.interp(back, [26, 30, 36, 55, 72], [7, 4, 1, 1, 6]).astype(np.float32)
    away = np.hypot(d - middle, 0.85 * (r - depth))
    return np.maximum(away, 2 * (27 * k - np.abs(s)))


def paint_bone(
    canvas: Canvas, bone: Floats, roots: Floats, *, texture: Floats, density: float, cortex: Floats
) -> None:
    """Paints cortex and spongy bone, then the wall and the ligament of the sockets.

    Args:
        canvas: the cut that is painted on.
        bone: signed distance to the bone there.
        roots: distance to the nearest tooth.
        texture: of the spongy bone, unit spread.
        density: mean mineral of it.
        cortex: thickness, mm.
    """
    inside = canvas.share(bone)
    spongy = np.clip(density * (1 + 0.45 * texture), 0.02, 0.9)
    canvas.fill(..., inside, soft=0.95, mineral=spongy)
    canvas.fill(..., inside - canvas.share(bone + cortex), **CORTEX)
    lamina = canvas.band(roots, LIGAMENT_MM, LIGAMENT_MM + LAMINA_MM) * inside
    canvas.fill(..., lamina, soft=CORTEX["soft"], mineral=0.9 * CORTEX["mineral"])
    ligament = canvas.share(roots - np.float32(LIGAMENT_MM)) * inside
    canvas.fill(..., ligament, soft=1.0, mineral=0.0)


def paint_canal(canvas: Canvas, bone: Floats, middle: Floats, k: float) -> None:
    """Paints the nerve's canal and its thin wall, where there is bone."""
    inside = canvas.share(bone)
    canvas.fill(..., canvas.band(middle, 1.2 * k, 1.7 * k) * inside, soft=0.88, mineral=0.7)
    canvas.fill(..., canvas.share(middle - np.float32(1.2 * k)) * inside, soft=1.0, mineral=0.04)


def around_roots(bone: Floats, roots: Floats, depth: Floats, wall: Floats) -> Floats:
    """The bone with a wall around every root below the crest, bulging where a root leaves the ridge."""
    return either(bone, both(roots - wall, -depth, 0.8), 0.8)


def label_bone(labels: NDArray[np.uint8], where: Where, bone: Floats, value: int) -> None:
    """Writes a jaw's number where its bone is."""
    block = labels[where]
    block[bone < 0] = value
    labels[where] = block
