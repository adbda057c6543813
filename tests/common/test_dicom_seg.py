"""Label maps as DICOM segmentations: voxel for voxel, with names and codes, and what reports refer to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from dicom_cases import METADATA, SIZE, TILT, case_of, flat_metadata, some_labels, write, write_ct

from medbundles import io
from medbundles.terminology import private_code

Build = Callable[..., Path]
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
GRIDS: dict[str, dict[str, Any]] = {
    "LPS": {"axes": np.eye(3)},
    "RAS, slices from the top": {"axes": np.diag([-1.0, -1.0, 1.0]), "reverse": True},
    "from the feet upside down": {"axes": np.diag([1.0, -1.0, -1.0])},
    "oblique": {"axes": TILT * np.array([1, 1, np.linalg.det(TILT)])},
    "oblique and anisotropic": {
        "axes": TILT * np.array([1, 1, np.linalg.det(TILT)]),
        "spacing": (0.3, 0.9, 2.7),
    },
}


def _referenced(folder: Path, number: int) -> pydicom.Dataset:
    """What the measurements of a segment refer to."""
    segments = pydicom.dcmread(folder / "segmentation.dcm").SegmentSequence
    content = hd.sr.srread(folder / "measurements.dcm").content
    uid = segments[number - 1].TrackingUID
    (group,) = content.get_volumetric_roi_measurement_groups(tracking_uid=uid)
    (reference,) = [item for item in group.referenced_segment if "121191" in str(item.name)]
    return reference.ReferencedSOPSequence[0]


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_each_segment_lies_where_the_label_lies(tmp_path: Path, dicom_file: Build, grid: dict) -> None:
    source = write_ct(dicom_file, tmp_path / "ct", **grid)
    labels = some_labels(SIZE)
    image = io.read_image(source)
    read = hd.seg.segread(
        write(case_of(source, labels, tmp_path / "p"), tmp_path / "out") / "segmentation.dcm"
    )
    assert read.SegmentationType == "BINARY"
    for value in (1, 2):
        volume = read.get_volume(segment_numbers=[value], combine_segments=True)
        voxels = np.argwhere(volume.array)
        assert len(voxels) == np.count_nonzero(labels == value)
        theirs = voxels @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        affine = LPS_FROM_RAS @ image.affine
        ours = np.argwhere(labels == value) @ affine[:3, :3].T + affine[:3, 3]
        apart = np.linalg.norm(theirs[:, None] - ours[None], axis=-1).min(axis=1)
        assert apart.max() < 0.01 * min(image.spacing)


def test_frames_refer_to_the_slices_that_they_were_drawn_on(ct_case: dict, tmp_path: Path) -> None:
    folder = write(ct_case, tmp_path / "out")
    dataset = pydicom.dcmread(folder / "segmentation.dcm")
    slices = {}
    for path in Path(ct_case["input"]).iterdir():
        header = pydicom.dcmread(path)
        slices[header.SOPInstanceUID] = list(header.ImagePositionPatient)
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        origin = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert list(groups.PlanePositionSequence[0].ImagePositionPatient) == slices[origin]
    assert dataset.FrameOfReferenceUID == "1.2.9" and dataset.StudyInstanceUID == "1.2.3"


def test_segments_have_the_name_colour_and_codes_of_their_label(ct_case: dict, tmp_path: Path) -> None:
    ct_case["pred"][0, 0, 0, 0] = 3
    read = hd.seg.segread(write(ct_case, tmp_path / "out") / "segmentation.dcm")
    first, _, last = (read.get_segment_description(n) for n in (1, 2, 3))
    assert [d.SegmentLabel for d in read.SegmentSequence] == ["11 first", "12 second", "none"]
    assert (first.segmented_property_type.value, first.segmented_property_type.meaning[:9]) == (
        "422653006",
        "Permanent",
    )
    modifier = first.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert modifier.CodeMeaning == "Parts"
    assert first.AnatomicRegionSequence[0].CodeValue == "69536005"
    colour = hd.color.CIELabColor.from_dicom_value(first.RecommendedDisplayCIELabValue)
    assert np.abs(np.array(colour.to_rgb()) - (0x39, 0xB8, 0xFF)).max() <= 2
    assert last.segmented_property_type.value == private_code("none").value
    assert last.segmented_property_type.scheme_designator == "99MEDBUNDLES"


def test_a_frame_of_ultrasound_has_its_pixels_and_their_size(us_case: dict, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write(us_case, tmp_path / "out", flat_metadata()) / "segmentation.dcm")
    labels = us_case["pred"][0].numpy()
    frames = np.atleast_3d(dataset.pixel_array).reshape(-1, 40, 50)
    for groups, frame in zip(dataset.PerFrameFunctionalGroupsSequence, frames, strict=True):
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        np.testing.assert_array_equal(frame.T, labels == number)
    spacing = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    assert list(spacing) == pytest.approx([0.3, 0.2])
    assert "FrameOfReferenceUID" not in dataset


def test_labels_that_are_not_there_are_no_segments(ct_case: dict, tmp_path: Path) -> None:
    ct_case["pred"][ct_case["pred"] == 1] = 3
    labels = ct_case["pred"][0].numpy()
    folder = write(ct_case, tmp_path / "out")
    read = hd.seg.segread(folder / "segmentation.dcm")
    found = {d.SegmentLabel: d.SegmentNumber for d in read.SegmentSequence}
    assert found == {"12 second": 1, "none": 2}
    for number, value in ((1, 2), (2, 3)):
        volume = read.get_volume(segment_numbers=[number], combine_segments=True)
        assert np.count_nonzero(volume.array) == np.count_nonzero(labels == value)
    assert _referenced(folder, number=1).ReferencedSegmentNumber == 1  # what was measured on 12


@pytest.mark.parametrize("kind", ["ct_case", "us_case"])
def test_one_label_is_one_segment_and_the_report_refers_to_it(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    case = request.getfixturevalue(kind)
    case["pred"][case["pred"] == 1] = 0
    folder = write(case, tmp_path / "out", METADATA if kind == "ct_case" else flat_metadata())
    (segment,) = pydicom.dcmread(folder / "segmentation.dcm").SegmentSequence
    assert (segment.SegmentNumber, segment.SegmentLabel) == (1, "12 second")
    content = hd.sr.srread(folder / "measurements.dcm").content
    found = (
        content.get_volumetric_roi_measurement_groups
        if kind == "ct_case"
        else content.get_planar_roi_measurement_groups
    )
    assert len(found(tracking_uid=segment.TrackingUID)) == 1


def test_a_row_points_at_the_segment_that_it_was_measured_on(ct_case: dict, tmp_path: Path) -> None:
    folder = write(ct_case, tmp_path / "out")
    reference, segmentation = _referenced(folder, 2), pydicom.dcmread(folder / "segmentation.dcm")
    assert reference.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
    assert reference.ReferencedSegmentNumber == 2
    content = hd.sr.srread(folder / "measurements.dcm").content
    uid = segmentation.SegmentSequence[1].TrackingUID
    (group,) = content.get_volumetric_roi_measurement_groups(tracking_uid=uid)
    (age,) = (m for m in group.get_measurements() if m.name.value == "18185-9")
    assert age.method.meaning == "AC, Hadlock 1984"
