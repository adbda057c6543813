"""Simulated examinations of amniotic fluid: four quadrants of each patient, exact labels and depths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from amniotic_fluid.measure import DEEPEST
from medbundles.datasets.simulated import write_table
from medbundles.errors import InputError
from medbundles.io import write_image
from medbundles.simulators.ultrasound import render
from medbundles.simulators.ultrasound_examination import QUADRANTS
from medbundles.simulators.ultrasound_fluid import FluidFrame, quadrants
from medbundles.simulators.ultrasound_rf import render_rf

DOTTED_NAME = "amniotic_fluid.simulator.write_cases"
RENDERERS = {"trained": render, "other": render_rf}
OTHER_NAME = "simulated_other_"
OTHER_PATIENTS = 1_000_000  # added to the number: no patient is seen by both renderers
FOLDERS = ("images", "labels")


def write_cases(folder: str | Path, n: int, seed: int, *, renderer: str = "trained") -> list[dict[str, Any]]:
    """Writes n frames into `images/`, `labels/` and `cases.json`: four quadrants of each patient in turn.

    Frame i is the same whatever n is.

    Args:
        folder: where to.
        n: how many frames.
        seed: the same seed gives the same patients.
        renderer: "trained", or "other": patients that training never sees, shown by point scatterers and a
            simulated array (about ten seconds a frame).

    Returns:
        the entries of `cases.json`: name, patient, image, label, seed, spacing_mm, expected measurements.

    Raises:
        InputError: there is no such renderer.
    """
    if renderer not in RENDERERS:
        raise InputError(f"renderer '{renderer}'", expected=f"one of {', '.join(RENDERERS)}")
    cases: list[dict[str, Any]] = []
    for patient in tqdm(range(-(-n // QUADRANTS)), unit="patient", disable=None):
        cases += write_patient(folder, patient, seed, renderer=renderer, most=n - len(cases))
    write_table(folder, DOTTED_NAME, seed, cases)
    return cases


def write_patient(
    folder: str | Path, patient: int, seed: int, *, renderer: str = "trained", most: int = QUADRANTS
) -> list[dict[str, Any]]:
    """Writes the first frames of one patient and returns their entries; processes may share a folder."""
    folder, other = Path(folder), renderer == "other"
    for part in FOLDERS:
        (folder / part).mkdir(parents=True, exist_ok=True)
    name = f"{OTHER_NAME if other else 'simulated_'}{seed}_{patient:04d}"
    stream = [seed, patient + OTHER_PATIENTS * other]
    frames = quadrants(stream, most=most, renderer=RENDERERS[renderer])
    return [{**_write_frame(frame, folder, name), "seed": seed, "renderer": renderer} for frame in frames]


def _write_frame(frame: FluidFrame, folder: Path, patient: str) -> dict[str, Any]:
    name = f"{patient}_q{frame.truth['quadrant']}"
    spacing = float(frame.spacing_mm)
    affine = np.diag([-spacing, -spacing, 1.0, 1.0])
    paths = {key: f"{key}s/{name}.nii.gz" for key in ("image", "label")}
    write_image(frame.image[None], folder / paths["image"], affine=affine, description="simulated")
    write_image(frame.label[None], folder / paths["label"], affine=affine, description="simulated")
    depth = float(frame.truth["depth_mm"])
    expected = [{"name": DEEPEST, "value": depth, "unit": "mm"}] if depth else []
    entry = {"name": name, "patient": patient, **paths, "spacing_mm": [spacing, spacing]}
    return entry | {"depth_mm": depth, "expected": expected}
