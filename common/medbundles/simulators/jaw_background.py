"""What lies around the teeth: the face, air, a bite block and the bone of both jaws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medbundles.simulators import jaw_bone as bones
from medbundles.simulators.fields import Draws
from medbundles.simulators.jaw_arch import Arch, Patient
from medbundles.simulators.jaw_canvas import Canvas, Floats, Frame, Window, ball
from medbundles.simulators.jaw_scene import SAC_MM, Dentition

LOWER, UPPER = 1, 2
AIR = {"soft": 0.001, "mineral": 0.0}
PLASTIC = {"soft": 1.1, "mineral": 0.0}
# The face as an ellipsoid of the head: its middle and semi-axes, mm.
FACE = ((0.0, 54.0, 0.0), (74.0, 94.0, 140.0))


@dataclass(frozen=True)
class _Scene:
    """What all slabs share."""

    canvas: Canvas
    dentition: Dentition
    patient: Patient
    seed: int
    arches: dict[bool, Arch]
    ridges: dict[bool, bones.Ridge]
    texture: bones.Texture
    cortex: dict[bool, float]
    tongue: float

    def draws(self, part: str) -> Draws:
        """Numbers of a part, the same for every slab."""
        return Draws(self.seed, part)


def paint_background(
    canvas: Canvas, dentition: Dentition, patient: Patient, head: Frame, *, seed: int
) -> NDArray[np.uint8]:
    """Paints soft tissue, air and both jaws; returns the map of the bone, 1 lower and 2 upper."""
    draws, sides = Draws(seed, "background"), (True, False)
    ridges = {}
    for upper in sides:
        row = [tooth for tooth in dentition.places if tooth.upper == upper]
        ridges[upper] = bones.ridge(row, patient, Draws(seed, f"ridge {upper}"))
    scene = _Scene(
        canvas=canvas,
        dentition=dentition,
        patient=patient,
        seed=seed,
        arches={upper: patient.jaw_arch(upper) for upper in sides},
        ridges=ridges,
        texture=bones.Texture(seed),
        cortex={True: draws.uniform(0.8, 1.3), False: draws.uniform(1.4, 2.2)},
        tongue=draws.uniform(-1.0, 5.0) + 0.5 * patient.gap,
    )
    bone = np.zeros(canvas.field.shape, np.uint8)
    for window in canvas.field.slabs():
        points = {upper: canvas.field.points(dentition.frames[upper], window) for upper in sides}
        located = {upper: scene.arches[upper].locate(*points[upper][:2]) for upper in sides}
        _paint_face(canvas, window, canvas.field.points(head, window), patient)
        _paint_mouth(scene, window, points, located)
        for upper in sides:
            _paint_jaw(scene, window, upper, points[upper], located[upper], bone)
    return bone


def _paint_face(canvas: Canvas, window: Window, points: tuple[Floats, ...], patient: Patient) -> None:
    """Paints the fat under the skin, and the air before the face."""
    k = patient.scale
    skin = ball(points, [k * c for c in FACE[0]], [k * a for a in FACE[1]])
    canvas.fill(window, canvas.band(skin, -6.0 * k, -2.0), soft=0.94)
    canvas.fill(window, canvas.share(-skin), **AIR)


def _paint_mouth(
    scene: _Scene,
    window: Window,
    points: dict[bool, tuple[Floats, Floats, Floats]],
    located: dict[bool, tuple[Floats, Floats]],
) -> None:
    """Paints the air between tongue and palate, between rows that stand apart, and in the throat."""
    k, canvas = np.float32(scene.patient.scale), scene.canvas
    (x, y, up), down = points[True], points[False][2]
    d = located[True][1]
    roof = bones.vault(located[True], scene.ridges[True], scene.patient) - 1.5 * k
    over = np.maximum(
        np.maximum(up - roof, roof - np.float32(scene.tongue) - up), np.maximum(d + 4.5 * k, y - 36 * k)
    )
    throat = np.maximum((np.hypot(x / 13, (y - 47 * k) / 7) - 1) * 7, up - 45 * k)
    air = np.minimum(over, throat)
    if scene.patient.gap:
        apart = np.maximum(up, down) + np.float32(0.4)
        rows = np.maximum(np.maximum(d - 5 * k, -9 * k - d), y - 32 * k)
        air = np.minimum(air, np.maximum(apart, rows))
    canvas.fill(window, canvas.share(air), **AIR)
    if scene.patient.gap:
        front = y - np.float32(scene.arches[True].front + 6 * k)
        block = np.maximum(np.maximum(np.abs(x) - 9 * k, front), np.maximum(up, down) - 0.5 * k)
        canvas.fill(window, canvas.share(block), **PLASTIC)


def _paint_jaw(
    scene: _Scene,
    window: Window,
    upper: bool,
    points: tuple[Floats, Floats, Floats],
    located: tuple[Floats, Floats],
    bone: NDArray[np.uint8],
) -> None:
    k = np.float32(scene.patient.scale)
    r, (s, d) = points[2], located
    if upper:
        mask = (r > 2 * k) & (d < 20 * k) & ((d > -14 * k) | (r > 12 * k))
    else:
        mask = ((r > 2 * k) & (np.abs(d) < 17 * k)) | ((np.abs(s) > 58 * k) & (np.abs(d) < 14 * k))
    if not mask.any():
        return
    first, *others = np.nonzero(mask)
    where = (first + window[0].start, *others)
    part = scene.canvas.cut(where)
    flat, sd = [p[mask] for p in points], (s[mask], d[mask])
    # The sac of an impacted tooth's crown has its own wall outside it.
    buried = [tooth.fdi for tooth in scene.dentition.teeth if tooth.state == "impacted"]
    wall = 0.7 * k + SAC_MM * np.isin(scene.dentition.owner[where], buried).astype(np.float32)
    roots = scene.dentition.distance[where]
    solid = _paint_solid(scene, part, upper, (*flat, *sd), roots=roots, wall=wall)
    scene.canvas.paste(where, part)
    bones.label_bone(bone, where, solid, UPPER if upper else LOWER)


def _paint_solid(
    scene: _Scene,
    part: Canvas,
    upper: bool,
    places: tuple[Floats, ...],
    *,
    roots: Floats,
    wall: Floats,
) -> Floats:
    """Paints a jaw on a cut of the canvas; returns the distance to its bone without the air inside.

    Args:
        scene: what all slabs share.
        part: the cut.
        upper: which jaw.
        places: x, y, r, s and d of the voxels.
        roots: distance to the nearest tooth.
        wall: thickness of bone around it.
    """
    points, sd = places[:3], (places[3], places[4])
    k, edge = scene.patient.scale, scene.ridges[upper].at(sd[0])
    if upper:
        under = bones.vault(sd, scene.ridges[True], scene.patient)
        solid = bones.upper_bone(points, sd, edge, under, k)
    else:
        solid = bones.lower_bone(points, sd, edge, k)
    depth = points[2] - edge.crest
    solid = bones.around_roots(solid, roots, depth, wall)
    if upper:
        sinuses, nose = _hollow(scene, points, roots)
        solid = np.minimum(solid, sinuses - np.float32(0.9 * k))
    texture = scene.texture.at(points)
    cortex = np.interp(depth, [0, 6 * k], [0.7 * k, scene.cortex[upper] * k]).astype(np.float32)
    bones.paint_bone(part, solid, roots, texture=texture, density=scene.patient.density, cortex=cortex)
    if not upper:
        bones.paint_canal(part, solid, bones.canal(points[2], sd, edge.floor, k), k)
        return solid
    air = np.minimum(sinuses, nose)
    part.fill(..., part.share(air), **AIR)
    return np.maximum(solid, -air)


def _hollow(scene: _Scene, points: tuple[Floats, ...], roots: Floats) -> tuple[Floats, Floats]:
    """Distances to the air of the sinuses and of the nose; a thin wall stays around the roots."""
    kept = np.float32(0.9 * scene.patient.scale) - roots
    sinuses = bones.sinus(points, scene.ridges[True], scene.patient, scene.draws("sinus"))
    nose = bones.nose(points, scene.patient, scene.draws("nose"))
    return np.maximum(sinuses, kept), np.maximum(nose, kept)
