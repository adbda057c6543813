"""The response to the edge of a disc that was blurred by a known amount."""

import math

import numpy as np
import pytest
from scipy import ndimage, special

from medbundles.edges import edge_response

CENTRE, RADIUS, PIXEL = (80.3, 77.9), 25.0, 0.7
# From 10 to 90 % of a Gaussian edge, in its sd.
WIDTH = 2 * math.sqrt(2) * special.erfinv(0.8)


def disc(sd_mm: float, contrast: float = -120.0, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    x, y = (np.arange(n) - c for n, c in zip((160, 156), CENTRE, strict=True))
    distance = np.hypot(x[:, None], y[None]) * PIXEL - RADIUS
    share = 0.5 - 0.5 * special.erf(distance / (sd_mm * math.sqrt(2)))
    return 40 + contrast * share + np.random.default_rng(seed).normal(0, noise, share.shape)


@pytest.mark.parametrize("sd", [0.5, 0.8, 1.5])
def test_the_width_is_that_of_the_gaussian(sd: float) -> None:
    assert edge_response(disc(sd), CENTRE, RADIUS, PIXEL).width == pytest.approx(WIDTH * sd, rel=0.03)


def test_noise_does_not_widen_the_edge() -> None:
    widths = [
        edge_response(disc(0.8, 100, 10, seed), CENTRE, RADIUS, PIXEL, margin_mm=8).width
        for seed in range(30)
    ]
    assert np.mean(widths) == pytest.approx(WIDTH * 0.8, rel=0.03)


def test_the_contrast_and_the_levels_are_those_of_the_disc() -> None:
    found = edge_response(disc(0.8), CENTRE, RADIUS, PIXEL)
    assert (found.inside, found.outside, found.contrast) == pytest.approx((-80, 40, -120), abs=1e-6)


@pytest.mark.parametrize("sd", [0.5, 0.8, 1.5])
@pytest.mark.parametrize("level", [0.5, 0.1])
def test_the_mtf_is_that_of_the_gaussian(sd: float, level: float) -> None:
    expected = math.sqrt(-2 * math.log(level)) / (2 * math.pi * sd)
    found = edge_response(disc(sd), CENTRE, RADIUS, PIXEL).frequency_at(level)
    if expected > 0.5 / PIXEL:
        assert found is None
    else:
        assert found == pytest.approx(expected, rel=0.03)


def test_the_mtf_begins_at_one() -> None:
    found = edge_response(disc(0.8), CENTRE, RADIUS, PIXEL)
    assert (found.frequency[0], found.mtf[0]) == (0.0, 1.0)


def test_an_edge_that_overshoots_is_narrower_than_one_that_does_not() -> None:
    plain = disc(1.0)
    sharp = 2 * plain - ndimage.gaussian_filter(plain, 2.0)
    widths = [edge_response(image, CENTRE, RADIUS, PIXEL).width for image in (sharp, plain)]
    assert widths[0] < 0.9 * widths[1]


def test_a_band_that_leaves_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves the image"):
        edge_response(disc(0.8), (20.0, 78.0), RADIUS, PIXEL)


def test_a_disc_without_contrast_is_refused() -> None:
    with pytest.raises(ValueError, match="no edge"):
        edge_response(np.ones((160, 156)), CENTRE, RADIUS, PIXEL)


def test_an_edge_that_fills_the_margin_is_refused() -> None:
    with pytest.raises(ValueError, match="too wide"):
        edge_response(disc(1.5), CENTRE, RADIUS, PIXEL, margin_mm=2.0)


@pytest.mark.parametrize("margin", [0.0, 25.0])
def test_a_margin_that_is_not_between_nothing_and_the_radius_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        edge_response(disc(0.8), CENTRE, RADIUS, PIXEL, margin_mm=margin)


def test_an_image_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        edge_response(np.full((160, 156), np.nan), CENTRE, RADIUS, PIXEL)
