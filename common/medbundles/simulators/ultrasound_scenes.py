"""Whole simulated fetal frames, abdomen and head, with their truth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbundles.ellipse import Ellipse
from medbundles.simulators.ultrasound import Echoes, Probe, render
from medbundles.simulators.ultrasound_abdomen import Body, abdomen_parts
from medbundles.simulators.ultrasound_display import View, add_marks, random_machine, show
from medbundles.simulators.ultrasound_head import EARLY_MM, early_parts, head_parts, is_early
from medbundles.simulators.ultrasound_maps import Part, Scene, Tissue
from medbundles.simulators.ultrasound_uterus import Womb

STANDARD = ("stomach", "vein", "spine")
SIZES = ((640, 392), (800, 540), (959, 661), (1137, 787))
SIZE_SHARES = (0.35, 0.3, 0.25, 0.1)


@dataclass(frozen=True)
class Frame:
    """One simulated frame (X, Y) and its truth.

    Args:
        image: grey, 0 to 255.
        label: the labels of the anatomy, also where the sector does not reach.
        spacing_mm: pixel size.
        ellipse: the outline in pixels; it may leave the frame.
        truth: name, millimetres and what the plane shows.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    spacing_mm: float
    ellipse: Ellipse
    truth: dict[str, Any] = field(default_factory=dict)


def simulate_abdomen(
    seed: int | list[int],
    *,
    structures: tuple[str, ...] = STANDARD,
    circumference_mm: float | None = None,
    size: tuple[int, int] | None = None,
    marks: bool = True,
) -> Frame:
    """Returns a frame of a fetal abdomen; lacking one of `STANDARD`, or with "kidneys", it is not standard.

    Args:
        seed: everything follows from it.
        structures: those in the plane, of stomach, vein, spine, kidneys.
        circumference_mm: of the skin line; drawn from 16 to 40 weeks when None.
        size: columns and rows; drawn from common frame sizes when None.
        marks: whether text, ruler and grey bar may appear.
    """
    rng = np.random.default_rng(seed)
    body = draw_abdomen(rng, circumference_mm)
    parts = abdomen_parts(body, frozenset(structures), rng)
    standard = set(STANDARD) <= set(structures) and "kidneys" not in structures
    truth = {"kind": "abdomen", "standard_plane": standard, "structures": list(structures)}
    return _frame(body, parts, truth, rng, size, marks)


def simulate_head(
    seed: int | list[int],
    *,
    circumference_mm: float | None = None,
    size: tuple[int, int] | None = None,
    marks: bool = True,
) -> Frame:
    """Returns a frame of a fetal head cut at the ventricles; arguments as for `simulate_abdomen`."""
    rng = np.random.default_rng(seed)
    head = draw_head(rng, circumference_mm, early=rng.random() < 0.4)
    parts = [*(early_parts(head, rng) if is_early(head) else []), *head_parts(head, rng)]
    return _frame(head, parts, {"kind": "head", "standard_plane": True}, rng, size, marks)


def draw_abdomen(rng: np.random.Generator, circumference_mm: float | None = None) -> Body:
    """An abdomen cut across, usually with its back to one side, of 16 to 40 weeks unless it is given."""
    wanted = circumference_mm or rng.uniform(110, 360)
    ratio = np.clip(rng.normal(1.03, 0.06), 0.88, 1.25)
    across = 0.0 if rng.random() < 0.5 else np.pi
    pose = across + rng.normal(0, 0.35) if rng.random() < 0.8 else rng.uniform(0, 2 * np.pi)
    return _body(wanted, float(ratio), float(pose), rng)


def draw_head(
    rng: np.random.Generator, circumference_mm: float | None = None, *, early: bool = False
) -> Body:
    """A head cut at the ventricles, its midline about level."""
    wanted = circumference_mm or (rng.uniform(60, EARLY_MM) if early else rng.uniform(EARLY_MM, 345))
    pose = rng.normal(0, 0.35) + (np.pi if rng.random() < 0.5 else 0)
    return _body(wanted, float(rng.uniform(1.15, 1.45)), float(pose), rng)


def _body(circumference: float, ratio: float, pose: float, rng: np.random.Generator) -> Body:
    """A body of the wanted circumference below a near field of random thickness."""
    unit = Ellipse((0, 0), (ratio, 1.0)).circumference()
    half_width = circumference / unit
    flip = 1 if rng.random() < 0.5 else -1
    _, height = Body((0.0, 0.0), ratio * half_width, half_width, pose, flip).extent()
    near = rng.uniform(8, 40) if rng.random() < 0.6 else rng.uniform(30, 75)
    centre = (float(rng.normal(0, 10)), float(near + height))
    return Body(centre, ratio * half_width, half_width, pose, flip)


def _frame(
    body: Body,
    parts: list[Part],
    truth: dict[str, Any],
    rng: np.random.Generator,
    size: tuple[int, int] | None,
    marks: bool,
) -> Frame:
    setting = Setting.draw(body, rng, size)
    around = [replace(part, label=None) for part in setting.around]
    scene = Scene(setting.outside, [*around, *parts], seed=setting.seed)
    image, _ = setting.photograph(scene, truth["kind"], rng, marks)
    view = setting.view
    ellipse = Ellipse(
        view.to_pixels(body.centre),
        (body.half_depth / view.spacing, body.half_width / view.spacing),
        body.pose,
    )
    truth = truth | _measures(body, truth["kind"])
    return Frame(image, scene.labels(*view.grid()), view.spacing, ellipse, truth)


@dataclass(frozen=True)
class Setting:
    """What a part of a fetus is scanned with, and what lies around it.

    Args:
        body, view, probe: what is looked at, and how.
        around: the womb and what is in it, from back to front, with labels of fluid.
        outside: the tissue beyond.
        seed: of the tissues' texture.
    """

    body: Body
    view: View
    probe: Probe
    around: list[Part]
    outside: Tissue
    seed: int

    @classmethod
    def draw(cls, body: Body, rng: np.random.Generator, size: tuple[int, int] | None) -> Setting:
        """A probe and a window that show most of the body."""
        size = size or SIZES[rng.choice(len(SIZES), p=SIZE_SHARES)]
        view = _view(body, size, rng)
        probe = _probe(body, view, rng)
        womb = Womb(body.outline, body.extent(), nearest(body), probe.radius)
        outside = Tissue(rng.uniform(-24, -9), 0.55, 1.62, grain=rng.uniform(3, 6), texture="streaky")
        return cls(body, view, probe, womb.parts(rng), outside, int(rng.integers(2**31)))

    def photograph(
        self, scene: Scene, kind: str, rng: np.random.Generator, marks: bool
    ) -> tuple[NDArray[np.uint8], Echoes]:
        """Returns the image of a scene, its gain set as for head or abdomen, and the echoes behind it."""
        echoes = render(scene, self.probe, rng)
        machine = random_machine(rng, detail=min(self.body.size / 40, 1))
        # Operators turn the gain up for a liver; the skull is bright enough to leave a brain dark.
        brighter = rng.uniform(2, 14) if kind == "head" else 0.0
        reference = _reference(echoes, self.body) * 10 ** (brighter / 20)
        picture, _ = show(echoes, self.view, machine, reference=reference)
        image = np.round(picture * 255).astype(np.uint8)
        return (add_marks(image, rng) if marks else image), echoes


def nearest(body: Body) -> float:
    """Depth of the point of a body that is nearest to the probe, mm."""
    return body.centre[1] - body.extent()[1]


def _measures(body: Body, kind: str) -> dict[str, float]:
    """Circumference and the two diameters in mm under their clinical names."""
    names = ("HC", "OFD", "BPD") if kind == "head" else ("AC", "APAD", "TAD")
    around = Ellipse((0, 0), (body.half_depth, body.half_width)).circumference()
    return dict(zip(names, (around, 2 * body.half_depth, 2 * body.half_width), strict=True))


def _view(body: Body, size: tuple[int, int], rng: np.random.Generator) -> View:
    """A window that the body fills as in stored frames: from a third of its height to more than all of it."""
    usual = 0.6 if 2 * np.pi * body.size < EARLY_MM else 0.72
    share = float(np.clip(rng.normal(usual, 0.13), 0.32, 1.0))
    spacing = 2 * body.size / share / size[1]
    column = float(np.clip(rng.normal(0.51, 0.06), 0.3, 0.7)) * size[0]
    row = float(np.clip(rng.normal(0.49, 0.06), 0.32, 0.68)) * size[1]
    left, top = body.centre[0] - column * spacing, body.centre[1] - row * spacing
    return View((left, max(top, rng.uniform(-9, 0))), spacing, size)


def _probe(body: Body, view: View, rng: np.random.Generator) -> Probe:
    """A probe that sees most of the body and at least most of the window's depth."""
    bottom = view.origin[1] + view.spacing * view.size[1]
    radius = rng.uniform(38, 62)
    width, height = body.extent()
    needed = np.arctan2(width + abs(body.centre[0]), radius + body.centre[1])
    half_angle = max(rng.uniform(0.45, 0.7), needed * rng.uniform(0.8, 1.4))
    if rng.random() < 0.3:
        half_angle = 0.85
    frequency = rng.uniform(2.6, 5.0) * np.clip(40 / body.size, 0.8, 1.6) ** 0.4
    # Electronic noise that leaves soft tissue at the far side of the body just visible, or hardly touches it.
    tissue = -12 - 0.1 * frequency * (body.centre[1] + height)
    return Probe(
        radius=radius,
        half_angle=float(np.clip(half_angle, 0.35, 0.85)),
        depth=max(bottom * rng.uniform(0.9, 1.2), body.centre[1] + height * rng.uniform(0.95, 1.2)),
        frequency=frequency,
        bandwidth=rng.uniform(0.4, 0.8),
        focus=body.centre[1] + rng.normal(0, 12),
        f_number=rng.uniform(1.6, 4.5),
        tgc=rng.uniform(0.42, 0.54),
        noise=tissue - rng.uniform(4, 35),
        clutter=rng.uniform(-32, -14),
        slice_mm=rng.uniform(0.2, 0.9),
        unevenness=rng.uniform(0.5, 4),
    )


def _reference(echoes: Echoes, body: Body) -> float:
    """The typical amplitude inside the body, which the operator sets the gain by."""
    x, z = echoes.probe.grid()
    inside = body.outline.inside(x, z)
    return float(np.median(echoes.amplitude[inside])) if inside.any() else float(np.median(echoes.amplitude))
