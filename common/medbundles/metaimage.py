"""Reads MetaImage (MHA, MHD) and NRRD with ITK."""

import re
import zlib
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

import numpy as np

from medbundles.errors import DimensionError, InputError, UnreadableFileError, bad_spacing
from medbundles.formats import METAIMAGE, as_integers, check_volume, suffix_of, to_grey, unreadable
from medbundles.images import Image, affine_from_lps, without_geometry
from medbundles.nrrd import check_header, check_sum

if TYPE_CHECKING:
    import itk

HEADER_BYTES = 65536
DATA_FILE = re.compile(r"(?:ElementDataFile\s*=|data ?file:)(.*)", re.IGNORECASE)

COMPONENTS = {
    "char": "SS",
    "unsigned_char": "UC",
    "short": "SS",
    "unsigned_short": "US",
    "int": "SI",
    "unsigned_int": "UI",
    "long": "D",
    "unsigned_long": "D",
    "long_long": "D",
    "unsigned_long_long": "D",
    "float": "F",
    "double": "D",
}


def read_itk(path: Path, source: Path) -> Image:
    """Reads NRRD or MetaImage; a 2D image with its 2x2 directions is embedded in 4x4."""
    _check_attached(path, source)
    import itk

    reader = itk.MetaImageIO if suffix_of(path) in METAIMAGE else itk.NrrdImageIO
    try:
        if reader is itk.NrrdImageIO:
            check_header(path)
        info = reader.New()
        info.SetFileName(str(path))
        info.ReadImageInformation()
        ndim = info.GetNumberOfDimensions()
        check_volume(tuple(info.GetDimensions(i) for i in range(ndim)), source)
        spacing = [info.GetSpacing(i) for i in range(ndim)]
        if not all(np.isfinite(s) and s > 0 for s in spacing):
            # ITK refuses zero, and makes a negative spacing positive without a word.
            raise bad_spacing(spacing, source)
        if ndim not in (2, 3):
            raise _wrong_axes(ndim, source)
        if reader is itk.NrrdImageIO:
            check_sum(path, info.GetImageSizeInBytes())
        image = _typed_reader(path, info).GetOutput()
        component = info.GetComponentTypeAsString(info.GetComponentType())
    except InputError:
        raise
    except (
        RuntimeError,
        TypeError,
        KeyError,
        ValueError,
        MemoryError,
        OSError,
        EOFError,
        zlib.error,
    ) as error:
        # ITK's own words ("Reason: Success") mislead; they are in the chain of causes.
        raise unreadable(source, "an MHA or NRRD image") from error
    read = _from_itk(image, info.GetPixelTypeAsString(info.GetPixelType()), source)
    return replace(read, array=as_integers(read.array)) if "long" in component else read


def _typed_reader(path: Path, info: "itk.ImageIOBase") -> "itk.ImageFileReader":
    """A reader for the pixel type; ITK's Python has no images of 8-bit signed or 64-bit integers."""
    import itk

    ndim, pixel = info.GetNumberOfDimensions(), info.GetPixelTypeAsString(info.GetPixelType())
    component = getattr(itk, COMPONENTS[info.GetComponentTypeAsString(info.GetComponentType())])
    if pixel == "complex":
        kind = itk.Image[itk.complex[component], ndim]
    elif info.GetNumberOfComponents() > 1:
        kind = itk.VectorImage[component, ndim]
    else:
        kind = itk.Image[component, ndim]
    reader = itk.ImageFileReader[kind].New(FileName=str(path))
    reader.SetImageIO(info)
    reader.Update()
    return reader


def _from_itk(image: "itk.Image", pixel: str, source: Path) -> Image:
    import itk

    ndim = image.GetImageDimension()
    stored = itk.array_from_image(image)
    stored = stored if stored.ndim > ndim else stored[..., None]
    array = np.ascontiguousarray(stored.T)
    directions = itk.array_from_matrix(image.GetDirection())
    affine = affine_from_lps(directions, list(image.GetSpacing()), list(image.GetOrigin()))
    if ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    array, coloured, warnings = to_grey(array) if pixel in ("rgb", "rgba") else (array, 0.0, ())
    calibrated = not without_geometry(affine, array.ndim - 1)
    calibration = "header of the file" if calibrated else "none"
    return Image(array, affine, calibrated, calibration, None, source, warnings, coloured)


def _wrong_axes(ndim: int, source: Path) -> DimensionError:
    return DimensionError(
        f"an image with {ndim} axes",
        expected="2D or 3D",
        source=source,
        advice="export one volume or one frame; channels belong into the pixel type",
    )


def _check_attached(path: Path, source: Path) -> None:
    """Refuses a header whose pixels lie outside its own folder: it could name any file of this machine."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    for line in head.splitlines():
        text = line.decode("latin-1")
        if (match := DATA_FILE.match(text)) is None:
            continue
        name = match[1].strip()
        pieces = PureWindowsPath(name).parts
        if len(pieces) != 1 or ".." in pieces or name == "LIST":
            raise UnreadableFileError(
                "a header whose pixels lie in another folder or in several files",
                expected="the pixels in the same file, or in one file beside it",
                source=source,
                advice="save the image as one .mha, .nrrd or .nii.gz file",
            )
        return
