"""Where DICOM keeps millimetres and directions: ultrasound regions, pixel spacings, slice positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medbundles.errors import DicomSeriesError, GridError, SpacingError, describe_spacing

if TYPE_CHECKING:
    from pydicom import Dataset

CENTIMETRE = 3  # PhysicalUnitsXDirection, DICOM PS3.3 C.8.5.5.1.15
PLANE = 1  # RegionSpatialFormat: 2D
MM_PER_CM = 10.0
SAME_SCALE = 0.01
SMALL_REGION = 0.1
SAME_POSITION_MM = 1e-3
MAX_UNEVENNESS = 0.2  # of the distance of slices; positions in headers are often rounded
MAX_TILT_DEGREES = 1.0
SCREEN_MODALITIES = ("US", "OT", "SC", "XC", "ES")


@dataclass(frozen=True)
class Calibration:
    """Pixel size (x, y) in millimetres, or one when unknown; where it comes from; what is odd about it."""

    spacing: tuple[float, float]
    calibrated: bool
    name: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stack:
    """Order of slices in space, position of the first, step from one to the next (LPS, millimetres)."""

    order: np.ndarray
    origin: np.ndarray
    step: np.ndarray


def functional(header: "Dataset", frame: int, name: str) -> "Dataset | None":
    """Returns an item of an enhanced file's functional groups, the frame's own before the shared one."""
    for groups, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = header.get(groups)
        if items and index < len(items) and (found := items[index].get(name)):
            return found[0]
    return None


def calibration(header: "Dataset", source: Path) -> Calibration:
    """Returns the pixel size from the ultrasound regions, else from the pixel spacings.

    Raises:
        SpacingError: it is negative, which would mirror the image without a word, or no number.
    """
    found = _calibration(header)
    if not all(np.isfinite(size) and size >= 0 for size in found.spacing):
        raise SpacingError(
            f"a pixel spacing of {describe_spacing(found.spacing)}",
            expected="positive, finite numbers",
            source=source,
            advice="export the image again from the scanner or the archive",
        )
    return found


def _calibration(header: "Dataset") -> Calibration:
    if header.get("SequenceOfUltrasoundRegions"):
        found = region_calibration(header)
        if found.calibrated or found.notes:
            return found
    measures = functional(header, 0, "PixelMeasuresSequence")
    pixel = _pair(header.get("PixelSpacing")) or _pair(measures.get("PixelSpacing") if measures else None)
    if pixel is not None and not _placeholder(pixel, header):
        return Calibration(pixel, True, "DICOM PixelSpacing")
    if (scanned := _pair(header.get("NominalScannedPixelSpacing"))) is not None:
        return Calibration(scanned, True, "DICOM NominalScannedPixelSpacing")
    if (detector := _pair(header.get("ImagerPixelSpacing"))) is not None:
        return _detector_calibration(detector, header)
    return Calibration((1.0, 1.0), False, "none")


def _placeholder(spacing: tuple[float, float], header: "Dataset") -> bool:
    """Screen captures carry 1 mm when nobody measured anything."""
    return spacing == (1.0, 1.0) and header.get("Modality", "OT") in SCREEN_MODALITIES


def _pair(values: Sequence[float] | None) -> tuple[float, float] | None:
    """DICOM gives (between rows, between columns), that is (y, x)."""
    if values is None or isinstance(values, str) or not hasattr(values, "__len__") or len(values) != 2:
        return None
    return float(values[1]), float(values[0])


def _detector_calibration(spacing: tuple[float, float], header: "Dataset") -> Calibration:
    magnification = float(header.get("EstimatedRadiographicMagnificationFactor") or 0)
    if magnification > 0:
        size = (spacing[0] / magnification, spacing[1] / magnification)
        return Calibration(size, True, "DICOM ImagerPixelSpacing and magnification")
    note = (
        f"the header only knows the pixel size at the detector ({describe_spacing(spacing)}), which is "
        "larger than in the patient; state the true size with --pixel_mm"
    )
    return Calibration((1.0, 1.0), False, "none", (note,))


def region_calibration(header: "Dataset") -> Calibration:
    """Returns the scale that the 2D regions of an ultrasound image agree on, else none and a note."""
    regions = [r for r in header.SequenceOfUltrasoundRegions if _is_plane_in_cm(r)]
    sizes = [_region_size(region) for region in regions]
    if not sizes:
        return Calibration((1.0, 1.0), False, "none")
    if any(not np.allclose(size, sizes[0], rtol=SAME_SCALE) for size in sizes):
        listed = " and ".join(sorted({describe_spacing(size) for size in sizes}))
        note = f"the ultrasound regions of this image have different scales ({listed}); crop to one region"
        return Calibration((1.0, 1.0), False, "none", (note,))
    if any(_outside(region, header) for region in regions):
        note = "the calibrated ultrasound region is larger than the picture: resized or cropped afterwards?"
        return Calibration((1.0, 1.0), False, "none", (note,))
    covered = sum(_area(region) for region in regions) / (header.Rows * header.Columns)
    note = (f"the calibrated ultrasound region covers only {100 * covered:.0f} % of the picture",)
    return Calibration(sizes[0], True, "DICOM US region", note if covered < SMALL_REGION else ())


def _is_plane_in_cm(region: "Dataset") -> bool:
    units = (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection"))
    size = _region_size(region)
    usable = all(np.isfinite(s) and s > 0 for s in size)
    return units == (CENTIMETRE, CENTIMETRE) and region.get("RegionSpatialFormat", PLANE) == PLANE and usable


def _region_size(region: "Dataset") -> tuple[float, float]:
    """Millimetres per pixel; the sign of a delta only tells the direction of its axis."""
    x, y = region.get("PhysicalDeltaX") or 0.0, region.get("PhysicalDeltaY") or 0.0
    return abs(float(x)) * MM_PER_CM, abs(float(y)) * MM_PER_CM


def _bounds(region: "Dataset") -> tuple[int, int, int, int] | None:
    names = ("MinX0", "MinY0", "MaxX1", "MaxY1")
    values = [region.get(f"RegionLocation{name}") for name in names]
    return None if None in values else tuple(int(v) for v in values)


def _outside(region: "Dataset", header: "Dataset") -> bool:
    # One pixel of tolerance: exporters differ in whether the last pixel is included.
    bounds = _bounds(region)
    return bounds is not None and (bounds[2] > header.Columns or bounds[3] > header.Rows)


def _area(region: "Dataset") -> int:
    bounds = _bounds(region)
    return 0 if bounds is None else max(bounds[2] - bounds[0], 0) * max(bounds[3] - bounds[1], 0)


def directions(header: "Dataset", source: Path) -> np.ndarray:
    """Returns the LPS directions of rows, columns and their normal as the columns of a 3x3 matrix.

    A file without an orientation, as nearly all ultrasound is, counts as upright.
    """
    plane = functional(header, 0, "PlaneOrientationSequence")
    cosines = (plane if plane is not None else header).get("ImageOrientationPatient")
    if cosines is None or len(cosines) != 6:
        return np.eye(3)
    row, column = np.array(cosines[:3], float), np.array(cosines[3:], float)
    lengths = np.linalg.norm([row, column], axis=1)
    if not (np.allclose(lengths, 1, atol=1e-2) and abs(row @ column) < 1e-2):
        raise GridError(
            "an orientation in the DICOM header that is not two perpendicular directions",
            expected="ImageOrientationPatient with two perpendicular unit vectors",
            source=source,
            advice="export the image again from the scanner or the archive",
        )
    row, column = row / lengths[0], column / lengths[1]
    return np.column_stack([row, column, np.cross(row, column)])


def geometry_of_slices(positions: np.ndarray, axes: np.ndarray, source: Path) -> Stack:
    """Returns the order and step of slices, given the position of each and their common directions.

    Raises:
        DicomSeriesError: two slices at one place, a gap, uneven distances, or a tilted gantry.
    """
    depth = positions @ axes[:, 2]
    order = np.argsort(depth, kind="stable")
    gaps = np.diff(depth[order])
    if (gaps < SAME_POSITION_MM).any():
        raise _bad_series(
            f"{int((gaps < SAME_POSITION_MM).sum()) + 1} slices that share a position",
            source,
            "keep one time point, echo or reconstruction, and no file twice",
        )
    step = (positions[order[-1]] - positions[order[0]]) / len(gaps)
    even = depth[order[0]] + np.arange(len(depth)) * (step @ axes[:, 2])
    if np.abs(depth[order] - even).max() > MAX_UNEVENNESS * float(np.median(gaps)):
        raise _uneven(gaps, source)
    tilt = np.degrees(np.arccos(np.clip(step @ axes[:, 2] / np.linalg.norm(step), -1, 1)))
    if tilt > MAX_TILT_DEGREES:
        raise _bad_series(
            f"slices sheared by {tilt:.1f} degrees (a tilted gantry)",
            source,
            "resample the series to a rectangular grid first (for example with dcm2niix)",
        )
    return Stack(order, positions[order[0]], step)


def _uneven(gaps: np.ndarray, source: Path) -> DicomSeriesError:
    worst, usual = int(np.argmax(np.abs(gaps - np.median(gaps)))), float(np.median(gaps))
    ratio = gaps[worst] / usual
    what = "a gap" if ratio > 1 else "unevenly spaced slices"
    missing = f" (about {round(ratio) - 1} missing)" if round(ratio) > 1 else ""
    return _bad_series(
        f"{what} between slices {worst + 1} and {worst + 2} of {len(gaps) + 1}: "
        f"{gaps[worst]:.3g} mm where {usual:.3g} mm are usual{missing}",
        source,
        "export the complete series again",
    )


def _bad_series(found: str, source: Path, advice: str) -> DicomSeriesError:
    return DicomSeriesError(found, expected="evenly spaced slices of one stack", source=source, advice=advice)
