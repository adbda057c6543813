"""The header of a derived DICOM slice, and the bits that hold its pixels.

Patient, study, frame of reference, place and window stay; identity, provenance and pixels are new.
"""

import datetime
import hashlib
import uuid
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medbundles.dicom_synthetic import unacquired

if TYPE_CHECKING:
    from pydicom import Dataset

NAMESPACE = uuid.UUID("6a0f6b52-0c1f-5d0e-9f0a-2b6d7c1e4a90")
SERIES_OFFSET = 1000  # of the series number, so that the derived series follows the acquired ones
LONG_STRING, SHORT_TEXT = 64, 1024
CT_INTERCEPT = -1024
WORD = 16
PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")
# What speaks of the old pixels, of the old file, or of the step that made the old series.
STALE = (
    *("SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries"),
    *("LargestPixelValueInSeries", "ModalityLUTSequence", "IconImageSequence", "NumberOfFrames"),
    *("FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("PixelDataProviderURL", "PlanarConfiguration", "DataSetTrailingPadding"),
    *("DigitalSignaturesSequence", "MACParametersSequence", "EncryptedAttributesSequence"),
    *("DerivationCodeSequence", "SourceImageSequence", "ReferencedPerformedProcedureStepSequence"),
)
OFTEN_MISSING = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("ReferringPhysicianName", "AccessionNumber", "Manufacturer", "PositionReferenceIndicator"),
    *("Laterality", "PatientPosition", "SliceThickness"),
)
GRAPHICS = (range(0x5000, 0x5100), range(0x6000, 0x6100))  # curves and overlays on the acquired picture
LOSSY = {f"1.2.840.10008.1.2.4.{end}" for end in (50, 51, 81, 91, 93, 203)}
SOURCE_IMAGE = ("121322", "Source image for image processing operation")
EQUIPMENT = ("109103", "Modifying Equipment")


@dataclass(frozen=True)
class Maker:
    """Who derives: the bundle, its version, what it did in one word, and remarks for the description.

    Attributes:
        synthetic: what the pixels imitate, such as T1Gd, if they were made up and not acquired and changed.
        window: centre and width of the grey values, where the source's own do not fit.
    """

    name: str
    version: str
    verb: str
    remark: str = ""
    synthetic: str = ""
    window: tuple[float, float] | None = None


@dataclass(frozen=True)
class PixelFormat:
    """How whole values are stored: value = stored + intercept, in `bits` bits, signed or not."""

    intercept: int
    signed: bool
    bits: int

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest value that fit."""
        low = -(2 ** (self.bits - 1)) if self.signed else 0
        return low + self.intercept, low + 2**self.bits - 1 + self.intercept

    def bytes_of(self, values: np.ndarray) -> bytes:
        """Returns values, (x, y), as they stand in the file: rows of 16-bit little-endian words."""
        return (values.T.astype(np.int32) - self.intercept).astype("<i2" if self.signed else "<u2").tobytes()


def pixel_format(headers: "Sequence[Dataset]", lowest: int, highest: int) -> PixelFormat:
    """Returns the format nearest to the sources' that holds all whole values from lowest to highest exactly.

    Intercept, sign and number of bits stay where they can. They cannot where the slope is not one or differs
    among the slices (whole Hounsfield units have no exact place then), nor where the values need more room.
    """
    intercept = _intercept(headers)
    signed = all(header.get("PixelRepresentation", 0) for header in headers)
    bits = min(max(int(header.get("BitsStored") or WORD) for header in headers), WORD)
    own, wider = PixelFormat(intercept, signed, bits), PixelFormat(intercept, signed, WORD)
    for chosen in (own, wider, PixelFormat(intercept, True, WORD), PixelFormat(0, lowest < 0, WORD)):
        if chosen.limits[0] <= lowest and highest <= chosen.limits[1]:
            return chosen
    raise ValueError(f"values {lowest} to {highest} do not fit into {WORD} bits")


def _intercept(headers: "Sequence[Dataset]") -> int:
    scales = {(float(h.get("RescaleSlope", 1)), float(h.get("RescaleIntercept", 0))) for h in headers}
    slope, intercept = next(iter(scales))
    exact = len(scales) == 1 and slope == 1 and intercept == round(intercept) and abs(intercept) < 2**15
    if exact and not any("ModalityLUTSequence" in header for header in headers):
        return round(intercept)
    return CT_INTERCEPT if headers[0].get("Modality") == "CT" else 0


def derived_uid(*parts: object) -> str:
    """Returns a UID that follows from its parts alone, made from a name-based UUID (PS3.5 B.2)."""
    text = hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()
    return f"2.25.{uuid.uuid5(NAMESPACE, text).int}"


def derived_header(
    source: "Dataset", maker: Maker, *, series_uid: str, form: PixelFormat, moment: datetime.datetime
) -> "Dataset":
    """Returns the header of the slice derived from `source`; only `PixelData` is still missing.

    Args:
        source: the header of the acquired slice; it is not changed.
        maker: who derives.
        series_uid: of the derived series.
        form: of the pixels to come.
        moment: when.
    """
    header = deepcopy(source)
    _clean(header)
    _form(header, form)
    if maker.synthetic:
        unacquired(header, maker.window)
    _describe(header, maker)
    _identify(header, maker, series_uid)
    _date(header, moment)
    _credit(header, maker, moment)
    _complete(header)
    return header


def _clean(dataset: "Dataset") -> None:
    """Takes out what is private (its meaning, and whom it names, is unknown), stale or damaged."""
    for tag in list(dataset.keys()):
        if tag.is_private or tag.element == 0 or any(tag.group in groups for groups in GRAPHICS):
            del dataset[tag]
            continue
        try:
            element = dataset[tag]
        except Exception:  # pydicom raises whatever a damaged value leads to
            del dataset[tag]
            continue
        if element.keyword in STALE:
            del dataset[tag]
        elif element.VR == "SQ":
            for item in element.value:
                _clean(item)


def _complete(header: "Dataset") -> None:
    """Adds, empty, what the standard wants in every image and anonymisers like to take away."""
    for name in OFTEN_MISSING:
        if name not in header:
            setattr(header, name, "")


def _form(header: "Dataset", form: PixelFormat) -> None:
    """Sets what describes the pixels; a padding value keeps its meaning only in the format it came in."""
    slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    same = (slope, intercept) == (1, form.intercept) and header.get("PixelRepresentation", 0) == form.signed
    for name in PADDING:
        if name in header and not same:
            delattr(header, name)
    if "RescaleSlope" in header or form.intercept:
        header.RescaleSlope, header.RescaleIntercept = "1", str(form.intercept)
    header.SamplesPerPixel, header.BitsAllocated = 1, WORD
    header.BitsStored, header.HighBit = form.bits, form.bits - 1
    header.PixelRepresentation = int(form.signed)
    meta = getattr(header, "file_meta", None) or {}
    if str(meta.get("TransferSyntaxUID", "")) in LOSSY:
        header.LossyImageCompression = "01"  # once lossy, for ever lossy (PS3.3 C.7.6.1.1.5)


def _identify(header: "Dataset", maker: Maker, series_uid: str) -> None:
    header.SeriesInstanceUID = series_uid
    header.SOPInstanceUID = derived_uid(
        series_uid, header.get("SOPInstanceUID"), header.get("ImagePositionPatient")
    )
    header.SeriesNumber = SERIES_OFFSET + int(header.get("SeriesNumber") or 0)
    ending = f"{maker.verb} (medbundles)"[:LONG_STRING]
    before = "" if maker.synthetic else str(header.get("SeriesDescription") or "")
    acquired = before.strip()[: LONG_STRING - len(ending) - 3]
    header.SeriesDescription = f"{acquired} + {ending}" if acquired else ending
    kinds = header.get("ImageType") or []
    plane = [str(kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)][2:3]
    usual = {"CT": ["AXIAL"], "MR": ["OTHER"]}.get(str(header.get("Modality")), [])
    header.ImageType = ["DERIVED", "SECONDARY", *(plane or usual)]


def _date(header: "Dataset", moment: datetime.datetime) -> None:
    """The pixels were made now; acquisition and study keep their own time."""
    for name in ("InstanceCreation", "Series", "Content"):
        setattr(header, f"{name}Date", moment.strftime("%Y%m%d"))
        setattr(header, f"{name}Time", moment.strftime("%H%M%S"))


def _describe(header: "Dataset", maker: Maker) -> None:
    from pydicom.dataset import Dataset

    done = f"{maker.verb} by medbundles {maker.name} {maker.version}, research use only"
    if maker.synthetic:
        done = f"SYNTHETIC {maker.synthetic}, not acquired: {done}"
    earlier = str(header.get("DerivationDescription") or "").strip()
    parts = [part for part in (earlier, done, maker.remark) if part]
    header.DerivationDescription = "; ".join(parts)[-SHORT_TEXT:]
    header.ContentQualification = "RESEARCH"
    if header.get("SOPInstanceUID"):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
        item.PurposeOfReferenceCodeSequence = [_code(*SOURCE_IMAGE)]
        header.SourceImageSequence = [item]


def _credit(header: "Dataset", maker: Maker, moment: datetime.datetime) -> None:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [_code(*EQUIPMENT)]
    item.Manufacturer = "medbundles"
    item.ManufacturerModelName = maker.name[:LONG_STRING]
    item.SoftwareVersions = maker.version[:LONG_STRING]
    item.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S")
    item.ContributionDescription = f"{maker.verb}, research use only"
    header.ContributingEquipmentSequence = [*(header.get("ContributingEquipmentSequence") or []), item]


def _code(value: str, meaning: str) -> "Dataset":
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code
