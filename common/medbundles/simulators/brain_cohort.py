"""Simulated patients written in the folders and names that the public brain-tumour data have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from medbundles import __version__
from medbundles.contrasts import CONTRASTS
from medbundles.datasets.simulated import TABLE
from medbundles.errors import InputError
from medbundles.io import atomic_path, write_image
from medbundles.simulators.brain import Subject, subject

SIMULATOR = "medbundles.simulators.brain_cohort.write_subjects"
MOST = 1000  # subjects of one seed


@dataclass(frozen=True)
class Layout:
    """How one release of the public data names things.

    Attributes:
        case: name of a case for a number.
        file: name of a file for a case and a part.
        parts: what the contrasts, in the order of `CONTRASTS`, and the labels are called.
        enhancing: label of enhancing tumour.
    """

    case: str
    file: str
    parts: tuple[str, str, str, str, str]
    enhancing: int


LAYOUTS = {
    "brats2023": Layout("BraTS-SIM-{:05d}-000", "{}-{}.nii.gz", ("t1n", "t1c", "t2w", "t2f", "seg"), 3),
    "brats2021": Layout("BraTS2021_{:05d}", "{}_{}.nii.gz", ("t1", "t1ce", "t2", "flair", "seg"), 4),
}


def write_subjects(
    folder: str | Path, n: int, seed: int, *, layout: str = "brats2023", spacing_mm: float = 1.0
) -> list[dict[str, Any]]:
    """Writes n subjects, one folder each, and `cases.json`; subject i is the same whatever n is.

    Images are int16 with the description "simulated" in their headers, labels uint8.

    Returns:
        the entries of `cases.json`: name, image (the case's folder), images, label, seed, spacing_mm and the
        expected volumes in mL; paths are relative to the folder.

    Raises:
        InputError: the layout is unknown, or there are more subjects than a seed has.
    """
    if layout not in LAYOUTS:
        raise InputError(f"an unknown layout, '{layout}'", expected=f"one of {', '.join(LAYOUTS)}")
    if not 0 <= n <= MOST:
        raise InputError(f"{n} subjects of one seed", expected=f"at most {MOST}", advice="use several seeds")
    cases = []
    for person in tqdm(subjects(n, seed, spacing_mm), total=n, unit="subject", disable=None):
        cases.append(write_subject(person, Path(folder), LAYOUTS[layout], spacing_mm))
    content = {"simulator": SIMULATOR, "version": __version__, "seed": seed, "cases": cases}
    with atomic_path(Path(folder) / TABLE) as path:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return cases


def subjects(n: int, seed: int, spacing_mm: float = 1.0) -> Iterator[Subject]:
    """Simulates the n subjects of a seed; subjects of different seeds differ."""
    for index in range(n):
        yield subject(MOST * seed + index, spacing_mm=spacing_mm)


def write_subject(person: Subject, folder: Path, layout: Layout, spacing_mm: float = 1.0) -> dict[str, Any]:
    """Writes one subject into a folder of its own; returns its entry of `cases.json`."""
    name = layout.case.format(person.seed)
    labels = np.where(person.labels == 3, layout.enhancing, person.labels).astype(np.uint8)
    # A brain has no zeros inside: readers take the non-zero voxels for it.
    arrays = [np.where(person.mask, np.rint(person.images[c]).clip(1, 32767), 0) for c in CONTRASTS]
    paths = {}
    for key, part, array in zip([*CONTRASTS, "label"], layout.parts, [*arrays, labels], strict=True):
        paths[key] = f"{name}/{layout.file.format(name, part)}"
        values = array if key == "label" else array.astype(np.int16)
        write_image(values[None], folder / paths[key], affine=person.affine, description="simulated")
    return {
        "name": name,
        "image": name,
        "images": {contrast: paths[contrast] for contrast in CONTRASTS},
        "label": paths["label"],
        "seed": person.seed,
        "spacing_mm": [spacing_mm] * 3,
        "expected": [
            {"name": region, "value": round(volume, 3), "unit": "mL"}
            for region, volume in person.parameters["volumes_ml"].items()
        ],
    }
