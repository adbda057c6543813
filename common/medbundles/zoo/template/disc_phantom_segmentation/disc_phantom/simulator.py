"""Simulated images of one bright ellipse in noise, whose outline and area are exactly known."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbundles.datasets.simulated import write_table
from medbundles.ellipse import Ellipse
from medbundles.io import write_image

DOTTED_NAME = "disc_phantom.simulator.write_cases"
SHAPE = (96, 80)
SPACING_MM = 0.5


def write_cases(folder: str | Path, n: int, seed: int) -> list[dict[str, Any]]:
    """Writes n cases into `images/`, `labels/` and `cases.json`; case i is the same whatever n is.

    Returns:
        the entries of `cases.json`: name, image, label, seed, spacing_mm, expected measurements.
    """
    folder = Path(folder)
    cases = [_write_case(folder, index, seed) for index in range(n)]
    write_table(folder, DOTTED_NAME, seed, cases)
    return cases


def simulate(index: int, seed: int) -> tuple[NDArray[np.uint8], Ellipse]:
    """The image (X, Y) of one case and the outline in it."""
    rng = np.random.default_rng([seed, index])
    centre = (SHAPE[0] / 2 + rng.uniform(-12, 12), SHAPE[1] / 2 + rng.uniform(-10, 10))
    long = rng.uniform(14, 24)
    ellipse = Ellipse(centre, (long, long * rng.uniform(0.6, 0.95)), rng.uniform(0, np.pi))
    values = np.where(ellipse.mask(SHAPE), 160.0, 70.0) + rng.normal(0, 20, SHAPE)
    return np.clip(values, 0, 255).astype(np.uint8), ellipse


def _write_case(folder: Path, index: int, seed: int) -> dict[str, Any]:
    image, ellipse = simulate(index, seed)
    name = f"simulated_{seed}_{index:04d}"
    affine = np.diag([-SPACING_MM, -SPACING_MM, 1.0, 1.0])
    paths = {key: f"{key}s/{name}.nii.gz" for key in ("image", "label")}
    label = ellipse.mask(SHAPE).astype(np.uint8)
    write_image(image[None], folder / paths["image"], affine=affine, description="simulated")
    write_image(label[None], folder / paths["label"], affine=affine, description="simulated")
    value = ellipse.scaled((SPACING_MM, SPACING_MM)).circumference()
    expected = [{"name": "circumference", "value": value, "unit": "mm"}]
    return {"name": name, **paths, "seed": seed, "spacing_mm": [SPACING_MM] * 2, "expected": expected}
