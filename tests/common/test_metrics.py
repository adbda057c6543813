"""Metrics against numbers worked by hand and against MONAI's."""

import math

import numpy as np
import pytest
import torch

from medbundles.ellipse import Ellipse
from medbundles.metrics import assd, bland_altman, dice, hausdorff, relative_error, summary

FIRST = Ellipse((30.0, 28.0), (20, 12), 0.4).mask((64, 56))
SECOND = Ellipse((33.0, 27.0), (18, 14), 0.1).mask((64, 56))
SPACING = (0.3, 0.7)


def as_monai(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(mask)[None, None].float()


def test_dice_of_two_pixels_that_share_one_is_a_half() -> None:
    assert dice([[1, 1, 0]], [[0, 1, 1]]) == 0.5


def test_dice_of_two_empty_masks_is_undefined() -> None:
    assert math.isnan(dice(np.zeros((3, 3)), np.zeros((3, 3))))


def test_dice_against_an_empty_mask_is_zero() -> None:
    assert dice(FIRST, np.zeros_like(FIRST)) == 0.0


def test_masks_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        dice(np.ones((3, 3)), np.ones((3, 4)))


def test_dice_equals_that_of_monai() -> None:
    from monai.metrics import DiceMetric

    theirs = DiceMetric(include_background=True)(as_monai(FIRST), as_monai(SECOND)).item()
    assert dice(FIRST, SECOND) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("percentile", [95, 100])
def test_hausdorff_equals_that_of_monai_in_anisotropic_pixels(percentile: int) -> None:
    from monai.metrics import compute_hausdorff_distance

    theirs = compute_hausdorff_distance(
        as_monai(FIRST), as_monai(SECOND), include_background=True, percentile=percentile, spacing=SPACING
    ).item()
    assert hausdorff(FIRST, SECOND, spacing=SPACING, percentile=percentile) == pytest.approx(theirs, abs=1e-5)


def test_assd_equals_that_of_monai_in_anisotropic_pixels() -> None:
    from monai.metrics import compute_average_surface_distance

    theirs = compute_average_surface_distance(
        as_monai(FIRST), as_monai(SECOND), include_background=True, symmetric=True, spacing=SPACING
    ).item()
    assert assd(FIRST, SECOND, spacing=SPACING) == pytest.approx(theirs, abs=1e-5)


def test_a_square_moved_by_three_pixels_of_half_a_millimetre_is_one_and_a_half_away() -> None:
    first, second = np.zeros((20, 20)), np.zeros((20, 20))
    first[4:9, 4:9] = 1
    second[7:12, 4:9] = 1
    assert hausdorff(first, second, spacing=(0.5, 1.0)) == pytest.approx(1.5)


def test_surface_distance_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="not empty"):
        assd(FIRST, np.zeros_like(FIRST))


def test_relative_error_keeps_its_sign() -> None:
    assert relative_error(190.0, 200.0) == pytest.approx(-0.05)


def test_bland_altman_worked_by_hand() -> None:
    # Differences 1, 2, 3: bias 2, sd 1, limits 2 -+ 1.96.
    found = bland_altman([11, 22, 33], [10, 20, 30])
    assert found.as_dict() == pytest.approx({"n": 3, "bias": 2, "sd": 1, "lower": 0.04, "upper": 3.96})


def test_bland_altman_of_one_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        bland_altman([1], [2])


def test_summary_worked_by_hand() -> None:
    found = summary([1, 2, 3, 10]).as_dict()
    assert found.pop("sd") == pytest.approx(math.sqrt(50 / 3))
    assert found == {"n": 4, "mean": 4.0, "median": 2.5, "min": 1.0, "max": 10.0}


def test_a_single_value_has_no_spread() -> None:
    assert summary([2.0]).as_dict() == {"n": 1, "mean": 2.0, "median": 2.0, "min": 2.0, "max": 2.0}


def test_summary_of_values_that_are_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        summary([1.0, float("nan")])
