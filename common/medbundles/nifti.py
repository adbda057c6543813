"""Reads NIfTI-1 and -2 with nibabel."""

import contextlib
import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medbundles.errors import GridError, InputError
from medbundles.formats import as_integers, check_volume, to_grey, unreadable
from medbundles.images import Image, spacing_of, upright_affine, without_geometry

if TYPE_CHECKING:
    import nibabel

MAX_TRAILING_BYTES = 2**26
MM_PER_UNIT = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}


def read_nifti(path: Path, source: Path) -> Image:
    """Reads NIfTI-1 or -2; a fourth axis is channels, a third axis of length one is dropped."""
    import nibabel

    errors = (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError)
    errors += (OSError, EOFError, ValueError, TypeError, zlib.error, struct.error, MemoryError, KeyError)
    try:
        with _opened(path) as image:
            if not isinstance(image, nibabel.Nifti1Pair):
                raise ValueError("not NIfTI")
            check_volume(image.shape, source)
            raw = _raw_header(image)
            stored = np.asanyarray(image.dataobj)
    except InputError:
        raise
    except errors as error:
        raise unreadable(source, "a NIfTI image", error if str(path) not in str(error) else "") from error
    scaled = image.dataobj.slope != 1.0 or image.dataobj.inter != 0.0
    array, coloured, warnings = _nifti_channels(as_integers(stored) if scaled else stored)
    ndim = array.ndim - 1
    affine, note = _nifti_affine(image, raw, ndim, source)
    unit = raw.get_xyzt_units()[0] if _known_units(raw) else "unknown"
    calibrated = not (unit == "unknown" and without_geometry(affine, ndim))
    affine[:3] *= MM_PER_UNIT.get(unit, 1.0)
    calibration = "NIfTI header" if calibrated else "none"
    return Image(array, affine, calibrated, calibration, None, source, (*warnings, *note), coloured)


@contextlib.contextmanager
def _opened(path: Path) -> "Iterator[nibabel.spatialimages.SpatialImage]":
    """Yields the image; what was read of a gzip file counts only if the sum at its end agrees.

    nibabel stops behind the last pixel and never gets there, so that damaged pixels would pass.
    """
    import nibabel

    if path.suffix.lower() != ".gz":
        yield nibabel.load(path)
        return
    with gzip.open(path, "rb") as stream:
        kinds = {348: nibabel.Nifti1Image, 540: nibabel.Nifti2Image}  # by the length of the header
        head = stream.read(4)
        found = [int.from_bytes(head, order) for order in ("little", "big")]
        stream.seek(0)
        kind = next((kinds[length] for length in found if length in kinds), None)
        if kind is None:
            raise ValueError("not NIfTI")
        yield kind.from_stream(stream)
        if len(stream.read(MAX_TRAILING_BYTES)) == MAX_TRAILING_BYTES:
            raise ValueError("much more data than the header announces")


def _raw_header(image: "nibabel.Nifti1Image") -> "nibabel.Nifti1Header":
    """The header as stored: nibabel repairs zero and negative spacing silently when it loads."""
    entry = image.file_map["header" if "header" in image.file_map else "image"]
    with entry.get_prepare_fileobj("rb") as file:
        return type(image.header).from_fileobj(file, check=False)


def _known_units(header: "nibabel.Nifti1Header") -> bool:
    return int(header["xyzt_units"]) & 7 in (0, 1, 2, 3)


def _nifti_channels(stored: np.ndarray) -> tuple[np.ndarray, float, tuple[str, ...]]:
    """Channel-first array; RGB types become channels, (W, H, 1) becomes 2D."""
    coloured = bool(stored.dtype.names)
    if coloured:
        stored = np.stack([stored[name] for name in stored.dtype.names], axis=-1)
        stored = stored.reshape(*stored.shape[:3], -1) if stored.ndim > 3 else stored[..., None, :]
    while stored.ndim > 4 and 1 in stored.shape[3:]:
        stored = np.squeeze(stored, axis=3 + stored.shape[3:].index(1))
    array = stored[None] if stored.ndim < 4 else np.moveaxis(stored, -1, 0)
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    return to_grey(array) if coloured else (array, 0.0, ())


def _nifti_affine(
    image: "nibabel.Nifti1Image",
    raw: "nibabel.Nifti1Header",
    ndim: int,
    source: Path,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The sform, else the qform, else upright (2D) or nibabel's default (3D), with a warning."""
    from nibabel.spatialimages import HeaderDataError

    header = image.header
    try:
        qform = header.get_qform(coded=True)[0]
    except (HeaderDataError, ValueError, ArithmeticError):
        qform = np.full((4, 4), np.nan)
    sform = header.get_sform(coded=True)[0]
    zooms = np.asarray(raw["pixdim"][1 : ndim + 1], float)
    if sform is None and (not np.isfinite(zooms).all() or (zooms <= 0).any()):
        usable = zooms if ndim == 3 else (*zooms, 1.0)
        return upright_affine([z if np.isfinite(z) and z > 0 else 0.0 for z in usable]), ()
    if sform is not None and qform is not None:
        _check_agreement(sform, qform, (*image.shape[:ndim], 1, 1)[:3], source)
    best = sform if sform is not None else qform
    if best is None:
        best = upright_affine(zooms) if ndim == 2 else header.get_base_affine()
        return np.array(best, float), (
            "the NIfTI header has no orientation; the stored axes were taken as they are",
        )
    return _with_third_axis(np.array(best, float), ndim), ()


def _with_third_axis(affine: np.ndarray, ndim: int) -> np.ndarray:
    """Some writers leave the axis that a 2D image does not have at zero."""
    if ndim == 2 and not np.linalg.norm(affine[:3, 2]) > 0:
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / (np.linalg.norm(normal) or 1.0)
    return affine


def _check_agreement(sform: np.ndarray, qform: np.ndarray, shape: tuple[int, ...], source: Path) -> None:
    """Both transforms must put every corner of the image at the same place, within half a pixel."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij"), -1).reshape(-1, 3)
    corners = np.c_[corners, np.ones(len(corners))]
    apart = np.linalg.norm(corners @ (sform - qform).T, axis=1).max()
    if apart <= 0.5 * max(min(spacing_of(sform, 2)), 1e-6):
        return
    raise GridError(
        "two positions in one NIfTI header: qform and sform disagree"
        + (f" by {apart:.3g} mm" if np.isfinite(apart) else ""),
        expected="one position and orientation",
        source=source,
        advice="find out which one is right and write it to both, or export the image again",
    )
