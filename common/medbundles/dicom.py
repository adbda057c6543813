"""Reads DICOM: one file (frame, clip or enhanced volume) or the slices of a series.

Messages name the file but never quote what it contains: headers hold names and dates of patients.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medbundles.dicom_geometry import Stack, calibration, directions, functional, geometry_of_slices
from medbundles.dicom_pixels import (
    damage_in_words,
    frames_of,
    header_of,
    is_dicom,
    pixels_of,
    without_pydicom_messages,
)
from medbundles.errors import DicomSeriesError, EmptyInputError, UnreadableFileError
from medbundles.formats import DICOM, check_volume
from medbundles.images import Image, affine_from_lps

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_LISTED = 6


@without_pydicom_messages
@damage_in_words
def read_frame(path: Path, source: Path) -> Image:
    """Reads one DICOM file: a frame is 2D; a clip has its frames as third axis; an enhanced volume is 3D."""
    header = header_of(path, source)
    if header is None:
        raise UnreadableFileError(
            "a DICOM file without an image (a report, a plan, a directory)",
            expected="a DICOM image",
            source=source,
            advice="pass the image file itself",
        )
    frames = frames_of(header, source)
    if frames > 1 and functional(header, 0, "PlanePositionSequence") is not None:
        return _volume(header, [path], source, frames)
    array, coloured, notes = pixels_of(path, source)
    known = calibration(header, source)
    affine = affine_of_slices([header], source)
    modality = header.get("Modality") or None
    found = (*known.notes, *notes)
    calibrated = known.calibrated and frames == 1
    return Image(array, affine, calibrated, known.name, modality, source, found, coloured)


@without_pydicom_messages
@damage_in_words
def read_series(folder: Path, source: Path, *, series: str | int | None = None) -> Image:
    """Reads the slices of one series that lie in a folder, in their order in space.

    Raises:
        DicomSeriesError: several series, unequal slices, a gap, or two slices at one position.
    """
    chosen = _slices(folder, source, series)
    if len(chosen) == 1:
        return read_frame(chosen[0][0], source)
    return _volume(chosen[0][1], [p for p, _ in chosen], source, len(chosen), [h for _, h in chosen])


@without_pydicom_messages
@damage_in_words
def slices_in_order(path: Path, source: Path, series: str | None = None) -> "list[tuple[Path, Dataset]]":
    """Returns file and header of each slice that `read_frame` or `read_series` would read, in that order."""
    if path.is_file():
        header = header_of(path, source)
        return [] if header is None else [(path, header)]
    chosen = _slices(path, source, series)
    return chosen if len(chosen) == 1 else [chosen[i] for i in _stack([h for _, h in chosen], source).order]


def affine_of_slices(headers: "Sequence[Dataset]", source: Path) -> np.ndarray:
    """Returns the RAS affine of one slice or of the stack of several."""
    if len(headers) > 1:
        return _affine_of_stack(headers[0], _stack(headers, source), source)
    sides = (*calibration(headers[0], source).spacing, 1.0)
    return affine_from_lps(directions(headers[0], source), sides, _position(headers[0]))


def frames_in_order(header: "Dataset", source: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Returns the frames of an enhanced file, counted from 0, in their order in space, and the RAS affine."""
    stack = _stack_of_frames(header, source, frames_of(header, source))
    return tuple(int(index) for index in stack.order), _affine_of_stack(header, stack, source)


def _stack_of_frames(header: "Dataset", source: Path, count: int) -> Stack:
    positions = [_position(functional(header, i, "PlanePositionSequence")) for i in range(count)]
    return geometry_of_slices(np.array(positions), directions(header, source), source)


def _affine_of_stack(first: "Dataset", stack: Stack, source: Path) -> np.ndarray:
    axes = np.column_stack([directions(first, source)[:, :2], stack.step])
    return affine_from_lps(axes, (*calibration(first, source).spacing, 1.0), stack.origin)


def _slices(folder: Path, source: Path, series: str | int | None) -> "list[tuple[Path, Dataset]]":
    """Returns the files and headers of one series, sorted by file name."""
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]
    files = [p for p in files if p.name.lower().endswith(DICOM) or is_dicom(p)]
    headers = [(p, h) for p in files if (h := header_of(p, source / p.name)) is not None]
    if not headers:
        raise EmptyInputError(
            "a folder without DICOM images",
            expected="the files of one DICOM series, or one image file",
            source=source,
            advice="pass the folder that holds the DICOM files themselves, or one image file",
        )
    chosen = _one_series(headers, series, source)
    _check_uniform([h for _, h in chosen], source)
    return chosen


def _stack(headers: "Sequence[Dataset]", source: Path) -> Stack:
    positions = [_position(header, required=source) for header in headers]
    return geometry_of_slices(np.array(positions), directions(headers[0], source), source)


def _volume(
    first: "Dataset",
    paths: Sequence[Path],
    source: Path,
    count: int,
    headers: "Sequence[Dataset] | None" = None,
) -> Image:
    """Stacks the slices of a series (one file each) or of an enhanced multi-frame file."""
    check_volume((first.Columns, first.Rows, count), source)
    if headers is None:
        stack = _stack_of_frames(first, source, count)
    else:
        stack = _stack(headers, source)
    known = calibration(first, source)
    if headers is None:
        array, _, notes = pixels_of(paths[0], source)
        array = array[..., stack.order]
    else:
        slices = [pixels_of(paths[i], source / paths[i].name) for i in stack.order]
        array, notes = np.stack([pixels for pixels, _, _ in slices], axis=-1), slices[0][2]
    affine = _affine_of_stack(first, stack, source)
    modality = first.get("Modality") or None
    found = (*known.notes, *notes)
    return Image(array, affine, known.calibrated, known.name, modality, source, found)


def _position(item: "Dataset | None", required: Path | None = None) -> list[float]:
    values = None if item is None else item.get("ImagePositionPatient")
    if values is not None and len(values) == 3:
        return [float(v) for v in values]
    if required is not None:
        raise DicomSeriesError(
            "slices without a position (ImagePositionPatient)",
            expected="a position in every slice",
            source=required,
            advice="export the original series, not secondary captures",
        )
    return [0.0, 0.0, 0.0]


def _one_series(
    headers: "list[tuple[Path, Dataset]]", series: str | int | None, source: Path
) -> "list[tuple[Path, Dataset]]":
    groups: dict[str, list] = {}
    for path, header in headers:
        groups.setdefault(str(header.get("SeriesInstanceUID", "")), []).append((path, header))
    if series is not None:
        wanted = str(series)
        groups = {
            uid: files
            for uid, files in groups.items()
            if uid.endswith(wanted) or str(files[0][1].get("SeriesNumber", "")) == wanted
        }
    if len(groups) == 1:
        return next(iter(groups.values()))
    raise DicomSeriesError(
        f"{len(groups)} DICOM series" + (f" named {series}" if series is not None else " in one folder"),
        expected="one series" + (f": {_listed(groups)}" if groups else ""),
        source=source,
        advice="put the series into folders of their own, or choose one by its number or the end of its UID",
    )


def _listed(groups: "dict[str, list[tuple[Path, Dataset]]]") -> str:
    """Number, modality and count of each series; descriptions may hold names and are left out."""
    texts = [
        f"{files[0][1].get('SeriesNumber', '?')} ({files[0][1].get('Modality', '?')}, "
        f"{len(files)} files, UID ends with {uid[-6:]})"
        for uid, files in list(groups.items())[:MAX_LISTED]
    ]
    more = len(groups) - len(texts)
    return "; ".join(texts) + (f"; and {more} more" if more > 0 else "")


def _check_uniform(headers: "Sequence[Dataset]", source: Path) -> None:
    """All slices must have one size, spacing and orientation."""
    kinds = {
        "image sizes": {(h.Rows, h.Columns) for h in headers},
        "pixel spacings": {_rounded(h.get("PixelSpacing"), 4) for h in headers},
        "orientations": {_rounded(h.get("ImageOrientationPatient"), 3) for h in headers},
    }
    for what, values in kinds.items():
        if len(values) > 1:
            raise DicomSeriesError(
                f"{len(values)} different {what} among the {len(headers)} slices",
                expected="slices of one stack",
                source=source,
                advice="remove the files that do not belong (a localizer?), or export the series again",
            )


def _rounded(values: Sequence[float] | None, digits: int) -> tuple[float, ...]:
    # Adding zero makes -0.0 and 0.0 the same.
    return tuple(round(float(v), digits) + 0.0 for v in values or ())
