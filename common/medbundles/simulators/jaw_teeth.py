"""The teeth of a patient: sizes, states and where each one stands."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from medbundles.simulators.fields import Draws
from medbundles.simulators.jaw_arch import Patient
from medbundles.simulators.jaw_canvas import Frame, Vector
from medbundles.simulators.jaw_shapes import LOOKS, Root, Shape

CODES = tuple(10 * quadrant + position for quadrant in (1, 2, 3, 4) for position in range(1, 9))
KINDS = ("incisor", "incisor", "canine", "premolar", "premolar", "molar", "molar", "molar")

# Average sizes in mm from the first incisor to the third molar: width, depth, crown and root.
_UPPER = (
    (8.5, 7.0, 10.5, 13.0), (6.6, 6.0, 9.2, 13.0), (7.6, 8.0, 10.0, 16.5), (7.0, 9.0, 8.5, 14.0),
    (6.8, 9.0, 8.3, 14.0), (10.2, 11.0, 7.6, 12.6), (9.4, 11.0, 7.2, 11.8), (8.5, 10.0, 6.6, 11.0),
)  # fmt: skip
_LOWER = (
    (5.2, 6.0, 9.0, 12.5), (5.7, 6.4, 9.4, 13.8), (6.9, 7.6, 10.8, 15.8), (7.0, 7.6, 8.6, 14.2),
    (7.1, 8.0, 8.1, 14.6), (11.1, 10.4, 7.6, 13.8), (10.5, 10.0, 7.1, 13.0), (10.0, 9.5, 6.9, 11.2),
)  # fmt: skip
# Degrees by which the crown leans outwards, and by which it leans to the midline.
_TORQUE = ((21, 18, 5, 0, 2, 5, 7, 9), (17, 15, 4, -4, -8, -12, -15, -16))
_TIP = ((3, 6, 8, 4, 3, 2, -1, -7), (1, 1, 5, 4, 4, 6, 9, 13))
# Cusps as shares of half width and half depth.
_FOUR = ((-0.42, 0.45), (0.42, 0.45), (-0.42, -0.45), (0.42, -0.45))
_FIVE = ((-0.52, 0.45), (0.1, 0.5), (0.62, 0.3), (-0.42, -0.45), (0.42, -0.45))
_TWO = ((0.0, 0.48), (0.0, -0.48))


@dataclass(frozen=True)
class Tooth:
    """One of the 32 places of a dentition.

    Attributes:
        fdi: the tooth's code.
        state: "present", "impacted" or "missing".
        shape: its sizes; a missing tooth has those it would have.
        axes: rows distal, buccal and crownward in the frame of the jaw.
        neck: the middle of its neck there.
        way: s of its place on the arch.
    """

    fdi: int
    state: str
    shape: Shape
    axes: Vector
    neck: Vector
    way: float

    @property
    def upper(self) -> bool:
        return self.fdi < 30

    @property
    def position(self) -> int:
        return self.fdi % 10

    def frame(self, jaw: Frame) -> Frame:
        """The tooth's own frame: m, b and h."""
        return jaw.then(self.axes, self.neck)

    def ends(self, below: float = 1.0, above: float = 1.0) -> Vector:
        """Points (2, 3) in the tooth's frame past the ends of its roots and crown."""
        return np.array(
            [[0, 0, -self.shape.length + self.shape.crown - below], [0, 0, self.shape.crown + above]]
        )


def draw_teeth(seed: int, patient: Patient, codes: Collection[int] | None) -> list[Tooth]:
    """Draws all 32 teeth; with `codes`, those listed have erupted and the others are missing."""
    teeth = []
    for quadrant in (1, 2, 3, 4):
        start = 0.15 * patient.scale
        for position in range(1, 9):
            fdi = 10 * quadrant + position
            draws = Draws(seed, f"tooth {fdi}")
            shape = _draw_shape(fdi, patient, draws)
            room = shape.width * (patient.squeeze[fdi > 30] if position <= 3 else 0.995)
            tooth = _place(fdi, shape, start + room / 2, patient, draws)
            state = _draw_state(tooth, patient, draws)
            if codes is not None:
                state = "present" if fdi in codes else "missing"
            if state == "impacted":
                tooth = _impacted(tooth, patient, draws)
            teeth.append(replace(tooth, state=state))
            start += room
    return teeth


def _draw_state(tooth: Tooth, patient: Patient, draws: Draws) -> str:
    if tooth.position == 8:
        return draws.choice({"present": 0.45, "missing": 0.3, "impacted": 0.15 if tooth.upper else 0.35})
    lost = patient.missing * {6: 2.0, 7: 1.4, 5: 1.2, 4: 1.1}.get(tooth.position, 0.5)
    if draws.chance(lost):
        return "missing"
    return "impacted" if tooth.fdi in (13, 23) and draws.chance(0.02) else "present"


def _draw_shape(fdi: int, patient: Patient, draws: Draws) -> Shape:
    upper, position = fdi < 30, fdi % 10
    sizes = (_UPPER if upper else _LOWER)[position - 1]
    # The teeth of both sides are alike: a factor of the pair and a smaller one of each.
    spreads = (0.03, 0.03, 0.05, 0.07)
    width, depth, crown, root = (
        size * patient.scale * draws.factor(spread) for size, spread in zip(sizes, spreads, strict=True)
    )
    young = position == 8 or patient.age < 0.15
    formed = draws.uniform(0.55, 0.95) if young and draws.chance(0.4) else 1.0
    cusps = _TWO if position in (4, 5) else _FIVE if fdi in (36, 46) else _FOUR
    return Shape(
        kind=KINDS[position - 1],
        width=width,
        depth=depth,
        crown=crown * (1 - 0.08 * patient.age),
        root=root,
        roots=_draw_roots(fdi, (width, depth), root, draws),
        formed=formed,
        pulp=(1.25 - 0.55 * patient.age) * draws.factor(0.08),
        cusps=cusps if position > 3 else (),
    )


def _draw_roots(fdi: int, size: tuple[float, float], length: float, draws: Draws) -> tuple[Root, ...]:
    """The roots of a tooth; starts and radii are shares of half width and half depth."""
    upper, position = fdi < 30, fdi % 10
    if position >= 6 and upper:
        plans = [(-0.34, 0.40, -1.2, 1.5, 0.40, 0.40), (0.36, 0.36, 1.2, 1.1, 0.37, 0.37)]
        plans.append((0.0, -0.42, 0.0, -3.4, 0.48, 0.42))
    elif position >= 6:
        plans = [(-0.42, 0.0, -1.2, 0.0, 0.38, 0.68), (0.42, 0.0, 1.3, 0.0, 0.38, 0.62)]
    elif fdi in (14, 24):
        plans = [(0.0, 0.42, 0.0, 0.9, 0.60, 0.42), (0.0, -0.42, 0.0, -0.9, 0.60, 0.42)]
    else:
        look = LOOKS[KINDS[position - 1]]
        plans = [(0.0, 0.0, 0.0, 0.0, look.width[1][0], look.depth[1][0])]
    # Third molars often have roots that have grown together.
    fused = 0.45 if position == 8 and draws.chance(0.6) else {7: 0.8}.get(position, 1.0)
    wide = 1.25 if fused < 0.5 else 1.0
    a, c = size[0] / 2, size[1] / 2
    bend = draws.rng.normal(0.6, 0.8)
    return tuple(
        Root(
            start=(p[0] * a * fused**0.5, p[1] * c * fused**0.5),
            spread=(p[2] * fused * a / 5, p[3] * fused * c / 5.5),
            bend=bend + draws.rng.normal(0, 0.5),
            radii=(p[4] * a * wide, p[5] * c * wide),
            length=length * (1.0 if index == len(plans) - 1 else draws.uniform(0.9, 1.0)),
        )
        for index, p in enumerate(plans)
    )


def _place(fdi: int, shape: Shape, way: float, patient: Patient, draws: Draws) -> Tooth:
    """Stands a tooth with the tip of its crown on the arch."""
    upper, position, rng = fdi < 30, fdi % 10, draws.rng
    s = way if fdi // 10 in (2, 3) else -way
    point, along, out = patient.jaw_arch(upper).at(s)
    # Teeth that lack room step out of line, the lateral incisors inwards, and turn.
    lack = max(0.0, 1 - patient.squeeze[not upper])
    step = shape.width * 2.4 * lack * {1: 0.5, 2: -1.1, 3: 0.6}.get(position, 0.0) * draws.uniform(0.5, 1.3)
    rough = 1.8 if draws.chance(0.15) else 1.0
    angles = (
        _TORQUE[not upper][position - 1] + rng.normal(0, 2.5),
        _TIP[not upper][position - 1] + rng.normal(0, 2.0) * rough,
        rng.normal(0, 3.0) * rough + (rng.normal(0, 200 * lack) if position <= 3 else 0),
    )
    axes = _axes(along, out, *angles)
    offset = out * (step + rng.normal(0, 0.25) * rough)
    tip = np.array([*(point + offset), patient.height(s, point[1], upper) + rng.normal(0, 0.15)])
    return Tooth(fdi, "present", shape, axes, tip - axes[2] * shape.crown, s)


def _axes(along: Vector, out: Vector, torque: float, tip: float, turn: float) -> Vector:
    """Rows distal, buccal and crownward of a tooth, angles in degrees."""
    along, out = np.array([*along, 0.0]), np.array([*out, 0.0])
    torque, tip, turn = np.deg2rad([torque, tip, turn])
    crown = np.array([0, 0, -1.0]) + np.tan(torque) * out - np.tan(tip) * along
    crown /= np.linalg.norm(crown)
    distal = np.cos(turn) * along + np.sin(turn) * out
    distal -= crown * (distal @ crown)
    distal /= np.linalg.norm(distal)
    buccal = out - crown * (out @ crown) - distal * (out @ distal)
    return np.stack([distal, buccal / np.linalg.norm(buccal), crown])


def _impacted(tooth: Tooth, patient: Patient, draws: Draws) -> Tooth:
    """The tooth as it lies in the bone when it did not come through."""
    point, along, out = patient.jaw_arch(tooth.upper).at(tooth.way)
    if tooth.position == 3:  # across the palate, the crown near the front teeth
        axes = _axes(along, out, draws.uniform(-30, -10), draws.uniform(35, 60), 0.0)
        shift, deep = -out * draws.uniform(4, 7) * patient.scale, draws.uniform(11, 14)
    elif tooth.upper:
        axes = _axes(along, out, draws.uniform(0, 20), draws.uniform(-40, 5), draws.rng.normal(0, 10))
        shift, deep = along * draws.uniform(0, 2), draws.uniform(7, 11)
    else:
        axes = _axes(along, out, draws.uniform(-15, 5), draws.uniform(20, 85), draws.rng.normal(0, 6))
        shift, deep = along * draws.uniform(-1, 2), draws.uniform(5, 11)
    # The crown's middle comes to lie in the tooth's place, deeper than those of its neighbours.
    middle = np.array([*(point + shift), patient.scale * deep])
    return replace(tooth, axes=axes, neck=middle - axes[2] * tooth.shape.crown / 2)
