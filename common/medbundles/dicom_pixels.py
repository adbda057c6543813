"""The header and the pixels of one DICOM file.

Messages never quote what the file contains: headers hold names and dates of patients.
"""

import functools
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np

from medbundles.dicom_geometry import functional
from medbundles.errors import InputError, UnreadableFileError
from medbundles.formats import as_integers, check_volume, to_grey

if TYPE_CHECKING:
    from pydicom import Dataset

P, R = ParamSpec("P"), TypeVar("R")

logger = logging.getLogger(__name__)

MAGIC = b"DICM"
HEAD_BYTES = 132
# Rescaled units and inverted display contradict each other only on paper: these values mean what they say.
NEVER_INVERTED = ("CT", "MR", "PT", "NM")


def without_pydicom_messages(function: Callable[P, R]) -> Callable[P, R]:
    """Silences pydicom, which quotes odd header values in warnings and log lines."""

    @functools.wraps(function)
    def quietly(*args: P.args, **options: P.kwargs) -> R:
        log = logging.getLogger("pydicom")
        before, log.disabled = log.disabled, True
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return function(*args, **options)
        finally:
            log.disabled = before

    return quietly


def damage_in_words(function: Callable[P, R]) -> Callable[P, R]:
    """Makes an `InputError` of whatever a header leads to whose values are not what they should be.

    The function's second argument is what the user calls the file. Any element may be damaged, so that all
    are caught at one place; the cause is left out, since it quotes the header.
    """

    @functools.wraps(function)
    def in_words(*args: P.args, **options: P.kwargs) -> R:
        try:
            return function(*args, **options)
        except (InputError, MemoryError):
            raise
        except Exception as error:
            logger.debug("damaged DICOM: %s", type(error).__name__)
            raise _damaged(args[1], "a DICOM file whose header is incomplete or damaged") from None

    return in_words


def is_dicom(path: Path) -> bool:
    """Whether a file begins as a DICOM file does."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)[-len(MAGIC) :] == MAGIC
    except OSError:
        return False


def header_of(path: Path, source: Path, tags: Sequence[str] | None = None) -> "Dataset | None":
    """Returns the header without pixels, or None for a DICOM object that is no image.

    Args:
        path: the file.
        source: what the user calls it.
        tags: the keywords to read, `Rows` and `Columns` among them; None reads all.
    """
    header = _dataset(path, source, pixels=False, tags=tags)
    return header if "Rows" in header and "Columns" in header else None


def _dataset(path: Path, source: Path, *, pixels: bool, tags: Sequence[str] | None = None) -> "Dataset":
    import pydicom

    wanted = None if tags is None else ["SOPClassUID", *tags]

    try:
        # Some exporters leave out the preamble; then only the content shows whether it is DICOM.
        dataset = pydicom.dcmread(path, stop_before_pixels=not pixels, force=True, specific_tags=wanted)
        plausible = bool(dataset) and ("SOPClassUID" in dataset or "Rows" in dataset)
    except Exception:  # pydicom raises whatever a damaged value leads to, and classes of its own
        plausible = False
    if not plausible and not (path.stat().st_size and is_dicom(path)):
        raise _damaged(source, "a file that is empty or not DICOM")
    if not plausible:
        raise _damaged(source, "a DICOM file whose header is incomplete or damaged")
    return dataset


def _damaged(source: Path, found: str) -> UnreadableFileError:
    return UnreadableFileError(
        found,
        expected="a complete DICOM file",
        source=source,
        advice="export or copy the file again",
    )


def frames_of(header: "Dataset", source: Path) -> int:
    """Returns the number of frames."""
    try:
        return int(header.get("NumberOfFrames") or 1)
    except (ValueError, TypeError):
        raise _damaged(source, "a DICOM file whose number of frames is not a number") from None


def pixels_of(path: Path, source: Path) -> tuple[np.ndarray, float, tuple[str, ...]]:
    """Returns channel-first pixels in real units, the fraction of coloured pixels made grey, warnings."""
    dataset = _dataset(path, source, pixels=True)
    frames = frames_of(dataset, source)
    check_volume((dataset.Columns, dataset.Rows, frames), source)
    try:
        stored = _in_units(_decoded(dataset, path), dataset)
        stored = stored.reshape(frames, dataset.Rows, dataset.Columns, -1)
    except (InputError, MemoryError):
        raise
    except Exception:
        raise _damaged(source, "a DICOM file whose pixels are incomplete or damaged") from None
    array = np.ascontiguousarray(stored.T)
    array = array[..., 0] if frames == 1 else array
    return to_grey(array) if array.shape[0] == 3 else (array, 0.0, ())


def _decoded(dataset: "Dataset", path: Path) -> np.ndarray:
    """Stored values in the machine's byte order: (rows, columns[, 3]) or (frames, rows, columns[, 3])."""
    from pydicom.pixels import apply_color_lut
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if not getattr(dataset, "file_meta", None) or "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.ensure_file_meta()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    if _beyond_pydicom(dataset):
        return _decoded_by_itk(path)
    stored = dataset.pixel_array
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
        stored = (stored >> 8).astype(np.uint8) if stored.dtype == np.uint16 else stored
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)


def _beyond_pydicom(dataset: "Dataset") -> bool:
    """JPEG-LS, lossless JPEG and 12-bit JPEG need a plugin of pydicom that is not installed; ITK has them."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import JPEGExtended12Bit

    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax.is_deflated:
        return False
    return not get_decoder(syntax).is_available or (syntax == JPEGExtended12Bit and dataset.BitsStored > 8)


def _decoded_by_itk(path: Path) -> np.ndarray:
    import itk

    return itk.array_from_image(itk.imread(str(path), imageio=itk.GDCMImageIO.New()))


def _in_units(stored: np.ndarray, dataset: "Dataset") -> np.ndarray:
    """Bright is much (MONOCHROME1 inverted) and CT is in HU (rescaled)."""
    from pydicom.pixels import apply_modality_lut

    if dataset.PhotometricInterpretation == "MONOCHROME1" and dataset.get("Modality") not in NEVER_INVERTED:
        top = -1 if dataset.PixelRepresentation else 2 ** int(dataset.BitsStored) - 1
        stored = (top - stored.astype(np.int64)).astype(stored.dtype)
    if _beyond_pydicom(dataset):
        return as_integers(stored)  # ITK has applied the rescaling
    if "RescaleSlope" in dataset or "ModalityLUTSequence" in dataset:
        return as_integers(apply_modality_lut(stored, dataset))
    return _frames_in_units(stored, dataset)


def _frames_in_units(stored: np.ndarray, dataset: "Dataset") -> np.ndarray:
    """An enhanced file has one slope and intercept per frame."""
    if functional(dataset, 0, "PixelValueTransformationSequence") is None:
        return stored
    items = [
        functional(dataset, i, "PixelValueTransformationSequence") for i in range(int(dataset.NumberOfFrames))
    ]
    slopes = np.array([float(item.RescaleSlope) for item in items])
    offsets = np.array([float(item.RescaleIntercept) for item in items])
    stored = stored.reshape(len(items), dataset.Rows, dataset.Columns)
    return as_integers(stored * slopes[:, None, None] + offsets[:, None, None])
