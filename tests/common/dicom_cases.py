"""Small acquired DICOM with identifying texts in it, and results on its grid."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from PIL import Image
from pydicom.uid import generate_uid

from medbundles import io
from medbundles.dicom_results import SaveDicomd

Build = Callable[..., Path]
CT, US = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.6.1"
SECRETS = {
    "OperatorsName": "Hidden^Operator",
    "ReferringPhysicianName": "Hidden^Referrer",
    "InstitutionName": "Hidden Hospital",
    "StudyDescription": "Hidden study",
    "SeriesDescription": "Hidden series",
    "PatientComments": "Hidden comment",
    "ImageComments": "Hidden image",
    "StationName": "HIDDEN",
}
TILT = np.linalg.qr(np.array([[0.9, 0.3, 0.2], [-0.2, 0.8, 0.4], [0.1, -0.5, 0.9]]))[0]
SIZE = (8, 6, 5)  # columns, rows, slices
METADATA: dict[str, Any] = {
    "name": "a_bundle",
    "version": "1.2.3",
    "network_data_format": {
        "outputs": {
            "pred": {"channel_def": {"0": "background", "1": "11 first", "2": "12 second", "3": "none"}}
        }
    },
    "medbundles": {
        "input": {"spatial_dims": 3, "modality": ["CT"]},
        "output": {"key": "pred", "kind": "labels", "suffix": "seg"},
        "terminology": {
            "procedure": ["77477000", "SCT", "Computed tomography"],
            "segments": {
                "1": {
                    "category": ["91723000", "SCT", "Anatomical Structure"],
                    "type": ["422653006", "SCT", "Permanent maxillary right central incisor tooth"],
                    "region": ["69536005", "SCT", "Head"],
                    "modifier": ["PARTS", "99MEDBUNDLES", "Parts"],
                    "colour": "#39B8FF",
                }
            },
            "measurements": {
                "tooth * volume": {"concept": ["118565006", "SCT", "Volume"], "segment": "*"},
                "GA": {
                    "concept": ["18185-9", "LN", "Gestational Age"],
                    "segment": 2,
                    "method": ["11892-7", "LN", "AC, Hadlock 1984"],
                },
                "whole area": {
                    "concept": ["42798000", "SCT", "Area"],
                    "finding": ["WHOLE", "99MEDBUNDLES", "Everything"],
                },
            },
        },
    },
}
ROWS: list[dict[str, Any]] = [
    {"name": "tooth 11 volume", "value": 123.45678901234567, "unit": "mm3", "reason": None},
    {"name": "tooth 12 volume", "value": 0.1 + 0.2, "unit": "mm3", "reason": "number uncertain"},
    {"name": "GA", "value": 31.5, "unit": "weeks", "reason": "derived, not measured"},
    {"name": "whole area", "value": 7.0, "unit": "mm2", "reason": None},
    {"name": "a score of our own", "value": 0.75, "unit": "1", "reason": None},
    {"name": "lost diameter", "value": None, "unit": "mm", "reason": "nothing was found"},
    {"name": "pixels", "value": 12.0, "unit": "px", "reason": None},
    {"name": "noise", "value": 30.0, "unit": "HU", "reason": None},
    {"name": "size", "value": 3.0, "unit": "mL", "reason": None},
    {"name": "part", "value": 2.5, "unit": "%", "reason": None},
]


@cache
def builder() -> Build:
    """Returns `build_dicom` of the conftest.py beside this file, for tests that lie elsewhere."""
    place = Path(__file__).with_name("conftest.py")
    spec = importlib.util.spec_from_file_location("dicom_builders", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build_dicom


def write_ct(
    build: Build,
    folder: Path,
    axes: np.ndarray,
    *,
    spacing: Sequence[float] = (0.5, 0.5, 3.0),
    reverse: bool = False,
) -> Path:
    """Writes CT slices; the columns of `axes` are the LPS directions of x, y and z."""
    folder.mkdir(parents=True)
    for index in range(SIZE[2]):
        place = np.array([-30.0, 12.0, 40.0]) + axes[:, 2] * spacing[2] * index
        pixels = np.arange(SIZE[1] * SIZE[0], dtype=np.int16).reshape(SIZE[1], SIZE[0]) + index
        number = SIZE[2] - index if reverse else index + 1
        known = {
            "SOPClassUID": CT,
            "StudyInstanceUID": "1.2.3",
            "SeriesInstanceUID": "1.2.3.4",
            "FrameOfReferenceUID": "1.2.9",
            "ImageOrientationPatient": [f"{v:.10f}" for v in (*axes[:, 0], *axes[:, 1])],
            "ImagePositionPatient": [f"{v:.8f}" for v in place],
            "RescaleSlope": 1,
            "RescaleIntercept": 0,
            "PixelSpacing": [spacing[1], spacing[0]],
            "InstanceNumber": number,
        }
        build(folder / f"{number:03d}.dcm", pixels, modality="CT", **(known | SECRETS))
    return folder


def write_frame(build: Build, path: Path, region: object | None = None, **attributes: object) -> Path:
    """Writes an ultrasound frame of 50 columns and 40 rows."""
    pixels = np.arange(2000).reshape(40, 50).astype(np.uint8)
    known = {"SOPClassUID": US, "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": generate_uid()}
    known |= {} if region is None else {"SequenceOfUltrasoundRegions": [region]}
    return build(path, pixels, modality="US", **(known | SECRETS | attributes))


def case_of(source: Path, labels: np.ndarray, folder: Path, **more: Any) -> dict[str, Any]:
    """Returns a case as it comes to the writer, its label map on the grid of `source`."""
    image = io.read_image(source)
    meta = {"filename_or_obj": str(source), "calibrated": image.calibrated}
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (60, 30), "#204060").save(folder / "preview.png")
    return {
        "pred": MetaTensor(torch.from_numpy(labels[None]), affine=torch.from_numpy(image.affine), meta=meta),
        "case": "case",
        "input": str(source),
        "measurements": ROWS,
        "warnings": ["look at this"],
        "outputs": {"preview": str(folder / "preview.png")},
        **more,
    }


def some_labels(shape: Sequence[int]) -> np.ndarray:
    """Labels 1 and 2, off centre; none of 3."""
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(1, 4) for _ in shape)] = 1
    labels[tuple(slice(n - 2, n - 1) for n in shape)] = 2
    return labels


def flat_metadata() -> dict[str, Any]:
    """Those of a bundle for single frames of ultrasound."""
    metadata = copy.deepcopy(METADATA)
    metadata["medbundles"]["input"] = {"spatial_dims": 2, "modality": ["US"]}
    return metadata


def write(case: dict[str, Any], folder: Path, metadata: dict[str, Any] = METADATA) -> Path:
    """Writes a case as DICOM and returns the folder."""
    done = SaveDicomd("pred", folder, metadata=metadata, output_format="dicom")(case)
    return Path(done["outputs"]["dicom"])
