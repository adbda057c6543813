"""The noise of a slice and changes it does not explain; the noise is known from many scans of one chest."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from medbundles.noise import change_score, noise_level, noise_map, unexplained
from medbundles.simulators.ct import TRAINED, Projector

SIZE, PIXEL = 320, 0.8
PLACE = (np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL


def disc(x: float, y: float, radius: float) -> np.ndarray:
    return np.hypot(PLACE[:, None] - x, PLACE[None] - y) <= radius


def ellipse(x: float, y: float, a: float, b: float) -> np.ndarray:
    return ((PLACE[:, None] - x) / a) ** 2 + ((PLACE[None] - y) / b) ** 2 <= 1


BODY = ellipse(0, 0, 118, 85)
LUNG = ellipse(-60, -5, 38, 52) | ellipse(60, -5, 38, 52)


@cache
def anatomy() -> np.ndarray:
    """A chest with much in it: vessels in the lungs, contrast, fat between muscles, ribs, a vertebra."""
    rng = np.random.default_rng(0)
    hu = np.full((SIZE, SIZE), -1000.0)
    hu[BODY] = -90.0
    hu[ellipse(0, 0, 108, 76)] = 50.0
    hu[LUNG] = -840.0
    for _ in range(60):
        x, y = rng.uniform(-95, 95), rng.uniform(-55, 45)
        hu[disc(x, y, rng.uniform(1, 3)) & LUNG] = 60.0
    hu[disc(0, -20, 14)] = 320.0
    hu[disc(4, 42, 17)] = 700.0
    hu[disc(4, 42, 13)] = 220.0
    for angle in np.linspace(0, 2 * np.pi, 13):
        hu[disc(103 * np.cos(angle), 71 * np.sin(angle), 4)] = 600.0
    return ndimage.gaussian_filter(hu, 0.6).astype(np.float32)


@cache
def scans(kernel: str = "standard") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the true slice, one noisy slice, and the sd of the noise everywhere from several."""
    machine = Projector(replace(TRAINED, kernel=kernel, views=492, bins=440), SIZE, PIXEL, threads=1)
    clean = machine.project(anatomy())
    truth, rng = machine.reconstruct(clean), np.random.default_rng(1)
    noisy = np.stack([machine.reconstruct(machine.measure(clean, 0.1, rng)) for _ in range(6)])
    variance = ndimage.gaussian_filter(np.mean((noisy - truth) ** 2, axis=0), 6)
    return truth, noisy[0], np.sqrt(variance)


def blob(hu: float, x: float = 2.0, y: float = 8.0) -> np.ndarray:
    """A disc of 8 mm."""
    return hu * ndimage.gaussian_filter(disc(x, y, 4).astype(float), 0.7)


@pytest.mark.parametrize("kernel", ["smooth", "standard", "sharp"])
def test_the_noise_of_a_chest_is_read_to_a_tenth_whatever_the_kernel(kernel: str) -> None:
    _, image, sd = scans(kernel)
    ratio = noise_map(image)[BODY] / sd[BODY]
    assert np.median(ratio) == pytest.approx(1, abs=0.1)
    assert np.mean(np.abs(ratio - 1) < 0.25) > 0.9


def test_white_noise_is_read_to_a_tenth() -> None:
    image = np.random.default_rng(0).normal(40, 20, (200, 160))
    assert np.abs(noise_map(image) / 20 - 1).max() < 0.25
    assert noise_level(image) == pytest.approx(20, rel=0.1)


def test_noise_that_grows_across_the_slice_is_followed() -> None:
    sd = np.linspace(10, 40, 256)[:, None] * np.ones((1, 256))
    image = 40 + sd * np.random.default_rng(0).normal(0, 1, sd.shape)
    assert np.median(np.abs(noise_map(image) / sd - 1)) < 0.1


def test_noise_at_the_border_of_the_image_is_explained_too() -> None:
    image = np.random.default_rng(0).normal(40, 20, (400, 400))
    score = change_score(image, np.full_like(image, 40.0), np.full(image.shape, 20.0), pixel_mm=PIXEL)
    rim = np.ones(image.shape, dtype=bool)
    rim[3:-3, 3:-3] = False
    assert score[rim].std() <= score[~rim].std()


def test_twice_the_noise_reads_twice_as_much() -> None:
    truth, image, _ = scans()
    more = truth + 2 * (image - truth)
    assert noise_level(more) / noise_level(image) == pytest.approx(2, rel=0.1)


def test_anatomy_without_noise_reads_as_little() -> None:
    truth, image, _ = scans()
    assert noise_level(truth) < 0.3 * noise_level(image)


def test_a_slice_without_any_structure_has_no_noise() -> None:
    assert not noise_map(np.full((64, 64), 40.0)).any()


def test_each_slice_of_a_volume_is_read_by_itself() -> None:
    _, image, _ = scans()
    volume = np.stack([image, np.flip(image, 0)], axis=-1)
    np.testing.assert_array_equal(noise_map(volume)[..., 0], noise_map(image))
    assert noise_map(volume, mask=np.stack([BODY, BODY], -1)).shape == volume.shape


def test_padding_outside_the_field_of_view_does_not_count() -> None:
    _, image, _ = scans()
    padded = np.where(ellipse(0, 0, 126, 126), image, -2048.0)
    assert noise_level(padded) == pytest.approx(noise_level(image), rel=0.03)


@pytest.mark.parametrize("shape", [(20, 64), (64,), (2, 3, 4, 5)])
def test_images_too_small_or_of_no_use_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="32 pixels"):
        noise_map(np.zeros(shape))


def test_an_image_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        noise_map(np.full((64, 64), np.nan))


@pytest.mark.parametrize("kernel", ["smooth", "standard", "sharp"])
def test_taking_all_noise_away_is_explained(kernel: str) -> None:
    truth, image, _ = scans(kernel)
    flagged = unexplained(image, truth, noise_map(image), pixel_mm=PIXEL)
    assert flagged[BODY].mean() < 1e-3


def test_the_rate_of_false_alarms_in_white_noise_is_that_of_the_threshold() -> None:
    image = np.random.default_rng(0).normal(40, 20, (400, 400))
    score = change_score(image, np.full_like(image, 40.0), np.full(image.shape, 20.0), pixel_mm=PIXEL)
    assert np.mean(score > 5) == 0
    # Two scales, two sides: at most 4 times the tail of a normal distribution beyond 3, which is 0.00135.
    assert np.mean(score > 3) < 2 * 4 * 0.00135


@pytest.mark.parametrize("hu", [60.0, -60.0])
def test_a_blob_that_was_invented_is_flagged_where_it_lies(hu: float) -> None:
    truth, image, _ = scans()
    flagged = unexplained(image, truth + blob(hu), noise_map(image), pixel_mm=PIXEL)
    assert flagged[disc(2, 8, 2)].all()
    assert not flagged[~disc(2, 8, 14)].any()


@pytest.mark.parametrize("hu", [60.0, -60.0])
def test_a_blob_that_was_erased_is_flagged(hu: float) -> None:
    truth, image, _ = scans()
    flagged = unexplained(image + blob(hu), truth, noise_map(image), pixel_mm=PIXEL)
    assert flagged[disc(2, 8, 2)].all()


def test_a_blob_is_flagged_in_an_image_that_is_otherwise_left_alone() -> None:
    _, image, _ = scans()
    flagged = unexplained(image, image + blob(60), noise_map(image), pixel_mm=PIXEL)
    assert flagged[disc(2, 8, 2)].all() and not flagged[~disc(2, 8, 14)].any()


def test_anatomy_that_was_blurred_is_flagged() -> None:
    _, image, _ = scans()
    blurred = ndimage.gaussian_filter(image, 3.0)
    assert unexplained(image, blurred, noise_map(image), pixel_mm=PIXEL)[BODY].mean() > 0.05


def test_an_image_shifted_in_hu_is_flagged() -> None:
    truth, image, _ = scans()
    assert unexplained(image, truth + 40, noise_map(image), pixel_mm=PIXEL)[BODY].mean() > 0.9


def test_no_change_scores_nothing() -> None:
    _, image, _ = scans()
    assert not change_score(image, image, noise_map(image)).any()


def test_nothing_is_flagged_outside_the_mask() -> None:
    truth, image, _ = scans()
    flagged = unexplained(image, truth + 500, noise_map(image), mask=LUNG)
    assert flagged[LUNG].all() and not flagged[~LUNG].any()


def test_a_volume_scores_as_its_slices() -> None:
    truth, image, _ = scans()
    level = noise_map(image)
    pairs = [np.stack([a, np.flip(a, 1)], axis=-1) for a in (image, truth, level)]
    np.testing.assert_allclose(change_score(*pairs)[..., 0], change_score(image, truth, level), rtol=1e-5)


def test_a_result_that_is_not_finite_is_refused_rather_than_passed() -> None:
    truth, image, _ = scans()
    with pytest.raises(ValueError, match="not finite"):
        unexplained(image, np.where(LUNG, np.nan, truth), noise_map(image))


def test_images_and_noise_of_different_shape_are_refused() -> None:
    truth, image, _ = scans()
    with pytest.raises(ValueError, match="shapes differ"):
        unexplained(image, truth, noise_map(image)[1:])
