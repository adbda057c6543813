"""What DICOM objects made of results share: the patient and study of the input, identifiers, who made them.

Only the patient, the identifiers of the study and the geometry are taken over from the input. Who operated,
referred or described is left behind.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from medbundles.dicom_derived import LONG_STRING, SERIES_OFFSET, derived_uid
from medbundles.dicom_geometry import calibration, functional
from medbundles.dicom_pixels import without_pydicom_messages
from medbundles.dicom_series import Series, no_series
from medbundles.errors import PackageError
from medbundles.terminology import PRIVATE_SCHEME

if TYPE_CHECKING:
    from pydicom import Dataset

    from medbundles.terminology import Code

REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "AccessionNumber", "StudyID"),
)
IMAGE = (
    *("Modality", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "ImageType", "BitsAllocated"),
    *("PixelSpacing", "SliceThickness", "ImageOrientationPatient", "ImagePositionPatient"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "SeriesNumber"),
)
SEGMENTATION, REPORT, KEY_IMAGE = "segmentation", "measurements", "key image"
OFFSETS = {SEGMENTATION: 2 * SERIES_OFFSET, REPORT: 3 * SERIES_OFFSET, KEY_IMAGE: 4 * SERIES_OFFSET}
RESEARCH = "research use only"


def highdicom() -> ModuleType:
    """Returns the package that writes DICOM segmentations and reports.

    Raises:
        PackageError: it is not installed.
    """
    try:
        return importlib.import_module("highdicom")
    except ModuleNotFoundError as error:
        raise PackageError(
            "highdicom, which writes DICOM segmentations and reports, is not installed",
            expected="the packages of the extra `dicom`",
            source="option output_format",
            advice="pip install 'medbundles[dicom]', or pip install 'highdicom>=0.28'",
        ) from error


def coded(code: Code) -> Any:
    """Returns a code as highdicom takes it."""
    return highdicom().sr.CodedConcept(code.value, code.scheme, code.meaning)


def _own_scheme() -> Any:
    return highdicom().coding_schemes.CodingSchemeIdentificationItem(
        designator=PRIVATE_SCHEME, name="Codes of medbundles", responsible_organization="medbundles"
    )


@dataclass(frozen=True)
class Origin:
    """The acquired images that a case's objects belong to.

    Attributes:
        series: as acquired, without pixels.
        images: the headers as far as they may be handed on; one for an enhanced file.
        name: of the bundle.
        version: of the bundle.
        digest: of the results, so that other results get other identifiers.
    """

    series: Series
    images: tuple[Dataset, ...]
    name: str
    version: str
    digest: str

    @property
    def flat(self) -> bool:
        """Whether it is one frame, not a volume."""
        return self.series.shape[2] == 1

    def uid(self, *parts: object) -> str:
        """Returns an identifier that follows from the input, the bundle, the results and `parts`."""
        first = self.series.headers[0]
        return derived_uid(first.SeriesInstanceUID, self.name, self.version, self.digest, *parts)

    def identity(self, kind: str) -> Mapping[str, Any]:
        """Returns what every new object says of itself, as highdicom's arguments."""
        return {
            "series_instance_uid": self.uid(kind),
            "series_number": OFFSETS[kind] + int(self.series.headers[0].get("SeriesNumber") or 0),
            "sop_instance_uid": self.uid(kind, "instance"),
            "instance_number": 1,
            "manufacturer": "medbundles",
            "manufacturer_model_name": self.name[:LONG_STRING],
            "software_versions": self.version[:LONG_STRING],
            "device_serial_number": self.version[:LONG_STRING],
            "series_description": f"{kind} (medbundles, {RESEARCH})"[:LONG_STRING],
            "content_qualification": "RESEARCH",
            "coding_schemes": [_own_scheme()],
        }

    def spacing(self, source: Path) -> tuple[float, float] | None:
        """Returns the distance of rows and of columns in millimetres; None if the input does not say."""
        known = calibration(self.series.headers[0], source)
        return (known.spacing[1], known.spacing[0]) if known.calibrated else None


@without_pydicom_messages
def origin_of(series: Series, source: Path, *, name: str, version: str, digest: str) -> Origin:
    """Returns the origin of results on the grid of a series.

    Raises:
        DicomOutputError: the headers lack identifiers, so that nothing can refer to the images.
    """
    for keyword in REQUIRED:
        if not all(header.get(keyword) for header in series.headers):
            raise no_series(f"DICOM images without {keyword}", source)
    step = float(np.linalg.norm(series.affine[:3, 2])) if series.shape[2] > 1 else None
    images = tuple(_handed_on(header, step) for header in series.headers)
    return Origin(series, images, name, version, digest)


def _handed_on(header: Dataset, step: float | None) -> Dataset:
    from pydicom.dataset import Dataset

    image = Dataset()
    for keyword in (*REQUIRED, *IMAGE):
        if keyword in header:
            setattr(image, keyword, header[keyword].value)
    for keyword in PATIENT_AND_STUDY:
        setattr(image, keyword, _text(header, keyword))
    image.ReferringPhysicianName = ""
    image.SpecificCharacterSet = "ISO_IR 192"  # holds the names of all the others
    _locate(image, header, step)
    return image


def _text(header: Dataset, keyword: str) -> str:
    value = header.get(keyword)
    return "" if value is None else str(value)


def _locate(image: Dataset, header: Dataset, step: float | None) -> None:
    """Planes of a patient need a frame of reference and a thickness; a picture without a plane has none."""
    planes = all(header.get(name) for name in ("ImagePositionPatient", "ImageOrientationPatient"))
    if not planes and functional(header, 0, "PlanePositionSequence") is None:
        return
    own = header.get("FrameOfReferenceUID")
    image.FrameOfReferenceUID = own or derived_uid(header.SeriesInstanceUID, "frame of reference")
    image.PositionReferenceIndicator = ""
    if planes:
        image.SliceThickness = header.get("SliceThickness") or step


def frames_of_labels(labels: np.ndarray, series: Series) -> np.ndarray:
    """Returns labels, (x, y) or (x, y, z), as frames of rows in the order of the origin's images."""
    volume = labels[..., None] if labels.ndim == 2 else labels
    frames = np.ascontiguousarray(volume.transpose(2, 1, 0))
    if not series.frames:
        return frames
    stored = np.empty_like(frames)
    stored[list(series.frames)] = frames
    return stored


@without_pydicom_messages
def save(dataset: Dataset, path: Path) -> None:
    """Writes an object as a DICOM file."""
    dataset.file_meta.ImplementationVersionName = "MEDBUNDLES"
    dataset.save_as(path, enforce_file_format=True)


def instance_of(image: Dataset) -> tuple[str, str]:
    """Returns class and identifier of an image, as references give them."""
    return image.SOPClassUID, image.SOPInstanceUID


def joined(parts: Sequence[str], limit: int) -> str:
    """Returns the parts that are not empty, in one text of at most so many characters."""
    return "; ".join(part for part in parts if part)[:limit]
