"""Measurements with known values, units and reasons."""

import numpy as np
import pytest

from medbundles.measure import (
    Calibration,
    Ellipse,
    circumference,
    diameter,
    ellipse_agreement,
    gestational_age,
    measurement,
)

UPRIGHT = Ellipse((50, 40), (20, 10))


def test_uncalibrated_circumference_is_in_pixels_and_says_so() -> None:
    found = circumference("AC", Ellipse((0, 0), (10, 10)), Calibration(None))
    assert found == {"name": "AC", "value": pytest.approx(20 * np.pi), "unit": "px", "reason": None}


def test_calibrated_circumference_is_in_millimetres() -> None:
    found = circumference("AC", Ellipse((0, 0), (10, 10)), Calibration((0.2, 0.2)))
    assert found["value"] == pytest.approx(4 * np.pi)
    assert found["unit"] == "mm"


def test_anisotropic_pixels_give_the_perimeter_of_the_real_shape() -> None:
    assert circumference("AC", UPRIGHT, Calibration((0.5, 1.0)))["value"] == pytest.approx(20 * np.pi)


@pytest.mark.parametrize(("direction", "length"), [((1, 0), 40), ((0, -3), 20), ((1, 1), 25.298221)])
def test_diameter_along_a_direction(direction: tuple[float, float], length: float) -> None:
    # Along the diagonal: 2 / sqrt(0.5 / 20^2 + 0.5 / 10^2) = 25.298221
    found = diameter("TAD", UPRIGHT, direction, Calibration(None))
    assert found["value"] == pytest.approx(length)


def test_diameter_in_anisotropic_pixels_is_measured_between_the_right_points() -> None:
    found = diameter("TAD", UPRIGHT, (1, 1), Calibration((0.5, 2.0)))
    half = np.array([1, 1]) * 25.298221 / 2 / np.sqrt(2)
    assert found["value"] == pytest.approx(2 * np.linalg.norm(half * [0.5, 2.0]))


def test_diameter_without_a_direction_is_null_with_a_reason() -> None:
    found = diameter("TAD", UPRIGHT, (0, 0), Calibration(None))
    assert found["value"] is None
    assert "not known" in found["reason"]


def test_missing_value_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="neither a value nor a reason"):
        measurement("AC", None, "mm")


def test_infinite_value_is_refused() -> None:
    with pytest.raises(ValueError, match="give None and the reason"):
        measurement("AC", float("inf"), "mm")


@pytest.mark.parametrize("spacing", [(0.0, 0.1), (0.1,), (-1.0, 1.0), (float("nan"), 1.0)])
def test_impossible_pixel_size_is_refused(spacing: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="two positive numbers"):
        Calibration(spacing)


def test_mask_of_an_ellipse_agrees_with_it_and_half_of_it_does_not() -> None:
    mask = UPRIGHT.mask((100, 80))
    assert ellipse_agreement(mask, UPRIGHT) == 1.0
    mask[50:] = False
    assert ellipse_agreement(mask, UPRIGHT) == pytest.approx(2 / 3, abs=0.02)


@pytest.mark.parametrize(
    ("kind", "size_mm", "weeks"),
    [
        ("AC", 200, 8.14 + 0.753 * 20 + 0.0036 * 400),  # 24.64
        ("HC", 200, 8.96 + 0.540 * 20 + 0.0003 * 8000),  # 22.16
        ("HC", 177, 20.0),  # the table of the source, to its rounding
        ("HC", 275, 30.0),
        ("HC", 346, 40.0),
    ],
)
def test_gestational_age_follows_the_published_regression(kind: str, size_mm: float, weeks: float) -> None:
    found = gestational_age(kind, size_mm)
    assert found["value"] == pytest.approx(weeks, abs=0.25)
    assert found["unit"] == "weeks"
    assert found["name"] == f"GA from {kind}"


@pytest.mark.parametrize("size_mm", [40.0, 500.0])
def test_gestational_age_outside_the_source_is_null_with_a_reason(size_mm: float) -> None:
    found = gestational_age("AC", size_mm)
    assert found["value"] is None
    assert "14 to 42 weeks" in found["reason"]


def test_gestational_age_without_millimetres_is_null_with_a_reason() -> None:
    found = gestational_age("HC", None)
    assert found["value"] is None
    assert "millimetres" in found["reason"]
