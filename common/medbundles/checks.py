"""The check of an image against a bundle's own metadata, and the errors it raises."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medbundles.errors import (
    BlankImageError,
    BundleError,
    ChannelError,
    ColourError,
    DatasetError,
    DeviceError,
    DicomOutputError,
    DicomSeriesError,
    DimensionError,
    EmptyInputError,
    GridError,
    InputError,
    MissingContrastError,
    MissingInputError,
    ModalityError,
    NotFiniteError,
    OverrideError,
    SizeError,
    SpacingError,
    UnreadableFileError,
    ValueRangeError,
    bad_spacing,
    describe_shape,
    describe_spacing,
    root_input_error,
)

__all__ = [
    "BlankImageError",
    "BundleError",
    "ChannelError",
    "ColourError",
    "DatasetError",
    "DeviceError",
    "DicomOutputError",
    "DicomSeriesError",
    "DimensionError",
    "EmptyInputError",
    "GridError",
    "InputError",
    "MissingContrastError",
    "MissingInputError",
    "ModalityError",
    "NotFiniteError",
    "OverrideError",
    "SizeError",
    "SpacingError",
    "UnreadableFileError",
    "ValueRangeError",
    "allowed_dims",
    "check_image",
    "root_input_error",
]

MAX_ANISOTROPY = 10.0


def check_image(
    array: np.ndarray,
    *,
    spec: dict,
    calibrated: bool,
    spacing: Sequence[float],
    modality: str | None,
    source: str | Path,
    coloured: float = 0.0,
) -> list[str]:
    """Checks a channel-first image against the `input` block of a bundle's metadata.

    Args:
        array: channel-first image, (C, x, y) or (C, x, y, z).
        spec: the metadata's `medbundles.input`; a missing key is not checked.
        calibrated: whether `spacing` is in millimetres.
        spacing: one value per spatial axis.
        modality: the DICOM modality, None when the file does not say.
        source: the file, for the message.
        coloured: fraction of coloured pixels that were reduced to grey on reading.

    Returns:
        Warnings: what is unusual but usable.

    Raises:
        InputError: one subclass per cause.
    """
    _check_modality(modality, spec, source)
    _check_type(array, source)
    _check_dimension(array, spec, modality, source)
    _check_channels(array, spec, source)
    _check_size(array, spec, source)
    _check_finite(array, source)
    _check_not_blank(array, source)
    return [
        *_check_colour(coloured, spec, source),
        *_check_values(array, spec, source),
        *_check_spacing(spacing, calibrated, spec, source),
    ]


def _check_modality(modality: str | None, spec: dict, source: str | Path) -> None:
    wanted = spec.get("modality") or []
    if modality and wanted and modality not in wanted:
        raise ModalityError(
            f"a DICOM image of modality {modality}",
            expected=f"modality {' or '.join(wanted)}",
            source=source,
            advice="pass an image of the right kind of scanner, or use the bundle made for this one",
        )


def _check_type(array: np.ndarray, source: str | Path) -> None:
    if array.size == 0:
        raise EmptyInputError(
            f"an image without pixels ({describe_shape(array.shape[1:])})",
            expected="an image",
            source=source,
            advice="export the image again",
        )
    if array.dtype.kind in "buif":
        return
    raise ValueRangeError(
        f"values of type {array.dtype}",
        expected="real numbers",
        source=source,
        advice="save the magnitude of complex data; save one number per pixel",
    )


def _check_dimension(array: np.ndarray, spec: dict, modality: str | None, source: str | Path) -> None:
    wanted, shape = allowed_dims(spec), array.shape[1:]
    if not wanted or len(shape) in wanted:
        return
    if wanted == [2] and len(shape) == 3 and modality == "US":
        raise DimensionError(
            f"an ultrasound clip of {shape[2]} frames of {describe_shape(shape[:2])} pixels",
            expected="one single frame (2D)",
            source=source,
            advice="export the frame to be measured as a PNG or as a single-frame DICOM file",
        )
    advice = {
        2: "export the one frame or slice to be analysed as a 2D image",
        3: "pass the whole volume: a NIfTI, NRRD or MHA file, or the folder of the DICOM series",
    }
    raise DimensionError(
        f"a {len(shape)}D image of {describe_shape(shape)}",
        expected=f"a {' or '.join(f'{n}D' for n in wanted)} image",
        source=source,
        advice=advice.get(wanted[-1], "pass an image of the expected dimension"),
    )


def allowed_dims(spec: dict) -> list[int]:
    """Returns the numbers of axes that an input may have; `[2, 3]`: a slice is a volume of one slice."""
    wanted = spec.get("spatial_dims")
    return [] if wanted is None else [wanted] if isinstance(wanted, int) else list(wanted)


def _check_channels(array: np.ndarray, spec: dict, source: str | Path) -> None:
    wanted, channels = spec.get("channels"), array.shape[0]
    if wanted is None or channels == wanted:
        return
    shape = describe_shape(array.shape[1:])
    if channels in (3, 4) and wanted == 1:
        raise ColourError(
            f"a colour image (RGB{'A' if channels == 4 else ''}, {shape})",
            expected="grey values, one channel",
            source=source,
            advice="export the image without colour (no Doppler, no colour map, no coloured drawing)",
        )
    raise ChannelError(
        f"{channels} channels of {shape}",
        expected=f"{wanted} channel{'s' if wanted != 1 else ''}",
        source=source,
        advice="pass the channels as the bundle's documentation lists them, one file each where it says so",
    )


def _check_colour(coloured: float, spec: dict, source: str | Path) -> list[str]:
    if not coloured:
        return []
    if spec.get("colour") == "refuse":
        raise ColourError(
            f"coloured drawing on {100 * coloured:.2g} % of the pixels",
            expected="grey values only",
            source=source,
            advice="export the image without measurement marks and coloured text",
        )
    return [f"{100 * coloured:.2g} % of the pixels are coloured (drawing on the image?); read as grey"]


def _check_size(array: np.ndarray, spec: dict, source: str | Path) -> None:
    if not spec.get("size_px"):
        return
    low, high = spec["size_px"]
    shape = array.shape[1:]
    # Where a slice will do, a volume may have any number of slices: its shortest axis is free.
    by_slice = len(shape) == 3 and 2 in allowed_dims(spec)
    smallest = sorted(shape)[1] if by_slice else min(shape)
    if smallest < low or max(shape) > high:
        raise SizeError(
            f"an image of {describe_shape(shape)} pixels",
            expected=f"{low} to {high} pixels along every axis{' of a slice' if by_slice else ''}",
            source=source,
            advice="export at the original resolution" if smallest < low else "crop or resample the image",
        )


def _check_finite(array: np.ndarray, source: str | Path) -> None:
    if not np.issubdtype(array.dtype, np.floating):
        return
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        nans = int(np.count_nonzero(np.isnan(array)))
        raise NotFiniteError(
            f"{bad} of {array.size} pixels are not numbers ({nans} NaN, {bad - nans} infinite)",
            expected="finite numbers",
            source=source,
            advice="repair the step that wrote this file (a division by zero, a mask filled with NaN)",
        )


def _check_not_blank(array: np.ndarray, source: str | Path) -> None:
    if array.min() == array.max():
        raise BlankImageError(
            f"every pixel has the value {array.flat[0]}",
            expected="an image with content",
            source=source,
            advice="check the export: this frame is empty",
        )


def _check_span(array: np.ndarray, spec: dict, source: str | Path) -> None:
    """Values in a physical unit reach from below one number to above another; rescaled ones do not."""
    below, above = spec.get("value_span") or (math.inf, -math.inf)
    least, most = array.min(), array.max()
    if least > below or most < above:
        raise ValueRangeError(
            f"values from {least:g} to {most:g}",
            expected=f"values from {below:g} or less to {above:g} or more",
            source=source,
            advice="pass the original image: rescale slope and intercept applied, no window, not normalised",
        )


def _check_values(array: np.ndarray, spec: dict, source: str | Path) -> list[str]:
    """A few outliers (metal, padding) are usual and only noted; the bulk must lie in the range."""
    _check_span(array, spec, source)
    if not spec.get("value_range"):
        return []
    low, high = spec["value_range"]
    least, most = array.min(), array.max()
    if least >= low and most <= high:
        return []
    p1, p99 = np.percentile(array, [1, 99])
    text = f"values from {least:g} to {most:g} (1st and 99th percentile {p1:g} and {p99:g})"
    if p1 < low or p99 > high:
        raise ValueRangeError(
            text,
            expected=f"values from {low:g} to {high:g}",
            source=source,
            advice="pass the original image, neither normalised nor windowed",
        )
    return [f"{text}; expected {low:g} to {high:g}"]


def _check_spacing(spacing: Sequence[float], calibrated: bool, spec: dict, source: str | Path) -> list[str]:
    if not all(math.isfinite(s) and s > 0 for s in spacing):
        raise bad_spacing(spacing, source)
    if not calibrated:
        return _uncalibrated(spec, source)
    low, high = spec.get("spacing_mm") or (0.0, math.inf)
    if min(spacing) < low or max(spacing) > high:
        raise SpacingError(
            f"a pixel spacing of {describe_spacing(spacing)}",
            expected=f"{low:g} to {high:g} mm",
            source=source,
            advice="correct the header (is its unit cm or micrometre?), or state the size: --pixel_mm 0.2",
        )
    if max(spacing) > MAX_ANISOTROPY * min(spacing):
        return [f"very uneven pixel spacing: {describe_spacing(spacing)}"]
    return []


def _uncalibrated(spec: dict, source: str | Path) -> list[str]:
    if spec.get("calibration") == "required":
        raise SpacingError(
            "no pixel spacing",
            expected="an image whose header says how many millimetres a pixel has",
            source=source,
            advice="pass the DICOM original, or state the size of a pixel: --pixel_mm 0.2",
        )
    return [
        "not calibrated: sizes are in pixels; state the size of a pixel with --pixel_mm to get millimetres"
    ]
