"""Small images of every kind that the servers of the tests are asked about."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medbundles.io import read_image, write_image
from medbundles.zoo.find import add_to_path, find_bundle

sys.path.append(str(Path(__file__).parents[2] / "bundles"))
add_to_path(find_bundle("dental_cbct_tooth_segmentation"))
from dental_phantom import Phantom  # noqa: E402

TEETH = (14, 13, 11, 21, 26, 34, 41, 43)
SECRET = "Secret^Person"
CT_IMAGE, US_IMAGE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.6.1"
CONTRASTS = ("t1", "t1gd", "t2", "flair")
OBLIQUE = np.array([[-2.9, 0.5, 0, 30], [0.5, 2.9, 0, -40], [0, 0, 3, 10], [0, 0, 0, 1]])


def brain() -> np.ndarray:
    """Nested balls in an egg, in four contrasts (4, X, Y, Z)."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (22, 26, 20)], indexing="ij")
    egg = sum(a**2 for a in axes) < 0.9
    depth = np.sqrt((axes[0] - 0.3) ** 2 + axes[1] ** 2 + axes[2] ** 2)
    grain = np.random.default_rng(0).normal(0, 8, (4, *egg.shape))
    levels = np.array([[40, -30, -60], [200, -40, -30], [90, 120, 60], [110, 60, 90]])
    places = [depth < 0.15, depth < 0.3, depth < 0.5]
    images = [
        300 + noise + np.select(places, list(level), 0) for noise, level in zip(grain, levels, strict=True)
    ]
    return (np.stack(images) * egg).astype(np.float32)


def ct_slice() -> np.ndarray:
    """A noisy disc of water with an insert, in air (1, X, Y), in HU."""
    x, y = np.meshgrid(np.arange(96) - 48, np.arange(80) - 40, indexing="ij")
    hu = np.where(x**2 + y**2 < 32**2, 40.0, -1000.0) + np.where((x - 8) ** 2 + y**2 < 64, 60.0, 0.0)
    return np.round(hu + np.random.default_rng(1).normal(0, 25, hu.shape))[None].astype(np.int16)


def write_images(place: Path, frames: Sequence[Path]) -> None:
    """Writes planes, volumes, the contrasts of a brain, a picture, DICOM, and something that is no image."""
    for number, frame in enumerate(frames):
        shutil.copyfile(frame, place / f"frame_{number}.nii.gz")
    first = read_image(frames[0])
    pixels = first.array.astype(np.uint8)
    write_image(pixels, place / "picture.png", affine=first.affine)
    write_dicom(place / "frame.dcm", pixels[0].T, US_IMAGE, Modality="US")
    write_image(ct_slice(), place / "slice.nii.gz", affine=np.diag([-0.7, -0.7, 1, 1]))
    hu, _, affine = Phantom(teeth=TEETH).build()
    write_image(np.round(hu)[None].astype(np.int16), place / "jaw.nii.gz", affine=affine)
    for folder, affine in ((place, OBLIQUE), (place / "patient", np.diag([3.0, 3, 3, 1]))):
        for index, name in enumerate(CONTRASTS):
            write_image(brain()[index : index + 1], folder / f"brain_{name}.nii.gz", affine=affine)
    _write_series(place / "series")
    (place / "notes").mkdir()
    (place / "notes" / "read me.txt").write_text("no image", encoding="utf-8")


def write_dicom(path: Path, pixels: np.ndarray, kind: str, **attributes: object) -> None:
    """Writes one plane (rows, columns) with a name in its header that nobody may see."""
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.SOPClassUID, file.SOPInstanceUID = kind, generate_uid()
    file.SeriesInstanceUID, file.StudyInstanceUID = "1.2.3.4", "1.2.3"
    file.PatientName = file.PatientID = SECRET
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated = file.BitsStored = 8 * pixels.dtype.itemsize
    file.HighBit, file.PixelRepresentation = file.BitsStored - 1, int(pixels.dtype.kind == "i")
    file.PixelData = np.ascontiguousarray(pixels).tobytes()
    for name, value in attributes.items():
        setattr(file, name, value)
    path.parent.mkdir(exist_ok=True)
    file.save_as(path, enforce_file_format=True)


def _write_series(folder: Path) -> None:
    for number in range(3):
        place = {
            "Modality": "CT",
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "ImagePositionPatient": [-30, -20, 2 * number],
            "PixelSpacing": [0.7, 0.7],
            "RescaleSlope": 1,
            "RescaleIntercept": 0,
        }
        write_dicom(folder / f"{number}.dcm", np.roll(ct_slice()[0].T, number), CT_IMAGE, **place)
