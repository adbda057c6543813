"""Frames as they are stored for measuring a fetal head or abdomen, with labels of the fluid around it.

The examinations of `ultrasound_fluid` show whole quadrants; here head or abdomen fills a good part of the
frame, as in the public sets of real frames.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medbundles.simulators.ultrasound_abdomen import Body, abdomen_parts
from medbundles.simulators.ultrasound_examination import draw_haze, haze_under
from medbundles.simulators.ultrasound_fluid import FluidFrame, truth_of
from medbundles.simulators.ultrasound_head import head_parts
from medbundles.simulators.ultrasound_maps import Part, Tissue
from medbundles.simulators.ultrasound_pockets import FETUS, FluidScene, Seen
from medbundles.simulators.ultrasound_regions import Arc, Blob, Rippled, random_lobes, random_ripple
from medbundles.simulators.ultrasound_scenes import STANDARD, Setting, draw_abdomen, draw_head, nearest
from medbundles.simulators.ultrasound_varied import vary

HAZY = 0.5  # share of frames with reverberation under the near wall
MUSCULAR = 0.5  # share of frames with dark muscle along the fetus
PRESSED = (0.15, 0.2, 0.25, 0.2, 0.2)  # shares of frames in which the fetus lies against 0 to 4 things


def simulate_biometry(
    seed: int | list[int], *, size: tuple[int, int] | None = None, marks: bool = True
) -> FluidFrame:
    """Returns a frame of a fetal head or abdomen with its labels and its deepest pocket, if there is one.

    Args:
        seed: everything follows from it.
        size: columns and rows; drawn from common frame sizes when None.
        marks: whether text, ruler and grey bar may appear.
    """
    rng = np.random.default_rng(seed)
    kind = "head" if rng.random() < 0.5 else "abdomen"
    if kind == "head":
        body = draw_head(rng)
        parts = head_parts(body, rng)
    else:
        body = draw_abdomen(rng)
        parts = abdomen_parts(body, frozenset(STANDARD), rng)
    setting = Setting.draw(body, rng, size)
    haze = haze_under(setting.probe, nearest(body), draw_haze(rng), rng) if rng.random() < HAZY else None
    fetus = [replace(part, label=FETUS) for part in parts]
    around = [*map(_labelled, setting.around), *_pressed(body, rng), *muscle(body, rng)]
    scene = FluidScene(setting.outside, [*around, *fetus], setting.seed, haze)
    varied = replace(scene, parts=vary(scene.parts, rng))
    image, echoes = setting.photograph(varied, kind, rng, marks)
    seen = Seen.of(scene, setting.probe, setting.view, echoes.maps)
    caliper, view = seen.deepest_pocket(), setting.view
    return FluidFrame(image, seen.frame_labels(), view.spacing, caliper, view, truth_of(caliper, view, 0))


def _pressed(body: Body, rng: np.random.Generator) -> list[Part]:
    """What the fetus lies against, so that there is no fluid on that side."""
    return [_wall(body, rng) for _ in range(rng.choice(len(PRESSED), p=PRESSED))]


def _wall(body: Body, rng: np.random.Generator) -> Part:
    """A bulge of wall or placenta that reaches a little into the body, which is painted over it."""
    toward, radius = rng.uniform(0, 2 * np.pi), body.size * rng.uniform(0.8, 2.0)
    step = np.array([np.cos(toward), np.sin(toward)])
    point = np.float32(body.centre) + body.size * step
    to_rim = body.size / float(body.outline.polar(point[:1], point[1:])[0][0])
    middle = np.asarray(body.centre) + (to_rim + radius * rng.uniform(0.8, 0.99)) * step
    axes = (radius * rng.uniform(1.0, 2.2), radius)
    shape = Blob((float(middle[0]), float(middle[1])), axes, toward + np.pi / 2, random_lobes(rng, 0.15))
    texture = str(rng.choice(["streaky", "mottled", "coarse"]))
    tissue = Tissue(rng.uniform(-26, -4), 0.5, rng.uniform(1.6, 1.65), rng.uniform(2, 5), texture)
    return Part(Rippled(shape, random_ripple(rng, rng.uniform(0.3, 3.0), longest=60)), tissue, 0)


def muscle(body: Body, rng: np.random.Generator) -> list[Part]:
    """Returns dark wall along parts of the body's outline, which looks like a rim of fluid and is none."""
    parts = []
    for _ in range(rng.integers(1, 4) if rng.random() < MUSCULAR else 0):
        radii = (0.9, 1 + rng.uniform(1.5, 8) / body.size)
        shape = Arc(body.outline, radii, rng.uniform(-np.pi, np.pi), rng.uniform(0.2, 1.4))
        tissue = Tissue(rng.uniform(-33, -18), 0.5, rng.uniform(1.6, 1.64), rng.uniform(2, 4), "streaky")
        parts.append(Part(Rippled(shape, random_ripple(rng, rng.uniform(0.2, 1.5), longest=60)), tissue, 0))
    return parts


def _labelled(part: Part) -> Part:
    """A part of the womb that hides the fluid it lies over."""
    return part if part.label is not None else replace(part, label=0)
