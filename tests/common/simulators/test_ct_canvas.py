"""Painting with soft borders, on shapes of known area."""

import numpy as np
import pytest

from medbundles.simulators.ct_canvas import Blob, Canvas, Fill, Shape, Tube, disc, joined


def canvas(size: int = 200, pixel: float = 0.5) -> Canvas:
    return Canvas(size, pixel, 0.0, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (disc((3.0, -7.0), 12.0), np.pi * 144),
        (disc((3.0, -7.0), 1.0), np.pi),
        (Blob((0.0, 0.0), (30.0, 8.0), 0.6), np.pi * 240),
        (Blob((0.0, 0.0), (20.0, 20.0), 0.0, ((3, 0.1, 1.0),)), np.pi * 400 * (1 + 0.1**2 / 2)),
        (Tube((-20.0, 0.0), (10.0, 5.0), (3.0, 3.0)), 6 * np.hypot(30, 5) + np.pi * 9),
    ],
)
def test_a_shape_covers_its_area(shape: Shape, area: float) -> None:
    page = canvas()
    page.put(shape, Fill(1.0, 1))
    assert page.hu.sum() * 0.25 == pytest.approx(area, rel=0.04)


def test_distance_is_in_mm_near_the_border_and_negative_inside() -> None:
    ellipse = Blob((0.0, 0.0), (40.0, 20.0))
    x = np.float32([38.0, 40.0, 43.0, 0.0, 0.0])
    y = np.float32([0.0, 0.0, 0.0, 18.0, 22.0])
    assert ellipse.distance(x, y) == pytest.approx([-2, 0, 3, -2, 2], abs=0.01)


@pytest.mark.parametrize(
    "shape",
    [
        Blob((5.0, -3.0), (30.0, 8.0), 0.6, ((3, 0.15, 1.0),)),
        Blob((5.0, -3.0), (30.0, 20.0), 0.3, (), 3.0),
        Tube((-20.0, 0.0), (10.0, 5.0), (5.0, 2.0)),
    ],
)
def test_reach_encloses_the_shape(shape: Shape) -> None:
    page = canvas()
    x, y, radius = shape.reach
    inside = page.distance(shape) < 0
    assert inside.any()
    assert np.hypot(page.x - x, page.y - y)[inside].max() <= radius


def test_painting_in_a_window_equals_painting_everywhere() -> None:
    shape, part, whole = Blob((40.0, 10.0), (30.0, 12.0), 0.5, ((2, 0.05, 0.3),)), canvas(), canvas()
    part.put(shape, Fill(70.0, 3, 10.0))
    whole.fill(whole.distance(shape), Fill(70.0, 3, 10.0))
    assert np.array_equal(part.hu, whole.hu)
    assert np.array_equal(part.labels, whole.labels)


def test_a_shape_off_the_slice_paints_nothing() -> None:
    page = canvas()
    page.put(disc((500.0, 0.0), 5.0), Fill(1.0, 1))
    assert not page.hu.any()


def test_a_wall_lies_within_the_border() -> None:
    page = canvas()
    page.put_walled(disc((0.0, 0.0), 20.0), 3.0, Fill(100.0, 1), Fill(10.0, 2))
    radius = np.hypot(page.x, page.y)
    assert (page.hu[radius < 16.5] == 10).all()
    assert (page.labels[(radius > 17.5) & (radius < 19.5)] == 1).all()
    assert not page.hu[radius > 20.5].any()


def test_a_fill_without_label_keeps_the_one_below() -> None:
    page = canvas()
    page.put(disc((0.0, 0.0), 10.0), Fill(5.0, 4))
    page.put(disc((0.0, 0.0), 10.0), Fill(9.0, None))
    assert page.labels[100, 100] == 4
    assert page.hu[100, 100] == 9


def test_joining_rounds_the_notch_and_keeps_the_far_borders() -> None:
    page = canvas()
    left, right = page.distance(disc((-15.0, 0.0), 14.0)), page.distance(disc((15.0, 0.0), 14.0))
    union = joined(left, right, 10.0)
    assert union[100, 100] < 0 < min(left[100, 100], right[100, 100])
    assert union[:40] == pytest.approx(np.minimum(left, right)[:40], abs=0.01)
