"""One patient of an amniotic fluid examination: what her four frames have in common, and her own tissues.

Wall, water, placenta, fetus, probe and settings are drawn once; each quadrant then shows them elsewhere.
Nothing here is fluid to be measured: every part that lies over the womb carries label 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from medbundles.simulators.ultrasound import Probe
from medbundles.simulators.ultrasound_display import Machine, View, random_machine
from medbundles.simulators.ultrasound_examination import (
    QUADRANTS,
    draw_depths,
    draw_haze,
    draw_index,
    draw_layers,
    draw_probe,
    draw_view,
    haze_under,
)
from medbundles.simulators.ultrasound_fetus import Fetus
from medbundles.simulators.ultrasound_maps import Floats, Part, Tissue
from medbundles.simulators.ultrasound_pockets import Haze
from medbundles.simulators.ultrasound_regions import (
    Blob,
    Both,
    Layer,
    Rippled,
    Tube,
    random_lobes,
    random_ripple,
)
from medbundles.simulators.ultrasound_uterus import WALL, fluid

PLACENTA_PLACES = ("front", "back", "side")


@dataclass(frozen=True)
class Grains:
    """Many small discs around `centres` (n, 2)."""

    centres: NDArray[np.float64]
    radius: float

    @property
    def bounds(self) -> tuple[float, float, float]:
        """A circle around all of them."""
        middle = self.centres.mean(axis=0)
        reach = np.linalg.norm(self.centres - middle, axis=1).max() + self.radius
        return float(middle[0]), float(middle[1]), float(reach)

    def inside(self, x: Floats, z: Floats) -> NDArray[np.bool_]:
        """Points in any disc."""
        distance, _ = cKDTree(self.centres).query(np.stack([x, z], -1), distance_upper_bound=self.radius)
        return np.isfinite(distance)


@dataclass(frozen=True)
class Patient:
    """What the frames of one examination share.

    Args:
        near: depth of the womb below the skin, mm.
        depths: the deepest pocket aimed at in each quadrant, mm; 0 for a quadrant without fluid.
        layers: upper edge, in units of `near`, and tissue of the layers of the near wall.
        water: amniotic fluid; `specks` floating particles per square centimetre.
        outside: tissue around the womb.
        placenta: tissue; `placenta_at` says where each quadrant meets it, "" for not at all.
        haze: level in dB under the near wall and fall per mm, None without visible reverberation.
        fetus, probe, machine, view: drawn once, too.
        brighter: gain in dB on top of what shows tissue at the machine's grey level.
    """

    near: float
    depths: tuple[float, ...]
    layers: tuple[tuple[float, Tissue], ...]
    water: Tissue
    specks: float
    outside: Tissue
    placenta: Tissue
    placenta_at: tuple[str, ...]
    haze: tuple[float, float] | None
    fetus: Fetus
    probe: Probe
    machine: Machine
    view: View
    brighter: float

    @classmethod
    def draw(
        cls, rng: np.random.Generator, afi_mm: float | None = None, size: tuple[int, int] | None = None
    ) -> Patient:
        """A patient whose four pockets add up to about `afi_mm`, drawn from all that occur when None."""
        near = float(rng.gamma(7, 3.2) + 6)
        depths = draw_depths(rng, draw_index(rng) if afi_mm is None else afi_mm)
        fetus = Fetus.draw(rng)
        depth = near + max(*depths, 1.6 * fetus.trunk, 45) * rng.uniform(1.05, 1.25) + rng.uniform(8, 35)
        probe = draw_probe(rng, float(np.clip(depth, 85, 210)), near)
        place = str(rng.choice(PLACENTA_PLACES, p=(0.4, 0.4, 0.2)))
        return cls(
            near=near,
            depths=depths,
            layers=draw_layers(rng),
            water=replace(fluid(rng), impedance=rng.uniform(1.55, 1.6)),
            specks=float(rng.uniform(0.2, 5)) if rng.random() < 0.35 else 0.0,
            outside=Tissue(rng.uniform(-22, -9), 0.55, 1.62, grain=rng.uniform(3, 6), texture="streaky"),
            placenta=Tissue(
                rng.uniform(-12, -1), rng.uniform(0.35, 0.55), 1.63, grain=2.5, texture="mottled"
            ),
            placenta_at=tuple(place if rng.random() < 0.45 else "" for _ in range(QUADRANTS)),
            haze=draw_haze(rng) if rng.random() < 0.55 else None,
            fetus=fetus,
            probe=probe,
            machine=random_machine(rng),
            view=draw_view(rng, probe, size),
            brighter=float(rng.uniform(-1, 8)),
        )

    def near_wall(self, bottom: float, rng: np.random.Generator) -> list[Part]:
        """Skin, fat, muscle and the wall of the womb down to `bottom`, parallel to the probe, and vessels."""
        wave = (rng.uniform(0, 0.1) * min(bottom, 14), rng.uniform(50, 160), rng.uniform(0, 6.3))
        ripple, radius = random_ripple(rng, rng.uniform(0.01, 0.05) * bottom, longest=80), self.probe.radius
        parts = [Part(Layer(-30, bottom, radius, *wave), WALL, 0)]
        edges = [*(top for top, _ in self.layers), 1.0]
        for (top, below), (_, tissue) in zip(pairwise(edges), self.layers, strict=True):
            parts.append(Part(Layer(top * bottom, below * bottom, radius, *wave), tissue))
            line = replace(tissue, echo=tissue.echo + 6, impedance=tissue.impedance + 0.03)
            parts.append(Part(Layer(top * bottom, top * bottom + rng.uniform(0.3, 0.9), radius, *wave), line))
        for _ in range(rng.integers(0, 4)):
            x, z = rng.uniform(-50, 50), bottom * rng.uniform(0.75, 0.93)
            line = tuple((x + s, z + rng.normal(0, 1)) for s in np.linspace(0, rng.uniform(2, 18), 4))
            parts.append(
                Part(Tube(line, min(rng.uniform(0.6, 2.2), 0.06 * bottom)), Tissue(-48, 0.15, 1.605))
            )
        return [Part(Rippled(p.region, ripple), p.tissue, p.label) for p in parts]

    def far_tissue(self, rng: np.random.Generator) -> list[Part]:
        """What lies around the womb: brighter and darker patches, vessels, gut with gas that shadows."""
        parts, deep = [], self.probe.depth
        for _ in range(rng.integers(5, 15)):
            where = (rng.uniform(-100, 100), rng.uniform(self.near, deep))
            tissue = Tissue(
                rng.uniform(-32, -6),
                0.55,
                rng.uniform(1.59, 1.65),
                rng.uniform(2, 5),
                str(rng.choice(["streaky", "mottled", "coarse"])),
            )
            axes = (rng.uniform(6, 40), rng.uniform(2, 16))
            parts.append(Part(Blob(where, axes, rng.normal(0, 0.5), random_lobes(rng, 0.3)), tissue))
        for _ in range(rng.integers(0, 4)):
            where = (rng.uniform(-80, 80), rng.uniform(0.6 * deep, deep))
            lumen = Blob(
                where,
                (rng.uniform(3, 22), rng.uniform(2, 6)),
                rng.normal(0, 0.6),
                random_lobes(rng, 0.15),
            )
            parts += [
                Part(lumen.shrunk(-0.8), Tissue(-8, 0.5, 1.65)),
                Part(lumen, Tissue(-48, 0.12, 1.605)),
            ]
        return parts

    def placenta_parts(self, place: str, cavity: Blob, near: float, rng: np.random.Generator) -> list[Part]:
        """The placenta on one wall of the womb, with dark lakes and a basal vessel that are not fluid."""
        thick, (x, z) = rng.uniform(8, 20), cavity.centre
        turn, long = rng.normal(0, 0.12), rng.uniform(45, 100)
        if place == "front":
            centre = (x + rng.normal(0, 30), near + thick * rng.uniform(-0.2, 0.4))
        elif place == "back":
            centre = (x + rng.normal(0, 30), z + cavity.axes[1] + thick * rng.uniform(-0.5, 0.4))
        else:
            side = rng.choice([-1, 1])
            turn += side * np.pi / 2
            centre = (x + side * cavity.axes[0] * rng.uniform(0.45, 0.9), z)
        body = Blob(centre, (long, thick), turn, random_lobes(rng, 0.08))
        parts = [
            Part(body, replace(self.placenta, echo=self.placenta.echo + 3), 0),
            Part(body.shrunk(0.7), self.placenta, 0),
        ]
        for _ in range(rng.integers(0, 5)):
            s, t = rng.uniform(-0.8, 0.8) * long, rng.uniform(-0.6, 0.6) * thick
            lake = (
                centre[0] + s * np.cos(turn) - t * np.sin(turn),
                centre[1] + s * np.sin(turn) + t * np.cos(turn),
            )
            shape = Blob(lake, (rng.uniform(1, 7), rng.uniform(0.8, 3.5)), turn, random_lobes(rng, 0.2))
            parts.append(Part(Both(shape, body), Tissue(rng.uniform(-50, -34), 0.15, 1.605), 0))
        ripple = random_ripple(rng, rng.uniform(0.4, 2), longest=50)
        return [Part(Rippled(p.region, ripple), p.tissue, p.label) for p in parts]

    def bladder(self, near: float, rng: np.random.Generator) -> list[Part]:
        """The mother's bladder between her wall and the womb: as dark as fluid, and none."""
        axes = (rng.uniform(14, 38), rng.uniform(0.25, 0.5) * near)
        where = (rng.normal(0, 35), near - axes[1] * rng.uniform(0.5, 1.1))
        shape, ripple = (
            Blob(where, axes, rng.normal(0, 0.15), random_lobes(rng, 0.15)),
            random_ripple(rng, 0.8),
        )
        wall = Tissue(rng.uniform(-12, -6), 0.5, 1.65, grain=2.0)
        urine = Tissue(rng.uniform(-70, -55), 0.03, 1.53)
        parts = [Part(shape.shrunk(-rng.uniform(2.5, 5)), wall, 0), Part(shape, urine, 0)]
        return [Part(Rippled(p.region, ripple), p.tissue, p.label) for p in parts]

    def floating(self, cavity: Blob, rng: np.random.Generator) -> list[Part]:
        """Specks of vernix in the fluid; what they float in stays fluid."""
        parts, area = [], 4 * cavity.axes[0] * cavity.axes[1] / 100
        for size, echo in ((0.2, -34.0), (0.4, -30.0), (0.6, -26.0)):
            count = int(rng.poisson(self.specks * area / 3))
            where = np.asarray(cavity.centre) + rng.uniform(-1, 1, (count, 2)) * cavity.axes
            if count:
                grains = Grains(where, size * rng.uniform(0.7, 1.3))
                parts.append(Part(Both(grains, cavity), Tissue(echo + rng.uniform(-5, 5), 0.1, 1.56)))
        return parts

    def lost_contact(self, rng: np.random.Generator) -> list[Part]:
        """Gas between probe and skin at one place: what lies behind it is in shadow."""
        radius, angle = self.probe.radius, rng.choice([-1, 1]) * rng.uniform(0.3, 1.0) * self.probe.half_angle
        depth, width, loss = rng.uniform(1, 4), rng.uniform(2, 10), rng.uniform(2, 16)
        centre = ((radius + depth) * np.sin(angle), (radius + depth) * np.cos(angle) - radius)
        return [
            Part(
                Blob(centre, (width * s, 1.8 * s), -angle),
                Tissue(-8, loss * (1.6 - s), 1.62, texture="layered"),
            )
            for s in (1.0, 0.8, 0.6)
        ]

    def haze_under(self, near: float, rng: np.random.Generator) -> Haze | None:
        """Reverberation under the near wall of one quadrant, along some of the beams."""
        return None if self.haze is None else haze_under(self.probe, near, self.haze, rng)
