"""Depth of amniotic fluid pockets: shapes of known depth in every pose, and what each rule counts."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

BUNDLE = Path(__file__).parents[2] / "bundles" / "amniotic_fluid_us_segmentation"
sys.path.insert(0, str(BUNDLE))

from amniotic_fluid.pockets import (  # noqa: E402
    FLUID,
    NO_FLUID,
    PARTS,
    REVERBERATION,
    RULES,
    TOO_NARROW,
    Geometry,
    deepest_pocket,
    find_pockets,
    longest_column,
    longest_column_of_largest,
    longest_wide_column,
)
from medbundles.measure import Calibration  # noqa: E402

SHAPE = (200, 160)
HALF_MM = Geometry(calibration=Calibration((0.5, 0.5)))
POSES = {
    "standard": ((0.5, 0.5), 0.0),
    "mirrored": ((0.5, 0.5), 180.0),
    "turned a quarter": ((0.5, 0.5), 90.0),
    "tilted": ((0.5, 0.5), 17.0),
    "tilted to the other side": ((0.4, 0.4), -33.0),
    "anisotropic": ((0.25, 0.7), 0.0),
    "anisotropic and tilted": ((0.3, 0.6), 25.0),
}


def posed(tilt: float, spacing: tuple[float, float]) -> Geometry:
    """A frame whose vertical is turned from straight down towards +x by an angle in degrees."""
    turn = math.radians(tilt)
    vertical = (math.sin(turn) / spacing[0], math.cos(turn) / spacing[1])
    return Geometry(vertical, Calibration(spacing))


def frame(geometry: Geometry, inside: object, shape: tuple[int, int] = (320, 320)) -> np.ndarray:
    """A label map of fluid where `inside(across, down)` holds, in millimetres from the frame's centre."""
    x, y = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    place = np.stack([x * geometry.spacing[0], y * geometry.spacing[1]])
    across, down = np.tensordot(geometry.axes, place, 1)
    return np.where(inside(across, down), FLUID, 0).astype(np.uint8)


def boxes(*bounds: tuple[int, int, int, int], value: int = FLUID) -> np.ndarray:
    """A label map with boxes of fluid (x from, x to, y from, y to)."""
    labels = np.zeros(SHAPE, np.uint8)
    for left, right, top, bottom in bounds:
        labels[left:right, top:bottom] = value
    return labels


def length_mm(ends: tuple, geometry: Geometry) -> float:
    """The distance of a caliper's ends."""
    return float(np.linalg.norm(np.subtract(*ends) * geometry.spacing))


@pytest.mark.parametrize("pose", POSES)
def test_rectangle_has_its_depth_and_width_in_every_pose(pose: str) -> None:
    spacing, tilt = POSES[pose]
    geometry = posed(tilt, spacing)
    pocket, _ = deepest_pocket(frame(geometry, lambda u, v: (abs(u) < 9) & (abs(v) < 22)), geometry)
    assert pocket.depth == pytest.approx(44, abs=max(spacing))
    assert pocket.width == pytest.approx(18, abs=max(spacing))


@pytest.mark.parametrize("pose", POSES)
def test_ellipse_has_its_depth_round_ends_included(pose: str) -> None:
    spacing, tilt = POSES[pose]
    geometry = posed(tilt, spacing)
    labels = frame(geometry, lambda u, v: (u / 12) ** 2 + (v / 20) ** 2 < 1)
    # a pixel for drawing the ellipse, half a sample for reading it
    assert deepest_pocket(labels, geometry)[0].depth == pytest.approx(40, abs=1.25 * max(spacing))


@pytest.mark.parametrize("pose", POSES)
def test_caliper_runs_along_the_vertical_and_is_as_long_as_the_depth(pose: str) -> None:
    spacing, tilt = POSES[pose]
    geometry = posed(tilt, spacing)
    pocket, _ = deepest_pocket(frame(geometry, lambda u, v: u**2 + v**2 < 400), geometry)
    (near, far), down = pocket.ends, geometry.axes[1]
    along = np.subtract(far, near) * geometry.spacing
    assert along @ down == pytest.approx(pocket.depth)
    assert abs(along @ geometry.axes[0]) < 1e-9


def test_box_of_whole_pixels_is_exact_to_the_edges_of_its_pixels() -> None:
    pocket, _ = deepest_pocket(boxes((50, 90, 30, 101)), HALF_MM)
    assert pocket.depth == pytest.approx(35.5)
    assert pocket.width == pytest.approx(20)
    assert (pocket.ends[0][1], pocket.ends[1][1]) == pytest.approx((29.5, 100.5))
    assert pocket.ends[0][0] == pytest.approx(69.5, abs=0.5)


def test_depth_is_not_the_longest_chord() -> None:
    slanted = frame(HALF_MM, lambda u, v: (abs(v - u) < 10) & (abs(u) < 30))
    assert deepest_pocket(slanted, HALF_MM)[0].depth == pytest.approx(20, abs=0.5)


def test_deep_leg_of_an_l_shape_counts_from_top_to_bottom() -> None:
    labels = boxes((20, 140, 20, 50), (20, 44, 50, 120))
    pocket, _ = deepest_pocket(labels, HALF_MM)
    assert pocket.depth == pytest.approx(50)
    assert 20 < pocket.ends[0][0] < 44


def test_cleft_narrower_than_ten_millimetres_does_not_deepen_the_pocket() -> None:
    labels = boxes((20, 140, 20, 70), (76, 84, 70, 140))
    assert deepest_pocket(labels, HALF_MM)[0].depth == pytest.approx(25, abs=0.5)


@pytest.mark.parametrize(("width", "accepted"), [(19, False), (20, True)])
def test_pocket_counts_from_ten_millimetres_of_width(width: int, accepted: bool) -> None:
    pocket, reason = deepest_pocket(boxes((50, 50 + width, 20, 120)), HALF_MM)
    assert (pocket is not None) == accepted
    assert reason == ("" if accepted else TOO_NARROW)


def test_shallow_layer_of_fluid_is_a_pocket_of_its_depth() -> None:
    assert deepest_pocket(boxes((20, 120, 60, 68)), HALF_MM)[0].depth == pytest.approx(4)


def test_limb_across_the_pocket_breaks_the_column() -> None:
    labels = boxes((50, 110, 20, 120))
    labels[40:130, 80:90] = PARTS
    pocket, _ = deepest_pocket(labels, HALF_MM)
    assert pocket.depth == pytest.approx(30)
    assert pocket.component.sum() == 60 * 60


def test_caliper_passes_beside_a_cord_in_the_pocket() -> None:
    labels = boxes((20, 140, 20, 120))
    x, y = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    labels[np.hypot(x - 70, y - 70) < 15] = PARTS
    pocket, _ = deepest_pocket(labels, HALF_MM)
    assert pocket.depth == pytest.approx(50)
    assert abs(pocket.ends[0][0] - 70) > 15


def test_fluid_under_reverberation_counts_as_fluid() -> None:
    labels = boxes((50, 110, 20, 120))
    labels[50:110, 20:40] = REVERBERATION
    assert deepest_pocket(labels, HALF_MM)[0].depth == pytest.approx(50)


def test_floating_speck_does_not_break_the_column_but_something_larger_does() -> None:
    labels = boxes((60, 84, 20, 120))
    labels[71:74, 70:73] = 0
    assert deepest_pocket(labels, HALF_MM)[0].depth == pytest.approx(50)
    labels[68:77, 67:76] = 0
    assert deepest_pocket(labels, HALF_MM)[0].depth < 26


def test_pockets_come_deepest_first_and_not_largest_first() -> None:
    labels = boxes((10, 150, 10, 40), (20, 60, 60, 150))
    found = find_pockets(labels, HALF_MM)
    assert [p.depth for p in found] == pytest.approx([45, 15])


def test_empty_frame_has_no_pocket_by_any_rule_and_says_so() -> None:
    for rule in RULES.values():
        assert rule(np.zeros(SHAPE, np.uint8), HALF_MM) == (None, NO_FLUID)


def test_each_rule_drops_what_the_rule_before_it_still_counts() -> None:
    wide_and_crossed = boxes((20, 140, 20, 70), (20, 140, 80, 100))
    wide_and_crossed[20:30, 70:80] = FLUID  # around the limb, so that both parts are one pocket
    wide_and_crossed[30:140, 70:80] = PARTS
    cleft = (84, 88, 100, 120)
    other = (80, 120, 130, 150)
    labels = np.maximum(wide_and_crossed, boxes(cleft, other))
    depths = [rule(labels, HALF_MM)[0].depth for rule in RULES.values()]
    assert depths[0] == pytest.approx(55)  # 25 + 10 + 10 + 10: both pockets and the cleft
    assert depths[1] == pytest.approx(45)  # without the other pocket
    assert depths[2] == pytest.approx(35, abs=0.5)  # without the cleft
    assert depths[3] == pytest.approx(25, abs=0.5)  # above the limb only


def test_rules_without_exclusion_pass_over_a_limb() -> None:
    labels = boxes((50, 110, 20, 120))
    labels[50:110, 80:90] = PARTS
    labels[110:116, 20:120] = FLUID
    for rule in (longest_column, longest_column_of_largest, longest_wide_column):
        assert rule(labels, HALF_MM)[0].depth >= 45


def test_frame_without_calibration_is_measured_in_pixels_and_width_is_not_asked_for() -> None:
    pocket, _ = deepest_pocket(boxes((50, 54, 20, 120)), Geometry())
    assert pocket.depth == pytest.approx(100)
    assert pocket.width == pytest.approx(4)


def test_stored_label_map_in_another_pose_gives_the_same_depth() -> None:
    labels = boxes((20, 140, 20, 50), (20, 44, 50, 120))
    expected = deepest_pocket(labels, HALF_MM)[0].depth
    upside_down = Geometry((0, -1), Calibration((0.5, 0.5)))
    sideways = Geometry((1, 0), Calibration((0.5, 0.5)))
    assert deepest_pocket(labels[::-1, ::-1], upside_down)[0].depth == pytest.approx(expected)
    assert deepest_pocket(labels.T, sideways)[0].depth == pytest.approx(expected)


def test_first_end_of_the_caliper_is_the_one_near_the_transducer() -> None:
    upside_down = Geometry((0, -1), Calibration((0.5, 0.5)))
    near, far = deepest_pocket(boxes((50, 90, 30, 100)), upside_down)[0].ends
    assert near[1] > far[1]


@pytest.mark.parametrize("vertical", [(0, 0), (math.nan, 1)])
def test_vertical_without_direction_is_refused(vertical: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="needs a direction"):
        deepest_pocket(boxes((50, 90, 30, 100)), Geometry(vertical, Calibration((0.5, 0.5))))


def test_ends_of_a_tilted_caliper_are_the_length_apart_in_millimetres() -> None:
    geometry = posed(25.0, (0.3, 0.6))
    pocket, _ = deepest_pocket(frame(geometry, lambda u, v: (abs(u) < 9) & (abs(v) < 22)), geometry)
    assert length_mm(pocket.ends, geometry) == pytest.approx(pocket.depth)
