"""Ellipses of known shape: perimeter, mask, scaling, and fits with noise, outliers and cuts."""

import numpy as np
import pytest

from medbundles.contours import outer_contour, touches_border
from medbundles.ellipse import (
    Ellipse,
    EllipseFitError,
    ellipse_from_diameters,
    ellipse_from_moments,
    fit_ellipse,
    fit_ellipse_robust,
)

TILTED = Ellipse((60.3, 50.2), (40.0, 25.0), 0.6)


def assert_same(found: Ellipse, wanted: Ellipse, tolerance: float) -> None:
    """Compares centre, axes and, unless it is nearly a circle, the angle modulo half a turn."""
    assert found.centre == pytest.approx(wanted.centre, abs=tolerance)
    assert found.axes == pytest.approx(wanted.axes, abs=tolerance)
    turn = (found.angle - wanted.angle + np.pi / 2) % np.pi - np.pi / 2
    assert turn == pytest.approx(0, abs=tolerance / 5)


def test_circle_has_the_circumference_two_pi_r() -> None:
    assert Ellipse((0, 0), (3, 3)).circumference() == pytest.approx(6 * np.pi)


def test_two_to_one_ellipse_has_the_tabulated_circumference() -> None:
    # 4 a E(e) with a = 2, e^2 = 3/4, E = 1.2110560275684594
    assert Ellipse((0, 0), (2, 1)).circumference() == pytest.approx(8 * 1.2110560275684594, rel=1e-7)


def test_circumference_agrees_with_the_elliptic_integral_from_round_to_flat() -> None:
    from scipy.special import ellipe

    for b in (1.0, 0.9, 0.7, 0.5, 0.3, 0.1):
        exact = 4 * ellipe(1 - b**2)
        assert Ellipse((0, 0), (1, b)).circumference() == pytest.approx(exact, rel=1e-4)


def test_axes_given_short_first_are_ordered_and_the_angle_follows() -> None:
    assert_same(Ellipse((0, 0), (1, 2), 0.1), Ellipse((0, 0), (2, 1), 0.1 + np.pi / 2), 1e-12)


def test_an_axis_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="positive semi-axes"):
        Ellipse((0, 0), (1, 0))


def test_area_of_the_mask_is_the_area_of_the_ellipse() -> None:
    mask = TILTED.mask((130, 110))
    assert mask.shape == (130, 110)
    assert mask.sum() == pytest.approx(TILTED.area(), rel=0.003)


def test_mask_holds_exactly_the_pixels_whose_centre_is_inside() -> None:
    mask = Ellipse((2, 1), (2.0, 1.0)).mask((5, 3))
    assert mask.T.astype(int).tolist() == [[0, 0, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0]]


def test_points_lie_on_the_curve() -> None:
    assert TILTED.radius(TILTED.points(50)) == pytest.approx(np.ones(50))
    assert TILTED.distance(TILTED.points(50)) == pytest.approx(np.zeros(50), abs=1e-9)


def test_points_a_pixel_off_the_curve_are_a_pixel_away() -> None:
    ends, _ = TILTED.endpoints()
    along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    assert TILTED.distance([ends[1] + along]) == pytest.approx([1.0], abs=0.03)


def test_anisotropic_spacing_gives_the_exact_ellipse_in_millimetres() -> None:
    spacing = np.array([0.2, 0.35])
    scaled = TILTED.scaled(spacing)
    assert scaled.radius(TILTED.points(40) * spacing) == pytest.approx(np.ones(40))
    assert scaled.area() == pytest.approx(TILTED.area() * 0.2 * 0.35)


def test_upright_ellipse_in_anisotropic_pixels_is_the_circle_worked_by_hand() -> None:
    scaled = Ellipse((10, 10), (20, 10)).scaled((0.5, 1.0))
    assert scaled.axes == pytest.approx((10, 10))
    assert scaled.centre == pytest.approx((5, 10))
    assert scaled.circumference() == pytest.approx(20 * np.pi)


def test_perpendicular_diameters_that_are_the_axes_give_back_the_ellipse() -> None:
    long, short = TILTED.endpoints()
    assert_same(ellipse_from_diameters(*long, *short), TILTED, 1e-9)


def test_skewed_diameters_of_a_circle_give_back_the_circle() -> None:
    angle = np.radians([10, 190, 85, 265])
    ends = np.array([30.0, 40.0]) + 12 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    found = ellipse_from_diameters(*ends)
    assert found.axes == pytest.approx((12, 12))
    assert found.centre == pytest.approx((30, 40))


def test_chords_that_do_not_bisect_each_other_still_end_on_the_curve() -> None:
    ends = np.array([[0.0, 1.0], [20.0, 0.0], [12.0, -9.0], [9.0, 11.0]])
    assert ellipse_from_diameters(*ends).radius(ends) == pytest.approx(np.ones(4))


def test_diameters_that_do_not_cross_are_refused() -> None:
    with pytest.raises(EllipseFitError, match="do not cross"):
        ellipse_from_diameters([0, 0], [10, 0], [0, 5], [10, 6])


def test_fit_to_exact_points_is_exact_far_from_the_origin() -> None:
    far = Ellipse((5000.0, -3000.0), (40.0, 25.0), 1.2)
    assert_same(fit_ellipse(far.points(6)), far, 1e-6)


def test_fit_to_exact_points_on_a_third_of_the_curve_is_exact() -> None:
    assert_same(fit_ellipse(TILTED.points(90)[:30]), TILTED, 1e-6)


def test_weight_zero_leaves_a_point_out() -> None:
    points = np.concatenate([TILTED.points(20), [[0.0, 0.0]]])
    weights = np.ones(21)
    weights[-1] = 0
    assert_same(fit_ellipse(points, weights), TILTED, 1e-6)


def test_fit_to_the_outline_of_a_mask_finds_the_ellipse_below_a_tenth_of_a_pixel() -> None:
    assert_same(fit_ellipse(outer_contour(TILTED.mask((130, 110)))), TILTED, 0.1)


def test_moments_of_a_mask_find_the_ellipse_below_a_tenth_of_a_pixel() -> None:
    assert_same(ellipse_from_moments(TILTED.mask((130, 110))), TILTED, 0.1)


@pytest.mark.parametrize("seed", range(5))
def test_thirty_percent_outliers_move_the_robust_fit_by_less_than_one_percent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = TILTED.points(300) + rng.normal(0, 0.5, (300, 2))
    outliers = rng.permutation(300) < 90
    points[outliers] = rng.uniform(0, 120, (90, 2))
    found, inliers = fit_ellipse_robust(points, threshold=2.0)
    assert found.circumference() == pytest.approx(TILTED.circumference(), rel=0.01)
    assert inliers[~outliers].mean() > 0.98
    assert inliers[outliers].mean() < 0.25


def test_outliers_on_one_side_pull_the_plain_fit_but_not_the_robust_one() -> None:
    points = TILTED.points(200)
    points[:50] += (25.0, 0.0)
    found, inliers = fit_ellipse_robust(points, threshold=2.0)
    assert_same(found, TILTED, 0.05)
    away = TILTED.distance(points) > 2.5
    assert away.sum() > 35
    assert not inliers[away].any()
    assert abs(fit_ellipse(points).circumference() / TILTED.circumference() - 1) > 0.03


def test_an_ellipse_cut_by_the_edge_of_the_image_is_completed() -> None:
    mask = TILTED.mask((130, 110))[:80]
    contour = outer_contour(mask)
    whole, _ = fit_ellipse_robust(contour[~touches_border(contour, mask.shape)])
    assert whole.circumference() == pytest.approx(TILTED.circumference(), rel=0.01)
    assert whole.centre == pytest.approx(TILTED.centre, abs=0.5)


def test_the_cut_itself_is_an_outlier_to_the_robust_fit() -> None:
    found, _ = fit_ellipse_robust(outer_contour(TILTED.mask((130, 110))[:80]), threshold=1.5)
    assert found.circumference() == pytest.approx(TILTED.circumference(), rel=0.02)


def test_noise_does_not_shrink_the_robust_fit_by_more_than_one_percent() -> None:
    rng = np.random.default_rng(0)
    sizes = [
        fit_ellipse_robust(TILTED.points(100) + rng.normal(0, 1.5, (100, 2)), threshold=5)[0].circumference()
        for _ in range(20)
    ]
    assert np.mean(sizes) == pytest.approx(TILTED.circumference(), rel=0.01)


def test_same_seed_gives_the_same_ellipse() -> None:
    points = TILTED.points(80) + np.random.default_rng(3).normal(0, 2, (80, 2))
    assert fit_ellipse_robust(points, seed=4)[0] == fit_ellipse_robust(points, seed=4)[0]


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (np.zeros((4, 2)), "at least 5 points"),
        (np.zeros((9, 2)), "coincide"),
        (np.full((9, 2), np.nan), "not finite"),
        (np.stack([np.arange(9.0), np.arange(9.0)], axis=1), "collinear|plausible"),
    ],
)
def test_points_that_determine_no_ellipse_are_refused_with_the_reason(points: np.ndarray, words: str) -> None:
    with pytest.raises(EllipseFitError, match=words):
        fit_ellipse_robust(points)


def test_moments_of_an_empty_mask_are_refused() -> None:
    with pytest.raises(EllipseFitError, match="at least 3"):
        ellipse_from_moments(np.zeros((5, 5)))
