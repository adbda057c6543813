"""What the brain-tumour bundle reports: measurements, marks, scores, grey values, previews."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "brats_mri_collagan_segmentation"))

from brats_phantoms import AFFINE, SHAPE, phantom, tensor

from brats_collagan.measure import MeasureTumourd, rests_on, unreliable_enhancement
from brats_collagan.preview import tumour_panels
from brats_collagan.saving import grey_values
from brats_collagan.scores import group_of, region_scores


def test_without_t1gd_enhancement_is_not_reported_and_the_rest_is_marked() -> None:
    _, labels = phantom()
    case = {"pred": tensor(labels[None], calibrated=True), "synthetic_inputs": ["t1gd"]}
    metadata = {
        "eval_metrics": {
            "et_dice_with_all_contrasts_mean": 0.82,
            "et_dice_with_t1gd_imputed_mean": 0.31,
        }
    }
    done = MeasureTumourd("pred", metadata)(case)
    found = {item["name"]: item for item in done["measurements"]}
    assert found["ET volume"]["value"] is None and "0.82 to 0.31" in found["ET volume"]["reason"]
    assert found["WT volume"]["value"] == pytest.approx((labels > 0).sum() * 0.064)
    assert found["WT volume"]["reason"] == "rests on synthetic T1Gd"
    assert any("enhancing tumour is not reported" in note for note in done["warnings"])


def test_with_all_contrasts_nothing_is_marked() -> None:
    _, labels = phantom()
    done = MeasureTumourd("pred")({"pred": tensor(labels[None], calibrated=True), "synthetic_inputs": []})
    assert all(item["value"] and item["reason"] is None for item in done["measurements"])
    assert done["warnings"] == []
    assert rests_on(["t1", "t2"]) == "rests on synthetic T1 and T2"
    assert unreliable_enhancement({}).endswith("contrasts.")


def test_scores_follow_the_rules_for_empty_regions() -> None:
    truth = np.zeros((8, 8, 8), np.uint8)
    truth[2:6, 2:6, 2:6] = 2
    found = region_scores(truth, truth, (1, 1, 1))
    assert found == {
        **{"WT Dice": 1.0, "WT HD95 mm": 0.0, "TC Dice": 1.0, "TC HD95 mm": 0.0},
        **{"ET Dice": 1.0, "ET HD95 mm": 0.0},
    }
    wrong = truth.copy()
    wrong[3, 3, 3] = 3
    found = region_scores(wrong, truth, (1, 1, 1))
    assert found["ET Dice"] == 0.0 and "ET HD95 mm" not in found
    shifted = np.roll(truth, 1, axis=0)
    assert region_scores(shifted, truth, (3, 1, 1))["WT HD95 mm"] == 3.0
    assert group_of(["t2", "t1"], "simulated") == "simulated, T1 and T2 imputed"
    assert group_of([]) == "all contrasts"


def test_grey_values_are_positive_in_the_brain_and_zero_around_it() -> None:
    brain = np.array([True, True, False])
    assert grey_values(np.array([0.0, -99.0, 3.0]), brain).tolist() == [1000, 1, 0]


def test_the_preview_shows_the_diameters_where_they_are_largest_and_names_what_is_synthetic() -> None:
    images, labels = phantom()
    planes, contrasts = tumour_panels(images, labels, AFFINE, ["t2"])
    lines = [item for item in planes[0].drawing if item["kind"] == "line"]
    longest = max(np.hypot(*np.subtract(item["from"], item["to"])) for item in lines)
    assert longest == pytest.approx(8, abs=1)  # the enhancing shell has a radius of 4 voxels
    assert [("SYNTHETIC" in panel.drawing[0]["label"]) for panel in contrasts] == [False, False, True, False]
    without = tumour_panels(images, labels, AFFINE, ["t1gd"])[0][0]
    assert "of WT" in without.drawing[0]["label"]


def test_the_preview_is_the_same_however_the_voxels_are_stored() -> None:
    images, labels = phantom()
    turned = np.diag([4.0, -4.0, 4.0, 1.0])
    turned[0, 3] = -4.0 * (SHAPE[0] - 1)
    planes = tumour_panels(images, labels, AFFINE, [])[0]
    others = tumour_panels(images[:, ::-1], labels[::-1], turned, [])[0]
    for one, other in zip(planes, others, strict=True):
        assert np.array_equal(one.labels, other.labels) and np.array_equal(one.image, other.image)
