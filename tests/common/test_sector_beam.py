"""Where the beams of a drawn sector come from."""

import math

import numpy as np
import pytest

from medbundles.sector_beam import find_beam, sector_mask, visible_sector

SIZE = (320, 224)


def sector_frame(apex: tuple[float, float], half_angle: float, shape: tuple[int, int] = SIZE) -> np.ndarray:
    """A frame (X, Y) that is grey inside a sector and black outside it."""
    x, y = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    radius, angle = np.hypot(x - apex[0], y - apex[1]), np.arctan2(x - apex[0], y - apex[1])
    inside = (np.abs(angle) < half_angle) & (radius > 60) & (radius < shape[1] - apex[1])
    return np.where(inside, 0.5, 0.0)


@pytest.mark.parametrize("half_angle", [20, 35, 45])
def test_apex_of_a_drawn_sector_is_found_to_a_few_pixels(half_angle: float) -> None:
    apex = (150.0, -40.0)
    beam = find_beam(sector_mask(sector_frame(apex, math.radians(half_angle))))
    assert beam.found
    assert np.hypot(beam.apex[0] - apex[0], beam.apex[1] - apex[1]) < 6
    assert math.degrees(beam.half_angle) == pytest.approx(half_angle, abs=1.5)


def test_frame_without_visible_edges_gets_the_default_geometry_in_its_middle() -> None:
    beam = find_beam(sector_mask(np.full(SIZE, 0.5)))
    assert not beam.found
    assert beam.apex[0] == pytest.approx((SIZE[0] - 1) / 2)
    assert beam.apex[1] < 0


def test_black_shadow_inside_the_sector_still_counts_as_sector() -> None:
    frame = sector_frame((160.0, -40.0), math.radians(35))
    frame[150:165, 100:] = 0
    mask = sector_mask(frame)
    assert visible_sector(mask, find_beam(mask))[157, 160]


def test_angle_is_zero_below_the_apex_and_changes_sign_across_it() -> None:
    frame = sector_frame((160.0, -40.0), math.radians(35))
    depth, angle = find_beam(sector_mask(frame)).depth_and_angle(SIZE)
    assert abs(angle[160, 200]) < 0.02
    assert angle[100, 150] < 0 < angle[220, 150]
    assert depth[160, 200] > depth[160, 100]
