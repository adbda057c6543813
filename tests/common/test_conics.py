"""Conics with numbers worked by hand."""

import numpy as np
import pytest

from medbundles.conics import axis_ratio, discriminant, fit_conics, line, line_pair, roundest, sampson

UNIT_CIRCLE = np.array([1.0, 0, 1, 0, 0, -1])


def test_direct_fit_of_the_four_by_two_ellipse_is_its_equation() -> None:
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    points = np.stack([4 * np.cos(angle), 2 * np.sin(angle)], axis=1)
    conic = fit_conics(points[None], np.ones((1, 12)))[0]
    assert conic / conic[0] == pytest.approx([1, 0, 4, 0, 0, -16], abs=1e-9)


def test_direct_fit_of_collinear_points_is_not_a_number() -> None:
    points = np.stack([np.arange(8.0), 2 * np.arange(8.0)], axis=1)
    ratio = axis_ratio(fit_conics(points[None], np.ones((1, 8))))[0]
    assert ratio < 1e-3


def test_sampson_distance_is_signed_and_first_order() -> None:
    points = np.array([[1.1, 0.0], [0.9, 0.0], [0.0, 1.0]])
    assert sampson(UNIT_CIRCLE[None], points)[0] == pytest.approx([0.21 / 2.2, -0.19 / 1.8, 0], abs=1e-12)


def test_axis_ratio_of_a_circle_an_ellipse_and_a_hyperbola() -> None:
    conics = np.array([UNIT_CIRCLE, [1, 0, 4, 0, 0, -16], [1, 0, -1, 0, 0, -1]], dtype=float)
    assert axis_ratio(conics) == pytest.approx([1, 0.5, 0])


def test_two_lines_make_a_conic_that_vanishes_on_both() -> None:
    first = line(np.array([0.0, 0.0]), np.array([2.0, 1.0]))
    second = line(np.array([0.0, 1.0]), np.array([1.0, 0.0]))
    a, b, c, d, e, f = line_pair(first, second)
    for x, y in ((4, 2), (3, -2)):
        assert a * x * x + b * x * y + c * y * y + d * x + e * y + f == pytest.approx(0)


def test_roundest_mix_of_the_sides_of_a_square_is_its_circle() -> None:
    conic = roundest(np.array([1.0, 0, 0, 0, 0, -1]), np.array([0, 0, 1.0, 0, 0, -1]))
    assert conic / conic[0] == pytest.approx([1, 0, 1, 0, 0, -2])
    assert discriminant(conic, conic) > 0
