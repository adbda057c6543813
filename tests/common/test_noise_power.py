"""Noise power spectra of noise whose spectrum is known."""

import numpy as np
import pytest

from medbundles.noise_power import noise_power_spectrum

PIXEL = 0.7


def white(n: int = 60, shape: tuple[int, int] = (64, 64), sd: float = 10.0) -> np.ndarray:
    return np.random.default_rng(1).normal(0, sd, (n, *shape))


def coloured(centre: float, width: float, n: int = 40, size: int = 64) -> np.ndarray:
    """Noise of sd 10 in a band of frequencies (cycles per mm) around `centre`, periodic in the patch."""
    axis = np.fft.fftfreq(size, PIXEL)
    radius = np.hypot(axis[:, None], axis[None])
    shape = np.exp(-0.5 * ((radius - centre) / width) ** 2)
    shape *= 10 / np.sqrt(np.mean(shape**2))
    return np.fft.ifft2(np.fft.fft2(white(n, (size, size), 1.0)) * shape).real


def test_the_integral_is_the_variance() -> None:
    noise = white()
    assert noise_power_spectrum(noise, PIXEL).variance == pytest.approx(
        noise.var(axis=(1, 2)).mean(), rel=1e-9
    )


def test_white_noise_has_the_same_power_everywhere() -> None:
    power = noise_power_spectrum(white(), PIXEL).power
    assert power == pytest.approx(np.full(len(power), 10.0**2 * PIXEL**2), rel=0.15)


def test_the_frequencies_end_at_nyquist() -> None:
    frequency = noise_power_spectrum(white(), PIXEL).frequency
    assert frequency[0] == pytest.approx(1 / (64 * PIXEL), rel=0.25)
    assert 0.98 < frequency[-1] * 2 * PIXEL <= 1


def test_pixels_that_are_not_square_keep_the_integral_and_the_scale() -> None:
    found = noise_power_spectrum(white(shape=(64, 48)), (0.5, 1.0))
    assert found.variance == pytest.approx(100, rel=0.02)
    assert found.power == pytest.approx(np.full(len(found.power), 100 * 0.5), rel=0.2)
    assert found.frequency[-1] <= 0.5


def test_the_peak_and_mean_of_coloured_noise_are_where_it_was_put() -> None:
    found = noise_power_spectrum(coloured(0.3, 0.04), PIXEL)
    assert found.peak == pytest.approx(0.3, abs=0.025)
    assert found.mean == pytest.approx(0.3, abs=0.015)
    assert found.variance == pytest.approx(100, rel=0.05)


def test_a_trend_does_not_count_as_noise() -> None:
    x, y = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64), indexing="ij")
    trend = 400 + 50 * x - 80 * y + 30 * x * y + 60 * y**2
    plain = noise_power_spectrum(white(), PIXEL, detrend=2).variance
    assert noise_power_spectrum(white() + trend, PIXEL, detrend=2).variance == pytest.approx(plain, rel=1e-9)
    assert noise_power_spectrum(white() + trend, PIXEL, detrend=0).variance > 10 * plain


def test_no_noise_has_no_mean_frequency() -> None:
    with pytest.raises(ValueError, match="no noise"):
        _ = noise_power_spectrum(np.zeros((2, 16, 16)), PIXEL).mean


@pytest.mark.parametrize("shape", [(64, 64), (0, 64, 64), (3, 7, 64)])
def test_patches_of_the_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="patches"):
        noise_power_spectrum(np.zeros(shape), PIXEL)


def test_patches_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        noise_power_spectrum(np.full((2, 16, 16), np.inf), PIXEL)


def test_an_unknown_order_of_the_trend_is_refused() -> None:
    with pytest.raises(ValueError, match="order"):
        noise_power_spectrum(white(2), PIXEL, detrend=3)
