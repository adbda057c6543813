"""Other inputs and results as DICOM: enhanced files, a zip, and bundles whose result is an image."""

from __future__ import annotations

import copy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

sys.path.insert(0, str(Path(__file__).parent))
from dicom_cases import METADATA, SIZE, case_of, some_labels, write, write_ct

from medbundles import io
from medbundles.errors import DicomOutputError

Build = Callable[..., Path]
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"


def item(**values: Any) -> list[Dataset]:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return [made]


def write_enhanced(build: Build, path: Path) -> Path:
    """Five slices in one file, stored from the top."""
    shared, frames = Dataset(), []
    shared.PixelMeasuresSequence = item(PixelSpacing=[0.5, 0.25], SliceThickness=3)
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    for depth in (12, 9, 6, 3, 0):
        frame = Dataset()
        frame.PlanePositionSequence = item(ImagePositionPatient=[-10, -20, depth])
        frames.append(frame)
    pixels = np.arange(np.prod(SIZE), dtype=np.int16).reshape(SIZE[::-1])
    known = {
        "SOPClassUID": ENHANCED_CT,
        "StudyInstanceUID": "1.2.3",
        "FrameOfReferenceUID": "1.2.9",
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": frames,
    }
    return build(path, pixels, modality="CT", **known)


def test_an_enhanced_file_gets_its_segments_on_its_own_frames(tmp_path: Path, dicom_file: Build) -> None:
    source = write_enhanced(dicom_file, tmp_path / "enhanced.dcm")
    labels, affine = some_labels(SIZE), np.diag([-1.0, -1, 1, 1]) @ io.read_image(source).affine
    read = hd.seg.segread(
        write(case_of(source, labels, tmp_path / "p"), tmp_path / "out") / "segmentation.dcm"
    )
    volume = read.get_volume(segment_numbers=[1], combine_segments=True)
    theirs = np.argwhere(volume.array) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    ours = np.argwhere(labels == 1) @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_allclose(np.sort(theirs, axis=0), np.sort(ours, axis=0), atol=1e-6)
    assert len(theirs) == np.count_nonzero(labels == 1)


def test_a_series_in_a_zip_is_as_good_as_its_folder(tmp_path: Path, dicom_file: Build) -> None:
    folder = write_ct(dicom_file, tmp_path / "z" / "ct", np.eye(3))
    archive = Path(shutil.make_archive(str(tmp_path / "ct"), "zip", tmp_path / "z"))
    counts = []
    for name, source in (("a", folder), ("b", archive)):
        made = write(case_of(source, some_labels(SIZE), tmp_path / "p"), tmp_path / name)
        counts.append(int(pydicom.dcmread(made / "segmentation.dcm").pixel_array.sum()))
    assert counts[0] == counts[1] > 0


def image_metadata() -> dict[str, Any]:
    metadata = copy.deepcopy(METADATA)
    metadata["medbundles"]["output"]["kind"] = "image"
    return metadata


def test_a_bundle_that_gives_an_image_gets_its_report(tmp_path: Path, dicom_file: Build) -> None:
    source = write_ct(dicom_file, tmp_path / "ct", np.eye(3))
    case = case_of(source, some_labels(SIZE), tmp_path / "p")
    (tmp_path / "out" / "case_denoised").mkdir(parents=True)
    case["outputs"]["pred"] = str(tmp_path / "out" / "case_denoised")
    made = write(case, tmp_path / "out", image_metadata())
    assert [path.name for path in made.iterdir()] == ["measurements.dcm"]


def test_an_image_that_was_written_as_another_file_is_refused(tmp_path: Path, dicom_file: Build) -> None:
    source = write_ct(dicom_file, tmp_path / "ct", np.eye(3))
    case = case_of(source, some_labels(SIZE), tmp_path / "p")
    case["outputs"]["pred"] = str(tmp_path / "case_denoised.nii.gz")
    with pytest.raises(DicomOutputError, match="not written as DICOM"):
        write(case, tmp_path / "out", image_metadata())
