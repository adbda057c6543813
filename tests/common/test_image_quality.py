"""Errors, structural similarity, contrast and bias against numbers worked by hand and against MONAI's."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from medbundles.image_quality import (
    contrast_recovery,
    hu_bias,
    lesion_response,
    psnr,
    rmse,
    ssim,
    ssim_map,
)

RNG = np.random.default_rng(3)
TRUTH = ndimage.gaussian_filter(RNG.normal(0, 900, (70, 60)), 3)
IMAGE = TRUTH + RNG.normal(0, 25, TRUTH.shape)
WINDOW = np.zeros(TRUTH.shape, dtype=bool)
WINDOW[20:50, 15:40] = True


def disc(radius: float, centre: tuple[float, float] = (34.0, 30.0)) -> np.ndarray:
    x, y = (np.arange(n) - c for n, c in zip(TRUTH.shape, centre, strict=True))
    return np.hypot(x[:, None], y[None]) <= radius


def test_rmse_worked_by_hand() -> None:
    assert rmse([[3.0, 0.0], [0.0, 4.0]], np.zeros((2, 2))) == 2.5


def test_rmse_looks_only_inside_the_mask() -> None:
    assert rmse([[3.0, 100.0]], [[0.0, 0.0]], mask=[[True, False]]) == 3.0


def test_psnr_of_an_error_of_a_tenth_of_the_range_is_twenty_decibels() -> None:
    assert psnr(TRUTH + 10, TRUTH, data_range=100) == pytest.approx(20)


def test_psnr_of_equal_images_is_infinite() -> None:
    assert psnr(TRUTH, TRUTH, data_range=1) == math.inf


def test_psnr_equals_that_of_monai() -> None:
    from monai.metrics import PSNRMetric

    theirs = PSNRMetric(max_val=2000)(as_monai(IMAGE), as_monai(TRUTH)).item()
    assert psnr(IMAGE, TRUTH, data_range=2000) == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("data_range", [0, -5, math.nan])
def test_a_data_range_that_is_not_positive_is_refused(data_range: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        psnr(IMAGE, TRUTH, data_range=data_range)


def test_ssim_equals_that_of_monai_on_a_full_image() -> None:
    from monai.metrics import SSIMMetric

    metric = SSIMMetric(spatial_dims=2, data_range=400, win_size=11, kernel_sigma=1.5)
    theirs = metric(as_monai(IMAGE), as_monai(TRUTH)).item()
    assert ssim(IMAGE, TRUTH, data_range=400) == pytest.approx(theirs, abs=1e-6)


def test_ssim_in_a_mask_does_not_see_what_is_far_from_it() -> None:
    spoiled = IMAGE.copy()
    spoiled[:10] += 500
    assert ssim(spoiled, TRUTH, data_range=400, mask=WINDOW) == ssim(
        IMAGE, TRUTH, data_range=400, mask=WINDOW
    )


def test_ssim_of_a_volume_is_that_of_its_slices() -> None:
    volume = ssim(np.stack([IMAGE, TRUTH], -1), np.stack([TRUTH, TRUTH], -1), data_range=400)
    assert volume == pytest.approx((ssim(IMAGE, TRUTH, data_range=400) + 1) / 2)


def test_windows_that_leave_the_image_have_no_similarity() -> None:
    found = ssim_map(IMAGE, TRUTH, data_range=400)
    assert np.isnan(found[4]).all() and np.isfinite(found[5:-5, 5:-5]).all()


def test_a_mask_at_the_rim_alone_has_no_ssim() -> None:
    rim = np.zeros(TRUTH.shape, dtype=bool)
    rim[0] = True
    with pytest.raises(ValueError, match="No window"):
        ssim(IMAGE, TRUTH, data_range=400, mask=rim)


def test_contrast_recovery_of_a_lesion_halved_on_another_background_is_a_half() -> None:
    lesion, around = disc(4), disc(9) & ~disc(6)
    assert contrast_recovery(7 + 10 * lesion, 100 + 20 * lesion, lesion, around) == 0.5


def test_contrast_recovery_of_a_lesion_without_contrast_is_refused() -> None:
    with pytest.raises(ValueError, match="no contrast"):
        contrast_recovery(IMAGE, np.ones_like(TRUTH), disc(4), disc(9) & ~disc(6))


@pytest.mark.parametrize("kept", [0.0, 0.3, 1.0])
def test_lesion_response_is_the_part_kept_under_the_same_noise_and_anatomy(kept: float) -> None:
    lesion = -15.0 * disc(3)
    assert lesion_response(IMAGE + kept * lesion, IMAGE, lesion) == pytest.approx(kept, abs=1e-9)


def test_lesion_response_falls_when_the_lesion_is_blurred() -> None:
    lesion = 20.0 * disc(3)
    blurred = ndimage.gaussian_filter(lesion, 2.0)
    assert 0.3 < lesion_response(IMAGE + blurred, IMAGE, lesion) < 0.8


def test_an_empty_lesion_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        lesion_response(IMAGE, IMAGE, np.zeros_like(IMAGE))


def test_bias_of_each_region_is_signed() -> None:
    left, right = disc(5, (20.0, 30.0)), disc(5, (50.0, 30.0))
    found = hu_bias(TRUTH - 2.0 * left + 3.0 * right, TRUTH, {"left": left, "right": right})
    assert found == pytest.approx({"left": -2.0, "right": 3.0})


def test_bias_of_a_region_without_pixels_is_undefined() -> None:
    assert hu_bias(IMAGE, TRUTH, {"bone": np.zeros(TRUTH.shape)}) == {"bone": None}


def test_images_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        rmse(TRUTH, TRUTH[:-1])


def test_values_that_are_not_finite_are_refused() -> None:
    broken = IMAGE.copy()
    broken[3, 4] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        psnr(broken, TRUTH, data_range=400, mask=WINDOW)


@pytest.mark.parametrize("mask", [np.zeros(TRUTH.shape), np.ones((3, 3))])
def test_an_empty_or_foreign_mask_is_refused(mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="mask"):
        rmse(IMAGE, TRUTH, mask=mask)


def as_monai(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image)[None, None]
