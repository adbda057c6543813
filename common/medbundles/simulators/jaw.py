"""Simulated jaws: up to 32 numbered teeth with enamel, dentine and pulp, bone, air and dental work.

Everything is a formula of the place in mm, so a seed gives the same patient at every spacing, and the truth
of every tooth is exact. Arrays are (X, Y, Z): x to the patient's left, y to the back, z up.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbundles.simulators.jaw_arch import Patient, draw_patient
from medbundles.simulators.jaw_background import FACE, paint_background
from medbundles.simulators.jaw_canvas import Canvas, Field, Frame, turned
from medbundles.simulators.jaw_metal import Works, paint_bars, plan_metal
from medbundles.simulators.jaw_scene import Dentition, paint_teeth, stand_teeth
from medbundles.simulators.jaw_teeth import CODES, Tooth, draw_teeth

METAL_LEVELS = ("none", "some", "heavy")
SIZE_MM = (80.0, 72.0, 56.0)


@dataclass(frozen=True)
class ToothTruth:
    """What is true of one of the 32 places of a dentition.

    Attributes:
        fdi: the code.
        state: "present", "impacted", "implant" or "missing", as under a bridge's false tooth.
        metal: classes of material at this place.
        volume_mm3: of the tooth's label, 0 for an implant and outside the field.
        length_mm: from the tip of the crown to the end of the longest root, whether in the field or not.
        cut_by_field: whether a part of the tooth lies outside the field.
        centre_mm: centre of the label, or of the neck where there is none, in the RAS mm of the affine.
    """

    fdi: int
    state: str
    metal: tuple[str, ...]
    volume_mm3: float
    length_mm: float
    cut_by_field: bool
    centre_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Jaw:
    """One simulated patient.

    Attributes:
        seed: everything follows from it.
        materials: name to float32 (X, Y, Z): "soft", the part of water density; "mineral", g/cm3 of
            hydroxyapatite; and the volume fraction of each class of dental material that is there.
        labels: FDI codes, 0 elsewhere.
        bone: 1 lower jaw, 2 upper jaw.
        affine: 4x4, voxels to RAS mm.
        teeth: the truth of all 32 places.
        metal: "none", "some" or "heavy".
        parameters: what was drawn; "face_mm" holds the middle and the semi-axes of the ellipsoid of the
            face in the head, x to the left, y to the back, z up.
    """

    seed: int
    materials: dict[str, NDArray[np.float32]]
    labels: NDArray[np.uint8]
    bone: NDArray[np.uint8]
    affine: NDArray[np.float64]
    teeth: tuple[ToothTruth, ...]
    metal: str
    parameters: dict[str, Any]


def jaw(
    seed: int,
    *,
    size_mm: Sequence[float] = SIZE_MM,
    spacing_mm: float = 0.4,
    metal: str = "some",
    closed: bool | None = None,
    teeth: Collection[int] | None = None,
    shift_mm: Sequence[float] = (0.0, 0.0, 0.0),
    tilt_deg: Sequence[float] = (0.0, 0.0, 0.0),
    scale: float = 1.0,
) -> Jaw:
    """Simulates a patient's jaws.

    Args:
        seed: the number to draw from; it gives the same patient at every spacing and in every field.
        size_mm: of the field along x, y and z.
        spacing_mm: of the voxels.
        metal: "none", "some" or "heavy"; it leaves the teeth as they are.
        closed: True for jaws in contact, False for jaws apart on a bite block, None to draw.
        teeth: codes of the teeth that there are, all of them erupted; None to draw; () leaves none.
        shift_mm: how far the patient is moved to the left, the back and up.
        tilt_deg: how far the patient is turned around x, y and z, by the right-hand rule.
        scale: size of the patient, 1 for an average adult; about 0.7 gives teeth of the size of milk teeth.

    Raises:
        ValueError: an argument is out of range.
    """
    _check(size_mm, spacing_mm, metal, teeth, scale)
    patient = draw_patient(seed, scale, closed)
    places = draw_teeth(seed, patient, teeth)
    works = plan_metal(seed, metal, places, implants=teeth is None)
    field = Field.covering(size_mm, spacing_mm)
    head = head_frame(shift_mm, tilt_deg)
    frames = {upper: patient.frame(head, upper) for upper in (True, False)}
    canvas = Canvas(field, soft=1.0)
    dentition = stand_teeth(field, places, frames)
    bone = paint_background(canvas, dentition, patient, head, seed=seed)
    paint_teeth(canvas, dentition, works)
    paint_bars(canvas, works, {tooth.fdi: tooth for tooth in places}, frames)
    _clear(bone, dentition, canvas)
    truths = tuple(_truth(tooth, dentition, works, field) for tooth in places)
    drawn = _parameters(patient, works) | {"shift_mm": list(shift_mm), "tilt_deg": list(tilt_deg)}
    return Jaw(seed, canvas.materials, dentition.labels, bone, field.affine(), truths, metal, drawn)


def _check(
    size_mm: Sequence[float], spacing_mm: float, metal: str, teeth: Collection[int] | None, scale: float
) -> None:
    if metal not in METAL_LEVELS:
        raise ValueError(f"metal is one of {', '.join(METAL_LEVELS)}, not {metal!r}")
    if len(size_mm) != 3 or min(size_mm) <= 0:
        raise ValueError(f"size_mm is three positive lengths, not {size_mm!r}")
    if not 0.1 <= spacing_mm <= 2:
        raise ValueError(f"spacing_mm lies between 0.1 and 2, not {spacing_mm}")
    if not 0.4 <= scale <= 1.3:
        raise ValueError(f"scale lies between 0.4 and 1.3, not {scale}")
    unknown = sorted(set(teeth or ()) - set(CODES))
    if unknown:
        raise ValueError(f"teeth are FDI codes 11 to 48, which {unknown[0]} is not")


def head_frame(shift_mm: Sequence[float], tilt_deg: Sequence[float]) -> Frame:
    """The frame of the head in a field: x, y and z of the patient who is not shifted and tilted."""
    turn = turned(2, tilt_deg[2]) @ turned(1, tilt_deg[1]) @ turned(0, tilt_deg[0])
    return Frame().then(turn.T, np.asarray(shift_mm, float))


def _clear(bone: NDArray[np.uint8], dentition: Dentition, canvas: Canvas) -> None:
    """Takes teeth and dental work out of the map of the bone, in place."""
    bone[dentition.labels > 0] = 0
    for name in set(canvas.materials) - {"soft", "mineral"}:
        bone[canvas.materials[name] > 0.5] = 0


def _truth(tooth: Tooth, dentition: Dentition, works: Works, field: Field) -> ToothTruth:
    window = dentition.windows.get(tooth.fdi)
    voxels = np.argwhere(dentition.labels[window] == tooth.fdi) if window else np.zeros((0, 3))
    state = tooth.state
    if any(work.kind == "implant" for work in works.teeth.get(tooth.fdi, ())):
        state = "implant"
    affine = field.affine()
    if window and len(voxels):
        index = voxels.mean(axis=0) + [part.start for part in window]
        centre = affine[:3, :3] @ index + affine[:3, 3]
    else:
        centre = dentition.frames[tooth.upper].back(tooth.neck)[0] * [-1, -1, 1]
    return ToothTruth(
        fdi=tooth.fdi,
        state=state,
        metal=works.materials(tooth.fdi),
        volume_mm3=float(len(voxels) * field.spacing**3),
        length_mm=float(tooth.shape.length),
        cut_by_field=tooth.state != "missing" and dentition.is_cut(tooth),
        centre_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
    )


def _parameters(patient: Patient, works: Works) -> dict[str, Any]:
    """What was drawn, in plain types."""
    pieces = {fdi: [(work.kind, work.material) for work in row] for fdi, row in sorted(works.teeth.items())}
    bars = [(kind, list(codes), material) for kind, codes, material in works.bars]
    face = [[patient.scale * value for value in row] for row in FACE]
    more = {"closed": patient.gap == 0, "works": pieces, "bars": bars, "face_mm": face}
    return asdict(patient) | more
