"""The classical filters of the CT benchmark against known answers."""

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from ct_filters import FILTERS, SEARCH, gaussian, non_local_means, total_variation
from scipy.ndimage import gaussian_filter1d

APPLIED = [gaussian, non_local_means, total_variation]


def white(shape: tuple[int, int] = (128, 128)) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("apply", APPLIED)
def test_constant_stays_constant(apply: Callable) -> None:
    np.testing.assert_allclose(apply(np.full((40, 30), 55.0, np.float32), 10.0, 0.8), 55.0, rtol=1e-5)


def test_gaussian_leaves_the_noise_that_its_kernel_says() -> None:
    kernel = gaussian_filter1d(np.eye(1, 41, 20)[0], 1.2)
    expected = np.sum(kernel**2)  # the square root of it along each axis
    assert gaussian(white(), 1.0, 1.2).std() == pytest.approx(expected, rel=0.05)


def test_strong_non_local_means_is_the_mean_over_the_search() -> None:
    inner = (slice(SEARCH, -SEARCH),) * 2  # near the border a pixel is counted twice
    left = non_local_means(white((200, 200)), 1.0, 1e3)[inner].std()
    assert left == pytest.approx(1 / (2 * SEARCH + 1), rel=0.1)


def test_non_local_means_keeps_an_edge_that_stands_out_of_the_noise() -> None:
    step = np.where(np.arange(60) < 30, 0.0, 100.0)[:, None] + np.zeros(60)
    result = non_local_means(step.astype(np.float32) + white((60, 60)), 1.0, 0.8)
    assert np.abs(result - step).max() < 2


def test_total_variation_takes_twice_the_weight_over_the_radius_from_a_disc() -> None:
    radius, weight = 20, 20.0
    x, y = np.indices((128, 128)) - 63.5
    disc = 100 * (np.hypot(x, y) < radius).astype(np.float32)
    result = total_variation(disc, 10.0, weight / 10)
    assert result[60:68, 60:68].mean() == pytest.approx(100 - 2 * weight / radius, abs=0.5)


def test_total_variation_without_weight_changes_nothing() -> None:
    np.testing.assert_array_equal(total_variation(white(), 1.0, 0.0), white())


@pytest.mark.parametrize("name", ["gaussian", "nlm", "tv"])
def test_more_of_a_parameter_leaves_less_noise(name: str) -> None:
    spec = FILTERS[name]
    left = [spec.apply(white((96, 96)), 1.0, value).std() for value in spec.sweep]
    assert all(second < first for first, second in pairwise(left))
    assert spec.usual in spec.sweep
