"""Builders of small image files with known content."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from dicom_cases import SIZE, case_of, some_labels, write_ct, write_frame


def build_dicom(path: Path, pixels: np.ndarray, *, modality: str = "US", **attributes: object) -> Path:
    """Writes a DICOM file of (rows, columns) or (frames, rows, columns) pixels; uint8 of (..., 3) is RGB."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    colour = pixels.dtype == np.uint8 and pixels.ndim > 2 and pixels.shape[-1] == 3
    shape = pixels.shape[:-1] if colour else pixels.shape
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    file.SOPInstanceUID = generate_uid()
    file.SeriesInstanceUID = "1.2.3.4"
    file.SeriesNumber = 1
    file.Modality = modality
    file.PatientName = "Secret^Person"
    file.PatientID = "SECRET-4711"
    file.Rows, file.Columns = shape[-2:]
    file.SamplesPerPixel = 3 if colour else 1
    file.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        file.PlanarConfiguration = 0
    file.BitsAllocated = file.BitsStored = 8 * pixels.dtype.itemsize
    file.HighBit = file.BitsStored - 1
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    if len(shape) == 3:
        file.NumberOfFrames = shape[0]
    file.PixelData = pixels.tobytes()
    for name, value in attributes.items():
        setattr(file, name, value)
    file.save_as(path, enforce_file_format=True)
    return path


def build_region(x: float, y: float, bounds: tuple[int, int, int, int], **attributes: object) -> object:
    """An ultrasound region of `x` by `y` centimetres per pixel."""
    from pydicom.dataset import Dataset

    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    names = ("MinX0", "MinY0", "MaxX1", "MaxY1")
    for name, value in zip(names, bounds, strict=True):
        setattr(region, f"RegionLocation{name}", value)
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = x, y
    for name, value in attributes.items():
        setattr(region, name, value)
    return region


def build_series(folder: Path, depths: list[float], *, uid: str = "1.2.3.4", **attributes: object) -> Path:
    """Writes an axial CT series in a shuffled file order; slice k is filled with 1000 + k - 1024."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, depth in enumerate(depths):
        pixels = np.full((6, 8), 1000 + k, np.int16)
        pixels[0, 0] = 2000
        place = {
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "ImagePositionPatient": [-10, -20, depth],
            "PixelSpacing": [0.5, 0.25],
            "RescaleSlope": 1,
            "RescaleIntercept": -1024,
            "SeriesInstanceUID": uid,
        }
        name = f"{(7 * k) % 1000:03d}-{uid[-1]}.dcm"
        build_dicom(folder / name, pixels, modality="CT", **(place | attributes))
    return folder


@pytest.fixture
def dicom_file() -> Callable[..., Path]:
    """`build_dicom`."""
    return build_dicom


@pytest.fixture
def dicom_series() -> Callable[..., Path]:
    """`build_series`."""
    return build_series


@pytest.fixture
def us_region() -> Callable[..., object]:
    """`build_region`."""
    return build_region


@pytest.fixture
def frame() -> np.ndarray:
    """A frame of 70 x 90 (x, y) without any symmetry, channel first."""
    x, y = np.meshgrid(np.arange(70), np.arange(90), indexing="ij")
    return ((x + 2 * y) % 251).astype(np.uint8)[None]


@pytest.fixture
def ct_case(tmp_path: Path, dicom_file: Callable[..., Path]) -> dict[str, Any]:
    source = write_ct(dicom_file, tmp_path / "ct", np.eye(3))
    return case_of(source, some_labels(SIZE), tmp_path / "pictures")


@pytest.fixture
def us_case(
    tmp_path: Path, dicom_file: Callable[..., Path], us_region: Callable[..., object]
) -> dict[str, Any]:
    source = write_frame(dicom_file, tmp_path / "us.dcm", us_region(0.02, 0.03, (0, 0, 50, 40)))
    return case_of(source, some_labels((50, 40)), tmp_path / "pictures")


@pytest.fixture
def with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any processor taken for one with instructions for bfloat16, which all can emulate."""
    monkeypatch.setattr("medbundles.precision.processor_computes_bfloat16", lambda: True)
