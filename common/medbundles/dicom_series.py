"""Writes a result as a derived DICOM series beside the one that it was computed from.

Values are whole numbers in the unit of the source (Hounsfield for CT); read back they are exactly those of
the NIfTI result. The series has identifiers of its own, which follow from those of the source, the bundle,
its version and the pixels: the same result gets the same identifiers, another one never does.
"""

import contextlib
import datetime
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medbundles import io
from medbundles.archives import split_archive, unpacked
from medbundles.cases import only_case
from medbundles.dicom import affine_of_slices, frames_in_order, slices_in_order
from medbundles.dicom_derived import Maker, PixelFormat, derived_header, derived_uid, pixel_format
from medbundles.dicom_geometry import functional
from medbundles.dicom_pixels import NEVER_INVERTED, is_dicom, without_pydicom_messages
from medbundles.dicom_studies import series_below
from medbundles.errors import DicomOutputError
from medbundles.formats import DICOM, suffix_of

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Maker", "Series", "acquired", "no_series", "series_of", "write_derived"]

SAME_PLACE_MM = 1e-3
SAME_STEP_MM = 1e-4


@dataclass(frozen=True)
class Series:
    """The headers of an acquired series in spatial order, and the RAS affine of its stack.

    An enhanced file has one header; `frames` are then its frames in spatial order, counted from 0.
    """

    headers: "tuple[Dataset, ...]"
    affine: np.ndarray
    frames: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        return self.headers[0].Columns, self.headers[0].Rows, len(self.frames or self.headers)

    def has_grid(self, affine: np.ndarray, shape: Sequence[int]) -> bool:
        """Whether an image of this affine and shape, (x, y) or (x, y, z), lies on this grid."""
        if (*shape, 1)[:3] != self.shape:
            return False
        axes = 3 if self.shape[2] > 1 else 2
        place, directions = np.abs(affine - self.affine)[:3, 3], np.abs(affine - self.affine)[:3, :axes]
        return bool(place.max() < SAME_PLACE_MM and directions.max() < SAME_STEP_MM)


def series_of(source: str | Path, series: str | None = None) -> Series | None:
    """Returns the series at a path that `read_image` has read: a file, a folder, or one of these in a zip.

    None stands for a source that is not DICOM.

    Args:
        source: the path.
        series: SeriesInstanceUID, where the path is the folder of a study.

    Raises:
        DicomOutputError: DICOM of a kind that cannot be derived from slice by slice.
        InputError: what `read_image` raises.
    """
    found = acquired(source, series)
    if found is not None:
        _check_kind(found.headers, Path(source))
    return found


@without_pydicom_messages
def acquired(source: str | Path, series: str | None = None) -> Series | None:
    """Returns what `series_of` does, of whatever kind: pictures in colour and enhanced files too."""
    source = Path(source)
    with _located(source, series) as path:
        if not _is_dicom(path):
            return None
        headers = tuple(header for _, header in slices_in_order(path, source, series))
        if not headers:
            raise no_series("a DICOM file without an image", source)
        if functional(headers[0], 0, "PlanePositionSequence") is not None:
            frames, affine = frames_in_order(headers[0], source)
            return Series(headers, affine, frames)
        return Series(headers, affine_of_slices(headers, source))


@contextlib.contextmanager
def _located(source: Path, series: str | None) -> Iterator[Path]:
    inside = split_archive(source)
    if inside is None:
        yield _folder_of(series, source, source) if series else source
    else:
        with unpacked(*inside) as target:
            yield _folder_of(series, target, source) if series else only_case(target, source)


def _folder_of(series: str, folder: Path, source: Path) -> Path:
    """Returns the folder of a study's series; what has been read is still there."""
    return next(item.folder for item in series_below(folder, source) if item.uid == series)


def _is_dicom(path: Path) -> bool:
    if path.is_dir():
        return True  # no other format has folders
    return path.is_file() and (suffix_of(path) in DICOM or (not suffix_of(path) and is_dicom(path)))


def _check_kind(headers: "tuple[Dataset, ...]", source: Path) -> None:
    first = headers[0]
    if any(int(header.get("NumberOfFrames") or 1) > 1 for header in headers):
        raise no_series("a DICOM file of several frames", source)
    if first.get("Modality") not in NEVER_INVERTED or first.get("SamplesPerPixel", 1) != 1:
        raise no_series(f"DICOM of modality {first.get('Modality', 'unknown')} or in colour", source)
    if any(not header.get("SOPClassUID") for header in headers):
        raise no_series("DICOM slices that do not say of which class they are (SOPClassUID)", source)


def no_series(found: str, source: str | Path) -> DicomOutputError:
    """Returns the error for a source, or a result, that no DICOM series can be made of."""
    return DicomOutputError(
        found,
        expected=f"single-frame DICOM of modality {', '.join(NEVER_INVERTED)}, to write DICOM again",
        source=source,
        advice="use --output_ext .nii.gz",
    )


@without_pydicom_messages
def write_derived(
    array: np.ndarray, path: str | Path, *, series: Series, affine: np.ndarray, maker: Maker
) -> None:
    """Writes whole values as a series derived from another, whole or not at all.

    Args:
        array: (1, x, y) or (1, x, y, z), of an integer type, in the unit of the source.
        path: ends in `.dcm` for one slice; otherwise a folder, which gets one file per slice.
        series: what it is derived from.
        affine: of the array; it must be the series' own.
        maker: who derives.
    """
    path = Path(path)
    values = _checked(array, series, np.asarray(affine, float))
    form = pixel_format(series.headers, int(values.min()), int(values.max()))
    if suffix_of(path) == ".dcm":
        if values.shape[2] > 1:
            raise ValueError(f"{values.shape[2]} slices do not fit into one file")
        with io.atomic_path(path) as temporary:
            _write_slices([temporary], values, series, form, maker)
        return
    with io.atomic_folder(path) as temporary:
        digits = max(4, len(str(values.shape[2])))
        names = [temporary / f"{index + 1:0{digits}d}.dcm" for index in range(values.shape[2])]
        _write_slices(names, values, series, form, maker)


def _checked(array: np.ndarray, series: Series, affine: np.ndarray) -> np.ndarray:
    """Returns (x, y, z), if it lies on the grid of the series."""
    if array.dtype.kind not in "iu":
        raise TypeError(f"DICOM takes whole numbers, got {array.dtype}")
    values = array[0] if array.ndim == 4 else array[0][..., None]
    if array.shape[0] != 1 or not series.has_grid(affine, values.shape):
        raise ValueError(f"a result of shape {array.shape} is not on the grid of the series {series.shape}")
    return values


def _write_slices(
    paths: list[Path], values: np.ndarray, series: Series, form: PixelFormat, maker: Maker
) -> None:
    digest = hashlib.sha256(np.ascontiguousarray(values.astype(np.int32))).hexdigest()
    first = series.headers[0].get("SeriesInstanceUID") or series.headers[0].get("SOPInstanceUID")
    uid = derived_uid(first, maker.name, maker.version, maker.verb, digest)
    moment = datetime.datetime.now()
    for index, (path, source) in enumerate(zip(paths, series.headers, strict=True)):
        header = derived_header(source, maker, series_uid=uid, form=form, moment=moment)
        header.add_new("PixelData", "OW", form.bytes_of(values[..., index]))
        if header.get("InstanceNumber") is None:
            header.InstanceNumber = index + 1
        _save(header, path)


def _save(header: "Dataset", path: Path) -> None:
    from pydicom import dcmwrite
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.ImplementationVersionName = "MEDBUNDLES"
    header.preamble = b"\0" * 128  # the source's may name another format
    # Unlike `save_as`, this also turns big-endian values.
    dcmwrite(path, header, implicit_vr=False, little_endian=True, enforce_file_format=True)
