"""The guard of CT denoising, which marks changes that noise does not explain."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "ct_lowdose_cyclegan_denoising"))

from ct_phantom import phantom, tensor

from ct_cyclegan.guard import GuardNoised


def denoised(grain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A body in noise, and without the noise, HU (X, Y)."""
    clean = phantom(192)
    return (clean + grain).astype(np.float32), clean


def ramp_noise(sd: float, size: int = 192) -> np.ndarray:
    """Noise (X, Y) with the spectrum of a reconstruction."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij"))
    transfer = np.sqrt(frequency) * np.cos(np.pi * np.minimum(frequency, 0.5)) ** 2
    white = np.random.default_rng(3).standard_normal((size, size))
    grain = np.fft.ifft2(np.fft.fft2(white) * transfer).real
    return sd * grain / grain.std()


def guarded(before: np.ndarray, after: np.ndarray) -> dict:
    return GuardNoised("pred")({"image": tensor(before), "pred": tensor(after)})


def test_removing_noise_alone_is_explained() -> None:
    case = guarded(*denoised(ramp_noise(30)))
    rows = {row["name"]: row for row in case["measurements"]}
    assert rows["unexplained change"]["value"] < 0.1
    assert rows["noise after"]["value"] < 0.2 * rows["noise before"]["value"]
    assert {row["unit"] for row in rows.values()} == {"HU", "%"}


@pytest.mark.parametrize("invented", [80.0, -80.0])
def test_an_invented_or_removed_lesion_is_marked_and_warned_about(invented: float) -> None:
    before, after = denoised(ramp_noise(30))
    after = after.copy()
    after[104:116, 128:140] += invented
    case = guarded(before, after)
    assert case["guard"].shape == (1, 192, 192)
    assert case["guard"][0, 110, 134] == 1
    assert case["guard"][0, 60, 60] == 0
    assert any("1 place changed by more than the noise explains" in warning for warning in case["warnings"])


def test_the_mask_lies_on_the_grid_of_the_input_whatever_its_orientation() -> None:
    before, after = denoised(ramp_noise(30))
    after = after.copy()
    after[104:116, 128:140] += 80
    expected = guarded(before, after)["guard"][0].numpy()
    affine = torch.tensor([[0, 0, -0.7, 0], [-0.7, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 0, 1]]).double()
    stored = [
        np.moveaxis(np.stack([a, b], -1), (0, 1, 2), (2, 0, 1))
        for a, b in ((before, before), (after, before))
    ]
    image, pred = (MetaTensor(torch.tensor(s[None]), affine=affine) for s in stored)
    mask = GuardNoised("pred")({"image": image, "pred": pred})["guard"]
    assert mask.shape == image.shape
    assert np.array_equal(mask[0, :, 0].numpy(), expected.T)
    assert not mask[0, :, 1].any()


def test_an_image_of_air_has_no_noise_figure_but_a_reason() -> None:
    air = np.full((64, 64), -1000, np.float32) + np.random.default_rng(0).normal(0, 5, (64, 64))
    for row in guarded(air, air)["measurements"]:
        assert row["value"] is None and "body" in row["reason"]


def test_a_quiet_input_and_odd_pixels_are_warned_about() -> None:
    image = tensor(denoised(ramp_noise(2))[0])
    image.affine = torch.diag(torch.tensor([-0.2, -0.2, 1.0, 1.0], dtype=torch.float64))
    warnings = GuardNoised("pred")({"image": image, "pred": image.clone()})["warnings"]
    assert any("little to gain" in text for text in warnings)
    assert any("pixels of 0.2 x 0.2 mm" in text for text in warnings)
