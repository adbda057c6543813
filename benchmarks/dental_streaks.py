"""How much of metal's streaks is left in axial slices and in panoramas of the same scan.

A patient is scanned three times: without metal, without metal again with other noise, and with metal; teeth
and bone are the same. Streaks are the difference of grey values with and without metal, outside all places
where the patient itself differs (metal and what it replaces, and two voxels around). The STREAK ENERGY of a
picture is the mean square of that difference over teeth and what is within 3 mm of them, less the mean square
of the difference of the two scans without metal, which is noise; divided by the square of the contrast: mean
grey value of teeth less that of their surroundings, in the scan without metal, at the same places. Only axial
slices that hold metal are looked at, and only rows of the panoramas that its shadow meets. Both pictures are
made of values up to 4000 HU, as the bundle cuts them off. 0.01 says that streaks are a tenth of what sets
teeth apart, in the root mean square.
"""

import json
import logging
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import dental_bundle  # noqa: F401  with it the bundle's package is found
import numpy as np
from numpy.typing import NDArray
from paired_tables import Row, paired_p, table
from scipy import ndimage

from dental_teeth.frame import AIR_HU, Array, NotDentalError
from dental_teeth.jaws import split_jaws
from dental_teeth.panorama import METAL_HU, View, panorama, project_labels
from dental_teeth.reading import views_with_teeth
from dental_teeth.truth import finder_in
from medbundles.evaluation import write_rows
from medbundles.io import atomic_path
from medbundles.metrics import summary
from medbundles.simulators import cbct
from medbundles.simulators.jaw import Jaw, jaw

logger = logging.getLogger(__name__)

NAME = "dental_streaks"
VERSION = 1  # of what is measured
SLICES, PANORAMAS = "axial slices", "panoramas"
AROUND_MM = 3.0
BLUR_VOXELS = 2  # around the metal, where the reconstruction is blurred
CHANGED = 0.02  # of a material's amount: the patients differ here
COARSEST_VIEWS = 24
SPACING_MM = 0.4
TOOTH = 11  # any number, for projecting a mask; replaced by one of the jaw that is looked at

Mask = NDArray[np.bool_]
Picture = NDArray[np.float32]


@dataclass(frozen=True)
class Patients:
    """Which patients are scanned: how many, from which seed, on which grid, and where that is computed."""

    count: int = 12
    seed: int = 0
    spacing_mm: float = SPACING_MM
    device: str = "cpu"


@dataclass(frozen=True)
class Scans:
    """Grey values (X, Y, Z) of one patient, cut off at metal's 4000 HU, with the truth.

    Attributes:
        without: without metal.
        again: without metal, other noise.
        metal: with metal.
        labels: FDI numbers.
        changed: where the patient with metal differs, and what is blurred by it.
        affine: RAS affine of all of them.
    """

    without: Picture
    again: Picture
    metal: Picture
    labels: NDArray[np.uint8]
    changed: Mask
    affine: Array


def streak_rows(patients: Patients, work: Path) -> list[Row]:
    """Two rows per patient, of slices and of panoramas; what was measured before is read."""
    rows: list[Row] = []
    for number in range(patients.count):
        name = f"patient {100_000 * patients.seed + number}"
        settings = {**asdict(patients), "count": 1, "device": "", "version": VERSION}
        path = work / "streaks" / f"{name}.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if kept.get("settings") != settings:
            kept = {"settings": settings, "rows": _rows_of(100_000 * patients.seed + number, patients)}
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(kept) + "\n", encoding="utf-8")
        logger.info("%d of %d, %s", number + 1, patients.count, name)
        rows += [{"case": name, **row} for row in kept["rows"]]
    return rows


def _rows_of(number: int, patients: Patients) -> list[Row]:
    scans = scanned(number, patients.spacing_mm, patients.device)
    try:
        pictures = panorama_energy(scans)
    except NotDentalError as error:
        logger.warning("patient %d is left out: %s", number, str(error).splitlines()[0])
        return []
    return [
        {"picture": picture, "energy": energy, "contrast": contrast}
        for picture, (energy, contrast) in ((SLICES, slice_energy(scans)), (PANORAMAS, pictures))
    ]


def scanned(number: int, spacing_mm: float, device: str = "cpu") -> Scans:
    """Scans a patient of the other scanner without metal twice, and with heavy metal."""
    plain, heavy = (jaw(number, spacing_mm=spacing_mm, metal=metal) for metal in ("none", "heavy"))
    scanner = _scanner(spacing_mm)

    def scan(patient: Jaw, seed: int) -> Picture:
        hu, _ = cbct.scan(patient.materials, patient.affine, scanner, seed=seed, device=device)
        return np.clip(hu, AIR_HU, METAL_HU)

    changed = _differing(plain, heavy)
    return Scans(
        without=scan(plain, 3 * number),
        again=scan(plain, 3 * number + 1),
        metal=scan(heavy, 3 * number + 2),
        labels=plain.labels,
        changed=ndimage.binary_dilation(changed, iterations=BLUR_VOXELS) if changed.any() else changed,
        affine=plain.affine,
    )


def _scanner(spacing_mm: float) -> cbct.Scanner:
    """The other scanner, with as many elements and views as the voxels need; the dose stays the same."""
    coarse, base = spacing_mm / SPACING_MM, cbct.OTHER
    return replace(
        base,
        views=max(COARSEST_VIEWS, round(base.views / coarse)),
        columns=math.ceil(base.columns / coarse),
        rows=math.ceil(base.rows / coarse),
        pitch_mm=base.pitch_mm * coarse,
        quanta=base.quanta * coarse**3,
        rings=0.0,  # they would change with the seed of the noise
        motion_mm=0.0,
    )


def _differing(one: Jaw, other: Jaw) -> Mask:
    found = np.zeros(one.labels.shape, bool)
    for name in {*one.materials, *other.materials}:
        amounts = [patient.materials.get(name, np.float32(0)) for patient in (one, other)]
        found |= np.abs(amounts[0] - amounts[1]) > CHANGED
    return found


def slice_energy(scans: Scans) -> tuple[float, float]:
    """Streak energy and contrast of the axial slices that hold metal."""
    through = scans.changed.any((0, 1))
    teeth = scans.labels > 0
    near = ndimage.distance_transform_edt(~teeth) * scans.affine[2, 2] <= AROUND_MM
    seen = ~scans.changed & through
    return energy_of(scans.without, scans.again, scans.metal, teeth & seen, near & ~teeth & seen)


def panorama_energy(scans: Scans) -> tuple[float, float]:
    """Streak energy and contrast of the panoramas of both jaws, as the scan without metal shows them.

    Raises:
        NotDentalError: there are none.
    """
    jaws = split_jaws(scans.without, scans.affine, finder_in(scans.labels, scans.affine))
    parts = []
    for view in views_with_teeth(jaws).values():
        shadow = _shadow(scans, view)
        teeth = np.zeros(view.shape, bool)
        for mask in project_labels(scans.labels, scans.affine, view).values():
            teeth |= mask
        if not shadow.any() or not teeth.any():
            continue
        near = ndimage.distance_transform_edt(~teeth) * view.pitch_mm <= AROUND_MM
        seen = ~shadow & shadow.any(0)
        pictures = [
            panorama(hu, scans.affine, view, jaws) for hu in (scans.without, scans.again, scans.metal)
        ]
        parts.append([picture[near & seen] for picture in pictures] + [teeth[near & seen]])
    if not parts:
        raise NotDentalError("no metal on any panorama", expected="a patient with metal among the teeth")
    without, again, metal, inside = (np.concatenate(part) for part in zip(*parts, strict=True))
    return energy_of(without, again, metal, inside.astype(bool), ~inside.astype(bool))


def _shadow(scans: Scans, view: View) -> Mask:
    """Where a ray of a panorama meets what differs, whichever jaw's tooth it is in."""
    code = TOOTH if view.jaw == "upper" else TOOTH + 30
    return project_labels(scans.changed * np.uint8(code), scans.affine, view).get(
        code, np.zeros(view.shape, bool)
    )


def energy_of(
    without: Picture, again: Picture, metal: Picture, teeth: Mask, around: Mask
) -> tuple[float, float]:
    """Returns streak energy (see the top of this file) and contrast of pictures of any shape.

    Args:
        without: without metal.
        again: without metal, other noise.
        metal: with metal.
        teeth: where teeth are.
        around: what surrounds them.
    """
    region = teeth | around
    contrast = float(without[teeth].mean() - without[around].mean())
    streaks, noise = (
        float(np.square(other[region].astype(float) - without[region]).mean()) for other in (metal, again)
    )
    return (streaks - noise) / contrast**2, contrast


def write_streaks(rows: list[Row], folder: Path) -> list[str]:
    """Writes the patients and a page; returns the lines that a reader wants first."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(rows, folder / f"{NAME}.csv")
    lines = verdict(rows)
    text = [
        "# Streaks of metal in slices and in panoramas",
        "",
        "Written by `benchmarks/dental_prior.py streaks`. The same patients with and without metal; energy",
        "of the difference outside the metal, noise taken off, relative to the contrast of teeth squared.",
        "",
        *table(summarise(rows) or [{"picture": ""}]),
        "",
        *lines,
    ]
    with atomic_path(folder / f"{NAME}.md") as path:
        path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return lines


def summarise(rows: list[Row]) -> list[Row]:
    """A row per kind of picture: n, mean, sd and median of the energy over patients."""
    result = []
    for picture in (SLICES, PANORAMAS):
        values = [row["energy"] for row in rows if row["picture"] == picture]
        if values:
            figures = summary(values).as_dict()
            result.append(
                {"picture": picture, **{key: figures.get(key, "") for key in ("n", "mean", "sd", "median")}}
            )
    return result


def verdict(rows: list[Row]) -> list[str]:
    """How many times less streak energy panoramas have, patient by patient, with the paired test."""
    slices, panoramas = (
        {row["case"]: row for row in rows if row["picture"] == picture} for picture in (SLICES, PANORAMAS)
    )
    if not slices:
        return ["No patient was measured."]
    less = sum(panoramas[case]["energy"] < row["energy"] for case, row in slices.items())
    ratio = np.median([row["energy"] / max(panoramas[case]["energy"], 1e-9) for case, row in slices.items()])
    p = paired_p(slices, panoramas, "energy")
    return [
        f"Panoramas have less streak energy than slices in {less} of {len(slices)} patients; the median of "
        f"slices over panoramas is {ratio:.3g} (paired Wilcoxon p {p:.3g})."
    ]
