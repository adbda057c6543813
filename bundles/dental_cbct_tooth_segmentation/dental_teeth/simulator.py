"""Simulated dental cone-beam scans in the layout of ToothFairy, with exact labels of every tooth.

A patient is a formula of the place, so the truth is not resampled: the same patient is evaluated once on the
grid that is scanned and once on the grid that is reconstructed.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dental_teeth.plans import SPACING_MM, Plan, draw_plan, draw_toothless
from medbundles.datasets.simulated import write_table
from medbundles.errors import InputError
from medbundles.io import atomic_path, write_image
from medbundles.simulators import cbct
from medbundles.simulators.fields import Draws
from medbundles.simulators.jaw import METAL_LEVELS, Jaw, head_frame

DOTTED_NAME = "dental_teeth.simulator.write_cases"
SPACINGS = (0.12, 1.8)  # finest and coarsest
SCANNERS = ("trained", "other")
PATIENTS = {"usual": draw_plan, "toothless": draw_toothless}
FOLDERS = ("imagesTr", "labelsTr", "sidecars")
MARGIN_MM = 2.0  # scanned around the field of view, so that its border cuts through tissue and teeth
OTHER_NAME = "simulated_other_"
OTHER_PATIENTS = 1_000_000_000  # added to the seed: no patient is seen by both scanners
TOOTHLESS_NAME, TOOTHLESS_PATIENTS = "toothless_", 2_000_000_000
OTHER_GRID = 0.85  # of the voxels: what the other scanner sees is finer than what it reconstructs


def write_cases(
    folder: str | Path,
    n: int,
    seed: int,
    *,
    spacing_mm: float = SPACING_MM,
    device: str = "cpu",
    metal: str | None = None,
    scanner: str = "trained",
    patients: str = "usual",
) -> list[dict[str, Any]]:
    """Writes n cases into `imagesTr/`, `labelsTr/`, `sidecars/` and `cases.json`.

    Case i is the same whatever n is. Labels are FDI numbers; 1 is the lower and 2 the upper jaw's bone.

    Args:
        folder: where to.
        n: how many.
        seed: the same seed gives the same patients.
        spacing_mm: about the size of the voxels; each case has its own within a tenth of it.
        device: where to scan and reconstruct.
        metal: "none", "some" or "heavy" for all; None takes them in turn.
        scanner: "trained", or "other": patients, scanner and grid that training never sees.
        patients: "usual", or "toothless": in one jaw or both there is no tooth.

    Returns:
        the entries of `cases.json`; each is in a sidecar, too.

    Raises:
        InputError: there is no such metal, scanner or kind of patients, or voxels are too small or large.
    """
    numbers = tqdm(range(n), unit="scan", disable=None)
    options = {"spacing_mm": float(spacing_mm), "device": device, "metal": metal}
    options |= {"scanner": scanner, "patients": patients}
    cases = [_write_case(Path(folder), index, seed, **options) for index in numbers]
    write_table(folder, DOTTED_NAME, seed, cases)
    return cases


def _write_case(
    folder: Path,
    index: int,
    seed: int,
    *,
    spacing_mm: float = SPACING_MM,
    device: str = "cpu",
    metal: str | None = None,
    scanner: str = "trained",
    patients: str = "usual",
) -> dict[str, Any]:
    """Writes scan, labels and sidecar of one case and returns its entry; processes may share a folder."""
    for part in FOLDERS:
        (folder / part).mkdir(parents=True, exist_ok=True)
    _check(spacing_mm, metal, scanner, patients)
    other, toothless = scanner == "other", patients == "toothless"
    kind = TOOTHLESS_NAME if toothless else ""
    name = f"{OTHER_NAME if other else 'simulated_'}{kind}{seed}_{index:04d}"
    number = 100_000 * seed + index + OTHER_PATIENTS * other + TOOTHLESS_PATIENTS * toothless
    plan = PATIENTS[patients](number, spacing_mm, metal)
    truth, image = plan.jaw(), scan_of(plan, spacing_mm, device, other=other)
    paths = {"image": f"imagesTr/{name}_0000.nii.gz", "label": f"labelsTr/{name}.nii.gz"}
    about = f"simulated, {plan.metal} metal, {scanner} scanner"
    write_image(image[None], folder / paths["image"], affine=truth.affine, description=about)
    labels = np.where(truth.labels > 0, truth.labels, truth.bone)
    write_image(labels[None], folder / paths["label"], affine=truth.affine, description="simulated")
    entry = {"name": name, **paths, "seed": plan.number, "scanner": scanner, **_facts(plan, truth)}
    with atomic_path(sidecar_of(folder / paths["image"], name)) as path:
        path.write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")
    return entry


def sidecar_of(image: str | Path, name: str) -> Path:
    """The file that holds the entry of a case, from the file of its scan and its name."""
    return Path(image).parents[1] / "sidecars" / f"{name}.json"


def _check(spacing_mm: float, metal: str | None, scanner: str, patients: str) -> None:
    if not SPACINGS[0] <= spacing_mm <= SPACINGS[1]:
        raise InputError(f"spacing_mm {spacing_mm:g}", expected=f"{SPACINGS[0]} to {SPACINGS[1]} mm")
    asked = (
        ("metal", metal, (None, *METAL_LEVELS)),
        ("scanner", scanner, SCANNERS),
        ("patients", patients, PATIENTS),
    )
    for name, value, known in asked:
        if value not in known:
            choices = ", ".join(str(choice) for choice in known if choice)
            raise InputError(f"{name} '{value}'", expected=f"one of {choices}")


def scan_of(plan: Plan, spacing_mm: float, device: str = "cpu", *, other: bool = False) -> NDArray[np.int16]:
    """Whole HU on the plan's grid; the patient is scanned on a grid of its own."""
    scanned = plan.jaw(margin_mm=MARGIN_MM, spacing_mm=spacing_mm * (OTHER_GRID if other else 1.0))
    grid = cbct.Grid.centred(plan.size_mm, plan.spacing_mm)
    scanner = _scanner(plan, spacing_mm, scanned, other=other)
    hu, _ = cbct.scan(scanned.materials, scanned.affine, scanner, seed=plan.number, grid=grid, device=device)
    hu = (hu - cbct.AIR) * np.float32(plan.gain) + np.float32(cbct.AIR)
    return np.rint(np.clip(hu, cbct.AIR, plan.top_hu)).astype(np.int16)


def _scanner(plan: Plan, spacing_mm: float, scanned: Jaw, *, other: bool) -> cbct.Scanner:
    """One of the scanners with a protocol of its own, and as many elements and views as the voxels need."""
    draws = Draws(plan.number, "protocol")
    base = cbct.OTHER if other else cbct.TRAINED
    coarse = spacing_mm / SPACING_MM
    kvp = int(draws.choice({"80": 0.2, "90": 0.6, "100": 0.2}))
    return replace(
        base,
        views=max(24, round(base.views * draws.uniform(0.75, 1.0) / coarse)),
        columns=math.ceil(base.columns / coarse),
        rows=math.ceil(base.rows / coarse),
        pitch_mm=base.pitch_mm * coarse,
        kvp=base.kvp if other else kvp,
        # The dose of the patient stays the same, whatever it is shared among.
        quanta=base.quanta * draws.factor(0.4) * coarse**3,
        scatter=base.scatter * draws.uniform(0.6, 1.4),
        rings=base.rings or draws.uniform(0, 0.0015),
        motion_mm=draws.uniform(0.1, 0.4) if draws.chance(0.2) else 0.0,
        hann=base.hann * draws.uniform(0.8, 1.0),
        surroundings=_head(plan, scanned),
    )


def _head(plan: Plan, scanned: Jaw) -> tuple[cbct.Ellipsoid, ...]:
    """The rest of the head, where the patient's is."""
    frame = head_frame(scanned.parameters["shift_mm"], plan.tilt_deg)
    parts = cbct.head(*scanned.parameters["face_mm"])
    return tuple(replace(part, centre=tuple(frame.back(np.array(part.centre))[0])) for part in parts)


def _facts(plan: Plan, truth: Jaw) -> dict[str, Any]:
    """What is known of a case, in plain types."""
    places = {tooth.fdi: tooth for tooth in truth.teeth}
    seen = [int(code) for code in np.unique(truth.labels) if code]
    states = {state: [fdi for fdi, tooth in places.items() if tooth.state == state] for state in _STATES}
    return {
        "spacing_mm": [plan.spacing_mm] * 3,
        "metal": plan.metal,
        "closed": truth.parameters["closed"],
        "tilt_deg": [round(value, 2) for value in plan.tilt_deg],
        "field": plan.field,
        "scale": round(truth.parameters["scale"], 4),
        "teeth": seen,
        **states,
        "cut_by_field": [code for code in seen if places[code].cut_by_field],
        "volume_mm3": {str(code): round(places[code].volume_mm3, 2) for code in seen},
        "length_mm": {str(code): round(places[code].length_mm, 2) for code in seen},
        "tooth_metal": {str(fdi): list(tooth.metal) for fdi, tooth in places.items() if tooth.metal},
        "expected": [
            {"name": f"tooth {code} volume", "value": round(places[code].volume_mm3, 2), "unit": "mm3"}
            for code in seen
            if not places[code].cut_by_field
        ],
    }


_STATES = ("missing", "implant", "impacted")
