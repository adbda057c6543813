"""Simulated dental scans, the choice of cases, and labels of teeth from every data set."""

import json
import sys
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform

sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "dental_cbct_tooth_segmentation"))

from dental_teeth.cases import evaluation_cases, evenly, find_cases, part_of, training_cases
from dental_teeth.labels import LoadScand, LoadTeethLabelsd
from dental_teeth.plans import draw_plan, draw_toothless
from dental_teeth.simulator import DOTTED_NAME, _write_case, write_cases
from dental_teeth.teeth import FDI_CODES
from medbundles.checks import DatasetError, GridError, InputError
from medbundles.datasets import simulated, toothfairy
from medbundles.datasets.simulated import write_table
from medbundles.images import upright_affine
from medbundles.transforms import LoadImageCheckedd

COARSE = 1.8  # mm


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cases of the trained scanner and one of the other one."""
    place = tmp_path_factory.mktemp("simulated")
    torch.set_num_threads(1)
    cases = [_write_case(place, index, 0, spacing_mm=COARSE) for index in range(5)]
    cases.append(_write_case(place, 0, 0, spacing_mm=COARSE, scanner="other"))
    write_table(place, DOTTED_NAME, 0, cases)
    return place


@pytest.fixture
def table(folder: Path) -> dict[str, dict[str, Any]]:
    return {case["name"]: case for case in json.loads((folder / "cases.json").read_text())["cases"]}


def volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(path)
    return np.asanyarray(image.dataobj), image.affine


def test_a_case_is_the_same_whatever_number_of_cases_is_written(folder: Path, tmp_path: Path) -> None:
    (entry,) = write_cases(tmp_path, 1, 0, spacing_mm=COARSE)
    assert entry == json.loads((folder / "sidecars" / "simulated_0_0000.json").read_text())
    for part in (entry["image"], entry["label"]):
        assert np.array_equal(volume(tmp_path / part)[0], volume(folder / part)[0])


def test_scan_and_labels_share_a_grid_and_hold_numbers_of_teeth_and_bone(folder: Path, table: dict) -> None:
    assert simulated.load(folder)[1].kept == 6
    for case in table.values():
        (image, affine), (labels, other) = volume(folder / case["image"]), volume(folder / case["label"])
        assert image.shape == labels.shape and np.array_equal(affine, other)
        assert image.dtype == np.int16 and labels.dtype == np.uint8
        found = set(np.unique(labels).tolist())
        assert found - {0, 1, 2} == set(case["teeth"]) <= set(FDI_CODES)
        assert np.allclose(np.linalg.norm(affine[:3, :3], axis=0), case["spacing_mm"])
        assert 0.9 * COARSE <= case["spacing_mm"][0] <= 1.1 * COARSE


def test_teeth_are_bright_exactly_where_their_labels_are(folder: Path, table: dict) -> None:
    case = table["simulated_0_0000"]
    assert case["metal"] == "none"
    image, labels = (volume(folder / case[key])[0].astype(float) for key in ("image", "label"))
    tooth = (labels > 10).astype(float)
    tooth -= tooth.mean()
    fits = {(a, s): (image * np.roll(tooth, s, a)).sum() for a in range(3) for s in (-1, 0, 1)}
    for axis in range(3):
        below, here, above = (fits[axis, shift] for shift in (-1, 0, 1))
        assert here > max(below, above)
        # Half a voxel of shift would put the middle of the three there.
        assert abs(above - below) / (2 * here - below - above) < 0.4


def test_the_header_says_the_directions_that_the_teeth_show(folder: Path, table: dict) -> None:
    labels, affine = volume(folder / table["simulated_0_0000"]["label"])
    assert toothfairy.directions(labels) == nib.aff2axcodes(affine) == ("L", "P", "S")


def test_volumes_are_expected_of_whole_teeth_only(folder: Path, table: dict) -> None:
    for case in table.values():
        labels, affine = volume(folder / case["label"])
        expected = {item["name"]: item["value"] for item in case["expected"]}
        assert set(expected) == {f"tooth {c} volume" for c in set(case["teeth"]) - set(case["cut_by_field"])}
        for code in set(case["teeth"]) - set(case["cut_by_field"]):
            size = (labels == code).sum() * abs(np.linalg.det(affine[:3, :3]))
            assert expected[f"tooth {code} volume"] == pytest.approx(size, rel=1e-3)
    assert any(case["cut_by_field"] for case in table.values())


def test_metal_is_taken_in_turn_or_as_asked(folder: Path, table: dict) -> None:
    mine = [case for name, case in table.items() if "other" not in name]
    assert [case["metal"] for case in mine] == ["none", "some", "heavy", "none", "some"]
    assert set(chain(*mine[0]["tooth_metal"].values())) <= {"composite"}
    assert set(chain(*mine[2]["tooth_metal"].values())) - {"composite"}
    assert draw_plan(0, metal="heavy").metal == "heavy"


def test_the_other_scanner_sees_other_patients(folder: Path, table: dict) -> None:
    names = [name for name in table if name.startswith("simulated_other_0_")]
    assert len(names) == 1
    assert {table[name]["scanner"] for name in names} == {"other"}
    assert not {table[name]["seed"] for name in names} & {
        case["seed"] for case in table.values() if case["scanner"] == "trained"
    }


@pytest.mark.parametrize("options", [{"metal": "much"}, {"scanner": "mine"}, {"spacing_mm": 3.0}])
def test_unknown_metal_scanners_and_voxels_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        write_cases(tmp_path, 1, 0, **{"spacing_mm": COARSE, **options})


def test_fields_tilts_and_dentitions_vary() -> None:
    plans = [draw_plan(number) for number in range(200)]
    fields = Counter(plan.field for plan in plans)
    assert fields["both jaws"] > 120
    assert min(fields[name] for name in ("upper jaw", "lower jaw", "right side", "left side")) > 3
    tilts = np.abs([plan.tilt_deg for plan in plans])
    assert tilts.max() <= 20
    assert 0.03 < (tilts.max(axis=1) > 13).mean() < 0.15
    assert np.median(tilts) < 5
    assert 4 < sum(plan.teeth is not None for plan in plans) < 25
    assert sum(plan.scale < 0.83 for plan in plans) > 2
    voxels = [plan.spacing_mm for plan in plans]
    assert 0.36 <= min(voxels) < 0.37 and 0.43 < max(voxels) <= 0.44


@pytest.mark.parametrize(
    ("field", "quadrants"),
    [("upper jaw", {1, 2}), ("lower jaw", {3, 4}), ("right side", {1, 4}), ("left side", {2, 3})],
)
def test_a_field_on_one_part_shows_mostly_its_teeth(field: str, quadrants: set[int]) -> None:
    plans = (draw_plan(number, COARSE) for number in range(300))
    plan = next(plan for plan in plans if plan.field == field and plan.teeth is None)
    labels = plan.jaw().labels
    codes = labels[labels > 0]
    assert np.isin(codes // 10, list(quadrants)).mean() > 0.7


def test_splits_share_no_patient_and_the_other_scanner_is_only_tested(folder: Path) -> None:
    parts = {name: find_cases(str(folder), name) for name in ("train", "validation", "test")}
    subjects = [case["subject"] for part in parts.values() for case in part]
    assert len(subjects) == len(set(subjects)) == 6 == len(find_cases(str(folder), "all"))
    others = {name for name in subjects if name.startswith("simulated_other_")}
    assert others <= {case["subject"] for case in parts["test"]}
    one = parts["train"][0]
    assert set(one) == {"image", "label", "kind", "subject", "name", "metal", "teeth"}
    assert one["kind"] == "simulated" and one["name"] == one["subject"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_five_patients_are_enough_for_all_parts(seed: int) -> None:
    assert {part_of(f"simulated_{seed}_{index:04d}") for index in range(5)} == {"train", "validation", "test"}


def test_a_few_cases_are_spread_over_the_levels_of_metal(folder: Path) -> None:
    assert Counter(case["metal"] for case in find_cases(str(folder), "all", most=3)) == Counter(
        ("none", "some", "heavy")
    )
    some = evaluation_cases(str(folder), split="all", metal="some")
    assert {case["metal"] for case in some} == {"some"} and len(some) > 1
    assert len(evenly(some, 9)) == len(some)


def test_simulated_training_cases_are_made_once_and_only_those_of_the_training_part_are_used(
    folder: Path, tmp_path: Path
) -> None:
    options = {"simulated_cases": 2, "simulated_spacing_mm": COARSE, "seed": 5}
    cases = training_cases(str(folder), str(tmp_path / "made"), **options)
    made = [case["name"] for case in cases if case["name"].startswith("simulated_5_")]
    assert made == [n for n in (f"simulated_5_{i:04d}" for i in range(2)) if part_of(n) == "train"]
    before = (tmp_path / "made" / "cases.json").stat().st_mtime_ns
    assert training_cases(str(folder), str(tmp_path / "made"), **options) == cases
    assert (tmp_path / "made" / "cases.json").stat().st_mtime_ns == before


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        find_cases(str(tmp_path), "train")


def test_a_scan_and_its_labels_are_read_channel_first_without_bone(folder: Path) -> None:
    case = evaluation_cases(str(folder), split="all")[0]
    read = LoadScand("image")(case)
    image, affine = volume(Path(case["image"]))
    assert read["image"].dtype == torch.float32 and read["label"].dtype == torch.uint8
    assert read["image"].shape == read["label"].shape == (1, *image.shape)
    assert np.array_equal(read["image"][0].numpy(), image)
    assert np.allclose(read["label"].affine, affine) and np.allclose(read["image"].affine, affine)
    assert set(read["label"].unique().tolist()) - {0} <= set(FDI_CODES)
    assert read["label"].meta["filename_or_obj"] == case["label"]
    alone = LoadScand("image")({"image": case["image"]})  # to be segmented
    assert set(alone) == {"image"} and torch.equal(alone["image"], read["image"])


@pytest.mark.parametrize("change", ["moved", "mirrored", "shorter"])
def test_labels_on_another_grid_are_refused(folder: Path, tmp_path: Path, change: str) -> None:
    case = dict(evaluation_cases(str(folder), split="all")[0])
    labels, affine = volume(Path(case["label"]))
    affine = affine.copy()
    if change == "moved":
        affine[0, 3] += 0.8
    elif change == "mirrored":
        affine[0] *= -1
    else:
        labels = labels[:, :-1]
    case["label"] = str(tmp_path / "label.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), case["label"])
    with pytest.raises(GridError, match=r"LoadScand"):
        LoadScand("image")(case)


def trapped(folder: Path, tmp_path: Path) -> tuple[dict[str, str], np.ndarray, np.ndarray]:
    """A case stored from below and from the left, whose header says otherwise; its labels and affine."""
    name = "ToothFairy2F_001"
    labels, affine = volume(folder / "labelsTr" / "simulated_0_0000.nii.gz")
    turn = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt("RPI"))
    stored = np.ascontiguousarray(apply_orientation(labels, turn))
    wrong = upright_affine(np.abs(np.diag(affine)[:3]))
    for part, array in (("imagesTr/{}_0000", stored.astype(np.int16) * 10), ("labelsTr/{}", stored)):
        path = tmp_path / f"{part.format(name)}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(array, wrong), path)
    (case,) = find_cases(str(tmp_path), "all")
    return case, labels, affine


def test_wrong_directions_of_toothfairy_are_put_right_for_scan_and_labels(
    folder: Path, tmp_path: Path
) -> None:
    case, labels, _ = trapped(folder, tmp_path)
    assert case["kind"] == "toothfairy" and case["metal"] is None
    read = LoadScand("image")(case)
    found = read["label"][0].numpy()
    assert np.array_equal(found, np.where(labels > 10, labels, 0))
    assert np.array_equal(read["image"][0].numpy(), 10.0 * labels)
    affine = np.asarray(read["label"].affine)
    assert nib.aff2axcodes(affine) == nib.aff2axcodes(np.asarray(read["image"].affine)) == ("L", "P", "S")
    right, left = ((affine @ [*np.argwhere(found == code).mean(0), 1])[0] for code in (16, 26))
    assert right - left > 30  # in RAS the patient's right is positive


def test_a_scan_read_with_the_wrong_directions_does_not_get_right_labels(
    folder: Path, tmp_path: Path
) -> None:
    case, _, _ = trapped(folder, tmp_path)
    with pytest.raises(GridError):
        LoadTeethLabelsd("label")(LoadImageCheckedd("image")(case))
    alone = LoadTeethLabelsd("label")({"label": case["label"], "kind": "toothfairy"})["label"]
    assert nib.aff2axcodes(np.asarray(alone.affine)) == ("R", "P", "I")


def test_a_mask_of_all_teeth_together_is_refused_and_a_numbered_one_read(tmp_path: Path) -> None:
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    mask, affine = np.zeros((8, 8, 8), np.uint8), upright_affine((0.5, 0.5, 0.5))
    mask[2:4, 2:4, 2:4] = 1
    nib.save(nib.Nifti1Image(mask.astype(np.int16), affine), tmp_path / "images/a.nii.gz")
    nib.save(nib.Nifti1Image(mask, affine), tmp_path / "labels/a.nii.gz")
    (case,) = find_cases(str(tmp_path), "all", kinds=("ctooth",))
    assert case["kind"] == "ctooth"
    with pytest.raises(DatasetError, match="all teeth together"):
        LoadScand("image")(case)
    nib.save(nib.Nifti1Image(mask * np.uint8(36), affine), tmp_path / "labels/a.nii.gz")
    assert LoadScand("image")(case)["label"].unique().tolist() == [0, 36]


def test_toothless_patients_lack_the_teeth_of_a_jaw_and_may_have_some_in_the_other() -> None:
    plans = [draw_toothless(number) for number in range(40)]
    quadrants = [{code // 10 for code in plan.teeth or ()} for plan in plans]
    assert all(found <= {1, 2} or found <= {3, 4} for found in quadrants)
    assert {frozenset(), frozenset({1, 2}), frozenset({3, 4})} <= {frozenset(found) for found in quadrants}


def test_scans_without_any_tooth_are_for_the_finder_only(folder: Path, tmp_path: Path) -> None:
    numbers = [n for n in range(40) if not draw_toothless(2_000_000_000 + n).teeth]
    names = [f"simulated_toothless_0_{n:04d}" for n in numbers]
    number = next(n for n, name in zip(numbers, names, strict=True) if part_of(name) == "train")
    case = _write_case(tmp_path, number, 0, spacing_mm=COARSE, patients="toothless")
    usual = json.loads((folder / "sidecars" / "simulated_0_0000.json").read_text())
    assert case["teeth"] == [] and not (volume(tmp_path / case["label"])[0] > 2).any()
    for part in (usual["image"], usual["label"], f"sidecars/{usual['name']}.json"):
        (tmp_path / part).write_bytes((folder / part).read_bytes())
    write_table(tmp_path, DOTTED_NAME, 0, [usual, case])
    everyone = {entry["name"] for entry in find_cases(str(tmp_path), "all", toothless=True)}
    assert everyone == {usual["name"], case["name"]}
    assert [entry["name"] for entry in find_cases(str(tmp_path), "all")] == [usual["name"]]


def test_unknown_kinds_of_patients_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"usual, toothless"):
        write_cases(tmp_path, 1, 0, patients="wise")
