"""Label maps as DICOM segmentations (BINARY) on the frames of the images that they were made from."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medbundles.dicom_derived import LONG_STRING
from medbundles.dicom_objects import (
    RESEARCH,
    SEGMENTATION,
    Origin,
    coded,
    frames_of_labels,
    highdicom,
    joined,
)
from medbundles.dicom_pixels import without_pydicom_messages

if TYPE_CHECKING:
    from pydicom import Dataset

    from medbundles.terminology import SegmentTerms, Terminology


@dataclass
class Stored:
    """A segment as a file has it.

    Attributes:
        number: of the segment.
        frames: that it is on, counted from 1.
    """

    number: int
    frames: list[int] = field(default_factory=list)


@without_pydicom_messages
def segmentation(
    labels: np.ndarray, origin: Origin, terms: Terminology, *, source: Path, remark: str = ""
) -> Any:
    """Returns the segmentation of a label map.

    The labels that are in the map are its segments, numbered from 1; names, codes and tracking identifiers
    are the same in every case. Others are left out, since OHIF does not open a segmentation with an empty
    segment; that of an empty map cannot do without, and has all labels.

    Args:
        labels: (x, y) or (x, y, z), on the grid of the origin's series.
        origin: the images.
        terms: what the labels are called.
        source: what the user calls the images.
        remark: for example that it rests on synthetic images.
    """
    package, found = highdicom(), set(np.unique(labels).tolist())
    segments = [segment for value, segment in terms.segments.items() if value in found]
    numbers = np.zeros(256, np.uint8)
    numbers[[segment.value for segment in segments]] = range(1, len(segments) + 1)
    described = enumerate(segments or terms.segments.values(), start=1)
    dataset = package.seg.Segmentation(
        source_images=list(origin.images),
        pixel_array=frames_of_labels(numbers[np.asarray(labels, np.uint8)], origin.series),
        segmentation_type="BINARY",
        segment_descriptions=[_described(segment, number, origin) for number, segment in described],
        content_label="SEGMENTATION",
        content_description=joined([f"{origin.name} {origin.version}", remark], LONG_STRING),
        pixel_measures=_measures(origin, source),
        omit_empty_frames=bool(np.any(labels)),
        **origin.identity(SEGMENTATION),
    )
    _settle_dimensions(dataset, origin)
    _name_segment_of_frames(dataset)
    if "FrameOfReferenceUID" not in origin.images[0]:
        dataset.PatientOrientation = ""
    return dataset


def segments_in(dataset: Dataset) -> dict[str, Stored]:
    """Returns the segments by their tracking identifiers, without those that have no frames."""
    found = {int(item.SegmentNumber): Stored(int(item.SegmentNumber)) for item in dataset.SegmentSequence}
    for number, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence, start=1):
        segment = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[int(segment)].frames.append(number)
    stored = {item.TrackingUID: found[int(item.SegmentNumber)] for item in dataset.SegmentSequence}
    return {uid: segment for uid, segment in stored.items() if segment.frames}


def tracking_uid(origin: Origin, segment: SegmentTerms) -> str:
    """Returns the identifier by which a report speaks of a segment."""
    return origin.uid("tracking", segment.value)


def _described(segment: SegmentTerms, number: int, origin: Origin) -> Any:
    package = highdicom()
    description = package.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name[:LONG_STRING],
        segmented_property_category=coded(segment.category),
        segmented_property_type=coded(segment.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=_algorithm(origin),
        tracking_uid=tracking_uid(origin, segment),
        tracking_id=segment.name[:LONG_STRING],
        anatomic_regions=[coded(segment.region)] if segment.region else None,
        display_color=package.color.CIELabColor.from_rgb(*bytes.fromhex(segment.colour.lstrip("#"))),
    )
    if segment.modifier:
        item = description.SegmentedPropertyTypeCodeSequence[0]
        item.SegmentedPropertyTypeModifierCodeSequence = [coded(segment.modifier)]
    description.SegmentDescription = RESEARCH
    return description


def _algorithm(origin: Origin) -> Any:
    from pydicom.sr.codedict import codes

    return highdicom().AlgorithmIdentificationSequence(
        name=origin.name[:LONG_STRING], family=codes.DCM.ArtificialIntelligence, version=origin.version
    )


def _measures(origin: Origin, source: Path) -> Any:
    """Ultrasound keeps millimetres in its regions, where only a few programs look for them."""
    spacing = origin.spacing(source)
    if "FrameOfReferenceUID" in origin.images[0] or spacing is None:
        return None
    return highdicom().PixelMeasuresSequence(pixel_spacing=spacing, slice_thickness=None)


def _settle_dimensions(dataset: Any, origin: Origin) -> None:
    """The identifier of the frames' order is random otherwise, and a rerun would differ."""
    uid = origin.uid(SEGMENTATION, "dimensions")
    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for item in dataset.DimensionIndexSequence:
        item.DimensionOrganizationUID = uid


def _name_segment_of_frames(dataset: Any) -> None:
    """Each frame says whose it is, also where all are of one segment: not every reader looks elsewhere."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" in shared:
        for groups in dataset.PerFrameFunctionalGroupsSequence:
            groups.SegmentIdentificationSequence = copy.deepcopy(shared.SegmentIdentificationSequence)
        del shared.SegmentIdentificationSequence
