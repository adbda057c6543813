"""Reading, finding and writing images in every format that the bundles accept."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medbundles.archives import split_archive, unpacked
from medbundles.cases import case_name, existing, find_cases, only_case, result_extension
from medbundles.dicom import read_frame, read_series
from medbundles.dicom_pixels import is_dicom
from medbundles.errors import EmptyInputError, InputError, UnreadableFileError
from medbundles.formats import DICOM, METAIMAGE, NIFTI, NRRD, PICTURES, suffix_of
from medbundles.images import Image, frame_axes, with_pixel_size
from medbundles.metaimage import read_itk
from medbundles.nifti import read_nifti
from medbundles.outputs import make_folder, writing
from medbundles.pictures import read_picture
from medbundles.writing import write_array

__all__ = [
    "Image",
    "atomic_folder",
    "atomic_path",
    "case_name",
    "find_cases",
    "frame_axes",
    "read_image",
    "remove",
    "result_extension",
    "with_pixel_size",
    "write_image",
]

SUPPORTED = "PNG, JPEG, BMP, TIFF, NIfTI, NRRD, MHA, DICOM, or a zip of these"


def read_image(
    path: str | Path, *, pixel_mm: float | Sequence[float] | None = None, series: str | int | None = None
) -> Image:
    """Reads one image: a PNG, JPEG, BMP, TIFF, NIfTI, NRRD, MHA or DICOM file, a DICOM folder, or a zip of
    one.

    Geometry. The affine leads from voxel index (x, y[, z]) to millimetres in RAS and is the file's own, so
    a result with the same affine lies on the same grid. A 2D frame has the full 4x4 too. Where the header
    gives it: DICOM from ImageOrientationPatient, a 2D NIfTI (also one stored as (W, H, 1)) from its sform
    or qform, 2D MHA and NRRD from their 2x2 directions embedded in 4x4, pictures from the EXIF orientation;
    where it gives none the frame is upright: diag(-sx, -sy, 1, 1), that is x to LPS +x (left) and y to LPS
    +y (back). To bring a frame upright from the affine alone, use `frame_axes(affine)`: the 2x2 matrix of
    its pixel axes on the screen, which is diag(sx, sy) for an upright frame, has negative entries for a
    mirrored one and is anti-diagonal for a frame turned by 90 degrees. It equals the LPS upper-left 2x2
    block of every axial or planeless frame.

    Calibration. The spacing is in millimetres only if `calibrated`. Pictures never are. A 2D frame whose file
    gives a spacing of exactly one without a unit is not. `pixel_mm` overrides what the header says.

    Args:
        path: a file, a folder with one DICOM series, a zip, or a path that leads into a zip (`a.zip/b.png`).
        pixel_mm: size of a pixel in millimetres, one number or one per axis.
        series: SeriesNumber or end of the SeriesInstanceUID, for a folder with several DICOM series.

    Raises:
        InputError: one subclass per cause.
    """
    source = Path(path)
    inside = split_archive(source)
    if inside is None:
        return with_pixel_size(_read(existing(source), source, series), pixel_mm)
    with unpacked(*inside) as target:
        image = _read(only_case(target, source), source, series)
        return with_pixel_size(replace(image, array=np.array(image.array)), pixel_mm)


def _read(path: Path, source: Path, series: str | int | None) -> Image:
    if path.is_dir():
        return read_series(path, source, series=series)
    if suffix_of(path) in DICOM or (not suffix_of(path) and is_dicom(path)):
        return read_frame(path, source)
    return _read_file(path, source)


def _read_file(path: Path, source: Path) -> Image:
    """Reads one file by its suffix (not DICOM, not zip); `source` is what the user calls it."""
    if path.stat().st_size == 0:
        raise EmptyInputError(
            "a file of 0 bytes", expected="an image", source=source, advice="copy or export the file again"
        )
    suffix = suffix_of(path)
    if suffix in PICTURES:
        return read_picture(path, source)
    if suffix in NIFTI:
        return read_nifti(path, source)
    if suffix in (*METAIMAGE, *NRRD):
        return read_itk(path, source)
    raise UnreadableFileError(
        f"a file of unsupported type {path.suffix or '(no extension)'}",
        expected=SUPPORTED,
        source=source,
        advice="convert the file to one of these formats",
    )


def write_image(array: np.ndarray, path: str | Path, *, affine: np.ndarray, description: str = "") -> None:
    """Writes a channel-first image, (C, x, y) or (C, x, y, z), whole or not at all, in the format of the
    extension.

    Reading it back gives the same values, type, shape and affine. A 2D image stays 2D; a 2D NIfTI has the
    full affine, and a 2D MHA or NRRD whose plane is not axial is stored with a third axis of length one,
    which can say so.

    Args:
        array: the pixels; PNG takes 8-bit 2D images of one or three channels.
        path: ends in .nii.gz, .nii, .mha, .nrrd or .png.
        affine: 4x4 RAS, as `read_image` gives it (PNG cannot keep it).
        description: for the header, for example that the image was synthesised.
    """
    path = Path(path)
    if suffix_of(path) not in (*NIFTI, ".mha", ".nrrd", ".png"):
        raise InputError(
            f"cannot write files of type {path.suffix or '(none)'}",
            expected=".nii.gz, .nii, .mha, .nrrd or .png",
            source=path,
            advice="choose one of these as output_ext",
        )
    with atomic_path(path) as temporary:
        write_array(array, temporary, np.asarray(affine, float), description)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` with the same suffixes; on success it takes the final name,
    else it goes.

    The final name never shows a half-written file, even if the process is killed; what a kill leaves behind
    is hidden.

    Raises:
        OutputError: the disk is full, or the folder may not be written to.
    """
    path = Path(path)
    make_folder(path.parent)
    suffix = suffix_of(path) or path.suffix
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp{suffix}")
    try:
        with writing(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        _forget(temporary)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yields a temporary folder beside `path`; on success it takes the final name, else it goes.

    A folder that has the name already is replaced as a whole: the final name never shows a mixture.

    Raises:
        OutputError: the disk is full, or the folder may not be written to.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with writing(path):
            temporary.mkdir()
            yield temporary
            remove(path)
            os.replace(temporary, path)
    finally:
        _forget(temporary)


def _forget(temporary: Path) -> None:
    """Removes what was not finished; where that may not be, what went wrong before is what counts."""
    with contextlib.suppress(OSError):
        remove(temporary)


def remove(path: str | Path) -> None:
    """Removes a file, or a folder with all that is in it; from its name at once, whatever happens then."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        hidden = path.with_name(f".{uuid.uuid4().hex}.tmp")
        os.replace(path, hidden)
        shutil.rmtree(hidden)
    else:
        path.unlink(missing_ok=True)
