"""The simulated chest: what lies where, at which HU, and what moves."""

import numpy as np
import pytest

from medbundles.simulators.ct_chest import Slice, chest_slice
from medbundles.simulators.ct_heart import SYSTOLE, contraction

PIXEL, SIZE = 1.4, 256
SEEDS = range(24)


@pytest.fixture(scope="module")
def chests() -> list[Slice]:
    return [chest_slice(seed, size=SIZE, pixel_mm=PIXEL) for seed in SEEDS]


def centre(chest: Slice, *tissues: str) -> np.ndarray:
    """Middle of a tissue, mm from the middle of the slice."""
    return (np.argwhere(chest.where(*tissues)).mean(axis=0) - (SIZE - 1) / 2) * PIXEL


def with_heart(chests: list[Slice]) -> list[Slice]:
    return [chest for chest in chests if chest.level != "vessels"]


def test_a_seed_is_a_patient(chests: list[Slice]) -> None:
    again = chest_slice(3, size=SIZE, pixel_mm=PIXEL)
    assert np.array_equal(again.hu, chests[3].hu)
    assert np.abs(chests[3].hu - chests[4].hu).mean() > 20


def test_tissues_have_their_hu(chests: list[Slice]) -> None:
    ranges = {
        "air": (-1001, -990),
        "lung": (-930, -760),
        "fat": (-115, -85),
        "muscle": (20, 70),
        "myocardium": (70, 130),
        "left ventricle": (270, 440),
        "aorta": (220, 440),
        "spinal canal": (0, 50),
        "bone": (350, 800),
    }
    for chest in chests:
        for tissue, (low, high) in ranges.items():
            found = chest.hu[chest.where(tissue)]
            assert not found.size or low < np.median(found) < high, (tissue, np.median(found))


def test_left_is_left_and_front_is_front(chests: list[Slice]) -> None:
    for chest in with_heart(chests):
        ventricle, atrium = centre(chest, "left ventricle"), centre(chest, "right atrium")
        assert ventricle[0] > 10 > -10 > atrium[0]
        assert centre(chest, "right ventricle")[1] < centre(chest, "left atrium")[1] - 20
    for chest in chests:
        assert centre(chest, "spinal canal")[1] > centre(chest, "lung")[1] + 30
        assert abs(centre(chest, "spinal canal")[0]) < 6


def test_the_liver_is_on_the_right_and_low(chests: list[Slice]) -> None:
    livers = [chest for chest in chests if chest.where("liver").any()]
    assert livers
    for chest in livers:
        assert chest.level == "heart"
        assert centre(chest, "liver")[0] < -30


def test_every_tissue_of_the_map_is_painted_somewhere(chests: list[Slice]) -> None:
    seen = {number for chest in chests for number in np.unique(chest.labels).tolist()}
    assert seen == set(chests[0].tissues.values())


def test_levels_and_sizes_vary(chests: list[Slice]) -> None:
    assert {chest.level for chest in chests} == {"vessels", "root", "heart"}
    areas = [(~chest.where("air", "table")).sum() * PIXEL**2 / 100 for chest in chests]
    assert 450 < min(areas) < 0.75 * max(areas) and max(areas) < 1100


def test_patients_fit_the_field(chests: list[Slice]) -> None:
    for chest in chests:
        body = ~chest.where("air", "table")
        assert not body[[0, -1]].any() and not body[:, [0, -1]].any()


def test_the_ventricle_shrinks_in_systole_while_its_wall_thickens_and_the_atrium_fills() -> None:
    for seed in (1, 4, 6):
        rest, squeezed = (chest_slice(seed, phase, SIZE, PIXEL) for phase in (0.9, SYSTOLE))
        share = squeezed.where("left ventricle").sum() / rest.where("left ventricle").sum()
        assert 0.3 < share < 0.65
        assert squeezed.where("myocardium").sum() > 0.85 * rest.where("myocardium").sum()
        assert squeezed.where("left atrium").sum() > 1.05 * rest.where("left atrium").sum()


def test_only_the_heart_and_its_surroundings_move() -> None:
    for seed in (1, 2):
        rest, squeezed = (chest_slice(seed, phase, SIZE, PIXEL) for phase in (0.9, SYSTOLE))
        moved = np.abs(rest.hu - squeezed.hu) > 1
        assert 0.005 < moved.mean() < 0.08
        still = ("skin", "breast", "table", "spinal canal", "marrow")
        assert not moved[rest.where(*still) & squeezed.where(*still)].any()
        x = PIXEL * (np.arange(SIZE) - (SIZE - 1) / 2)
        assert not moved[np.abs(x) > 105].any()
        assert [one.centre_mm for one in rest.lesions] == [one.centre_mm for one in squeezed.lesions]


def test_the_beat_is_periodic_and_strongest_in_systole() -> None:
    phases = np.linspace(0, 1, 101)
    beat = np.array([contraction(phase) for phase in phases])
    assert abs(beat[0] - beat[-1]) < 1e-9
    assert np.abs(np.diff(beat)).max() < 0.08
    assert phases[beat.argmax()] == pytest.approx(SYSTOLE, abs=0.011)
    assert beat[0] < 0.15 and beat[75] < 0.05


def test_nodules_are_in_the_lung_where_the_list_says(chests: list[Slice]) -> None:
    nodules = [(chest, lesion) for chest in chests for lesion in chest.lesions]
    assert len(nodules) > 8
    for chest, lesion in nodules:
        index = np.round(np.array(lesion.centre_mm) / PIXEL + (SIZE - 1) / 2).astype(int)
        assert chest.labels[tuple(index)] == chest.tissues["nodule"]


def test_the_same_patient_at_another_resolution_has_the_same_shape() -> None:
    fine, coarse = chest_slice(5, size=512, pixel_mm=0.7), chest_slice(5, size=SIZE, pixel_mm=PIXEL)
    for tissue in ("left ventricle", "lung", "muscle"):
        assert fine.where(tissue).sum() / 4 == pytest.approx(coarse.where(tissue).sum(), rel=0.06)
