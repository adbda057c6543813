"""Slices as scanned at a chosen dose, written once to a folder from which training and evaluation read."""

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ct_cyclegan.anatomy import Anatomy, Slice
from medbundles.images import upright_affine
from medbundles.io import atomic_path, write_image
from medbundles.simulators import ct, ct_lesions

logger = logging.getLogger(__name__)

UNSAFE = re.compile(r"[^0-9A-Za-z.-]+")
INDEX = "index.json"
SLICE_MM = 5.0  # distance of the two slices of a case for lesions; they are no neighbours in truth
SINGLE_THREAD = 1  # with more, the last digits would differ between runs
LESIONS = 8
LESION_CONTRAST_HU, LESION_RADIUS_MM = (-50.0, 50.0), (2.0, 5.0)


def scan(
    hu: Slice, pixel_mm: float, scanner: ct.Scanner, doses: Sequence[float], rng: np.random.Generator
) -> tuple[Slice, list[Slice]]:
    """The noise-free reconstruction of a slice and one for each dose, the same in every run."""
    machine = ct.projector(scanner, hu.shape, pixel_mm, SINGLE_THREAD)
    clean = machine.project(hu)
    noisy = [machine.reconstruct(machine.measure(clean, dose, rng)) for dose in doses]
    return machine.reconstruct(clean), noisy


def low_dose(anatomy: Anatomy, doses: Sequence[float], rng: np.random.Generator) -> list[Slice]:
    """The slice at low doses; measured low doses are taken as they are."""
    if anatomy.low is not None:
        return [anatomy.low]
    return scan(anatomy.routine, anatomy.pixel_mm, ct.TRAINED, doses, rng)[1]


def routine_dose(anatomy: Anatomy, dose: float, rng: np.random.Generator) -> Slice:
    """The slice at routine dose, as sharp as the low-dose ones; a real slice brings its own noise."""
    truth, (noisy,) = scan(anatomy.routine, anatomy.pixel_mm, ct.TRAINED, [dose], rng)
    return noisy if anatomy.noise_free else truth


def lesion_stack(
    anatomy: Anatomy, scanner: ct.Scanner, dose: float, rng: np.random.Generator
) -> tuple[Slice, Slice]:
    """Low dose and truth (X, Y, 2) of a slice with inserted lesions and, in the same noise, without."""
    lesions = ct_lesions.random_lesions(
        anatomy.routine,
        anatomy.pixel_mm,
        rng,
        LESIONS,
        contrast_hu=LESION_CONTRAST_HU,
        radius_mm=LESION_RADIUS_MM,
    )
    with_lesions = ct_lesions.insert(anatomy.routine, anatomy.pixel_mm, lesions).hu
    truth, (noisy,) = scan(anatomy.routine, anatomy.pixel_mm, scanner, [dose], rng)
    # Reconstruction is linear: what the lesions add is added to the noisy slice, so that its noise stays.
    added = scan(with_lesions, anatomy.pixel_mm, scanner, [], rng)[0] - truth
    return np.stack([noisy + added, noisy], -1), np.stack([truth + added, truth], -1)


def written(
    folder: str | Path, settings: Mapping[str, Any], write: Callable[[Path], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """What `write` returned when it filled the folder with these settings; done again only if they changed.

    Args:
        folder: the folder; values of the entries that end in .nii are paths relative to it.
        settings: all that the files depend on.
        write: fills the folder and returns an entry for each case.
    """
    folder = Path(folder)
    settings = json.loads(json.dumps(settings))
    entries = _earlier(folder, settings)
    if entries is None:
        logger.info("scanning slices into %s; this is done once", folder)
        folder.mkdir(parents=True, exist_ok=True)
        entries = write(folder)
        with atomic_path(folder / INDEX) as path:
            text = json.dumps({"settings": settings, "cases": entries}, indent=1)
            path.write_text(text + "\n", encoding="utf-8")
    return [{key: _absolute(folder, value) for key, value in entry.items()} for entry in entries]


def write_slice(array: Slice, folder: Path, name: str, pixel_mm: float) -> str:
    """Writes a slice (X, Y) or a stack (X, Y, N) as int16 HU; returns the file's name."""
    path = folder / f"{UNSAFE.sub('_', name)}.nii"
    affine = upright_affine((pixel_mm, pixel_mm, SLICE_MM))
    values = np.clip(np.rint(array), -32768, 32767).astype(np.int16)
    write_image(values[None], path, affine=affine, description="simulated dose")
    return path.name


def _earlier(folder: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    try:
        content = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content["cases"] if content.get("settings") == settings else None


def _absolute(folder: Path, value: Any) -> Any:
    return str(folder / value) if isinstance(value, str) and value.endswith(".nii") else value
