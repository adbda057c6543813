"""The model of reconstruction noise against noise that was made by its recipe."""

import numpy as np
import pytest
from scipy import ndimage

from medbundles import noise_spectra


def ramp_noise(cutoff: float, size: int = 512) -> np.ndarray:
    axis = np.fft.fftfreq(size)
    radius = np.hypot(axis[:, None], axis[None])
    apodisation = np.where(radius < cutoff, 0.5 + 0.5 * np.cos(np.pi * radius / cutoff), 0)
    shape = np.sqrt(radius) * apodisation
    noise = np.fft.ifft2(np.fft.fft2(np.random.default_rng(0).normal(0, 1, radius.shape)) * shape).real
    return noise / noise.std()


@pytest.mark.parametrize("cutoff", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("width", [0.7, 2.5])
def test_the_parts_that_a_filter_removes_and_leaves_are_those_of_real_noise(
    cutoff: float, width: float
) -> None:
    noise = ramp_noise(cutoff)
    smooth = ndimage.gaussian_filter(noise, width, mode="wrap")
    assert noise_spectra.removed(cutoff, width) == pytest.approx((noise - smooth).std(), rel=0.02)
    assert noise_spectra.left(cutoff, width) == pytest.approx(smooth.std(), rel=0.05)


def test_the_slope_is_that_of_real_noise() -> None:
    slope = ndimage.gaussian_filter(ramp_noise(0.6), 1.5, order=(0, 1), mode="wrap").std()
    assert noise_spectra.slope(0.6, 1.5) == pytest.approx(slope, rel=0.03)


@pytest.mark.parametrize("cutoff", [0.25, 0.45, 0.9])
def test_the_end_of_the_kernel_comes_back_from_the_ratio_of_two_bands(cutoff: float) -> None:
    noise = ramp_noise(cutoff)
    fine, coarse = ((noise - ndimage.gaussian_filter(noise, w, mode="wrap")).std() for w in (0.7, 1.0))
    assert noise_spectra.cutoff_of(fine / coarse, 0.7, 1.0) == pytest.approx(cutoff, rel=0.05)
