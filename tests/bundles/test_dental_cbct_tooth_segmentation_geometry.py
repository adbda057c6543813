"""Jaw split, arch curve, panorama and the way back, on arches of ellipsoids whose places are known."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "dental_cbct_tooth_segmentation"))

from dental_phantom import ALL, Phantom, known_jaws, not_dental

from dental_teeth.boxes import box_of
from dental_teeth.frame import NotDentalError, sample, transformed
from dental_teeth.jaws import LOWER, UPPER, Jaws, otsu, split_jaws
from dental_teeth.panorama import View, panorama, project_labels, view_of, views
from medbundles.errors import InputError

TINY = {"columns": 160, "rows": 48, "pitch_mm": 1.0}
SMALL = {"columns": 320, "rows": 96, "pitch_mm": 0.5}


def sides(jaws: Jaws, labels: np.ndarray, affine: np.ndarray) -> float:
    """Share of tooth voxels that belong to their own jaw."""
    index = np.argwhere(labels > 0)
    shares = []
    for name, jaw in jaws.jaws.items():
        own = jaw.own_at(
            transformed(index.astype(float), jaw.grid.to_index() @ jaw.frame.from_voxels(affine))
        )
        shares.append((own.numpy() > 0) == ((labels[tuple(index.T)] < 30) == (name == UPPER)))
    return float(np.concatenate(shares).mean())


def columns_of(view: View, labels: np.ndarray, affine: np.ndarray) -> dict[int, float]:
    """The column of the middle of each tooth of the view's jaw."""
    codes = [int(code) for code in np.unique(labels) if code and (code < 30) == (view.jaw == UPPER)]
    middles = np.array([np.argwhere(labels == code).mean(0) for code in codes])
    column, _, _ = view.place(transformed(middles, view.frame.from_voxels(affine)))
    return dict(zip(codes, column.tolist(), strict=True))


@pytest.fixture(scope="module")
def closed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return Phantom(marker=tuple(Phantom().centre(16) - np.array([6, 0, 0]))).build()


@pytest.fixture(scope="module")
def jaws(closed: tuple) -> Jaws:
    return known_jaws(*closed)


@pytest.fixture(scope="module")
def seen(jaws: Jaws) -> dict[str, View]:
    return views(jaws, **SMALL)


def test_three_classes_are_parted_between_them_whatever_metal_adds() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(m, 40, n) for m, n in ((-1000, 4000), (40, 9000), (1500, 2500))])
    first, second = otsu(np.r_[values, np.full(400, 25000.0)])
    assert -900 < first < -60
    assert 150 < second < 1400


def test_jaws_that_are_apart_are_two_parts_of_the_bone() -> None:
    hu, labels, affine = Phantom(gap=6).build()
    found = known_jaws(hu, labels, affine)
    assert found.method == "components"
    assert found.present == (UPPER, LOWER)
    assert sides(found, labels, affine) > 0.999


@pytest.mark.parametrize("overbite", [0, 3])
def test_touching_teeth_are_parted_midway(overbite: float) -> None:
    hu, labels, affine = Phantom(overbite=overbite).build()
    found = known_jaws(hu, labels, affine)
    assert found.method == "teeth" and 0.9 < found.confidence <= 1
    assert sides(found, labels, affine) > 0.99


@pytest.mark.parametrize(("quadrants", "jaw"), [((1, 2), UPPER), ((3, 4), LOWER)])
def test_one_jaw_alone_is_recognised(quadrants: tuple[int, int], jaw: str) -> None:
    hu, labels, affine = Phantom(teeth=tuple(c for c in ALL if c // 10 in quadrants)).build()
    found = known_jaws(hu, labels, affine)
    assert (found.method, found.present) == ("single", (jaw,))
    assert sides(found, labels, affine) > 0.98
    assert list(views(found, **SMALL)) == [jaw]
    with pytest.raises(InputError, match=r"no .* jaw"):
        view_of(found, LOWER if jaw == UPPER else UPPER, **SMALL)


@pytest.mark.parametrize(("pitch", "roll"), [(20, 0), (-20, 6)])
def test_a_tilted_head_is_levelled(pitch: float, roll: float) -> None:
    p, r = np.deg2rad([pitch, roll])
    about_left = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    turn = about_left @ np.array([[np.cos(r), 0, np.sin(r)], [0, 1, 0], [-np.sin(r), 0, np.cos(r)]])
    hu, labels, affine = Phantom(turn=turn).build()
    found = known_jaws(hu, labels, affine)
    for jaw in found.jaws.values():
        assert np.degrees(np.arccos(jaw.frame.rotation[2] @ turn[2])) < 6
    assert sides(found, labels, affine) > 0.97


def test_columns_run_from_the_patients_right_to_the_left_without_jumps(closed: tuple, seen: dict) -> None:
    for jaw, order in (
        (UPPER, (*range(18, 10, -1), *range(21, 29))),
        (LOWER, (*range(48, 40, -1), *range(31, 39))),
    ):
        columns = columns_of(seen[jaw], closed[1], closed[2])
        assert list(columns) == sorted(order)
        assert (np.diff([columns[code] for code in order]) > 5).all()
        middle = (columns[order[7]] + columns[order[8]]) / 2
        assert abs(middle - 159.5) < 6  # 3 mm
        step = np.linalg.norm(np.diff(seen[jaw].curve.points, axis=0), axis=1)
        assert np.allclose(step, 0.5, atol=0.02)


def test_the_curve_runs_through_the_middle_of_every_tooth(closed: tuple, seen: dict) -> None:
    for jaw, view in seen.items():
        codes = [code for code in ALL if (code < 30) == (jaw == UPPER)]
        index = np.array([np.argwhere(closed[1] == code).mean(0) for code in codes])
        _, _, depth = view.place(transformed(index, view.frame.from_voxels(closed[2])))
        assert np.abs(depth).max() < 2.0


def test_a_marker_at_an_upper_right_molar_is_brightest_there(closed: tuple, jaws: Jaws) -> None:
    hu, labels, affine = closed
    view = view_of(jaws, UPPER, **TINY)
    upper = panorama(hu, affine, view, jaws)
    brightest = np.unravel_index(np.argmax(upper), upper.shape)
    assert abs(brightest[0] - columns_of(view, labels, affine)[16]) < 4


def test_the_other_jaw_leaves_no_shadow(closed: tuple, jaws: Jaws) -> None:
    hu, _, affine = closed
    view = view_of(jaws, LOWER, **TINY)
    index = np.stack(np.meshgrid(*map(np.arange, hu.shape), indexing="ij"), -1)
    jaw = jaws.jaws[LOWER]
    own = jaw.own_at(transformed(index.astype(float), jaw.grid.to_index() @ jaw.frame.from_voxels(affine)))
    above = own.numpy() < -1.8
    metal = np.where(above, np.float32(9000), hu)
    assert np.allclose(panorama(metal, affine, view, jaws), panorama(hu, affine, view, jaws), atol=0.5)


def test_the_picture_is_the_sum_of_water_along_the_rays(jaws: Jaws, closed: tuple) -> None:
    view = view_of(jaws, UPPER, **TINY)
    picture = panorama(np.zeros_like(closed[0]), closed[2], view, jaws)
    assert np.allclose(picture[50:110, 20:30], 24.4, atol=0.5)  # rays of 24 mm in water


def test_a_mirrored_patient_gives_the_mirrored_picture(closed: tuple, seen: dict) -> None:
    hu, labels, affine = closed
    mirrored = view_of(known_jaws(hu[::-1], labels[::-1], affine), UPPER, **SMALL)
    there = columns_of(mirrored, labels[::-1], affine)
    for code, column in columns_of(seen[UPPER], labels, affine).items():
        assert abs(319 - column - there[code]) < 4


@pytest.mark.parametrize("letters", ["RAS", "IPR"])
def test_the_same_scan_stored_otherwise_gives_the_same_curve_in_space(
    letters: str, closed: tuple, seen: dict
) -> None:
    import nibabel as nib
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    change = ornt_transform(io_orientation(closed[2]), axcodes2ornt(letters))
    scan, teeth = (nib.Nifti1Image(one, closed[2]).as_reoriented(change) for one in closed[:2])
    found = known_jaws(np.asarray(scan.dataobj), np.asarray(teeth.dataobj), scan.affine)
    view = view_of(found, UPPER, **SMALL)
    assert np.allclose(view.frame.rotation, seen[UPPER].frame.rotation)
    assert np.allclose(view.frame.origin, seen[UPPER].frame.origin, atol=1e-3)
    assert np.allclose(view.curve.points, seen[UPPER].curve.points, atol=1e-2)


def test_an_oblique_header_turns_the_answer_with_it(closed: tuple, seen: dict) -> None:
    a = np.deg2rad(12)
    oblique = np.eye(4)
    oblique[1:3, 1:3] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    oblique[:3, 3] = 30, -50, 12
    view = view_of(known_jaws(closed[0], closed[1], oblique @ closed[2]), UPPER, **SMALL)
    index = np.array([np.argwhere(closed[1] == code).mean(0) for code in (17, 13, 11, 23, 27)])
    column, _, depth = view.place(transformed(index, view.frame.from_voxels(oblique @ closed[2])))
    before, _, _ = seen[UPPER].place(transformed(index, seen[UPPER].frame.from_voxels(closed[2])))
    assert np.abs(depth).max() < 2.5
    assert np.abs(column - before).max() < 8


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 1.6), (1.3, 1.3, 0.7)])
def test_spacing_changes_nothing_but_detail(spacing: tuple[float, float, float]) -> None:
    hu, labels, affine = Phantom(spacing=spacing).build()
    found = known_jaws(hu, labels, affine)
    assert sides(found, labels, affine) > 0.97
    columns = columns_of(view_of(found, UPPER, **SMALL), labels, affine)
    assert abs(columns[11] + columns[21] - 319) < 12
    assert columns[17] < columns[13] < columns[23] < columns[27]


@pytest.mark.parametrize(("quadrants", "right"), [((1, 4), True), ((2, 3), False)])
def test_half_an_arch_keeps_its_half_of_the_picture(quadrants: tuple[int, int], right: bool) -> None:
    hu, labels, affine = Phantom(teeth=tuple(code for code in ALL if code // 10 in quadrants)).build()
    columns = columns_of(view_of(known_jaws(hu, labels, affine), LOWER, **SMALL), labels, affine)
    order = [columns[code] for code in sorted(columns)]
    assert (np.diff(order) < 0).all() if right else (np.diff(order) > 0).all()
    assert (max(order) < 190) if right else (min(order) > 130)


def test_gaps_of_missing_teeth_are_bridged_along_the_arch() -> None:
    gone = (14, 15, 16, 22, 23)
    phantom = Phantom(teeth=tuple(code for code in ALL if code not in gone))
    hu, labels, affine = phantom.build()
    view = view_of(known_jaws(hu, labels, affine), UPPER, **SMALL)
    place = np.stack([phantom.centre(code) for code in gone])
    flat = (place - view.frame.origin) @ view.frame.rotation.T
    assert np.abs(view.place(flat)[2]).max() < 3.5


def test_a_childs_jaw_of_seven_tenths_works_too() -> None:
    teeth = tuple(code for code in ALL if code % 10 <= 6)
    hu, labels, affine = Phantom(size=0.7, teeth=teeth, spacing=(0.8, 0.8, 0.8)).build()
    columns = columns_of(view_of(known_jaws(hu, labels, affine), LOWER, **SMALL), labels, affine)
    assert len(columns) == 12
    assert (np.diff([columns[code] for code in (46, 45, 44, 43, 42, 41, 31, 32, 33, 34, 35, 36)]) > 3).all()


@pytest.mark.parametrize("kind", ["water", "air", "thigh"])
def test_what_is_not_dental_is_refused(kind: str) -> None:
    def fooled(small: np.ndarray, affine: np.ndarray) -> np.ndarray:
        return np.stack([small > 500, np.zeros_like(small)]).astype(np.float32)  # all bone for upper teeth

    with pytest.raises(NotDentalError, match="expected:"):
        view_of(split_jaws(not_dental(kind), np.diag([-1.0, -1.0, 1.0, 1.0]), fooled), UPPER)


def test_hard_tissue_without_teeth_is_refused(closed: tuple) -> None:
    with pytest.raises(NotDentalError, match="no teeth"):
        known_jaws(closed[0], np.zeros_like(closed[1]), closed[2])


def test_a_mask_has_the_length_of_its_tooth(closed: tuple, seen: dict) -> None:
    mask = project_labels(closed[1], closed[2], seen[UPPER])[23]
    box = box_of(mask)
    assert abs((box.bottom - box.top) * 0.5 - 20) < 2
    assert abs((box.right - box.left) * 0.5 - 7) < 2


def test_crowded_teeth_both_keep_their_whole_masks(closed: tuple, seen: dict) -> None:
    labels, affine = closed[1].copy(), closed[2]
    alone = project_labels(labels, affine, seen[UPPER])[13]
    behind = np.argwhere(closed[1] == 13) + np.array([3, 5, 0])  # further inwards on about the same rays
    labels[tuple(behind.T)] = np.where(labels[tuple(behind.T)] == 0, 14, labels[tuple(behind.T)])
    masks = project_labels(labels, affine, seen[UPPER])
    assert np.array_equal(masks[13], alone)
    assert (masks[13] & masks[14]).sum() > 100


def test_places_in_the_picture_and_back_are_the_same(seen: dict) -> None:
    rng = np.random.default_rng(1)
    column, row, depth = rng.uniform(20, 300, 200), rng.uniform(0, 95, 200), rng.uniform(-4, 4, 200)
    found = seen[LOWER].place(seen[LOWER].points(column, row, depth))
    for ours, theirs, near in zip(found, (column, row, depth), (0.3, 1e-6, 0.1), strict=True):
        assert np.abs(ours - theirs).max() < near


def test_sampling_reads_only_what_it_needs_and_fills_the_outside() -> None:
    volume = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    points = np.array([[1.0, 2.0, 3.0], [1.5, 2.0, 3.0], [-9.0, 2.0, 3.0]])
    assert np.allclose(sample(volume, points, fill=-7).numpy(), [45, 60, -7], atol=1e-3)
    assert (sample(volume, points - 100, fill=-7) == -7).all()


def test_an_empty_mask_has_no_box() -> None:
    with pytest.raises(ValueError, match="empty"):
        box_of(np.zeros((4, 4), bool))
