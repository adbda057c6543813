"""Scans unlike the usual one: stored otherwise, cut, tilted, with few teeth, or of no teeth at all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import dental_bundle  # noqa: F401, it lets the bundle's package be found
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dental_teeth.plans import Plan, draw_plan
from dental_teeth.simulator import scan_of
from dental_teeth.teeth import FDI_CODES

USUAL_MM, USUAL_MIDDLE = (74.0, 64.0, 54.0), (0.0, 0.0, 0.0)
SIDE_MM, JAW_MM = 46.0, 35.0
TILT = 20.0
FINE_MM, CROP_MM = 0.15, (68.0, 60.0, 50.0)
SOFT_HU = 40.0
MIRRORED = {1: 2, 2: 1, 3: 4, 4: 3}


@dataclass(frozen=True)
class DentalScan:
    """A scan and what is true of it.

    Attributes:
        name: of the situation.
        image: HU (X, Y, Z).
        codes: FDI numbers of the same shape; all 0 where the right answer is a refusal.
        affine: 4x4, RAS.
    """

    name: str
    image: NDArray[np.float32]
    codes: NDArray[np.uint8]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Size of a voxel in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)


def scans(number: int = 0, spacing_mm: float = 0.4, *, fine_mm: float = FINE_MM) -> Iterator[DentalScan]:
    """The same patient in every situation, one after the other; each is simulated when it is asked for.

    Args:
        number: the patient.
        spacing_mm: of the voxels where the situation does not say otherwise.
        fine_mm: of the finest voxels.
    """
    plan = usual_plan(number, spacing_mm)
    usual = scanned("as usual", plan)
    yield usual
    yield from stored_otherwise(usual)
    yield finer(usual, fine_mm)
    for name, change in changes(plan).items():
        yield scanned(name, change)
    yield nobodys(trunk(usual), "a trunk", usual)
    yield nobodys(np.random.default_rng(0).normal(0, 300, usual.image.shape), "noise", usual)


def usual_plan(number: int, spacing_mm: float) -> Plan:
    """Both jaws of a grown patient with level head and no metal."""
    return replace(
        draw_plan(number, spacing_mm, "none"),
        field="both jaws",
        size_mm=USUAL_MM,
        middle_mm=USUAL_MIDDLE,
        tilt_deg=(0.0, 0.0, 0.0),
        spacing_mm=spacing_mm,
        scale=1.0,
        teeth=None,
    )


def changes(plan: Plan) -> dict[str, Plan]:
    """What else is drawn of the patient in each situation."""
    x, y, z = plan.size_mm
    low, high = (
        replace(plan, size_mm=(x, y, JAW_MM), middle_mm=(0.0, 0.0, 14.0 * side), teeth=teeth)
        for side, teeth in ((-1, FDI_CODES[16:]), (1, FDI_CODES[:16]))
    )
    return {
        "0.6 mm voxels": replace(plan, spacing_mm=0.6),
        "the left side": replace(plan, size_mm=(SIDE_MM, y, z), middle_mm=(14.0, 0.0, 0.0)),
        "the upper jaw": high,
        "the lower jaw": low,
        "one tooth": replace(plan, teeth=(36,)),
        "a child's size": replace(plan, scale=0.72),
        "pitched 20 degrees": replace(plan, tilt_deg=(TILT, 0.0, 0.0)),
        "rolled 20 degrees": replace(plan, tilt_deg=(0.0, TILT, 0.0)),
        "turned 20 degrees": replace(plan, tilt_deg=(0.0, 0.0, TILT)),
        "no teeth": replace(plan, teeth=()),
    }


def scanned(name: str, plan: Plan) -> DentalScan:
    """The scan of a plan; labels of bone are left out."""
    truth = plan.jaw()
    image = scan_of(plan, plan.spacing_mm).astype(np.float32)
    return DentalScan(name, image, truth.labels.astype(np.uint8), np.asarray(truth.affine, float))


def stored_otherwise(scan: DentalScan) -> Iterator[DentalScan]:
    """The mirrored patient, and the same patient with axes that run another way."""
    names = np.arange(256, dtype=np.uint8)
    names[11:49] = [code - 10 * (code // 10) + 10 * MIRRORED[code // 10] for code in range(11, 49)]
    across = int(np.abs(scan.affine[0, :3]).argmax())
    image, codes = (np.flip(array, across).copy() for array in (scan.image, names[scan.codes]))
    yield DentalScan("mirrored", image, codes, scan.affine)
    yield flipped(scan, "stored from right to left", (across,))
    yield flipped(scan, "stored as RAS", tuple(int(axis) for axis in ras_flips(scan.affine)))
    turned = np.array([2, 0, 1])
    image, codes = (np.ascontiguousarray(array.transpose(turned)) for array in (scan.image, scan.codes))
    affine = scan.affine.copy()
    affine[:, :3] = scan.affine[:, turned]
    yield DentalScan("stored slice first", image, codes, affine)


def ras_flips(affine: NDArray[np.float64]) -> NDArray[np.intp]:
    """The axes that run to the right, back or down."""
    return np.flatnonzero(affine[:3, :3].sum(axis=0) < 0)


def flipped(scan: DentalScan, name: str, axes: tuple[int, ...]) -> DentalScan:
    """The same scan in space with axes that are stored from their other end."""
    affine = scan.affine.copy()
    for axis in axes:
        affine[:3, 3] += (scan.image.shape[axis] - 1) * affine[:3, axis]
        affine[:3, axis] *= -1
    image, codes = (np.flip(array, axes).copy() for array in (scan.image, scan.codes))
    return DentalScan(name, image, codes, affine)


def finer(scan: DentalScan, spacing_mm: float, counts: Sequence[int] | None = None) -> DentalScan:
    """The middle of the scan on so many finer voxels along each axis; soft tissue beyond its faces."""
    counts = counts or [round(size / spacing_mm) for size in CROP_MM]
    scale = spacing_mm / np.asarray(scan.spacing)
    middle = np.array(scan.codes.shape) / 2
    offset = middle - scale * np.array(counts) / 2
    image = ndimage.affine_transform(scan.image, scale, offset, counts, order=1, cval=SOFT_HU)
    codes = ndimage.affine_transform(scan.codes, scale, offset, counts, order=0)
    step = np.eye(4)
    step[:3, :3], step[:3, 3] = np.diag(scale), offset
    return DentalScan(f"{spacing_mm:g} mm voxels", image, codes, scan.affine @ step)


def trunk(like: DentalScan) -> NDArray[np.float64]:
    """Soft tissue, a spine and ribs on the grid of a scan."""
    places = np.indices(like.image.shape).reshape(3, -1).T
    x, y, z = ((places @ like.affine[:3, :3].T) + like.affine[:3, 3]).T.reshape(3, *like.image.shape)
    x, y, z = (axis - axis.mean() for axis in (x, y, z))
    image = np.where((x / 34) ** 2 + (y / 28) ** 2 < 1, 40.0, -1000.0)
    image[(np.abs((x / 31) ** 2 + (y / 25) ** 2 - 1) < 0.1) & (np.abs((z + 0.4 * y) % 18 - 9) < 3)] = 700
    image[x**2 + (y + 14) ** 2 < 90] = 450
    return image


def nobodys(image: NDArray[np.floating], name: str, like: DentalScan) -> DentalScan:
    """A volume that holds no teeth."""
    return DentalScan(name, image.astype(np.float32), np.zeros_like(like.codes), like.affine)
