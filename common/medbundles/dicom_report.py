"""The measurements of a case as a DICOM structured report (TID 1500).

Values are those of the report's rows. A row without a value becomes a comment that says why: an item of
type NUM may lack its value, but readers, highdicom among them, fail on one that does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medbundles.dicom_derived import LONG_STRING
from medbundles.dicom_objects import REPORT as KIND
from medbundles.dicom_objects import RESEARCH, Origin, coded, highdicom, instance_of
from medbundles.dicom_pixels import without_pydicom_messages
from medbundles.dicom_seg import segments_in, tracking_uid
from medbundles.terminology import Code, MeasurementTerms, Terminology

if TYPE_CHECKING:
    from pydicom import Dataset

COMMENT = Code("121106", "DCM", "Comment")
EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
WHOLE_IMAGE = "image"
UCUM = {
    "mm": "millimeter",
    "cm": "centimeter",
    "mm2": "square millimeter",
    "cm2": "square centimeter",
    "mm3": "cubic millimeter",
    "mL": "milliliter",
    "%": "percent",
    "1": "no units",
}
IN_UCUM = {
    "HU": Code("[hnsf'U]", "UCUM", "Hounsfield unit"),
    "weeks": Code("wk", "UCUM", "week"),
    "days": Code("d", "UCUM", "day"),
    "px": Code("{pixels}", "UCUM", "pixels"),
    "px2": Code("{square_pixels}", "UCUM", "square pixels"),
    "voxels": Code("{voxels}", "UCUM", "voxels"),
}

Row = Mapping[str, Any]


@dataclass
class _Group:
    """Rows that speak of one thing: a segment, a finding, or the image."""

    name: str
    segment: int | None
    finding: Code | None
    rows: list[tuple[Row, MeasurementTerms]] = field(default_factory=list)


def unit_code(unit: str | None) -> Code:
    """Returns the UCUM code of a report's unit; one that UCUM does not know is an annotation."""
    unit = unit or "1"
    if unit in UCUM:
        return Code(unit, "UCUM", UCUM[unit])
    return IN_UCUM.get(unit, Code(f"{{{unit}}}", "UCUM", unit))


@without_pydicom_messages
def report(
    rows: Sequence[Row],
    remarks: Sequence[str],
    origin: Origin,
    terms: Terminology,
    segmentation: Dataset | None = None,
) -> Any:
    """Returns the structured report.

    Args:
        rows: the measurements of a case.
        remarks: its warnings, and what is synthetic.
        origin: the images that were measured.
        terms: what rows and segments are called.
        segmentation: the label map that rows refer to.
    """
    package = highdicom()
    groups = _groups(rows, terms) or [_Group(WHOLE_IMAGE, None, None)]
    content = package.sr.MeasurementReport(
        observation_context=_observer(origin),
        procedure_reported=coded(terms.procedure),
        imaging_measurements=[_measured(group, origin, terms, segmentation) for group in groups],
    )
    content[0].ContentSequence.append(_evaluations([*remarks, RESEARCH]))
    return package.sr.Comprehensive3DSR(
        evidence=[*origin.images, *([] if segmentation is None else [segmentation])],
        content=content,
        is_complete=True,
        is_final=False,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        **origin.identity(KIND),
    )


def _groups(rows: Sequence[Row], terms: Terminology) -> list[_Group]:
    found: dict[tuple[int | None, Code | None], _Group] = {}
    for row in rows:
        known = terms.measurement(str(row["name"]))
        segment = terms.segments.get(known.segment)
        finding = known.finding or (segment.type if segment else None)
        name = segment.name if segment else known.finding.meaning if known.finding else WHOLE_IMAGE
        key = (known.segment, known.finding)
        found.setdefault(key, _Group(name, known.segment, finding)).rows.append((row, known))
    return list(found.values())


def _measured(group: _Group, origin: Origin, terms: Terminology, segmentation: Dataset | None) -> Any:
    package, uid = highdicom().sr, _tracking(group, origin, terms)
    stored = segments_in(segmentation).get(uid) if segmentation is not None else None
    common = {
        "tracking_identifier": package.TrackingIdentifier(uid=uid, identifier=group.name[:LONG_STRING]),
        "finding_type": coded(group.finding) if group.finding else None,
        "measurements": [_measurement(row, known) for row, known in group.rows if _is_number(row)],
    }
    if stored is None:
        images = [package.SourceImageForMeasurementGroup(*instance_of(image)) for image in origin.images]
        made = package.MeasurementsAndQualitativeEvaluations(source_images=images, **common)
    elif origin.flat:
        made = package.PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=package.ReferencedSegmentationFrame(
                *instance_of(segmentation),
                frame_number=stored.frames,
                segment_number=stored.number,
                source_image=package.SourceImageForSegmentation(*instance_of(origin.images[0])),
            ),
            **common,
        )
        _only_segment(made)
    else:
        segment = package.ReferencedSegment.from_segmentation(segmentation, stored.number)
        made = package.VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=segment, **common
        )
    made[0].ContentSequence.extend(_text(text) for text in _remarks(group))
    return made


def _only_segment(made: Any) -> None:
    """A reference names a frame or a segment, not both (PS3.3 C.18.4); the segment says more."""
    for item in made[0].ContentSequence:
        for reference in item.get("ReferencedSOPSequence", ()):
            if "ReferencedSegmentNumber" in reference:
                del reference.ReferencedFrameNumber


def _tracking(group: _Group, origin: Origin, terms: Terminology) -> str:
    segment = terms.segments.get(group.segment)
    return tracking_uid(origin, segment) if segment else origin.uid("tracking", group.name)


def _is_number(row: Row) -> bool:
    return isinstance(row["value"], int | float) and not isinstance(row["value"], bool)


def _measurement(row: Row, known: MeasurementTerms) -> Any:
    return highdicom().sr.Measurement(
        name=coded(known.concept),
        value=float(row["value"]),
        unit=coded(unit_code(row.get("unit"))),
        method=coded(known.method) if known.method else None,
    )


def _remarks(group: _Group) -> Iterator[str]:
    """What the report says of rows beside their values."""
    for row, _ in group.rows:
        value = row["value"]
        parts = [] if _is_number(row) else ["not measured" if value is None else str(value)]
        parts += [str(row["reason"])] if row.get("reason") else []
        if parts:
            yield f"{row['name']}: {'; '.join(parts)}"


def _text(text: str) -> Any:
    return highdicom().sr.TextContentItem(name=coded(COMMENT), value=text, relationship_type="CONTAINS")


def _evaluations(remarks: Sequence[str]) -> Any:
    container = highdicom().sr.ContainerContentItem(name=coded(EVALUATIONS), relationship_type="CONTAINS")
    container.ContentSequence = highdicom().sr.ContentSequence([_text(remark) for remark in remarks])
    return container


def _observer(origin: Origin) -> Any:
    package = highdicom().sr
    device = package.DeviceObserverIdentifyingAttributes(
        uid=origin.uid("observer"),
        name=origin.name[:LONG_STRING],
        manufacturer_name="medbundles",
        model_name=f"{origin.name} {origin.version}"[:LONG_STRING],
    )
    observer = package.ObserverContext(
        observer_type=coded(Code("121007", "DCM", "Device")), observer_identifying_attributes=device
    )
    return package.ObservationContext(observer_device_context=observer)
