"""The channelised Hotelling observer where its performance is known in closed form."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from medbundles.observers import (
    channel_outputs,
    detectability,
    detectability_change,
    dog_channels,
    gabor_channels,
)

SIZE, SD = 48, 10.0
PLACE = np.arange(SIZE) - (SIZE - 1) / 2
SIGNAL = 6.0 * np.exp(-(PLACE[:, None] ** 2 + PLACE[None] ** 2) / (2 * 2.5**2))
CHANNELS = dog_channels(SIZE)


def patches(n: int, signal: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, SD, (n, SIZE, SIZE)) + signal * SIGNAL


def known(channels: np.ndarray = CHANNELS) -> float:
    """Returns d' of the channels for the signal in white noise."""
    shift = np.tensordot(SIGNAL, channels, 2)
    flat = channels.reshape(-1, channels.shape[-1])
    return float(np.sqrt(shift @ np.linalg.lstsq(flat.T @ flat, shift, rcond=1e-10)[0])) / SD


def test_the_channels_lose_little_of_a_round_signal() -> None:
    ideal = np.linalg.norm(SIGNAL) / SD
    assert 0.95 * ideal < known() <= ideal


@pytest.mark.parametrize("make", [dog_channels, gabor_channels])
def test_channels_have_unit_norm_and_no_constant_part_in_the_fine_ones(
    make: Callable[[int], np.ndarray],
) -> None:
    channels = make(SIZE)
    assert np.linalg.norm(channels, axis=(0, 1)) == pytest.approx(np.ones(channels.shape[-1]))
    assert abs(channels[..., -1].sum()) < 0.05 * np.abs(channels[..., -1]).sum()


def test_round_channels_are_centred_on_patches_of_even_and_odd_size() -> None:
    for size in (32, 33):
        channels = dog_channels(size)
        np.testing.assert_allclose(channels, channels[::-1, ::-1], atol=1e-9)
        np.testing.assert_allclose(channels, channels.swapaxes(0, 1), atol=1e-9)


@pytest.mark.parametrize(("make", "n"), [(dog_channels, 400), (gabor_channels, 500)])
def test_d_prime_in_white_noise_is_the_analytic_one(make: Callable[[int], np.ndarray], n: int) -> None:
    channels = make(SIZE)
    found = detectability(patches(n, 1.0, 1), patches(n, 0.0, 2), channels)
    assert found.estimate == pytest.approx(known(channels), rel=0.07)
    assert found.d_prime == pytest.approx(known(channels), rel=0.1)


def test_the_area_under_the_curve_is_that_of_d_prime() -> None:
    found = detectability(patches(400, 0.6, 1), patches(400, 0.0, 2), CHANNELS)
    assert found.auc == pytest.approx(stats.norm.cdf(0.6 * known() / np.sqrt(2)), abs=0.03)


def test_the_estimate_has_no_bias_where_the_plain_distance_has() -> None:
    pairs = [(patches(30, 0.6, 2 * k), patches(30, 0.0, 2 * k + 1)) for k in range(60)]
    found = [detectability(*pair, CHANNELS, folds=3).estimate for pair in pairs]
    assert np.mean(found) == pytest.approx(0.6 * known(), rel=0.08)


def test_about_95_of_100_intervals_hold_the_truth() -> None:
    held = 0
    for k in range(100):
        found = detectability(patches(40, 0.6, 2 * k), patches(40, 0.0, 2 * k + 1), CHANNELS, folds=2)
        held += found.lower <= 0.6 * known() <= found.upper
    assert 88 <= held <= 99


def test_no_signal_is_not_seen() -> None:
    found = detectability(patches(200, 0.0, 1), patches(200, 0.0, 2), CHANNELS)
    assert (abs(found.d_prime) < 0.3, abs(found.auc - 0.5) < 0.08, found.lower) == (True, True, 0.0)


def test_a_stronger_signal_is_seen_better() -> None:
    weak, strong = (detectability(patches(200, s, 1), patches(200, 0.0, 2), CHANNELS) for s in (0.5, 1.0))
    assert strong.estimate == pytest.approx(2 * weak.estimate, rel=0.2)


def test_the_same_seed_gives_the_same_figures() -> None:
    stacks = patches(60, 1.0, 1), patches(60, 0.0, 2)
    assert detectability(*stacks, CHANNELS, seed=4) == detectability(*stacks, CHANNELS, seed=4)


def test_halving_everything_changes_no_detectability() -> None:
    stacks = patches(60, 1.0, 1), patches(60, 0.0, 2)
    found = detectability_change(stacks, tuple(stack / 2 for stack in stacks), CHANNELS)
    assert (found.change, found.lower, found.upper) == pytest.approx((0, 0, 0), abs=1e-6)


def test_erasing_a_part_of_the_signal_lowers_detectability_beyond_its_limits() -> None:
    present, absent = patches(100, 1.0, 1), patches(100, 0.0, 2)
    found = detectability_change((present, absent), (present - 0.4 * SIGNAL, absent), CHANNELS)
    assert found.change == pytest.approx(-0.4 * known(), rel=0.2)
    assert found.upper < 0
    assert found.second - found.first == pytest.approx(found.change)


def test_noise_added_on_top_lowers_detectability() -> None:
    present, absent = patches(100, 1.0, 1), patches(100, 0.0, 2)
    noisy = present + patches(100, 0, 3), absent + patches(100, 0, 4)
    found = detectability_change((present, absent), noisy, CHANNELS)
    assert found.second == pytest.approx(known() / np.sqrt(2), rel=0.2)
    assert found.upper < 0


def test_too_few_patches_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        detectability(patches(8), patches(8), CHANNELS)


def test_stacks_of_different_length_have_no_change() -> None:
    with pytest.raises(ValueError, match="same number"):
        detectability_change((patches(30), patches(30)), (patches(30), patches(29)), CHANNELS)


def test_patches_of_another_size_than_the_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        channel_outputs(np.zeros((5, 20, 20)), CHANNELS)
