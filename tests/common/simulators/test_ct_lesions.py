"""Lesions inserted into slices: exactly what was asked for, and only where there is room."""

import numpy as np
import pytest

from medbundles.simulators.ct_lesions import CLEARANCE_MM, Lesion, insert, random_lesions, room

PIXEL = 0.8
X, Y = np.meshgrid(*2 * [PIXEL * (np.arange(200) - 99.5)], indexing="ij")


def rng() -> np.random.Generator:
    return np.random.default_rng(2)


def torso() -> np.ndarray:
    """Muscle of 70 mm radius in air, with lung and iodine in it."""
    hu = np.where(np.hypot(X, Y) < 70, 50.0, -1000.0)
    hu[np.hypot(X - 35, Y) < 25] = -860.0
    hu[np.hypot(X + 35, Y) < 12] = 350.0
    return hu.astype(np.float32)


def test_a_lesion_adds_its_contrast_at_its_place_with_the_area_of_its_disc() -> None:
    lesion = Lesion((20.0, -31.0), 6.0, 40.0)
    result = insert(np.zeros((200, 200), np.float32), PIXEL, [lesion])
    assert result.hu[np.hypot(X - 20, Y + 31) < 5] == pytest.approx(40)
    assert (result.hu[np.hypot(X - 20, Y + 31) > 7] == 0).all()
    assert result.coverage[0].sum() * PIXEL**2 == pytest.approx(np.pi * 36, rel=0.02)
    assert result.masks[0].sum() * PIXEL**2 == pytest.approx(np.pi * 36, rel=0.03)


def test_a_soft_edge_falls_over_its_width() -> None:
    lesion = Lesion((0.0, 0.0), 20.0, 1.0, edge_mm=8.0)
    profile = lesion.coverage((200, 200), PIXEL)[:, 100]
    distance = np.hypot(X, Y)[:, 100]
    assert (profile[distance < 15.9] == 1).all()
    assert (profile[distance > 24.1] == 0).all()
    assert profile[np.abs(distance - 20) < 0.5] == pytest.approx(0.5, abs=0.1)


def test_inserting_leaves_the_slice_itself_alone_and_adds_up() -> None:
    hu = torso()
    before = hu.copy()
    lesions = [Lesion((0.0, 40.0), 4.0, -30.0), Lesion((0.0, -40.0), 3.0, 25.0)]
    result = insert(hu, PIXEL, lesions)
    assert np.array_equal(hu, before)
    assert result.hu == pytest.approx(hu - 30 * result.coverage[0] + 25 * result.coverage[1], abs=1e-3)
    assert result.lesions == tuple(lesions)


def test_no_lesions_change_nothing() -> None:
    result = insert(torso(), PIXEL, [])
    assert np.array_equal(result.hu, torso())
    assert result.masks.shape == result.rings(PIXEL).shape == (0, 200, 200)


def test_rings_are_background_only() -> None:
    lesions = [Lesion((0.0, 0.0), 4.0, 30.0), Lesion((8.0, 0.0), 3.0, 30.0)]
    result = insert(np.zeros((200, 200), np.float32), PIXEL, lesions)
    rings = result.rings(PIXEL, 3.0)
    assert rings.any(axis=(1, 2)).all()
    assert (result.hu[rings.any(axis=0)] == 0).all()
    assert np.hypot(X, Y)[rings[0]].max() < 7.1


@pytest.mark.parametrize(("tissue", "hu"), [("soft", 50.0), ("lung", -860.0)])
def test_random_lesions_lie_in_the_tissue_asked_for_with_their_clearance(tissue: str, hu: float) -> None:
    found = random_lesions(torso(), PIXEL, rng(), 6, radius_mm=(2, 4), tissue=tissue)
    assert len(found) >= 3
    for lesion in found:
        near = (
            np.hypot(X - lesion.centre_mm[0], Y - lesion.centre_mm[1]) < lesion.radius_mm + CLEARANCE_MM - 1
        )
        assert (torso()[near] == hu).all()


def test_random_lesions_keep_apart() -> None:
    found = random_lesions(np.full((200, 200), 60.0, np.float32), PIXEL, rng(), 25)
    assert len(found) == 25
    for i, one in enumerate(found):
        for other in found[:i]:
            gap = np.hypot(*np.subtract(one.centre_mm, other.centre_mm)) - one.radius_mm - other.radius_mm
            assert gap >= CLEARANCE_MM - 1e-6


def test_random_lesions_draw_from_the_whole_range_but_not_near_zero() -> None:
    flat = np.full((400, 400), 60.0, np.float32)
    found = random_lesions(flat, 1.0, rng(), 100, contrast_hu=(-20.0, 60.0), radius_mm=(1, 2))
    contrast = np.array([lesion.contrast_hu for lesion in found])
    assert contrast.min() < -16 and contrast.max() > 50
    assert np.abs(contrast).min() >= 15
    assert 1 <= min(lesion.radius_mm for lesion in found) and max(lesion.radius_mm for lesion in found) <= 2


def test_random_lesions_find_room_in_a_noisy_slice() -> None:
    noisy = torso() + rng().normal(0, 15, (200, 200)).astype(np.float32)
    assert len(random_lesions(noisy, PIXEL, rng(), 5, radius_mm=(2, 3))) == 5


def test_where_nothing_is_homogeneous_no_lesion_comes_back() -> None:
    assert random_lesions(np.full((100, 100), -1000.0, np.float32), PIXEL, rng(), 4) == []


def test_room_is_the_distance_to_the_end_of_the_tissue() -> None:
    hu = np.where(np.abs(X) < 30, 60.0, -100.0).astype(np.float32)
    # The smoothed step leaves the tissue where it becomes too steep, a little inside the border.
    assert room(hu, PIXEL)[100, 100] == pytest.approx(30, abs=5.5)
    assert (room(hu, PIXEL)[np.abs(X) > 30] == 0).all()
