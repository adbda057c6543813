"""Outlines of masks and probability maps with known geometry."""

import numpy as np
import pytest

from medbundles.contours import closure, largest_component, outer_contour, touches_border
from medbundles.ellipse import Ellipse


def test_outline_of_one_pixel_is_a_diamond_around_its_centre() -> None:
    mask = np.zeros((5, 6), dtype=bool)
    mask[2, 3] = True
    corners = {tuple(point) for point in outer_contour(mask).tolist()}
    assert corners == {(1.5, 3.0), (2.5, 3.0), (2.0, 2.5), (2.0, 3.5)}


def test_outline_of_a_rectangle_runs_half_a_pixel_outside_its_pixels() -> None:
    mask = np.zeros((10, 12), dtype=bool)
    mask[2:5, 3:8] = True
    points = outer_contour(mask)
    assert points.min(axis=0).tolist() == [1.5, 2.5]
    assert points.max(axis=0).tolist() == [4.5, 7.5]
    assert len(points) == 2 * (3 + 5)


def test_outline_is_ordered_and_closed() -> None:
    points = outer_contour(Ellipse((60, 50), (40, 25), 0.6).mask((130, 110)))
    steps = np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1)
    assert steps.max() <= 1.0 + 1e-9
    assert len(np.unique(points, axis=0)) == len(points)


def test_outline_of_a_smooth_map_is_true_to_a_fiftieth_of_a_pixel() -> None:
    ellipse = Ellipse((30.4, 28.7), (20.0, 14.0), 0.3)
    x, y = np.meshgrid(np.arange(64), np.arange(60), indexing="ij")
    level = 1 - 0.5 * ellipse.radius(np.stack([x, y], axis=-1))
    assert ellipse.distance(outer_contour(level, level=0.5)).max() < 0.02


def test_holes_and_smaller_parts_are_left_out() -> None:
    mask = Ellipse((30, 30), (20, 20)).mask((64, 64))
    whole = outer_contour(mask)
    mask[25:35, 25:35] = False
    mask[60:63, 60:63] = True
    assert outer_contour(mask).tolist() == whole.tolist()


def test_region_at_the_edge_of_the_array_has_a_closed_outline() -> None:
    mask = np.ones((4, 5), dtype=bool)
    points = outer_contour(mask)
    assert len(points) == 2 * (4 + 5)
    assert touches_border(points, mask.shape).all()


def test_random_blobs_always_have_one_closed_outline_around_their_area() -> None:
    from scipy.ndimage import gaussian_filter

    for seed in range(20):
        field = gaussian_filter(np.random.default_rng(seed).random((40, 50)), 1.5)
        field = (field - field.min()) / (field.max() - field.min())
        points = outer_contour(field)
        x, y = points.T
        area = 0.5 * abs(np.sum(x * np.roll(y, 1) - y * np.roll(x, 1)))
        assert area == pytest.approx(largest_component(field > 0.5).sum(), rel=0.25)


def test_nothing_above_the_level_gives_no_points() -> None:
    assert outer_contour(np.zeros((5, 5))).shape == (0, 2)


def test_whole_outline_is_closed_and_half_of_it_is_half_closed() -> None:
    points = Ellipse((10, 10), (5, 5)).points(720)
    assert closure(points, (10, 10)) == 1.0
    assert closure(points[:360], (10, 10)) == pytest.approx(0.5, abs=0.03)
