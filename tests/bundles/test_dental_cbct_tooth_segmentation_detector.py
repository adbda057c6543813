"""The detector of teeth: what it is taught, what is read from its answers, and whether it learns."""

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "dental_cbct_tooth_segmentation"))

from dental_teeth.boxes import Box
from dental_teeth.detector import ANCHOR, DetectionLoss, ToothDetector, decoded, encoded, overlap_of

SHAPE = (96, 64)
BOXES = [Box(4.0, 6.0, 24.0, 50.0), Box(30.0, 10.0, 52.0, 58.0), Box(60.0, 4.0, 90.0, 60.0)]
KINDS = [0, 1, 3]


def answer_of(target: Tensor, kinds: int = 4) -> Tensor:
    """The answer (5 + K, U, V) of a detector that knows a target, sure of itself."""
    answer = torch.zeros(5 + kinds, *target.shape[1:])
    answer[0] = 8 * (2 * target[0] - 1)
    answer[1:3] = torch.logit(target[1:3].clamp(1e-4, 1 - 1e-4))
    answer[3:5] = target[3:5]
    for kind in range(kinds):
        answer[5 + kind] = 8.0 * (target[5] == kind)
    return answer


def test_what_is_encoded_is_decoded_in_the_order_of_the_arch() -> None:
    found = decoded(answer_of(encoded(BOXES[::-1], KINDS[::-1], SHAPE)))
    assert [max(range(4), key=lambda kind: tooth.kinds[kind]) for tooth in found] == KINDS
    for tooth, box in zip(found, BOXES, strict=True):
        assert (tooth.box.left, tooth.box.top, tooth.box.right, tooth.box.bottom) == pytest.approx(
            (box.left, box.top, box.right, box.bottom), abs=0.02
        )
        assert tooth.score > 0.99


def test_a_tooth_lies_in_the_cell_of_its_middle_and_one_outside_is_left_out() -> None:
    target = encoded([BOXES[0], Box(-30.0, 0.0, 10.0, 40.0)], [2, 0], SHAPE)
    assert target[0].sum() == 1
    assert target[:, 0, 1].tolist() == pytest.approx(
        [1, 14 / 16, 12 / 16, math.log(20 / ANCHOR[0]), math.log(44 / ANCHOR[1]), 2], abs=1e-6
    )


def test_of_two_boxes_on_one_tooth_the_better_one_stays() -> None:
    answer = answer_of(encoded([BOXES[1], Box(42.0, 10.0, 72.0, 58.0)], [1, 1], SHAPE))
    assert len(decoded(answer)) == 2  # neighbours that overlap a little
    answer = answer_of(encoded([Box(30.0, 10.0, 60.0, 58.0), Box(36.0, 10.0, 64.0, 58.0)], [1, 1], SHAPE))
    answer[0, 3] = answer[0, 3].clamp_max(1.0)  # the second one is less sure
    (found,) = decoded(answer)
    assert found.column == pytest.approx(44.5, abs=0.1)


def test_the_overlap_is_that_of_areas() -> None:
    assert overlap_of(Box(0, 0, 4, 2), Box(2, 0, 6, 2)) == pytest.approx(4 / 12)
    assert overlap_of(Box(0, 0, 4, 2), Box(4, 0, 6, 2)) == 0


def test_the_loss_is_least_for_the_truth_and_grows_with_each_part() -> None:
    target = encoded(BOXES, KINDS, SHAPE)[None]
    truth = answer_of(target[0])[None]
    loss = DetectionLoss()
    least = loss(truth, target)
    assert least < 0.01
    for channel, change in [(0, -16.0), (1, 2.0), (3, 0.5), (5, 9.0)]:
        worse = truth.clone()
        worse[:, channel] += change
        assert loss(worse, target) > least + 0.05, channel
    empty = torch.zeros_like(target)
    assert torch.isfinite(loss(truth, empty)) and loss(torch.full_like(truth, -9.0), empty) < 1e-3


def test_a_detector_learns_bright_boxes_and_says_nothing_on_an_empty_picture() -> None:
    torch.manual_seed(0)
    picture = torch.zeros(1, 1, *SHAPE)
    for number, box in enumerate(BOXES):
        columns, rows = slice(int(box.left), int(box.right)), slice(int(box.top), int(box.bottom))
        picture[0, 0, columns, rows] = 1.0 + number
    pictures = torch.cat([picture, torch.zeros_like(picture)])
    target = encoded(BOXES, KINDS, SHAPE)[None]
    targets = torch.cat([target, torch.zeros_like(target)])
    network, loss = ToothDetector(width=8), DetectionLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        loss(network(pictures), targets).backward()
        optimizer.step()
    with torch.no_grad():
        found, nothing = (decoded(answer) for answer in network.eval()(pictures))
    assert [max(range(4), key=lambda kind: tooth.kinds[kind]) for tooth in found] == KINDS
    assert all(overlap_of(tooth.box, box) > 0.75 for tooth, box in zip(found, BOXES, strict=True))
    assert nothing == []


def test_a_picture_that_has_no_whole_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        ToothDetector(width=8)(torch.zeros(1, 1, 100, 64))
