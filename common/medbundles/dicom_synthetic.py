"""The header of an image that no scanner took: nothing in it speaks of an acquisition."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

# How the source was acquired: sequence, times, coils, agents, doses.
ACQUISITION_GROUP = 0x0018
STAYS = {"SliceThickness", "SpacingBetweenSlices", "PatientPosition", "BodyPartExamined"}
DESCRIBES_SOURCE = (
    *("ProtocolName", "ImageComments", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime"),
    *("AcquisitionNumber", "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTSequence"),
    *("VOILUTFunction", "RequestAttributesSequence", "PerformedProcedureStepDescription"),
    *("RescaleType", "RealWorldValueMappingSequence", "PresentationLUTShape"),
)
# What an image must have all the same, by modality; RM is research mode.
MUST_HAVE = {
    "MR": {
        **{"ScanningSequence": "RM", "SequenceVariant": "NONE", "ScanOptions": "", "MRAcquisitionType": ""},
        **{"RepetitionTime": None, "EchoTime": None, "EchoTrainLength": None},
    },
    "CT": {"KVP": None, "AcquisitionNumber": None},
}


def unacquired(header: Dataset, window: tuple[float, float] | None = None) -> None:
    """Takes out, in place, what tells how the source was acquired and who did it."""
    for element in list(header):
        acquisition = element.tag.group == ACQUISITION_GROUP and element.keyword not in STAYS
        person = element.VR == "PN" and element.keyword not in ("PatientName", "ReferringPhysicianName")
        if acquisition or person or element.keyword in DESCRIBES_SOURCE:
            del header[element.tag]
    for keyword, value in MUST_HAVE.get(str(header.get("Modality")), {}).items():
        setattr(header, keyword, value)
    if window is not None:
        header.WindowCenter, header.WindowWidth = window
