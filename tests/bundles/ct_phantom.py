"""A slice of a body in Hounsfield units, as an image and as a DICOM file."""

from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor

BUNDLE = Path(__file__).parents[2] / "bundles" / "ct_lowdose_cyclegan_denoising"


def phantom(size: int = 96) -> np.ndarray:
    """A body of water with a piece of lung and of bone in air, HU (X, Y)."""
    x, y = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    hu = np.full((size, size), -1000.0)
    hu[np.hypot(x - size / 2, (y - size / 2) * 1.2) < 0.44 * size] = 40
    hu[np.hypot(x - size / 3, y - size / 2) < 0.12 * size] = -850
    hu[np.hypot(x - 2 * size / 3, y - size / 2) < 0.08 * size] = 500
    return hu.astype(np.float32)


def tensor(array: np.ndarray, **meta: object) -> MetaTensor:
    """An image (1, X, Y[, Z]) with 0.7 mm pixels."""
    affine = torch.diag(torch.tensor([-0.7, -0.7, 3.0, 1.0], dtype=torch.float64))
    pixels = torch.as_tensor(np.asarray(array)[None], dtype=torch.float32)
    return MetaTensor(pixels, affine=affine, meta={"filename_or_obj": "scan.nii.gz", **meta})


def write_dicom(
    path: Path, hu: np.ndarray, *, patient: str, position: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Path:
    """Writes one axial CT slice (X, Y) in HU."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = CTImageStorage
    item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    item.StudyInstanceUID, item.SeriesInstanceUID = (
        generate_uid(entropy_srcs=[patient, kind]) for kind in ("study", "series")
    )
    item.FrameOfReferenceUID = generate_uid(entropy_srcs=[patient])
    item.Modality, item.PatientID, item.PatientName = "CT", patient, "nobody"
    item.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    item.Rows, item.Columns = hu.shape[1], hu.shape[0]
    item.PixelSpacing, item.SliceThickness = [0.7, 0.7], 5.0
    item.ImageOrientationPatient, item.ImagePositionPatient = [1, 0, 0, 0, 1, 0], list(position)
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated = item.BitsStored = 16
    item.HighBit, item.PixelRepresentation = 15, 1
    item.RescaleSlope, item.RescaleIntercept = 1, -1024
    item.PixelData = np.ascontiguousarray((np.rint(hu) + 1024).astype(np.int16).T).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    item.save_as(path, enforce_file_format=True)
    return path
