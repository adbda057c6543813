"""What is drawn of a simulated case besides the patient: field of view, tilt, voxels, teeth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dental_teeth.teeth import FDI_CODES
from medbundles.simulators.fields import Draws
from medbundles.simulators.jaw import METAL_LEVELS, Jaw, head_frame, jaw
from medbundles.simulators.jaw_arch import draw_patient

SPACING_MM = 0.4
STORED_BITS = {4095.0: 0.3, 32767.0: 0.7}  # brightest grey value that a scanner stores, and how likely
SIDES = {"right side": 0.06, "left side": 0.06}
WITHOUT_TEETH = {"both": 0.4, "upper": 0.3, "lower": 0.3}  # the jaws of a toothless patient


@dataclass(frozen=True)
class Plan:
    """What is drawn of a case besides the patient.

    Attributes:
        number: the patient's seed.
        metal: "none", "some" or "heavy".
        field: "both jaws", "upper jaw", "lower jaw", "right side" or "left side".
        size_mm: of the field of view.
        middle_mm: its middle in the head.
        tilt_deg: turns of the head around x, y and z.
        spacing_mm: of the voxels.
        scale: size of the patient.
        teeth: FDI numbers; None leaves them to the patient.
        gain: of the grey values, as scanners are calibrated differently.
        top_hu: the brightest grey value that is stored.
    """

    number: int
    metal: str
    field: str
    size_mm: tuple[float, float, float]
    middle_mm: tuple[float, float, float]
    tilt_deg: tuple[float, float, float]
    spacing_mm: float
    scale: float
    teeth: tuple[int, ...] | None
    gain: float
    top_hu: float

    def jaw(self, *, margin_mm: float = 0.0, spacing_mm: float | None = None) -> Jaw:
        """The patient on a grid that covers the field of view and a margin."""
        # The middle of the field, in the head, comes to zero.
        middle = head_frame((0, 0, 0), self.tilt_deg).back(np.array(self.middle_mm))[0]
        return jaw(
            self.number,
            size_mm=[size + 2 * margin_mm for size in self.size_mm],
            spacing_mm=spacing_mm or self.spacing_mm,
            metal=self.metal,
            teeth=self.teeth,
            shift_mm=[float(-value) for value in middle],
            tilt_deg=self.tilt_deg,
            scale=self.scale,
        )


def draw_plan(number: int, spacing_mm: float = SPACING_MM, metal: str | None = None) -> Plan:
    """Draws a case: three metal levels in turn, fields that cut jaws, tilted heads, few teeth, children."""
    draws = Draws(number, "case")
    field = draws.choice({"both jaws": 0.76, "upper jaw": 0.06, "lower jaw": 0.06} | SIDES)
    size = [draws.uniform(64, 79), draws.uniform(58, 68), draws.uniform(50, 58)]
    middle = [draws.uniform(-2, 2), draws.uniform(-1.5, 2.5), draws.uniform(-2, 2)]
    side = 1 if field in ("upper jaw", "left side") else -1
    tilt, scale = _tilt(draws), draws.uniform(0.93, 1.06)
    if draws.chance(0.04):  # a child
        scale *= 0.77
    few, kept = draws.chance(0.06), draws.uniform(0.2, 0.7)
    left = tuple(code for code in FDI_CODES if draws.chance(kept))
    gap = draw_patient(number, scale, None).gap
    if field.endswith("jaw"):
        size[2] = draws.uniform(32, 38)
        middle[2] += 14 * side - (gap if side < 0 else 0)
    else:
        size[2] += 1.4 * gap  # the front of a jaw that swings open comes down more than its molars
        middle[2] -= 0.7 * gap
    if field.endswith("side"):
        size[0] = draws.uniform(42, 50)
        middle[0] += 14 * side
    return Plan(
        number=number,
        metal=metal or METAL_LEVELS[number % len(METAL_LEVELS)],
        field=field,
        size_mm=(size[0], size[1], size[2]),
        middle_mm=(middle[0], middle[1], middle[2]),
        tilt_deg=tilt,
        spacing_mm=spacing_mm * draws.uniform(0.9, 1.1),
        scale=scale,
        teeth=left if few else None,
        gain=draws.uniform(0.93, 1.07),
        top_hu=float(draws.choice({str(top): share for top, share in STORED_BITS.items()})),
    )


def draw_toothless(number: int, spacing_mm: float = SPACING_MM, metal: str | None = None) -> Plan:
    """Draws a case in which one jaw or both have no teeth; where the other one has any, some may be lost."""
    draws = Draws(number, "toothless")
    empty, kept = str(draws.choice(WITHOUT_TEETH)), draws.uniform(0.15, 1.3)
    jaws = {"both": (), "upper": FDI_CODES[16:], "lower": FDI_CODES[:16]}
    teeth = tuple(code for code in jaws[empty] if draws.chance(kept))
    return replace(draw_plan(number, spacing_mm, metal), teeth=teeth)


def _tilt(draws: Draws) -> tuple[float, float, float]:
    """Turns of the head: up to about ten degrees, now and then twenty."""
    x, y, z = (spread * float(np.clip(draws.rng.standard_normal(), -2, 2)) for spread in (5, 3, 4))
    far = draws.uniform(14, 20) * (1 if draws.chance(0.5) else -1)
    if draws.chance(0.08):
        x, y = (far, y) if draws.chance(0.6) else (x, far)
    return x, y, z
