"""What the networks are shown in training, and how their answers are scored."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "dental_cbct_tooth_segmentation"))

from dental_phantom import Phantom

from dental_teeth.boxes import Box
from dental_teeth.detection_scores import DetectionF1, counts, teeth_of
from dental_teeth.detector import CONFIDENCE, KIND, MIDDLE, SIZE, encoded, overlap_of
from dental_teeth.jaw_samples import RandJaws
from dental_teeth.samples import RandOutlines, RandPanoramas, RandTeeth
from dental_teeth.scores import ScoreTeethd, group_of, identification, tooth_scores
from dental_teeth.teeth import label_of
from dental_teeth.transforms import FdiCodesd
from dental_teeth.truth import ReadTruthd

TEETH = (16, 13, 11, 22, 26, 34, 36, 41, 44)
TINY = {"patch": (16, 24, 32), "patch_mm": 1.0}
BOXES = [Box(20.0, 30.0, 50.0, 110.0), Box(60.0, 40.0, 100.0, 100.0)]


@pytest.fixture(scope="module")
def case() -> dict[str, Any]:
    hu, codes, affine = Phantom(teeth=TEETH, spacing=(0.8, 0.8, 0.8)).build()
    image, label = (
        MetaTensor(torch.from_numpy(a)[None], affine=torch.from_numpy(affine)) for a in (hu, codes)
    )
    return ReadTruthd("label")({"image": image, "label": label})


def answer_of(target: torch.Tensor) -> torch.Tensor:
    """The detector's answer (9, U, V) that says what a target (6, U, V) does."""
    answer = torch.zeros(9, *target.shape[1:])
    answer[CONFIDENCE] = torch.where(target[CONFIDENCE] > 0, 9.0, -9.0)
    answer[MIDDLE], answer[SIZE] = target[MIDDLE].clamp(1e-4, 1 - 1e-4).logit(), target[SIZE]
    for kind in range(4):
        answer[KIND][kind] = torch.where(target[5] == kind, 9.0, 0.0)
    return answer


def test_without_variation_samples_are_the_case_itself_and_always_the_same(case: dict[str, Any]) -> None:
    for samples in (RandPanoramas(vary=0), RandOutlines(4, vary=0), RandTeeth(3, vary=0, **TINY)):
        first, second = samples(case), samples(case)
        assert all(torch.equal(a[key], b[key]) for a, b in zip(first, second, strict=True) for key in a)
    shown = RandPanoramas(vary=0)(case)
    assert torch.equal(shown[0]["image"][0], torch.from_numpy(case["truth"][0].shown))


def test_varied_samples_differ_and_come_again_with_their_seed(case: dict[str, Any]) -> None:
    for samples in (RandPanoramas(), RandOutlines(4), RandTeeth(2, **TINY)):
        first = samples.set_random_state(3)(case)
        second, again = samples(case), samples.set_random_state(3)(case)
        assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, again, strict=True))
        assert not torch.equal(first[0]["image"], second[0]["image"])


def test_boxes_move_with_a_varied_panorama(case: dict[str, Any]) -> None:
    samples = RandPanoramas().set_random_state(1)
    for _ in range(4):
        for sample in samples(case):
            shown = sample["image"][0]
            for box, _ in teeth_of(sample["label"]):
                inside = shown[round(box.left) : round(box.right), round(box.top) : round(box.bottom)]
                assert inside.mean() > shown.mean() + 0.5 * shown.std()  # teeth are bright


def test_a_crop_shows_its_tooth_in_the_middle(case: dict[str, Any]) -> None:
    for sample in RandOutlines(9).set_random_state(0)(case):
        mask = sample["label"][0]
        assert sample["image"].shape == sample["label"].shape == (1, 128, 128)
        assert mask[44:84, 44:84].mean() > 0.7 and 0.2 < mask.mean() < 0.8
        assert sample["image"][0][mask > 0].mean() > sample["image"][0][mask == 0].mean()


def test_a_patch_shows_its_tooth_in_both_regions(case: dict[str, Any]) -> None:
    volumes = []
    for sample in RandTeeth(9, vary=0, **TINY)(case):
        loose, tight = sample["image"]
        tooth = sample["label"][0] > 0
        assert ((tight == 0) | (tight == loose)).all() and (tight > 0).sum() < (loose > 0).sum()
        assert (tight[tooth] > 0).float().mean() > 0.95 and loose[tooth].mean() > 2
        volumes.append(float(tooth.sum()))
    codes = case["label"][0].numpy()
    wanted = sorted(float((codes == code).sum()) * 0.8**3 for code in TEETH)
    assert sorted(volumes) == pytest.approx(wanted, rel=0.15)


def test_a_coarse_scan_comes_with_the_teeth_of_both_jaws_where_they_are(case: dict[str, Any]) -> None:
    for vary in (0.0, 1.0):
        sample = RandJaws((80, 80, 64), vary).set_random_state(2)(case)
        shown, (upper, lower) = sample["image"][0], sample["label"]
        assert shown[upper > 0].mean() > 2.5 and shown[lower > 0].mean() > 2.5
        heights = [float(torch.nonzero(jaw)[:, 2].float().mean()) for jaw in (upper, lower)]
        assert heights[0] > heights[1] + 8
    codes = case["label"][0].numpy()
    plain = RandJaws((110, 96, 80), 0.0)(case)["label"]
    volumes = plain.sum((1, 2, 3)).numpy()  # voxels of both are 0.8 mm
    wanted = [((codes // 10 <= 2) & (codes > 0)).sum(), (codes // 10 >= 3).sum()]
    assert volumes == pytest.approx(wanted, rel=0.03)


def test_fewer_teeth_than_asked_for_are_all_shown(case: dict[str, Any]) -> None:
    assert len(RandTeeth(50, **TINY).set_random_state(0)(case)) == len(TEETH)


def test_a_perfect_detection_scores_one_and_each_mistake_counts() -> None:
    target = encoded(BOXES, [0, 3], (160, 128))
    assert counts(answer_of(target), target).tolist() == [2, 0, 0]
    assert [overlap_of(box, wanted) for (box, _), wanted in zip(teeth_of(target), BOXES, strict=True)] == (
        pytest.approx([1, 1], abs=1e-4)
    )
    other_kind = encoded(BOXES, [0, 2], (160, 128))
    assert counts(answer_of(other_kind), target).tolist() == [1, 1, 1]
    one = encoded(BOXES[:1], [0], (160, 128))
    assert counts(answer_of(one), target).tolist() == [1, 0, 1]
    metric = DetectionF1()
    metric(torch.stack([answer_of(target), answer_of(one)]), torch.stack([target, target]))
    assert float(metric.aggregate()) == pytest.approx(2 * 3 / (2 * 3 + 0 + 1))


def boxes_of_labels(**teeth: tuple[slice, slice, slice]) -> np.ndarray:
    labels = np.zeros((30, 30, 30), np.uint8)
    for name, place in teeth.items():
        labels[place] = label_of(int(name.removeprefix("t")))
    return labels


FIRST = (slice(2, 12), slice(2, 12), slice(2, 12))
SECOND = (slice(16, 26), slice(2, 12), slice(2, 12))
MOVED = (slice(17, 27), slice(2, 12), slice(2, 12))


def test_scores_of_a_tooth_are_those_worked_by_hand() -> None:
    truth, found = boxes_of_labels(t11=FIRST, t12=SECOND), boxes_of_labels(t11=FIRST, t12=MOVED)
    same, moved = tooth_scores(found, truth, (0.5, 0.5, 0.5))
    assert (same["code"], same["Dice"], same["HD mm"], same["ASSD mm"]) == (11, 1, 0, 0)
    assert moved["Dice"] == pytest.approx(0.9) and moved["HD mm"] == pytest.approx(0.5)
    assert 0 < moved["ASSD mm"] < 0.5


def test_a_tooth_with_another_number_is_found_but_not_identified() -> None:
    truth, found = boxes_of_labels(t11=FIRST, t12=SECOND), boxes_of_labels(t11=FIRST, t13=SECOND)
    rows = tooth_scores(found, truth, (1, 1, 1))
    assert [row["numbered"] for row in rows] == [1, 0]
    assert identification(found, truth, rows, 1.0) == {"precision": 0.5, "recall": 0.5, "F1": 0.5}


def test_a_tooth_that_is_overlooked_or_invented_lowers_recall_or_precision() -> None:
    both, one = boxes_of_labels(t11=FIRST, t12=SECOND), boxes_of_labels(t11=FIRST)
    overlooked = identification(one, both, tooth_scores(one, both, (1, 1, 1)), 1.0)
    invented = identification(both, one, tooth_scores(both, one, (1, 1, 1)), 1.0)
    assert (overlooked["precision"], overlooked["recall"]) == (1, 0.5)
    assert (invented["precision"], invented["recall"]) == (0.5, 1)
    nothing = np.zeros_like(one)
    assert identification(nothing, nothing, [], 1.0)["F1"] == 1


def test_a_case_gets_a_row_of_its_own_and_one_for_each_tooth() -> None:
    truth = boxes_of_labels(t11=FIRST, t12=SECOND)
    codes = FdiCodesd("pred")({"pred": torch.from_numpy(truth)[None]})["pred"]
    assert set(codes.unique().tolist()) == {0, 11, 12}
    assert FdiCodesd("pred", enabled=False)({"pred": codes})["pred"] is codes
    case = {"pred": MetaTensor(torch.from_numpy(truth)[None]), "label": codes, "kind": "simulated"}
    done = ScoreTeethd("pred")({**case, "metal": "none"})
    assert done["group"] == "simulated, no metal"
    for group, (whole, *teeth) in zip(
        ("simulated", "simulated, no metal"), (done["scores"][:3], done["scores"][3:]), strict=True
    ):
        assert whole["F1"] == 1 and [row["Dice"] for row in teeth] == [1, 1]
        assert whole["group"] == group and {row["group"] for row in teeth} == {f"{group}: teeth"}
    assert len(ScoreTeethd("pred")({**case, "metal": None})["scores"]) == 3
    assert group_of({"kind": "toothfairy", "metal": None}) == "toothfairy"
