"""Folders of DICOM CT, whatever their layout: which files are slices, and which slices are one series."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medbundles.datasets.records import RejectedRow
from medbundles.dicom_geometry import directions, geometry_of_slices
from medbundles.dicom_pixels import header_of, is_dicom, without_pydicom_messages
from medbundles.errors import InputError
from medbundles.formats import DICOM, suffix_of

MAX_STEP_MM = 20.0  # slices further apart are samples of a scan, not a volume
PROJECTIONS = "projection data, not images"
RESULT = "(medbundles)"  # how the description of a derived series ends
READ = (
    *("Rows", "Columns", "Modality", "ImageType", "NumberOfFrames", "SamplesPerPixel", "SOPInstanceUID"),
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesDescription", "PixelSpacing"),
    *("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "ConvolutionKernel"),
)


@dataclass(frozen=True)
class Slice:
    """What the header of one CT slice says."""

    path: Path
    patient: str
    study: str
    series: str
    description: str
    instance: str
    kernel: str
    thickness_mm: float | None
    spacing_mm: tuple[float, float]
    shape: tuple[int, int]
    position: tuple[float, ...]
    axes: np.ndarray


def dicom_folders(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yields every folder at or below `root` that holds DICOM files, with these files, sorted."""
    for folder, below, names in os.walk(root, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith("."))
        files = [Path(folder) / name for name in sorted(names) if _visible(name)]
        if files := [path for path in files if suffix_of(path) in DICOM or _is_bare(path)]:
            yield Path(folder), files


def _visible(name: str) -> bool:
    return not name.startswith(".") and name.upper() != "DICOMDIR"


def _is_bare(path: Path) -> bool:
    """Archives name their files by UID or number, which look like a suffix, or not at all."""
    ending = path.suffix.lstrip(".")
    return not suffix_of(path) and (not ending or ending.isdigit()) and is_dicom(path)


@without_pydicom_messages
def read_slice(path: Path) -> Slice:
    """Returns what the header of a CT slice says.

    Raises:
        RejectedRow: the file is damaged, or not one slice of a CT.
    """
    from pydicom.errors import BytesLengthException

    try:
        header = header_of(path, path, READ)
        if header is None:
            raise RejectedRow("DICOM, but not an image")
        _check(header)
        return _slice(path, header)
    except InputError:
        raise RejectedRow("the file is damaged, or its geometry is impossible") from None
    except (ValueError, TypeError, AttributeError, BytesLengthException):
        raise RejectedRow("a number in the header is not a number") from None


def _check(header: Any) -> None:
    kinds = [str(kind).upper() for kind in header.get("ImageType") or ()]
    if header.get("Modality") != "CT":
        raise RejectedRow("not CT")
    if "LOCALIZER" in kinds:
        raise RejectedRow("a localizer")
    if "projection" in str(header.get("SeriesDescription", "")).lower():
        raise RejectedRow(PROJECTIONS)
    if int(header.get("NumberOfFrames") or 1) > 1 or header.get("SamplesPerPixel", 1) != 1:
        raise RejectedRow("several frames or colours in one file")
    if str(header.get("SeriesDescription", "")).endswith(RESULT):
        raise RejectedRow("a result of medbundles")
    if not header.get("PixelSpacing"):
        raise RejectedRow("no pixel spacing")


def _slice(path: Path, header: Any) -> Slice:
    rows, columns = (float(value) for value in header.PixelSpacing)
    kernel = header.get("ConvolutionKernel") or ""
    return Slice(
        path=path,
        patient=str(header.get("PatientID") or "").strip(),
        study=str(header.get("StudyInstanceUID") or ""),
        series=str(header.get("SeriesInstanceUID") or ""),
        description=str(header.get("SeriesDescription") or "").strip(),
        instance=str(header.get("SOPInstanceUID") or path),
        kernel=kernel.strip() if isinstance(kernel, str) else "/".join(kernel),
        thickness_mm=float(header.SliceThickness) if header.get("SliceThickness") else None,
        spacing_mm=(columns, rows),
        shape=(int(header.Columns), int(header.Rows)),
        position=tuple(float(value) for value in header.get("ImagePositionPatient") or ()),
        axes=directions(header, path),
    )


def by_series(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Returns the slices of each series, in the order of their first files."""
    groups: dict[str, list[Slice]] = defaultdict(list)
    for item in slices:
        groups[item.series].append(item)
    return list(groups.values())


def is_volume(slices: Sequence[Slice]) -> bool:
    """Whether the slices of a series make one evenly spaced stack, as reading them as a volume takes."""
    first = slices[0]
    alike = all(
        item.shape == first.shape
        and np.allclose(item.spacing_mm, first.spacing_mm, atol=1e-4)
        and np.allclose(item.axes, first.axes, atol=1e-3)
        for item in slices
    )
    if len(slices) < 2 or not alike or any(len(item.position) != 3 for item in slices):
        return False
    try:
        stack = geometry_of_slices(np.array([item.position for item in slices]), first.axes, first.path)
    except InputError:
        return False
    return float(np.linalg.norm(stack.step)) <= MAX_STEP_MM
