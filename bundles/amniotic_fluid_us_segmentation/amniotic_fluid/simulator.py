"""Simulated amniotic fluid with exact labels and depths: four quadrants of each patient, or single frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from amniotic_fluid.measure import DEEPEST
from medbundles.datasets.simulated import write_table
from medbundles.errors import InputError
from medbundles.io import write_image
from medbundles.simulators.ultrasound_biometry import simulate_biometry
from medbundles.simulators.ultrasound_examination import QUADRANTS
from medbundles.simulators.ultrasound_fluid import FluidFrame, quadrants
from medbundles.simulators.ultrasound_rf import render_rf
from medbundles.simulators.ultrasound_varied import render_varied

DOTTED_NAME = "amniotic_fluid.simulator.write_cases"
RENDERERS = {"trained": render_varied, "other": render_rf}
VIEWS = {
    "quadrants": QUADRANTS,
    "scarce": QUADRANTS,
    "biometry": 1,
}  # and how many frames of a patient they are
OTHER_NAME = "simulated_other_"
OTHER_PATIENTS = 1_000_000  # added to the number: no patient is seen by both renderers
FOLDERS = ("images", "labels")
BIOMETRY_NAME = "simulated_biometry_"
BIOMETRY_STREAM = 78  # third number of a frame's seed, which no patient of quadrants has
SCARCE_NAME = "simulated_scarce_"
SCARCE_STREAM = 79
SCARCE_AFI_MM = (-12.0, 45.0)  # drawn evenly; below zero there is no fluid at all


def write_cases(
    folder: str | Path, n: int, seed: int, *, renderer: str = "trained", views: str = "quadrants"
) -> list[dict[str, Any]]:
    """Writes n frames into `images/`, `labels/` and `cases.json`.

    Frame i is the same whatever n is.

    Args:
        folder: where to.
        n: how many frames.
        seed: the same seed gives the same patients.
        renderer: "trained", or "other": patients that training never sees, shown by point scatterers and a
            simulated array (about ten seconds a frame).
        views: "quadrants": four of each patient in turn; "scarce": the same of patients with little or no
            fluid, whose fetus fills the picture; "biometry": one frame of each patient in which head or
            abdomen fills much of it.

    Returns:
        the entries of `cases.json`: name, patient, image, label, seed, spacing_mm, expected measurements.

    Raises:
        InputError: there is no such renderer, there are no such views, or not by this renderer.
    """
    if renderer not in RENDERERS:
        raise InputError(f"renderer '{renderer}'", expected=f"one of {', '.join(RENDERERS)}")
    if views not in VIEWS or (views != "quadrants" and renderer != "trained"):
        raise InputError(
            f"views '{views}' by the renderer '{renderer}'",
            expected=f"one of {', '.join(VIEWS)}; all but quadrants by the trained one",
        )
    cases: list[dict[str, Any]] = []
    for patient in tqdm(range(-(-n // VIEWS[views])), unit="patient", disable=None):
        if views == "biometry":
            cases.append(write_biometry(folder, patient, seed))
        else:
            most, scarce = n - len(cases), views == "scarce"
            cases += write_patient(folder, patient, seed, renderer=renderer, most=most, scarce=scarce)
    write_table(folder, DOTTED_NAME, seed, cases)
    return cases


def write_patient(
    folder: str | Path,
    patient: int,
    seed: int,
    *,
    renderer: str = "trained",
    most: int = QUADRANTS,
    scarce: bool = False,
) -> list[dict[str, Any]]:
    """Writes the first frames of one patient and returns their entries; processes may share a folder."""
    other = renderer == "other"
    prefix = SCARCE_NAME if scarce else OTHER_NAME if other else "simulated_"
    patient_name = f"{prefix}{seed}_{patient:04d}"
    stream, afi_mm = [seed, patient + OTHER_PATIENTS * other], None
    if scarce:
        stream.append(SCARCE_STREAM)
        afi_mm = max(0.0, float(np.random.default_rng(stream).uniform(*SCARCE_AFI_MM)))
    entries = []
    for frame in quadrants(stream, afi_mm=afi_mm, most=most, renderer=RENDERERS[renderer]):
        name = f"{patient_name}_q{frame.truth['quadrant']}"
        entries.append(
            _write_frame(frame, Path(folder), name, patient_name) | {"seed": seed, "renderer": renderer}
        )
    return entries


def write_biometry(folder: str | Path, number: int, seed: int) -> dict[str, Any]:
    """Writes one frame of a fetal head or abdomen, and returns its entry; processes may share a folder."""
    name = f"{BIOMETRY_NAME}{seed}_{number:04d}"
    frame = simulate_biometry([seed, number, BIOMETRY_STREAM])
    return _write_frame(frame, Path(folder), name, name) | {"seed": seed, "renderer": "trained"}


def _write_frame(frame: FluidFrame, folder: Path, name: str, patient: str) -> dict[str, Any]:
    for part in FOLDERS:
        (folder / part).mkdir(parents=True, exist_ok=True)
    spacing = float(frame.spacing_mm)
    affine = np.diag([-spacing, -spacing, 1.0, 1.0])
    paths = {key: f"{key}s/{name}.nii.gz" for key in ("image", "label")}
    write_image(frame.image[None], folder / paths["image"], affine=affine, description="simulated")
    write_image(frame.label[None], folder / paths["label"], affine=affine, description="simulated")
    depth = float(frame.truth["depth_mm"])
    expected = [{"name": DEEPEST, "value": depth, "unit": "mm"}] if depth else []
    entry = {"name": name, "patient": patient, **paths, "spacing_mm": [spacing, spacing]}
    return entry | {"depth_mm": depth, "expected": expected}
