"""Results as DICOM: the label map voxel for voxel where it was, every row of the report, no names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from dicom_cases import (
    METADATA,
    ROWS,
    SECRETS,
    SIZE,
    case_of,
    flat_metadata,
    some_labels,
    write,
    write_ct,
    write_frame,
)

from medbundles import io
from medbundles.case_data import CaseDataset
from medbundles.dicom_results import SaveDicomd, check_format
from medbundles.errors import DicomOutputError, OverrideError, PackageError
from medbundles.terminology import Terminology
from medbundles.transforms import SavePreviewd

Build = Callable[..., Path]


def _values(folder: Path) -> dict[tuple[str, str, float], hd.sr.CodedConcept]:
    """Name of the group and of the concept, and the value, with the unit."""
    content = hd.sr.srread(folder / "measurements.dcm").content
    groups = [
        *content.get_planar_roi_measurement_groups(),
        *content.get_volumetric_roi_measurement_groups(),
        *content.get_image_measurement_groups(),
    ]
    return {
        (str(group.tracking_identifier), m.name.meaning, m.value): m.unit
        for group in groups
        for m in group.get_measurements()
    }


def _texts(folder: Path) -> list[str]:
    found, waiting = [], [pydicom.dcmread(folder / "measurements.dcm")]
    while waiting:
        item = waiting.pop()
        waiting += item.get("ContentSequence", [])
        found += [item.TextValue] if item.get("ValueType") == "TEXT" else []
    return found


def test_an_empty_label_map_is_a_segmentation_too(tmp_path: Path, dicom_file: Build) -> None:
    source = write_ct(dicom_file, tmp_path / "ct", np.eye(3))
    folder = write(case_of(source, np.zeros(SIZE, np.uint8), tmp_path / "p"), tmp_path / "out")
    assert not pydicom.dcmread(folder / "segmentation.dcm").pixel_array.any()
    assert _values(folder)  # rows are about the images then


@pytest.mark.parametrize("kind", ["ct_case", "us_case"])
def test_every_row_of_the_report_is_in_the_structured_report(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    case = request.getfixturevalue(kind)
    folder = write(case, tmp_path / "out", METADATA if kind == "ct_case" else flat_metadata())
    found, texts = _values(folder), _texts(folder)
    units = {"weeks": "wk", "px": "{pixels}", "HU": "[hnsf'U]"}
    groups = {"tooth 11 volume": "11 first", "tooth 12 volume": "12 second", "GA": "12 second"}
    groups |= {"whole area": "Everything"}
    terms = Terminology(SaveDicomd("pred", tmp_path, metadata=METADATA).info)
    for row in ROWS:
        concept = terms.measurement(row["name"]).concept.meaning
        if row["value"] is not None:
            unit = found.pop((groups.get(row["name"], "image"), concept, row["value"]))
            assert (unit.value, unit.scheme_designator) == (units.get(row["unit"], row["unit"]), "UCUM")
        if row["reason"]:
            assert any(text.startswith(row["name"]) and row["reason"] in text for text in texts)
    assert not found, "values that no row has"
    assert "look at this" in texts and "research use only" in texts


def test_the_key_image_of_a_2d_bundle_is_the_preview(us_case: dict, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write(us_case, tmp_path / "out", flat_metadata()) / "key_image.dcm")
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert dataset.pixel_array.shape == (30, 60, 3) and (dataset.pixel_array == (0x20, 0x40, 0x60)).all()
    origin = pydicom.dcmread(us_case["input"]).SOPInstanceUID
    assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID == origin


@pytest.mark.parametrize("burned_in", ["YES", "NO", None])
def test_the_key_image_has_what_the_frame_shows_and_not_what_its_file_was_called(
    tmp_path: Path, dicom_file: Build, burned_in: str | None
) -> None:
    known = {"BurnedInAnnotation": burned_in} if burned_in else {}
    shown, titled = [], []
    for name in ("Quitte^Berta 1950.dcm", "a.dcm"):
        folder = tmp_path / name[:1]
        folder.mkdir()
        source = write_frame(dicom_file, folder / name, **known)
        case = case_of(source, some_labels((50, 40)), folder / "pictures")
        case = SavePreviewd("pred", folder, metadata=flat_metadata())(case)
        with Image.open(case["outputs"]["preview"]) as picture:
            titled.append(np.asarray(picture))
        shown.append(pydicom.dcmread(write(case, folder / "out", flat_metadata()) / "key_image.dcm"))
    assert (titled[0] != titled[1]).any()
    pixels = shown[0].pixel_array
    np.testing.assert_array_equal(pixels, shown[1].pixel_array)
    below = titled[1].shape[0] - pixels.shape[0]
    assert 0 < below < 60 and (titled[1][:below].max() > 200)
    np.testing.assert_array_equal(pixels, titled[1][below:])
    assert [dataset.get("BurnedInAnnotation") for dataset in shown] == [burned_in] * 2


def test_a_volume_has_no_key_image(ct_case: dict, tmp_path: Path) -> None:
    names = sorted(path.name for path in write(ct_case, tmp_path / "out").iterdir())
    assert names == ["measurements.dcm", "segmentation.dcm"]


def test_patient_and_study_go_along_and_nothing_else_that_tells_of_people(
    us_case: dict, tmp_path: Path
) -> None:
    folder = write(us_case, tmp_path / "out", flat_metadata())
    assert len(list(folder.iterdir())) == 3
    for path in folder.iterdir():
        dataset, raw = pydicom.dcmread(path), path.read_bytes()
        assert (dataset.PatientName, dataset.PatientID) == ("Secret^Person", "SECRET-4711")
        assert raw.count(b"Secret") == raw.count(b"SECRET") == 1
        assert not [name for name in SECRETS.values() if name.encode() in raw]
        assert "ecret" not in path.name.lower()


def test_names_in_other_alphabets_arrive(tmp_path: Path, dicom_file: Build) -> None:
    name = "Yamada^Tarou=山田^太郎"
    known = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": name}
    source = write_frame(dicom_file, tmp_path / "us.dcm", **known)
    folder = write(case_of(source, some_labels((50, 40)), tmp_path / "p"), tmp_path / "out", flat_metadata())
    for path in folder.iterdir():
        assert str(pydicom.dcmread(path).PatientName) == name


def _uids(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        elements = pydicom.dcmread(path).iterall()
        found[path.name] = [str(element.value) for element in elements if element.VR == "UI"]
    return found


def test_a_rerun_gives_the_same_identifiers_and_another_result_others(ct_case: dict, tmp_path: Path) -> None:
    first = _uids(write(dict(ct_case, outputs={}), tmp_path / "a"))
    assert _uids(write(dict(ct_case, outputs={}), tmp_path / "b")) == first
    other = dict(ct_case, pred=ct_case["pred"].clone(), outputs={})
    other["pred"][0, 0, 0, 0] = 2
    changed = write(other, tmp_path / "c")
    told = write(dict(ct_case, warnings=["another"], outputs={}), tmp_path / "d")
    for folder in (changed, told):
        for path in folder.iterdir():
            dataset = pydicom.dcmread(path)
            assert dataset.SOPInstanceUID not in first[path.name]
            assert dataset.SeriesInstanceUID not in first[path.name]


def test_nothing_is_left_of_a_folder_that_could_not_be_finished(ct_case: dict, tmp_path: Path) -> None:
    broken = dict(ct_case, measurements=[{"name": "x"}])
    with pytest.raises(KeyError):
        write(broken, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_files_alone_write_nothing_more(ct_case: dict, tmp_path: Path) -> None:
    case = SaveDicomd("pred", tmp_path / "out", metadata=METADATA)(ct_case)
    assert "dicom" not in case["outputs"] and not (tmp_path / "out").exists()


def test_input_that_is_not_dicom_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "frame.nii.gz"
    io.write_image(np.zeros((1, 9, 9), np.uint8), path, affine=np.eye(4))
    dataset = CaseDataset([{"image": str(path)}], lambda _: pytest.fail("was read"), output_format="dicom")
    failure = dataset[0]["failure"]
    assert "not DICOM" in failure and "leave out --output_format" in failure and str(path) in failure
    for image in (tmp_path, {"t1": str(path)}, np.zeros((1, 3, 3))):
        with pytest.raises(DicomOutputError):
            check_format("dicom", image)
    check_format("auto", str(path))
    with pytest.raises(OverrideError, match="auto, dicom"):
        check_format("nifti", str(path))


def test_without_highdicom_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(PackageError, match=r"pip install 'medbundles\[dicom\]'"):
        check_format("dicom", "frame.dcm")


def test_images_that_nothing_can_refer_to_are_refused(tmp_path: Path, dicom_file: Build) -> None:
    source = write_frame(dicom_file, tmp_path / "us.dcm", StudyInstanceUID="")
    with pytest.raises(DicomOutputError, match="without StudyInstanceUID"):
        write(case_of(source, some_labels((50, 40)), tmp_path / "p"), tmp_path / "out", flat_metadata())


def test_a_result_on_another_grid_is_refused(ct_case: dict, tmp_path: Path) -> None:
    ct_case["pred"].affine = ct_case["pred"].affine @ torch.diag(torch.tensor([2.0, 2, 2, 1]).double())
    with pytest.raises(DicomOutputError, match="another grid"):
        write(ct_case, tmp_path / "out")
