"""Simulated frames of this bundle's anatomy with complete labels and exactly known circumferences."""

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from medbundles.datasets.simulated import write_table
from medbundles.io import write_image
from medbundles.simulators.ultrasound_scenes import STANDARD, Frame, simulate_abdomen, simulate_head

DOTTED_NAME = "fetal_biometry.simulator.write_cases"
# Of ten cases seven are standard planes of the abdomen, one is a plane that is not, two are heads.
KINDS = (
    "abdomen",
    "abdomen",
    "head",
    "abdomen",
    "abdomen",
    "other plane",
    "abdomen",
    "abdomen",
    "head",
    "abdomen",
)
OTHER_PLANES = (("vein", "spine"), ("stomach", "spine"), ("spine",), ("kidneys", "spine"))


def write_cases(folder: str | Path, n: int, seed: int) -> list[dict[str, Any]]:
    """Writes n cases into `images/`, `labels/` and `cases.json`; case i is the same whatever n is.

    Returns:
        the entries of `cases.json`: name, image, label, seed, spacing_mm, expected measurements.
    """
    folder = Path(folder)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    cases = [_write_case(folder, index, seed) for index in tqdm(range(n), unit="frame", disable=None)]
    write_table(folder, DOTTED_NAME, seed, cases)
    return cases


def simulate(index: int, seed: int) -> Frame:
    """The frame of one case; it depends on nothing but its index and the seed."""
    kind = KINDS[index % len(KINDS)]
    stream = [seed, index]
    if kind == "head":
        return simulate_head(stream)
    if kind == "other plane":
        return simulate_abdomen(stream, structures=OTHER_PLANES[index // len(KINDS) % len(OTHER_PLANES)])
    return simulate_abdomen(stream, structures=STANDARD)


def _write_case(folder: Path, index: int, seed: int) -> dict[str, Any]:
    frame = simulate(index, seed)
    name = f"simulated_{seed}_{index:04d}"
    spacing = frame.spacing_mm
    affine = np.diag([-spacing, -spacing, 1.0, 1.0])
    paths = {key: f"{key}s/{name}.nii.gz" for key in ("image", "label")}
    write_image(frame.image[None], folder / paths["image"], affine=affine, description="simulated")
    write_image(frame.label[None], folder / paths["label"], affine=affine, description="simulated")
    names = ("HC", "OFD", "BPD") if frame.truth["kind"] == "head" else ("AC", "APAD", "TAD")
    expected = [{"name": name, "value": frame.truth[name], "unit": "mm"} for name in names]
    return {"name": name, **paths, "seed": seed, "spacing_mm": [spacing, spacing], "expected": expected}
