"""Results of image bundles: rounded, in range, and DICOM for DICOM."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch

from medbundles import io
from medbundles.errors import DicomOutputError
from medbundles.transforms import LoadImageCheckedd, SaveImageWholed

Build = Callable[..., Path]
CT = "1.2.840.10008.5.1.4.1.1.2"
METADATA = {
    "name": "ct_denoising",
    "version": "0.2.0",
    "medbundles": {"output": {"key": "pred", "suffix": "denoised", "kind": "image"}},
}
LABELS = {**METADATA, "medbundles": {"output": {"key": "pred", "suffix": "seg", "kind": "labels"}}}


def save(
    source: Path, folder: Path, *, metadata: dict = METADATA, key: str = "pred", **options: object
) -> dict:
    """Saves the input minus 7.4 as the result."""
    case = LoadImageCheckedd("image", pixel_mm=options.pop("pixel_mm", None))({"image": str(source)})
    case[key] = case["image"] - options.pop("less", 7.4)
    known = {"output_postfix": "denoised", "output_dtype": np.int16}
    return SaveImageWholed(key, folder, metadata=metadata, **(known | options))(case)


def test_a_dicom_series_gives_a_series_that_equals_the_nifti(tmp_path: Path, dicom_series: Build) -> None:
    source = dicom_series(tmp_path / "Anna", [6.0, 0.0, 3.0], SOPClassUID=CT)
    dicom = save(source, tmp_path / "a")["outputs"]["pred"]
    nifti = save(source, tmp_path / "b", output_ext=".nii.gz")["outputs"]["pred"]
    assert dicom == str(tmp_path / "a" / "Anna_denoised")
    assert nifti == str(tmp_path / "b" / "Anna_denoised.nii.gz")
    assert sorted(path.name for path in Path(dicom).iterdir()) == ["0001.dcm", "0002.dcm", "0003.dcm"]
    one, other = io.read_image(dicom), io.read_image(nifti)
    assert np.array_equal(one.array, other.array)
    assert np.array_equal(one.array, np.rint(io.read_image(source).array - 7.4))
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-4)
    made = pydicom.dcmread(Path(dicom) / "0001.dcm")
    assert made.SeriesDescription == "denoised (medbundles)"
    assert "ct_denoising 0.2.0" in made.DerivationDescription


def test_one_dicom_file_gives_one(tmp_path: Path, dicom_series: Build) -> None:
    source = next(dicom_series(tmp_path / "s", [5.0], SOPClassUID=CT).iterdir())
    path = save(source, tmp_path / "out")["outputs"]["pred"]
    assert path == str(tmp_path / "out" / f"{source.stem}_denoised.dcm")
    assert io.read_image(path).array.shape == (1, 8, 6)


def test_label_maps_and_side_products_of_dicom_stay_nifti(tmp_path: Path, dicom_series: Build) -> None:
    source = dicom_series(tmp_path / "s", [0.0, 3.0], SOPClassUID=CT)
    assert save(source, tmp_path, metadata=LABELS)["outputs"]["pred"].endswith("s_denoised.nii.gz")
    for extension in ("auto", ".dcm"):
        guard = save(source, tmp_path, key="guard", output_postfix="guard", output_ext=extension)
        assert guard["outputs"]["guard"].endswith("s_guard.nii.gz")


def test_other_formats_stay_what_they_are(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.mha", "c.nrrd"):
        io.write_image(np.full((1, 6, 5, 4), 9, np.int16), tmp_path / name, affine=np.diag([-1, -1, 2, 1.0]))
        path = save(tmp_path / name, tmp_path / "out")["outputs"]["pred"]
        assert path.endswith(name[0] + "_denoised" + name[1:])
        assert io.read_image(path).array.dtype == np.int16


def test_dicom_that_cannot_be_written_again_gives_nifti_and_says_why(
    tmp_path: Path, dicom_file: Build
) -> None:
    source = dicom_file(tmp_path / "a.dcm", np.full((6, 5), 300, np.int16), modality="DX")
    case = save(source, tmp_path / "out")
    assert case["outputs"]["pred"].endswith("a_denoised.nii.gz")
    assert "modality DX" in case["warnings"][-1]


def test_a_pixel_size_of_the_users_does_not_come_back_as_the_scanners(
    tmp_path: Path, dicom_series: Build
) -> None:
    source = dicom_series(tmp_path / "s", [0.0, 3.0], SOPClassUID=CT)
    case = save(source, tmp_path / "out", pixel_mm=(0.4, 0.4, 3.0))
    assert case["outputs"]["pred"].endswith(".nii.gz")
    assert "grid" in case["warnings"][-1]


def test_fractional_results_go_where_they_fit(tmp_path: Path, dicom_series: Build) -> None:
    source = dicom_series(tmp_path / "s", [0.0, 3.0], SOPClassUID=CT)
    case = save(source, tmp_path / "out", output_dtype=np.float32)
    assert io.read_image(case["outputs"]["pred"]).array.dtype == np.float32
    assert "float32" in case["warnings"][-1]


def test_dicom_that_was_asked_for_and_cannot_be_is_refused(tmp_path: Path) -> None:
    io.write_image(np.full((1, 6, 5, 4), 9, np.int16), tmp_path / "a.nii.gz", affine=np.eye(4))
    with pytest.raises(DicomOutputError, match="not DICOM"):
        save(tmp_path / "a.nii.gz", tmp_path / "out", output_ext=".dcm")
    assert not (tmp_path / "out").exists()


def test_an_image_in_memory_gives_nifti_without_a_word(tmp_path: Path) -> None:
    image = torch.full((1, 6, 5, 4), 9.0)
    case = LoadImageCheckedd("image")({"image": image})
    case["pred"] = case["image"] + 1
    case = SaveImageWholed("pred", tmp_path, metadata=METADATA, output_dtype=np.int16)(case)
    assert case["outputs"]["pred"].endswith(".nii.gz")
    assert not case.get("warnings")


def test_values_beyond_the_type_are_cut_to_its_limits_in_images_with_a_warning(tmp_path: Path) -> None:
    image = np.full((1, 6, 5, 4), 32000, np.int32)
    image[0, 0, 0, 0] = -32000
    io.write_image(image, tmp_path / "a.nii.gz", affine=np.eye(4))
    case = save(tmp_path / "a.nii.gz", tmp_path / "out", less=1000)
    result = io.read_image(case["outputs"]["pred"]).array
    assert result[0, 0, 0, 0] == -32768
    assert np.all(result.ravel()[1:] == 31000)
    assert "1 values beyond" in case["warnings"][-1]


def test_values_are_rounded_to_the_nearest_whole_number(tmp_path: Path) -> None:
    io.write_image(np.full((1, 6, 5, 4), -3, np.int16), tmp_path / "a.nii.gz", affine=np.eye(4))
    for less, expected in ((0.4, -3), (0.6, -4)):
        case = save(tmp_path / "a.nii.gz", tmp_path / "out", less=less)
        assert np.all(io.read_image(case["outputs"]["pred"]).array == expected)


@pytest.mark.parametrize("metadata", [METADATA, LABELS])
def test_what_is_no_number_is_refused(tmp_path: Path, metadata: dict) -> None:
    io.write_image(np.full((1, 6, 5, 4), 9, np.int16), tmp_path / "a.nii.gz", affine=np.eye(4))
    with pytest.raises(ValueError, match="not numbers"):
        save(tmp_path / "a.nii.gz", tmp_path / "out", metadata=metadata, less=float("nan"))


def test_a_series_from_a_synthetic_input_says_so(tmp_path: Path, dicom_series: Build) -> None:
    source = dicom_series(tmp_path / "s", [0.0, 3.0], SOPClassUID=CT)
    case = LoadImageCheckedd("image")({"image": str(source), "synthetic_inputs": ["t1c"]})
    case["pred"] = case["image"]
    case = SaveImageWholed("pred", tmp_path, metadata=METADATA, output_dtype=np.int16)(case)
    assert case["outputs"]["pred"].endswith("s_synthetic_input_seg")
    made = pydicom.dcmread(next(Path(case["outputs"]["pred"]).iterdir()))
    assert made.DerivationDescription.endswith("synthetic input: t1c")
