"""The detector of teeth on a panorama: one look, a box and a kind for every cell of 16 x 16 pixels.

Shapes: B batch, K kinds, X columns and Y rows of a panorama, U = X / 16 and V = Y / 16 cells. Channels of an
answer: confidence, column and row of the box's middle in its cell, log width, log height, then the K kinds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from dental_teeth.boxes import Box
from dental_teeth.numbering import KINDS

CELL = 16
ANCHOR = (30.0, 88.0)  # columns and rows of a typical tooth, at a quarter of a millimetre
CONFIDENCE, MIDDLE, SIZE, KIND = slice(0, 1), slice(1, 3), slice(3, 5), slice(5, None)
LEAST_SCORE = 0.4  # low: what fits nowhere in the row of teeth is left out later
MOST_OVERLAP = 0.5  # of two boxes, as intersection over union; neighbours that are crowded reach a third
RARE = -3.0  # logit of the confidence that training begins with: one cell in twenty holds a tooth


@dataclass(frozen=True)
class Found:
    """A tooth on a panorama.

    Attributes:
        box: around it.
        kinds: probability of each of `KINDS`.
        score: confidence times the probability of the likeliest kind, as in the paper.
    """

    box: Box
    kinds: tuple[float, ...]
    score: float

    @property
    def column(self) -> float:
        """The middle of the box along the arch."""
        return self.box.middle[0]


class _Block(nn.Module):
    """Half the resolution, then one residual step."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.steps = nn.Sequential(
            nn.GroupNorm(8, out_channels),
            nn.ReLU(inplace=False),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.GroupNorm(8, out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return x + self.steps(x)


class ToothDetector(nn.Module):
    """Four residual stages down to the cells, and two more at their resolution for the sight of neighbours.

    Args:
        kinds: how many kinds to tell apart: four in the paper; eight name the code itself (the ablation).
        width: channels of the first stage, a multiple of 8.
    """

    def __init__(self, kinds: int = len(KINDS), width: int = 16) -> None:
        super().__init__()
        channels = [1, width, 2 * width, 4 * width, 6 * width]
        self.stages = nn.Sequential(*(_Block(a, b) for a, b in pairwise(channels)))
        wide = [
            layer
            for dilation in (2, 4)
            for layer in (
                nn.Conv2d(channels[-1], channels[-1], 3, padding=dilation, dilation=dilation),
                nn.GroupNorm(8, channels[-1]),
                nn.ReLU(inplace=True),
            )
        ]
        self.sight = nn.Sequential(*wide)
        self.last = nn.Conv2d(channels[-1], 5 + kinds, 1)
        nn.init.constant_(self.last.bias[CONFIDENCE], RARE)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Answers (B, 5 + K, U, V), as logits, for panoramas (B, 1, X, Y), multiples of 16 pixels."""
        if any(length % CELL for length in x.shape[2:]):
            raise ValueError(
                f"a panorama of {x.shape[2]} x {x.shape[3]} pixels: multiples of {CELL} are needed"
            )
        x = self.stages(x.contiguous(memory_format=torch.channels_last))
        return self.last(x + self.sight(x))


def encoded(boxes: Sequence[Box], kinds: Sequence[int], shape: tuple[int, int]) -> Tensor:
    """Returns what the detector should say (6, U, V): as its answer, but with the number of the kind.

    Of two teeth whose middles lie in one cell the later one stays; one with its middle outside is left out.

    Args:
        boxes: of the teeth.
        kinds: their numbers in `KINDS`.
        shape: columns and rows of the panorama.
    """
    target = torch.zeros(6, shape[0] // CELL, shape[1] // CELL)
    for box, kind in zip(boxes, kinds, strict=True):
        column, row = (box.left + box.right) / 2 / CELL, (box.top + box.bottom) / 2 / CELL
        cell = math.floor(column), math.floor(row)
        if not all(0 <= place < length for place, length in zip(cell, target.shape[1:], strict=True)):
            continue
        size = math.log((box.right - box.left) / ANCHOR[0]), math.log((box.bottom - box.top) / ANCHOR[1])
        target[:, cell[0], cell[1]] = torch.tensor([1.0, column - cell[0], row - cell[1], *size, float(kind)])
    return target


def decoded(answer: Tensor, *, least: float = LEAST_SCORE, overlap: float = MOST_OVERLAP) -> list[Found]:
    """Returns the teeth in an answer (5 + K, U, V) of the detector, from the first column to the last.

    Args:
        answer: of one panorama, logits.
        least: score below which there is no tooth.
        overlap: of two boxes that overlap more than this, the better one stays.
    """
    answer = answer.float()
    confidence, kinds = answer[CONFIDENCE].sigmoid()[0], answer[KIND].softmax(0)
    scores = confidence * kinds.amax(0)
    found: list[Found] = []
    cells = torch.nonzero(scores >= least).tolist()
    for u, v in sorted(cells, key=lambda cell: -float(scores[cell[0], cell[1]])):
        box = box_at(u, v, answer[MIDDLE, u, v].sigmoid().tolist(), answer[SIZE, u, v].tolist())
        if all(overlap_of(box, other.box) <= overlap for other in found):
            found.append(Found(box, tuple(kinds[:, u, v].tolist()), float(scores[u, v])))
    return sorted(found, key=lambda tooth: tooth.column)


def box_at(u: int, v: int, inside: Sequence[float], size: Sequence[float]) -> Box:
    """Returns the box with its middle `inside` the cell (u, v), and with logarithms of its `size`."""
    column, row = (u + inside[0]) * CELL, (v + inside[1]) * CELL
    width, height = (side * math.exp(log) for side, log in zip(ANCHOR, size, strict=True))
    return Box(column - width / 2, row - height / 2, column + width / 2, row + height / 2)


def overlap_of(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    both = max(width, 0.0) * max(height, 0.0)
    areas = [(box.right - box.left) * (box.bottom - box.top) for box in (one, other)]
    return both / (sum(areas) - both)


class DetectionLoss(nn.Module):
    """The loss of Jang et al.: squared errors of confidence and boxes, cross entropy of the kind.

    Args:
        empty_weight: of the confidence in cells without a tooth.
        box_weight: of the middles and sizes.
    """

    def __init__(self, empty_weight: float = 0.1, box_weight: float = 5.0) -> None:
        super().__init__()
        self.empty_weight, self.box_weight = empty_weight, box_weight

    def forward(self, answer: Tensor, target: Tensor) -> Tensor:
        """The loss per tooth of answers (B, 5 + K, U, V) against targets (B, 6, U, V), see `encoded`."""
        answer = answer.float()
        teeth = target[:, 0] > 0
        count = teeth.sum().clamp_min(1)
        error = (answer[:, 0].sigmoid() - target[:, 0]).square()
        confidence = error[teeth].sum() + self.empty_weight * error[~teeth].sum()
        cells, wanted = (values.movedim(1, -1)[teeth] for values in (answer, target))
        middles = (cells[:, MIDDLE].sigmoid() - wanted[:, MIDDLE]).square().sum()
        sizes = (cells[:, SIZE] - wanted[:, SIZE]).square().sum()
        kind = functional.cross_entropy(cells[:, KIND], wanted[:, 5].long(), reduction="sum")
        return (confidence + self.box_weight * (middles + sizes) + kind) / count
