"""CT denoising from file to file: units, strength, windows, DICOM in and out."""

import contextlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import Compose, Invertd

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "ct_lowdose_cyclegan_denoising"))

from ct_phantom import BUNDLE, phantom, tensor, write_dicom

from ct_cyclegan.network import DenoisingGenerator
from ct_cyclegan.transforms import BlendStrengthd, ScaleHud, blend
from medbundles.checks import OverrideError
from medbundles.inferers import SlicewiseInferer
from medbundles.io import read_image, write_image
from medbundles.precision import processor_computes_bfloat16
from medbundles.reports import read_report
from medbundles.zoo.workflows import INFERENCE, run_workflow


def test_hounsfield_units_return_exactly_from_the_networks_scale() -> None:
    pipeline = Compose([ScaleHud("image")])
    image = tensor(np.array([[-2000.0, -1000.0], [40.0, 30000.0]]))
    case = pipeline({"image": image})
    assert case["image"].as_tensor()[0, 1, 0] == 40 / 400
    back = Invertd("image", pipeline)(case)["image"]
    assert torch.allclose(back.as_tensor(), image.as_tensor(), rtol=1e-6)


@pytest.mark.parametrize("strength, expected", [(0, 100.0), (0.25, 90.0), (1, 60.0)])
def test_strength_blends_between_input_and_output(strength: float, expected: float) -> None:
    case = {"image": tensor(np.full((2, 2), 100.0)), "pred": tensor(np.full((2, 2), 60.0))}
    assert BlendStrengthd("pred", strength)(case)["pred"].unique().item() == expected


def test_padding_stays_as_it_is() -> None:
    before, after = torch.tensor([-2000.0, -1100.0, 40.0]), torch.tensor([-1990.0, -1000.0, 30.0])
    assert blend(before, after, 1.0).tolist() == [-2000.0, -1000.0, 30.0]


@pytest.mark.parametrize("strength", [-0.1, 1.5, "much", None, float("nan")])
def test_a_strength_outside_0_to_1_is_refused(strength: object) -> None:
    with pytest.raises(OverrideError, match=r"from 0 .* to 1"):
        BlendStrengthd("pred", strength)


def test_whole_slices_and_windows_give_nearly_the_same() -> None:
    torch.manual_seed(0)
    network = DenoisingGenerator(width=8, modules=2, norm="none").eval()
    slices = torch.randn(1, 1, 80, 72, 2)
    with torch.no_grad():
        whole, windows = (
            SlicewiseInferer(window=w, overlap=0.5)(slices, network) - slices for w in (None, 64)
        )
    assert (whole - windows).abs().mean() < 0.05 * whole.abs().mean()


def test_fast_is_balanced_and_exact_is_within_some_hounsfield_units(series: Path, tmp_path: Path) -> None:
    answers = {}
    for mode in ("fast", "balanced", "exact"):
        run(series, tmp_path / mode, mode=mode, output_ext=".nii.gz")
        (path,) = (tmp_path / mode).glob("*_denoised.nii.gz")
        answers[mode] = read_image(path).array.astype(float)
    assert np.array_equal(answers["fast"], answers["balanced"])
    difference = np.abs(answers["exact"] - answers["balanced"]).max()
    assert difference <= 10
    assert (difference > 0) == processor_computes_bfloat16()


def run(source: Path, output: Path, **options: object) -> dict:
    """Runs inference and returns the only case of the report."""
    knobs = {"dataset_dir": str(source), "output_dir": str(output), "device": "cpu", **options}
    with contextlib.suppress(SystemExit):
        run_workflow(BUNDLE, INFERENCE, knobs, logging_file=False)
    (case,) = read_report(output)["cases"]
    return case


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A DICOM series of three slices of 64 x 64."""
    for z in range(3):
        noisy = phantom(64) + np.random.default_rng(z).normal(0, 30, (64, 64))
        write_dicom(tmp_path / "series" / f"{z}.dcm", noisy, patient="p", position=(-20.0, -30.0, 5.0 * z))
    return tmp_path / "series"


def test_a_dicom_series_comes_back_as_a_series_with_the_pixels_of_the_nifti(
    series: Path, tmp_path: Path
) -> None:
    case = run(series, tmp_path / "dicom")
    assert case["status"] == "ok", case["error"]
    same = run(series, tmp_path / "nifti", output_ext=".nii.gz")
    dicom, nifti = (
        read_image(folder / c["outputs"]["pred"])
        for folder, c in ((tmp_path / "dicom", case), (tmp_path / "nifti", same))
    )
    assert np.array_equal(dicom.array, nifti.array)
    np.testing.assert_allclose(dicom.affine, read_image(series).affine, atol=1e-4)
    np.testing.assert_allclose(dicom.affine, nifti.affine, atol=1e-4)


def test_strength_zero_gives_the_input_back(series: Path, tmp_path: Path) -> None:
    case = run(series, tmp_path / "out", strength=0, output_ext=".nii.gz")
    result = read_image(tmp_path / "out" / case["outputs"]["pred"])
    assert np.array_equal(result.array, read_image(series).array)
    assert {m["name"]: m["value"] for m in case["measurements"]}["unexplained change"] == 0


def test_a_picture_is_refused_because_it_is_not_in_hounsfield_units(tmp_path: Path) -> None:
    picture = np.clip(phantom(64) / 8 + 128, 0, 255).astype(np.uint8)
    write_image(picture[None], tmp_path / "slice.png", affine=np.eye(4))
    case = run(tmp_path / "slice.png", tmp_path / "out", pixel_mm=0.7)
    assert case["status"] == "failed"
    assert "rescale slope" in case["error"]
