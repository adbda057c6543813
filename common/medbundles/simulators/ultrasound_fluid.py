"""Simulated amniotic fluid examinations: four frames of one patient, labels, exact deepest pockets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbundles.simulators.ultrasound import Echoes, Probe, render
from medbundles.simulators.ultrasound_display import View, add_marks, show
from medbundles.simulators.ultrasound_examination import QUADRANTS
from medbundles.simulators.ultrasound_maps import Part
from medbundles.simulators.ultrasound_mother import Patient
from medbundles.simulators.ultrasound_pockets import Caliper, FluidScene, Seen
from medbundles.simulators.ultrasound_regions import Blob, Both, Rippled, random_lobes, random_ripple
from medbundles.simulators.ultrasound_uterus import WALL

Renderer = Callable[[FluidScene, Probe, np.random.Generator], Echoes]

TRIES = 6  # scenes drawn per quadrant, of which the one closest to the depth aimed at is kept
COARSE_MM = 0.8
# How body and pocket lie to each other, and how often, for pockets up to a depth in mm.
LAYOUTS = ("open", "beside", "above", "below")
LAYOUT_SHARES = (
    (25.0, (0.15, 0.25, 0.35, 0.25)),
    (60.0, (0.2, 0.45, 0.2, 0.15)),
    (np.inf, (0.45, 0.45, 0.1, 0.0)),
)


@dataclass(frozen=True)
class FluidFrame:
    """One simulated quadrant (X, Y) and its truth.

    Args:
        image: grey, 0 to 255.
        label: 1 fluid, 2 fetus and cord, 3 fluid in reverberation; 0 outside the sector.
        spacing_mm: pixel size.
        caliper: the deepest vertical pocket in the scene's millimetres, None without one.
        view: the frame's place in the scene.
        truth: quadrant (0: none), depth_mm (0 without a pocket), width_mm, the caliper's `ends` in pixels.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    spacing_mm: float
    caliper: Caliper | None
    view: View
    truth: dict[str, Any] = field(default_factory=dict)


def quadrants(
    seed: int | list[int],
    *,
    afi_mm: float | None = None,
    size: tuple[int, int] | None = None,
    marks: bool = True,
    renderer: Renderer = render,
    most: int = QUADRANTS,
) -> list[FluidFrame]:
    """Returns the four frames of one patient; the sum of their `depth_mm` is the amniotic fluid index.

    Args:
        seed: everything follows from it.
        afi_mm: index aimed at, met within some percent; drawn from 0 to about 350 when None.
        size: columns and rows; drawn from common frame sizes when None.
        marks: whether text, ruler and grey bar may appear beside the sector.
        renderer: what turns a scene into echoes.
        most: only so many frames, the same as of all.
    """
    rng = np.random.default_rng(seed)
    patient = Patient.draw(rng, afi_mm, size)
    streams = rng.spawn(QUADRANTS)[:most]
    return [
        photograph(draw_scene(patient, q, stream), patient, q, stream, marks=marks, renderer=renderer)
        for q, stream in enumerate(streams)
    ]


def photograph(
    scene: FluidScene,
    patient: Patient,
    quadrant: int,
    rng: np.random.Generator,
    *,
    marks: bool = True,
    renderer: Renderer = render,
) -> FluidFrame:
    """Returns the frame of a patient's scene with its labels and its deepest pocket."""
    view = patient.view
    echoes = renderer(scene, patient.probe, rng)
    seen = Seen.of(scene, echoes.probe, view, echoes.maps)
    label, caliper = seen.frame_labels(), seen.deepest_pocket()
    reference = tissue_level(echoes, seen) * 10 ** (-patient.brighter / 20)
    picture, sector = show(echoes, view, patient.machine, reference=reference)
    image = np.round(picture * 255).astype(np.uint8)
    if marks:
        image = np.where(sector, image, add_marks(image, rng))
    return FluidFrame(image, label, view.spacing, caliper, view, truth_of(caliper, view, quadrant + 1))


def truth_of(caliper: Caliper | None, view: View, quadrant: int) -> dict[str, Any]:
    """Returns the truth of a frame: quadrant, depth_mm (0 without a pocket), width_mm, the ends in pixels."""
    if caliper is None:
        return {"quadrant": quadrant, "depth_mm": 0.0, "width_mm": None, "ends": None}
    ends = [view.to_pixels(end) for end in (caliper.top, caliper.bottom)]
    return {
        "quadrant": quadrant,
        "depth_mm": caliper.depth_mm,
        "width_mm": caliper.width_mm,
        "ends": ends,
    }


def tissue_level(echoes: Echoes, seen: Seen) -> float:
    """Returns the typical amplitude of tissue that is not in shadow, which an operator sets the gain by."""
    rows = max(1, echoes.amplitude.shape[0] // 200)
    loss = seen.shadow[::rows]
    tissue = (echoes.maps.echo[::rows] > -30) & (loss < 3)
    amplitude = echoes.amplitude[::rows]
    return float(np.median(amplitude[tissue] if tissue.any() else amplitude))


def draw_scene(patient: Patient, quadrant: int, rng: np.random.Generator) -> FluidScene:
    """Returns a quadrant's scene whose deepest pocket comes closest to the patient's among several draws."""
    wanted = patient.depths[quadrant]
    if wanted == 0:
        return _compose(patient, quadrant, 0.0, rng)
    # Shadows and pockets are known well enough for the choice on a much coarser grid.
    probe = replace(patient.probe, lines=120, samples=200)
    best, smallest = None, np.inf
    for _ in range(TRIES):
        scene = _compose(patient, quadrant, wanted, rng)
        pocket = Seen.of(scene, probe, patient.view).deepest_pocket(COARSE_MM)
        error = abs((pocket.depth_mm if pocket else 0.0) - wanted)
        if error < smallest:
            best, smallest = scene, error
        if error < 2 + 0.08 * wanted:
            break
    return best


def _compose(patient: Patient, quadrant: int, wanted: float, rng: np.random.Generator) -> FluidScene:
    """A scene from back to front: far tissue, womb, water, fetus, placenta, near wall."""
    near = patient.near * rng.uniform(0.9, 1.12)
    cavity, bodies = _layout(patient, wanted, near, rng)
    shape = Rippled(cavity, random_ripple(rng, rng.uniform(0.3, 3.0), longest=60))
    thick, around = rng.uniform(2, 8), [cavity]
    big = [_body(patient, place, rng) for place in bodies]
    around += [Blob(place, (patient.fetus.trunk * 1.2,) * 2) for place in bodies]
    parts = patient.far_tissue(rng) + [Part(blob.shrunk(-thick), WALL) for blob in around]
    if wanted > 0:
        parts.append(Part(shape, patient.water, 1))
        parts += patient.floating(cavity, rng)
    if patient.placenta_at[quadrant]:
        parts += patient.placenta_parts(patient.placenta_at[quadrant], cavity, near, rng)
    parts += [part for body in big for part in body]
    if wanted > 0:
        pieces = _pieces(patient, cavity, rng)
        parts += [Part(Both(p.region, shape), p.tissue, p.label) for p in pieces]
    parts += patient.near_wall(near, rng)
    if near > 22 and rng.random() < (0.4 if quadrant >= 2 else 0.05):
        parts += patient.bladder(near, rng)
    if rng.random() < 0.25:
        parts += patient.lost_contact(rng)
    return FluidScene(patient.outside, parts, int(rng.integers(2**31)), patient.haze_under(near, rng))


def _layout(
    patient: Patient, wanted: float, near: float, rng: np.random.Generator
) -> tuple[Blob, list[tuple[float, float]]]:
    """The cavity, and the centres of the large fetal parts in it, for a pocket of about the wanted depth."""
    x, half_width, size = rng.normal(0, 20), rng.uniform(45, 105), patient.fetus.trunk
    lobes = random_lobes(rng, 0.12)
    if wanted == 0:
        # The fetus lies against the wall everywhere: there is a womb, and no water.
        bodies = [
            (x + side * size * rng.uniform(0.8, 1.0), near + size * rng.uniform(0.7, 1.1)) for side in (-1, 1)
        ]
        return Blob((x, near + size), (half_width, size), 0.0, lobes), bodies
    shares = next(share for limit, share in LAYOUT_SHARES if wanted <= limit)
    layout = str(rng.choice(LAYOUTS, p=shares))
    height, bodies = wanted * rng.uniform(1.0, 1.25), []
    if layout == "beside":
        side = rng.choice([-1, 1])
        bodies = [(x + side * (size + rng.uniform(0, 25)), near + size * rng.uniform(0.8, 1.4))]
    elif layout == "above":
        bodies = [(x + rng.normal(0, 15), near + wanted * rng.uniform(0.95, 1.1) + size)]
    elif layout == "below":
        bodies = [(x + rng.normal(0, 10), near + size * rng.uniform(0.8, 1.0))]
        height, half_width = wanted + 1.9 * size, size * rng.uniform(1.0, 1.4)
    if layout in ("open", "beside") and rng.random() < 0.65:
        # The rest of the fetus lies behind the pocket.
        bodies.append((x + rng.normal(0, 40), near + height + size * rng.uniform(0.7, 1.2)))
    height = min(height, patient.probe.depth - near - 3)
    overlap = rng.uniform(0, 4)
    half = (height + overlap) / 2
    return Blob((x, near - overlap + half), (half_width, half), rng.normal(0, 0.08), lobes), bodies


def _body(patient: Patient, place: tuple[float, float], rng: np.random.Generator) -> list[Part]:
    """A trunk cut across or along, or a head."""
    kind = rng.random()
    if kind < 0.4:
        return patient.fetus.trunk_across(place, rng)
    if kind < 0.75:
        return patient.fetus.trunk_along(place, rng.normal(0, 0.25), rng)
    return patient.fetus.head_cut(place, rng)


def _pieces(patient: Patient, cavity: Blob, rng: np.random.Generator) -> list[Part]:
    """Limbs and loops of cord anywhere in the cavity; little water holds few of them."""
    fetus, room = patient.fetus, cavity.axes[0] * cavity.axes[1]
    parts: list[Part] = []
    for _ in range(rng.poisson(min(room / 700, 4.0))):
        turn, far = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
        place = (
            float(cavity.centre[0] + far * cavity.axes[0] * np.cos(turn)),
            float(cavity.centre[1] + far * cavity.axes[1] * np.sin(turn)),
        )
        kind = rng.random()
        if kind < 0.3:
            parts += fetus.limb_across(place, rng)
        elif kind < 0.6:
            parts += fetus.limb_along(place, rng.uniform(0, 2 * np.pi), rng)
        else:
            parts += fetus.cord_loop(place, rng)
    return parts
