"""Fetal parts that echo less than usual, for training: a skull may be lost, a head as dark as fluid.

How brightly an interface answers depends on how it faces the beam, and no two machines agree. A network that
has only seen bright skulls takes a dark head for fluid. Attenuation, shadows and labels stay what they are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medbundles.simulators.ultrasound import Echoes, Probe, render
from medbundles.simulators.ultrasound_maps import Part, Scene
from medbundles.simulators.ultrasound_pockets import FETUS

LARGE_MM = 14.0  # radius from which a part is one of head or trunk, and not of a limb or of cord
BRIGHT_DB, SOFT_DB = -8.0, -48.0  # echo from which a part shines; what no darkened tissue falls below
SOFT_IMPEDANCE = 1.61
LOST, DARK = 0.35, 0.3  # shares of scenes in which borders are weakened, and large parts are darkened


def render_varied(scene: Scene, probe: Probe, rng: np.random.Generator) -> Echoes:
    """Renders a scene whose fetus echoes less than usual, more often than not a little or not at all."""
    return render(replace(scene, parts=vary(scene.parts, rng)), probe, rng)


def vary(parts: list[Part], rng: np.random.Generator) -> list[Part]:
    """The same parts, those of the fetus with other tissues; all share how much fainter they are."""
    lost = rng.uniform(0.3, 1.0) if rng.random() < LOST else 0.0
    dark = rng.uniform(4, 26) if rng.random() < DARK else 0.0
    return [_fainter(part, lost, dark) if part.label == FETUS else part for part in parts]


def _fainter(part: Part, lost: float, dark: float) -> Part:
    """A part that has lost a share of its borders' echo, and is `dark` dB darker if it is large and soft."""
    tissue = part.tissue
    impedance = tissue.impedance + lost * (SOFT_IMPEDANCE - tissue.impedance)
    echo = tissue.echo
    if echo > BRIGHT_DB:
        echo -= lost * (echo - BRIGHT_DB + 8)
    elif part.region.bounds[2] > LARGE_MM:
        echo = max(echo - dark, min(echo, SOFT_DB))
    return replace(part, tissue=replace(tissue, echo=echo, impedance=impedance))
