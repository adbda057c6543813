"""The simulated jaws: teeth with their codes, bone around them, metal, and the grid they lie on."""

import numpy as np
import pytest
from scipy.ndimage import label

from medbundles.simulators.jaw import Jaw, jaw
from medbundles.simulators.jaw_teeth import CODES

SPACING = 0.9
FIELD = (88.0, 84.0, 64.0)
FULL = tuple(code for code in CODES if code % 10 != 8)


def small(seed: int, **options: object) -> Jaw:
    return jaw(seed, **{"size_mm": FIELD, "spacing_mm": SPACING} | options)


@pytest.fixture(scope="module")
def whole() -> Jaw:
    return small(5, teeth=FULL, metal="none", closed=True)


@pytest.fixture(scope="module")
def heavy() -> Jaw:
    return small(3, metal="heavy", closed=False)


def centre(case: Jaw, fdi: int) -> np.ndarray:
    """Middle of a tooth's label in voxels."""
    return np.argwhere(case.labels == fdi).mean(axis=0)


def test_a_seed_is_a_patient(whole: Jaw) -> None:
    again = small(5, teeth=FULL, metal="none", closed=True)
    assert np.array_equal(again.labels, whole.labels)
    assert np.array_equal(again.materials["mineral"], whole.materials["mineral"])


def test_the_listed_teeth_exist_and_no_others(whole: Jaw) -> None:
    assert set(np.unique(whole.labels).tolist()) == {0, *FULL}
    states = {tooth.fdi: tooth.state for tooth in whole.teeth}
    assert len(states) == 32
    assert {fdi for fdi, state in states.items() if state == "missing"} == {18, 28, 38, 48}


def test_arrays_run_to_the_left_to_the_back_and_up(whole: Jaw) -> None:
    for right, left in ((11, 21), (16, 26), (46, 36), (43, 33)):
        assert centre(whole, right)[0] < centre(whole, left)[0]
    for front, back in ((11, 14), (14, 17), (31, 34), (44, 47)):
        assert centre(whole, front)[1] < centre(whole, back)[1]
    for up, down in ((11, 41), (26, 36)):
        assert centre(whole, up)[2] > centre(whole, down)[2]


def test_the_affine_puts_the_left_teeth_at_negative_ras_x(whole: Jaw) -> None:
    for tooth in whole.teeth:
        left = tooth.fdi // 10 in (2, 3)
        assert (tooth.centre_mm[0] < 0) == left
        if tooth.volume_mm3:
            at = whole.affine @ [*centre(whole, tooth.fdi), 1]
            assert np.allclose(at[:3], tooth.centre_mm)


def test_the_middle_of_the_field_is_the_origin(whole: Jaw) -> None:
    middle = (np.array(whole.labels.shape) - 1) / 2
    assert np.allclose(whole.affine @ [*middle, 1], [0, 0, 0, 1])


def test_every_tooth_is_one_piece(whole: Jaw, heavy: Jaw) -> None:
    for case in (whole, heavy):
        for fdi in np.unique(case.labels)[1:]:
            assert label(case.labels == fdi)[1] == 1


def test_volumes_count_the_labels_and_are_those_of_teeth(whole: Jaw) -> None:
    for tooth in whole.teeth:
        assert tooth.volume_mm3 == pytest.approx((whole.labels == tooth.fdi).sum() * SPACING**3)
    volumes = {tooth.fdi: tooth.volume_mm3 for tooth in whole.teeth}
    assert 150 < volumes[31] < 400 < volumes[13] < 900
    assert 700 < volumes[36] < 1600


def test_lengths_agree_with_the_labels(whole: Jaw) -> None:
    for tooth in whole.teeth:
        if tooth.state == "present":
            voxels = np.argwhere(whole.labels == tooth.fdi) * SPACING
            axis = np.linalg.svd(voxels - voxels.mean(axis=0), full_matrices=False)[2][0]
            assert np.ptp(voxels @ axis) == pytest.approx(tooth.length_mm, abs=3.5)


def test_a_finer_grid_shows_the_same_patient(whole: Jaw) -> None:
    box = (54, 54, 45)
    fine = jaw(5, size_mm=box, spacing_mm=0.6, teeth=FULL, metal="none", closed=True)
    rough = jaw(5, size_mm=box, spacing_mm=0.9, teeth=FULL, metal="none", closed=True)
    assert np.mean(fine.labels > 0) == pytest.approx(np.mean(rough.labels > 0), rel=0.04)
    assert fine.materials["mineral"].mean() == pytest.approx(rough.materials["mineral"].mean(), rel=0.04)


def test_teeth_are_denser_than_bone_and_enamel_is_densest(whole: Jaw) -> None:
    mineral = whole.materials["mineral"]
    assert 2.5 < mineral[whole.labels > 0].max() < 2.9
    assert 1.3 < np.median(mineral[whole.labels > 0]) < 1.8
    assert 0.15 < np.median(mineral[whole.bone == 1]) < 1.2


def test_bone_lies_around_roots_and_not_around_crowns(whole: Jaw) -> None:
    upper = np.isin(whole.labels, (14, 15, 16, 24, 25, 26))
    voxels = np.argwhere(upper)
    low, high = np.percentile(voxels[:, 2], [15, 75]).astype(int)
    x, y = (slice(part.min() - 2, part.max() + 3) for part in voxels[:, :2].T)
    assert (whole.bone[x, y, high] == 2).mean() > 0.1
    assert (whole.bone[x, y, low] == 2).mean() < 0.02


def test_jaws_apart_leave_a_gap_that_bone_and_teeth_do_not_cross() -> None:
    apart = small(5, teeth=FULL, metal="none", closed=False)
    hard = (apart.labels > 0) | (apart.bone > 0)
    rows = np.argwhere(np.isin(apart.labels, (16, 17, 26, 27)))[:, 2].min()
    lower = np.argwhere(np.isin(apart.labels, (36, 37, 46, 47)))[:, 2].max()
    assert (rows - lower) * SPACING > 1
    parts, _ = label(hard)
    assert not set(parts[apart.labels == 16]) & set(parts[apart.labels == 46])


def test_closed_jaws_touch_or_nearly(whole: Jaw) -> None:
    upper = np.argwhere(whole.labels == 16)[:, 2].min()
    lower = np.argwhere(whole.labels == 46)[:, 2].max()
    assert upper - lower <= 2


def test_a_toothless_patient_has_bone_and_no_labels() -> None:
    case = small(4, teeth=(), metal="heavy")
    assert not case.labels.any()
    assert {1, 2} <= set(np.unique(case.bone).tolist())
    assert set(case.materials) == {"soft", "mineral"}


def test_shift_moves_the_patient_by_mm(whole: Jaw) -> None:
    moved = small(5, teeth=FULL, metal="none", closed=True, shift_mm=(4 * SPACING, -2 * SPACING, 3 * SPACING))
    assert np.allclose(centre(moved, 24) - centre(whole, 24), [4, -2, 3], atol=0.05)


def test_tilt_turns_the_teeth_with_the_head(whole: Jaw) -> None:
    tilted = small(5, teeth=FULL, metal="none", closed=True, tilt_deg=(0, 20, 0))
    # Around y, from z to x: what is up moves to the left, and the left goes down.
    assert centre(tilted, 26)[2] < centre(tilted, 16)[2] - 8
    assert centre(tilted, 21)[0] > centre(whole, 21)[0]


def test_teeth_at_the_edge_of_the_field_are_cut() -> None:
    half = jaw(5, size_mm=(40, 60, 64), spacing_mm=SPACING, teeth=FULL, metal="none", shift_mm=(14, 0, 0))
    cut = {tooth.fdi: tooth.cut_by_field for tooth in half.teeth}
    assert not cut[13] and not cut[44]
    assert cut[26] and cut[36]
    assert all(cut[t.fdi] for t in half.teeth if t.state == "present" and not t.volume_mm3)


def test_scale_makes_small_teeth(whole: Jaw) -> None:
    child = small(5, teeth=FULL, metal="none", closed=True, scale=0.7)
    ratio = (child.labels > 0).sum() / (whole.labels > 0).sum()
    assert ratio == pytest.approx(0.7**3, rel=0.15)


@pytest.mark.parametrize(
    "wrong",
    [{"metal": "lots"}, {"spacing_mm": 0}, {"teeth": (19,)}, {"scale": 3}, {"size_mm": (80, -1, 50)}],
)
def test_wrong_arguments_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        jaw(0, **wrong)
