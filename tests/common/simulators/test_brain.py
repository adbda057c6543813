"""Simulated brain-tumour patients: layout, truth, independence of the enhancement, order of the tissues."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy import ndimage

from medbundles.contrasts import CONTRASTS
from medbundles.simulators.brain import Subject, affine, subject
from medbundles.simulators.brain_tumour import Growth
from medbundles.simulators.fields import Draws

COARSE_MM = 4.0
RINGED = 1  # a seed whose core of a few mL has a full enhancing ring


@lru_cache(maxsize=8)
def person(seed: int = RINGED, faults: bool = False, enhancement: int | None = None) -> Subject:
    return subject(seed, spacing_mm=COARSE_MM, faults=faults, enhancement_seed=enhancement)


def median(image: np.ndarray, where: np.ndarray) -> float:
    assert where.sum() > 20
    return float(np.median(image[where]))


def test_field_at_one_millimetre_is_that_of_the_public_data() -> None:
    expected = np.diag([-1.0, -1, 1, 1])
    expected[1, 3] = 239
    np.testing.assert_array_equal(affine(1.0), expected)


def test_coarser_voxels_keep_the_outer_corner_of_the_field() -> None:
    corner = np.array([-0.5, -0.5, -0.5, 1])
    np.testing.assert_allclose(affine(2.0) @ corner, affine(1.0) @ corner)


def test_arrays_share_one_grid_and_background_is_exactly_zero() -> None:
    one = person(faults=True)
    assert tuple(one.images) == CONTRASTS
    for image in one.images.values():
        assert image.dtype == np.float32 and image.shape == (60, 60, 39)
        np.testing.assert_array_equal(image > 0, one.mask)
        assert np.isfinite(image).all()
    assert one.labels.dtype == np.uint8 and one.labels.shape == (60, 60, 39)
    assert not one.labels[~one.mask].any()


def test_brain_has_the_size_and_place_of_a_brain() -> None:
    mask = person().mask
    assert 0.9 < mask.sum() * COARSE_MM**3 / 1e6 < 1.9  # litres
    centre = np.array(ndimage.center_of_mass(mask)) * COARSE_MM
    np.testing.assert_allclose(centre, (119, 130, 77), atol=18)
    assert not mask[0].any() and not mask[-1].any() and not mask[:, 0].any() and not mask[:, -1].any()


def test_same_seed_gives_the_same_subject_and_another_seed_another() -> None:
    again = subject(RINGED, spacing_mm=COARSE_MM, faults=True)
    for contrast in CONTRASTS:
        np.testing.assert_array_equal(again.images[contrast], person(faults=True).images[contrast])
    assert again.parameters == person(faults=True).parameters
    assert not np.array_equal(again.mask, person(2, faults=True).mask)


def test_enhancement_shows_in_t1gd_and_labels_and_nowhere_else() -> None:
    one = person(faults=True)
    others = [person(faults=True, enhancement=number) for number in (11, 12)]
    for other in others:
        for contrast in ("t1", "t2", "flair"):
            np.testing.assert_array_equal(other.images[contrast], one.images[contrast])
        # Only the kind of core changes, neither the core nor the whole tumour.
        np.testing.assert_array_equal(other.labels == 2, one.labels == 2)
    assert any(not np.array_equal(other.images["t1gd"], one.images["t1gd"]) for other in others)
    assert any(not np.array_equal(other.labels, one.labels) for other in others)


def test_enhancing_label_is_where_gadolinium_brightens_t1gd() -> None:
    one = person()
    ring, rest = one.labels == 3, one.labels == 1
    assert one.enhancement[ring].mean() > 5 * one.enhancement[rest].mean()
    white = (one.labels == 0) & one.mask
    gain = {name: one.images[name] / np.median(one.images[name][white]) for name in ("t1", "t1gd")}
    assert median(gain["t1gd"], ring) > median(gain["t1"], ring) + 0.15


def test_volumes_are_those_of_the_labels() -> None:
    one = person()
    voxel = COARSE_MM**3 / 1000
    expected = {
        "WT": (one.labels > 0).sum(),
        "TC": np.isin(one.labels, (1, 3)).sum(),
        "ET": (one.labels == 3).sum(),
    }
    assert one.parameters["volumes_ml"] == pytest.approx({k: v * voxel for k, v in expected.items()})


def with_much_oedema(count: int) -> list[int]:
    """Seeds whose oedema is thick enough to fill coarse voxels."""
    growths = ((seed, Growth.draw(Draws(seed, "tumour"))) for seed in range(100))
    return [seed for seed, growth in growths if growth.foci == 1 and growth.oedema_ml > 35][:count]


@pytest.mark.parametrize("seed", with_much_oedema(3))
def test_oedema_is_bright_in_flair_and_t2_and_darker_than_white_matter_in_t1(seed: int) -> None:
    one = person(seed)
    oedema = ndimage.binary_erosion(one.labels == 2)
    brain = (one.labels == 0) & ndimage.binary_erosion(one.mask, iterations=2)
    assert median(one.images["flair"], oedema) > 1.15 * median(one.images["flair"], brain)
    assert median(one.images["t2"], oedema) > 1.1 * median(one.images["t2"], brain)
    assert median(one.images["t1"], oedema) < np.percentile(one.images["t1"][brain], 75)


def test_size_says_the_millimetres_of_the_field() -> None:
    one = subject(3, size=(120, 160, 80), spacing_mm=8.0, faults=False)
    assert one.labels.shape == (15, 20, 10)


def test_drawn_parameters_are_plain_numbers() -> None:
    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(v) for key, v in value.items())
        if isinstance(value, (tuple, list)):
            return all(plain(v) for v in value)
        return isinstance(value, (int, float, str, bool))

    assert plain(person(faults=True).parameters)


def test_threads_do_not_change_a_subject() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = subject(RINGED, spacing_mm=8.0)
        torch.set_num_threads(2)
        together = subject(RINGED, spacing_mm=8.0)
    finally:
        torch.set_num_threads(threads)
    for contrast in CONTRASTS:
        np.testing.assert_allclose(together.images[contrast], alone.images[contrast], rtol=1e-3, atol=0.1)
