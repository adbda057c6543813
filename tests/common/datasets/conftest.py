"""A builder of small CT series."""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest


def build_ct(
    folder: Path, depths: Sequence[float], names: Sequence[str] = (), **attributes: object
) -> list[Path]:
    """Writes an axial CT slice per depth, named as given or 1-001.dcm and so on."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    known = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "PatientID": "P1",
        "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": f"1.2.{zlib.crc32(str(folder).encode())}",
        "ConvolutionKernel": "B30f",
        "SliceThickness": 3,
        "PixelSpacing": [0.75, 0.5],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
    }
    paths = [folder / (names[k] if names else f"1-{k + 1:03d}.dcm") for k in range(len(depths))]
    for path, depth in zip(paths, depths, strict=True):
        file = Dataset()
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.SOPInstanceUID = generate_uid()
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.Rows, file.Columns, file.BitsAllocated, file.BitsStored = 4, 5, 16, 16
        file.HighBit, file.PixelRepresentation, file.PixelData = 15, 0, bytes(2 * 4 * 5)
        file.ImagePositionPatient = [0, 0, depth]
        for name, value in (known | attributes).items():
            setattr(file, name, value)
        file.save_as(path, enforce_file_format=True)
    return paths


@pytest.fixture
def ct() -> Callable[..., list[Path]]:
    """`build_ct`."""
    return build_ct
