"""The slices that training and evaluation start from: real ones of any known layout, and simulated hearts."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medbundles.checks import DatasetError, InputError
from medbundles.datasets import ldct, simulated
from medbundles.datasets.split import split_by_group
from medbundles.images import spacing_of
from medbundles.io import read_image
from medbundles.simulators.ct_chest import chest_slice
from medbundles.slices import slice_view, to_slices

logger = logging.getLogger(__name__)

SHARES = {"train": 0.65, "validation": 0.1, "test": 0.25}
AIR_HU = -1000.0
MARGIN = 0.1  # of a volume's slices, at either end, that are left out: the dome of the lung, half slices
SQUARE = 0.01
DOMAINS = ("low", "routine")
ROUTINE = 0.9  # of the routine dose, from which a scan counts as such

Slice = NDArray[np.float32]


@dataclass(frozen=True)
class Anatomy:
    """One slice (X, Y) in HU.

    Attributes:
        name: unique among all slices.
        subject: the patient.
        pixel_mm: size of a pixel.
        routine: at routine dose, or free of noise; None where the data have a low dose only.
        low: at a low dose, where the data have it.
        noise_free: whether `routine` has no noise at all.
        domain: `low` or `routine` where the data say which the patient belongs to.
    """

    name: str
    subject: str
    pixel_mm: float
    routine: Slice | None
    low: Slice | None = None
    noise_free: bool = False
    domain: str | None = None


def find_cases(dataset_dir: str | Path, split: str = "all") -> list[dict[str, Any]]:
    """The cases of a folder that fall into `split` (train, validation, test or all); patients never cross.

    The folder holds cases that `medbundles simulate` wrote; or CT as DICOM: the LDCT-and-Projection-data or
    AAPM-Mayo layout, or any series and slices, taken to be of routine dose; or folders `low` and `routine`
    with DICOM of any patients, each of whom belongs to the domain of the folder.

    Raises:
        DatasetError: there is none.
    """
    root = Path(dataset_dir)
    below = {path.name: path for path in sorted(root.iterdir()) if path.is_dir()} if root.is_dir() else {}
    tables = [folder for folder in [root, *below.values()] if (folder / simulated.TABLE).is_file()]
    found = [_simulated(case) for folder in tables for case in simulated.load(folder)[0]]
    if set(below) >= set(DOMAINS):
        found += [_measured(case, name) for name in DOMAINS for case in ldct.load(below[name])[0]]
    elif root not in tables:
        found += [_measured(case) for case in _dicom(root, required=not found)]
    chosen = found if split == "all" else split_by_group(found, fractions=SHARES)[split]
    if not chosen:
        raise DatasetError(
            f"no case for the split '{split}' among {len(found)}",
            expected="about 10 patients or more, of which some fall into every split",
            source=root,
            advice="add patients, or make some: medbundles simulate",
        )
    return chosen


def slices_of(case: Mapping[str, Any], most: int) -> list[Anatomy]:
    """Up to `most` slices of a case, evenly spaced over its middle; [] if it cannot be read (logged)."""
    try:
        volumes = {key: _read(*case[key]) for key in ("routine", "low") if case[key] is not None}
    except InputError as error:
        logger.warning("left out: %s", error)
        return []
    (first, pixel_mm), *others = volumes.values()
    if any(other.shape != first.shape for other, _ in others):
        logger.warning("left out: the two doses of %s have different grids", case["name"])
        return []
    return [
        Anatomy(
            name=case["name"] if first.shape[-1] == 1 else f"{case['name']}_{z:04d}",
            subject=case["subject"],
            pixel_mm=pixel_mm,
            noise_free=case["noise_free"],
            domain=case["domain"],
            **{key: volumes[key][0][..., z] if key in volumes else None for key in ("routine", "low")},
        )
        for z in chosen_slices(first.shape[-1], most)
    ]


def chosen_slices(count: int, most: int) -> list[int]:
    """At most so many of the slices, evenly spaced over all but the ends of a volume."""
    first, last = MARGIN * (count - 1), (1 - MARGIN) * (count - 1)
    places = first + (last - first) * (np.arange(most) + 0.5) / most
    return sorted({int(z) for z in np.rint(places)})


def heart_phases(
    patient: int, phases: Sequence[int], *, seed: int, domain: str | None = None
) -> Iterator[Anatomy]:
    """Simulated slices of one patient in some of the ten phases of the heart's cycle, 1 to 10."""
    number = 1000 * seed + patient
    for phase in phases:
        scene = chest_slice(number, phase=(phase - 1) / 10)
        name = f"heart_{number}_phase{phase:02d}"
        yield Anatomy(name, f"heart-{number}", scene.pixel_mm, scene.hu, noise_free=True, domain=domain)


def _read(path: str, series: str | None) -> tuple[Slice, float]:
    """Slices (X, Y, N) in standard view and the size of their pixels."""
    image = read_image(path, series=series)
    order, flips = slice_view(image.affine, image.shape)
    pixels = torch.from_numpy(np.ascontiguousarray(image.array, np.float32))
    spacing = np.array(spacing_of(image.affine, 3))[order[:2]]
    if abs(spacing[0] / spacing[1] - 1) > SQUARE:
        raise DatasetError(
            f"pixels of {spacing[0]:.3g} x {spacing[1]:.3g} mm",
            expected="square pixels, as reconstructed",
            source=path,
            advice="leave reformatted images out",
        )
    return np.maximum(to_slices(pixels, order, flips)[0].numpy(), AIR_HU), float(spacing.mean())


def _dicom(root: Path, *, required: bool) -> list[dict[str, Any]]:
    try:
        return ldct.load(root)[0]
    except DatasetError:
        if required:
            raise
        return []


def _simulated(case: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": Path(case["image"]).name.split(".")[0],
        "subject": case["subject"],
        "routine": (case["truth"]["mask"], None),
        "low": (case["image"], None),
        "noise_free": True,
        "kind": "simulated",
        "domain": None,
    }


def _measured(case: Mapping[str, Any], domain: str | None = None) -> dict[str, Any]:
    """A DICOM case: with a routine-dose partner its image is the low dose."""
    own, partner = (case["image"], case["series"]), case["truth"]
    low = domain == "low" or partner or case["dose"] < ROUTINE
    routine = (partner["image"], partner["series"]) if partner else None if low else own
    return {
        "name": "_".join(filter(None, [domain, case["subject"], case["name"]])),
        "subject": case["subject"],
        "routine": routine,
        "low": own if low else None,
        "noise_free": False,
        "kind": "measured",
        "domain": domain,
    }
