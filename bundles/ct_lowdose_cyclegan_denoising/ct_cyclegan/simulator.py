"""Simulated low-dose slices of beating hearts with their noise-free truth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from ct_cyclegan.anatomy import Slice
from ct_cyclegan.scans import scan
from medbundles.datasets.simulated import write_table
from medbundles.image_quality import body_mask
from medbundles.images import upright_affine
from medbundles.io import write_image
from medbundles.simulators import ct
from medbundles.simulators.ct_chest import chest_slice

DOTTED_NAME = "ct_cyclegan.simulator.write_cases"
DOSES = (0.1, 0.05, 0.2)
SIZE, PIXEL_MM = 384, 0.95
PHASES = 10
LOCAL_PX = 5.0


def write_cases(folder: str | Path, n: int, seed: int) -> list[dict[str, Any]]:
    """Writes n cases into `images/` (low dose), `labels/` (truth) and `cases.json`, values in HU.

    Case i is the same whatever n is. The expected value is the noise in the body, as simulated.

    Returns:
        the entries of `cases.json`: name, image, label, seed, spacing_mm, dose, expected measurements.
    """
    folder = Path(folder)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    cases = [_write_case(folder, index, seed) for index in tqdm(range(n), unit="slice", disable=None)]
    write_table(folder, DOTTED_NAME, seed, cases)
    return cases


def simulate(index: int, seed: int, doses: Sequence[float]) -> tuple[Slice, list[Slice]]:
    """Truth and one slice for each dose of a case; every case is another patient."""
    number = 1000 * seed + 500 + index  # training's own simulated patients are 1000 * seed + 0, 1, ...
    scene = chest_slice(number, phase=index % PHASES / PHASES, size=SIZE, pixel_mm=PIXEL_MM)
    return scan(scene.hu, scene.pixel_mm, ct.TRAINED, doses, np.random.default_rng([seed, index]))


def typical_noise(noise: Slice, truth: Slice) -> float:
    """The median over the body of the local standard deviation of known noise."""
    local = np.sqrt(ndimage.gaussian_filter(np.square(noise), LOCAL_PX))
    return float(np.median(local[body_mask(truth)]))


def _write_case(folder: Path, index: int, seed: int) -> dict[str, Any]:
    dose = DOSES[index % len(DOSES)]
    truth, (image,) = simulate(index, seed, [dose])
    name = f"simulated_{seed}_{index:04d}"
    affine = upright_affine((PIXEL_MM, PIXEL_MM))
    paths = {}
    for key, array in (("image", image), ("label", truth)):
        paths[key] = f"{key}s/{name}.nii.gz"
        values = np.rint(array).astype(np.int16)
        write_image(values[None], folder / paths[key], affine=affine, description="simulated")
    expected = {"name": "noise before", "value": typical_noise(image - truth, truth), "unit": "HU"}
    spacing = [PIXEL_MM, PIXEL_MM]
    return {"name": name, **paths, "seed": seed, "spacing_mm": spacing, "dose": dose, "expected": [expected]}
