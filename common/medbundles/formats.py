"""The formats that are read, and what all their readers share."""

import logging
from pathlib import Path

import numpy as np

from medbundles.errors import SizeError, UnreadableFileError

logger = logging.getLogger(__name__)

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
NIFTI = (".nii.gz", ".nii")
METAIMAGE = (".mha", ".mhd")
NRRD = (".nrrd", ".nhdr")
SEGMENTATION = ".seg.nrrd"  # of 3D Slicer; to whoever wants pixels alone it is NRRD
DICOM = (".dcm", ".dicom", ".dic", ".ima")
SUFFIXES = (*PICTURES, *NIFTI, *METAIMAGE, *NRRD, *DICOM, ".zip")

MAX_VOXELS = 2**31
GREY_TOLERANCE = 12 / 255  # JPEG stores colour coarsely: grey pictures come back with a little of it
MAX_OVERLAY = 0.03  # measurement marks and coloured text stay below this fraction of the pixels
LUMA = np.array([0.299, 0.587, 0.114])


def suffix_of(path: str | Path) -> str:
    """Returns the lower-case format suffix of a path (`.nii.gz` as one), or "" when it is none of ours."""
    name = Path(path).name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix) and name != suffix), "")


def unreadable(source: str | Path, kind: str, reason: object = "") -> UnreadableFileError:
    """Returns the error for a damaged file; `reason` is the library's own, cut to its last line."""
    text = str(reason).strip()
    if text:
        logger.debug("cannot read %s: %s", source, text)
    detail = f" ({text.splitlines()[-1][:120]})" if text else ""
    return UnreadableFileError(
        f"this cannot be read as {kind}{detail}",
        expected="a complete file of the type that its name says",
        source=source,
        advice="copy or export the file again",
    )


def check_volume(shape: tuple[int, ...], source: str | Path) -> None:
    """Refuses sizes that only a corrupt or hostile header has, before memory is allocated."""
    voxels = int(np.prod([int(n) for n in shape], dtype=object)) if shape else 0
    if voxels > MAX_VOXELS:
        raise SizeError(
            f"a header that announces {voxels:.2g} pixels",
            expected=f"at most {MAX_VOXELS:.2g}",
            source=source,
            advice="check the file (is it corrupt?), or crop it",
        )


def to_grey(pixels: np.ndarray) -> tuple[np.ndarray, float, tuple[str, ...]]:
    """Reduces RGB(A) or grey with alpha to one channel unless it has real colour.

    Returns:
        The pixels, one channel or (real colour) three; the fraction of coloured pixels that were reduced;
        warnings.
    """
    warnings: tuple[str, ...] = ()
    limit = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1.0
    if pixels.shape[0] in (2, 4):
        pixels, alpha = pixels[:-1], pixels[-1:]
        if (alpha < limit).any():
            pixels = np.round(pixels * (alpha / limit)).astype(pixels.dtype)
            warnings = ("the picture is partly transparent: read on a black background",)
    if pixels.shape[0] != 3:
        return pixels, 0.0, warnings
    chroma = pixels.max(axis=0) - pixels.min(axis=0)
    coloured = float(np.mean(chroma > GREY_TOLERANCE * limit))
    if coloured > MAX_OVERLAY:
        return pixels, 0.0, warnings
    if not chroma.any():
        return pixels[:1], 0.0, warnings
    grey = np.tensordot(LUMA, pixels.astype(np.float64), axes=1)[None]
    return np.round(grey).astype(pixels.dtype), coloured, warnings


def as_integers(values: np.ndarray) -> np.ndarray:
    """Returns rescaled values in the smallest of int16, int32 and float32 that keeps them exactly."""
    if values.dtype.kind != "f" or not np.isfinite(values).all() or (values != np.round(values)).any():
        return values.astype(np.float32) if values.dtype == np.float64 else values
    for kind in (np.int16, np.int32):
        limits = np.iinfo(kind)
        if values.size and limits.min <= values.min() and values.max() <= limits.max:
            return values.astype(kind)
    return values.astype(np.float32)
