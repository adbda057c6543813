"""Nested regions: maps, volumes and RANO diameters of shapes whose size is known."""

import numpy as np
import pytest
import torch

from medbundles.images import upright_affine
from medbundles.regions import (
    REGIONS,
    axial_axis,
    bidimensional,
    diameter_lines,
    merge_regions,
    region_mask,
    region_measurements,
    volume_ml,
)


def ellipsoid(
    shape: tuple[int, int, int],
    axes: tuple[float, float, float],
    spacing: tuple[float, ...],
    angle: float = 0.0,
) -> np.ndarray:
    """An ellipsoid of semi-axes in mm, turned in the first two axes."""
    x, y, z = ((np.indices(shape)[k] - shape[k] // 2) * spacing[k] for k in range(3))
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (u / axes[0]) ** 2 + (v / axes[1]) ** 2 + (z / axes[2]) ** 2 < 1


def shells() -> np.ndarray:
    """Core 1 within an enhancing shell 3 within oedema 2."""
    labels = np.zeros((40, 40, 20), np.uint8)
    for radius, value in ((16, 2), (10, 3), (5, 1)):
        labels[ellipsoid(labels.shape, (radius, radius, radius / 2), (1, 1, 1))] = value
    return labels


def test_regions_are_nested_and_come_back_as_the_same_map() -> None:
    labels = shells()
    masks = np.stack([region_mask(labels, region) for region in REGIONS]).astype(float)
    assert list(REGIONS) == ["TC", "WT", "ET"]
    assert (masks[0] <= masks[1]).all() and (masks[2] <= masks[0]).all()
    np.testing.assert_array_equal(merge_regions(masks), labels)


def test_arrays_and_tensors_give_the_same_map() -> None:
    values = np.random.default_rng(0).random((3, 4, 5, 6))
    np.testing.assert_array_equal(merge_regions(torch.from_numpy(values)).numpy(), merge_regions(values))


def test_thresholds_are_one_per_region_and_the_inner_region_wins() -> None:
    values = np.array([0.4, 0.6, 0.6]).reshape(3, 1)
    assert merge_regions(values).item() == 3
    assert merge_regions(values, [0.3, 0.5, 0.7]).item() == 1
    assert merge_regions(values, [0.5, 0.5, 0.7]).item() == 2
    assert merge_regions(values, 0.9).item() == 0
    with pytest.raises(ValueError, match="3"):
        merge_regions(values, [0.5, 0.5])


def test_a_volume_counts_slanted_and_uneven_voxels_as_they_are() -> None:
    mask = np.zeros((10, 10, 10), bool)
    mask[:5, :4, :3] = True
    assert volume_ml(mask, np.diag([0.5, 2.0, 3.0, 1])) == pytest.approx(60 * 3 / 1000)
    turn = np.eye(4)
    turn[:2, :2] = [[0.6, -0.8], [0.8, 0.6]]
    assert volume_ml(mask, turn) == pytest.approx(0.06)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 1.2, 3.0)])
@pytest.mark.parametrize("angle", [0.0, 0.6])
def test_diameters_of_an_ellipsoid_are_its_axes_in_millimetres(spacing: tuple, angle: float) -> None:
    mask = ellipsoid((120, 90, 21), (26, 11, 9), spacing, angle)
    found = bidimensional(mask, upright_affine(spacing))
    assert found.longest_mm == pytest.approx(52, abs=1.3)
    assert found.perpendicular_mm == pytest.approx(22, abs=1.3)
    assert (found.axis, found.index) == (2, 10)
    assert found.product_mm2 == pytest.approx(52 * 22, rel=0.08)


def test_the_second_diameter_is_the_longest_chord_at_a_right_angle() -> None:
    """A right triangle of legs 60 and 80: on its hypotenuse of 100 stands a chord of 48 at the corner."""
    x, y = np.indices((70, 90))
    mask = np.zeros((70, 90, 3), bool)
    mask[..., 1] = (x / 60 + y / 80 < 1) & (x > 0) & (y > 0)
    found = bidimensional(mask, np.eye(4))
    assert found.longest_mm == pytest.approx(100, abs=3)
    assert found.perpendicular_mm == pytest.approx(48, abs=1.5)
    first, second = (np.diff(ends, axis=0)[0] for ends in (found.longest_ends, found.perpendicular_ends))
    assert abs(first @ second) < 1e-6


def test_one_voxel_is_as_long_as_its_sides() -> None:
    mask = np.zeros((5, 5, 5), bool)
    mask[2, 2, 2] = True
    found = bidimensional(mask, np.diag([2, 3, 4, 1]))
    assert (found.longest_mm, found.perpendicular_mm) == pytest.approx((3, 2))
    assert not found.measurable


def test_lesions_apart_are_not_joined_and_the_larger_product_wins() -> None:
    mask = np.zeros((80, 40, 5), bool)
    mask[2:10, 2:10, 1] = mask[60:75, 20:32, 3] = True
    found = bidimensional(mask, np.eye(4))
    assert found.index == 3
    assert found.longest_mm < 20 and found.measurable


def test_slices_are_axial_whatever_the_order_of_the_axes() -> None:
    mask = ellipsoid((60, 60, 30), (20, 10, 6), (1, 1, 1))
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = 1, -1, -1, 1
    turned = np.moveaxis(mask, 2, 0)
    assert axial_axis(affine) == 0
    found = bidimensional(turned, affine)
    assert (found.axis, found.index) == (0, 15)
    assert found.longest_mm == pytest.approx(40, abs=1.2)


def test_an_empty_mask_has_no_diameters() -> None:
    assert bidimensional(np.zeros((4, 4, 4)), np.eye(4)) is None
    with pytest.raises(ValueError, match="volume"):
        bidimensional(np.ones((4, 4)), np.eye(4))


def test_measurements_name_regions_and_units_and_what_is_not_there_has_a_reason() -> None:
    labels = shells()
    labels[labels == 3] = 1
    found = {item["name"]: item for item in region_measurements(labels, np.diag([-1, -1, 2, 1]))}
    assert found["WT volume"]["value"] == pytest.approx(np.count_nonzero(labels) * 2 / 1000)
    assert found["WT volume"]["unit"] == "mL"
    assert found["WT longest diameter"]["value"] == pytest.approx(32, abs=1)
    assert found["ET volume"]["value"] == 0
    assert found["ET longest diameter"]["value"] is None
    assert found["ET longest diameter"]["reason"] == "No ET was found."


def test_what_is_unreliable_is_not_given_at_all() -> None:
    found = region_measurements(shells(), np.eye(4), unreliable={"ET": "T1Gd was imputed."})
    values = {item["name"]: (item["value"], item["reason"]) for item in found}
    assert all(values[name] == (None, "T1Gd was imputed.") for name in values if name.startswith("ET"))
    assert values["TC volume"][0] > 0


def test_without_calibration_sizes_are_in_voxels() -> None:
    found = region_measurements(shells(), np.diag([3, 3, 3, 1]), calibrated=False)
    assert [item["unit"] for item in found[:3]] == ["voxels", "px", "px"]
    assert found[0]["value"] == np.count_nonzero(shells())


def test_the_lines_of_a_picture_are_the_diameters_in_the_plane_of_their_slice() -> None:
    found, lines = diameter_lines(shells(), np.eye(4), "WT")
    assert found.index in (9, 10)
    lengths = [float(np.hypot(*np.subtract(line["to"], line["from"]))) for line in lines]
    assert lengths == pytest.approx([found.longest_mm, found.perpendicular_mm])
    assert diameter_lines(np.zeros((3, 3, 3)), np.eye(4)) == (None, [])
