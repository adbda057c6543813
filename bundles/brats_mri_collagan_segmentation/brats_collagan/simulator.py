"""Simulated patients with brain tumours, all contrasts in one file, with exact labels and volumes."""

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from medbundles.datasets.simulated import write_table
from medbundles.io import write_image
from medbundles.regions import region_measurements
from medbundles.simulators.brain import subject
from medbundles.volume_order import DECATHLON_ORDER

DOTTED_NAME = "brats_collagan.simulator.write_cases"
SPACING_MM = 2.0
DESCRIPTION = "simulated: " + ", ".join(DECATHLON_ORDER)


def write_cases(
    folder: str | Path, n: int, seed: int, *, spacing_mm: float = SPACING_MM, device: str = "cpu"
) -> list[dict[str, Any]]:
    """Writes n cases into `images/`, `labels/` and `cases.json`; case i is the same whatever n is.

    Args:
        folder: where to.
        n: how many.
        seed: the same seed gives the same patients, at every spacing.
        spacing_mm: size of the voxels; 1 is that of the public data, 2 takes an eighth of the time.
        device: where to compute.

    Returns:
        the entries of `cases.json`: name, image, label, seed, spacing_mm, expected measurements.
    """
    folder = Path(folder)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    numbers = tqdm(range(n), unit="patient", disable=None)
    cases = [_write_case(folder, index, seed, float(spacing_mm), device) for index in numbers]
    write_table(folder, DOTTED_NAME, seed, cases)
    return cases


def _write_case(folder: Path, index: int, seed: int, spacing_mm: float, device: str) -> dict[str, Any]:
    number = 100_000 * seed + index
    patient = subject(number, spacing_mm=spacing_mm, device=device)
    name = f"simulated_{seed}_{index:04d}"
    paths = {key: f"{key}s/{name}.nii.gz" for key in ("image", "label")}
    # Whole numbers as in the public data; 0 is kept for what is not brain.
    images = np.stack([np.rint(patient.images[contrast]) for contrast in DECATHLON_ORDER])
    images = np.where(patient.mask, np.clip(images, 1, 32767), 0).astype(np.int16)
    write_image(images, folder / paths["image"], affine=patient.affine, description=DESCRIPTION)
    write_image(patient.labels[None], folder / paths["label"], affine=patient.affine, description="simulated")
    found = region_measurements(patient.labels, patient.affine)
    return {
        "name": name,
        **paths,
        "seed": number,
        "spacing_mm": [spacing_mm] * 3,
        "expected": [
            {key: item[key] for key in ("name", "value", "unit")}
            for item in found
            if item["unit"] == "mL" and item["value"]
        ],
    }
