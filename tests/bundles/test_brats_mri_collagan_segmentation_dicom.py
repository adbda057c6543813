"""An imputed contrast as a DICOM series: on the grid of the measured ones, and never to be taken for one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "brats_mri_collagan_segmentation"))
from brain_phantom import brain
from dicom_cases import builder

from brats_collagan.saving import MEAN, SPREAD, SaveSyntheticd
from medbundles import io
from medbundles.dicom_results import SaveDicomd
from medbundles.errors import DicomOutputError
from medbundles.multicontrast import LoadContrastsd
from medbundles.studies import read_study

METADATA = Path(__file__).parents[2] / "bundles/brats_mri_collagan_segmentation/configs/metadata.json"
MR, SLICES = "1.2.840.10008.5.1.4.1.1.4", 8
NUMBERS = {"t1": 1, "t2": 2, "flair": 3}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """T1, T2 and FLAIR of an oblique study, T2 with its slices stored from the top."""
    turn = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1.0]])
    for name, number in NUMBERS.items():
        folder = tmp_path / "study" / f"series {number}"
        folder.mkdir(parents=True)
        volume = brain(name)[..., 12 : 12 + SLICES]
        for index in range(SLICES):
            known = {
                "SOPClassUID": MR,
                "ImageOrientationPatient": [*turn[:, 0], *turn[:, 1]],
                "ImagePositionPatient": [10.0, -5.0, 4.0 * index],
                "PixelSpacing": [4, 4],
                "SeriesDescription": {"t1": "AX T1", "t2": "AX T2", "flair": "AX T2 FLAIR"}[name],
                "SeriesInstanceUID": f"1.2.3.{number}",
                "StudyInstanceUID": "1.2.3",
                "SeriesNumber": number,
                "FrameOfReferenceUID": "1.9",
                "ScanningSequence": "SE",
                "EchoTime": 20,
                "ProtocolName": "AX T1",
                "OperatorsName": "Hidden^Operator",
                "WindowCenter": 77,
            }
            pixels = np.ascontiguousarray(volume[..., index].T)
            place = SLICES - index if name == "t2" else index
            builder()(folder / f"{place:03d}.dcm", pixels, modality="MR", **known)
    return tmp_path / "study"


def read(study: Path, **options: Any) -> dict[str, Any]:
    """The case with its four contrasts, T1Gd made up."""
    case = LoadContrastsd("image", METADATA, **options)({"image": str(study)})
    image = case["image"]
    scores = torch.linspace(-2, 2, image[0].numel()).reshape(image[0].shape)
    image[1] = scores
    return {**case, "case": "patient", "input": str(study), "synthetic_inputs": ["t1gd"], "outputs": {}}


def write(case: dict[str, Any], folder: Path) -> Path:
    save = SaveSyntheticd("image", folder, metadata=METADATA, output_format="dicom")
    return Path(save(case)["outputs"]["t1gd_synthetic"])


def test_the_series_has_the_values_and_the_grid_of_the_result(study: Path, tmp_path: Path) -> None:
    case = read(study)
    made = io.read_image(write(case, tmp_path / "out"))
    image = case["image"]
    expected = np.clip(np.rint(MEAN + SPREAD * image[1].numpy()), 1, None)
    expected = np.where((image.numpy() != 0).any(0), expected, 0)
    np.testing.assert_array_equal(made.array[0], expected)
    np.testing.assert_allclose(made.affine, image.affine.numpy(), atol=1e-6)


def test_every_slice_says_that_it_was_not_acquired(study: Path, tmp_path: Path) -> None:
    folder = write(read(study), tmp_path / "out")
    headers = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    assert len(headers) == SLICES and len({h.SOPInstanceUID for h in headers}) == SLICES
    measured = {pydicom.dcmread(path).SOPInstanceUID for path in (study / "series 1").iterdir()}
    for header in headers:
        assert header.SeriesInstanceUID not in {f"1.2.3.{n}" for n in NUMBERS.values()}
        assert list(header.ImageType)[:2] == ["DERIVED", "SECONDARY"]
        assert "SYNTHETIC T1Gd, not acquired" in header.DerivationDescription
        assert "imputed from T1, T2, FLAIR" in header.DerivationDescription
        assert header.SeriesDescription.startswith("synthetic T1Gd")
        assert header.SourceImageSequence[0].ReferencedSOPInstanceUID in measured
        assert header.FrameOfReferenceUID == "1.9" and header.StudyInstanceUID == "1.2.3"


def test_nothing_is_told_of_an_acquisition_that_never_was(study: Path, tmp_path: Path) -> None:
    header = pydicom.dcmread(next(write(read(study), tmp_path / "out").iterdir()))
    assert header.ScanningSequence == "RM" and header.EchoTime is None
    assert "ProtocolName" not in header and "OperatorsName" not in header
    assert header.WindowCenter == MEAN


def test_a_rerun_gives_the_same_identifiers(study: Path, tmp_path: Path) -> None:
    uids = [
        [pydicom.dcmread(path).SOPInstanceUID for path in sorted(write(read(study), tmp_path / n).iterdir())]
        for n in "ab"
    ]
    assert uids[0] == uids[1]


def test_a_study_that_results_came_to_lie_in_is_read_as_before(study: Path) -> None:
    before = read_study(study)
    write(read(study), study)
    after = read_study(study)
    assert after.present == before.present == ("t1", "t2", "flair")
    np.testing.assert_array_equal(after.image.array, before.image.array)


@pytest.mark.parametrize(("resample", "number"), [(None, 1), ("t2", 2)])
def test_the_segmentation_is_on_the_frames_of_the_reference_series(
    study: Path, tmp_path: Path, resample: str | None, number: int
) -> None:
    case = read(study, resample=resample)
    labels = torch.zeros(1, *case["image"].shape[1:], dtype=torch.uint8)
    labels[0, 3:6, 4:8, 2] = 3
    pred = MetaTensor(labels, affine=case["image"].affine, meta=dict(case["image"].meta))
    case |= {
        "pred": pred,
        "measurements": [{"name": "ET volume", "value": 0.8, "unit": "mL", "reason": None}],
    }
    done = SaveDicomd("pred", tmp_path / "out", metadata=METADATA, output_format="dicom")(case)
    dataset = pydicom.dcmread(Path(done["outputs"]["dicom"]) / "segmentation.dcm")
    assert Path(done["outputs"]["dicom"]).name == "patient_synthetic_input_dicom"
    (groups,) = dataset.PerFrameFunctionalGroupsSequence
    origin = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
    acquired = {pydicom.dcmread(p).SOPInstanceUID for p in (study / f"series {number}").iterdir()}
    assert origin in acquired and dataset.pixel_array.sum() == 12
    assert "synthetic" in dataset.ContentDescription


def test_a_study_of_other_files_is_refused(tmp_path: Path) -> None:
    for name in ("t1", "t2"):
        io.write_image(brain(name)[None], tmp_path / "in" / f"{name}.nii.gz", affine=np.diag([4.0, 4, 4, 1]))
    case = read(tmp_path / "in")
    with pytest.raises(DicomOutputError, match="not DICOM"):
        write(case, tmp_path / "out")
