"""How well the detector finds teeth and tells their kinds."""

from __future__ import annotations

from typing import Any

import torch
from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

from dental_teeth.boxes import Box
from dental_teeth.detector import MIDDLE, SIZE, box_at, decoded, overlap_of

SAME = 0.5  # intersection over union from which on two boxes are one tooth


class DetectionF1(CumulativeIterationMetric):
    """F1 of teeth: a box counts as found if a true one of the same kind overlaps it by half."""

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Counts (B, 3) of found, invented and overlooked teeth, from answers and targets of the detector."""
        return torch.stack([counts(answer, target) for answer, target in zip(y_pred, y, strict=True)])

    def aggregate(self, *args: Any, **kwargs: Any) -> Tensor:
        """Returns F1 over all pictures."""
        found, invented, overlooked = self.get_buffer().sum(0)
        return 2 * found / (2 * found + invented + overlooked).clamp_min(1)


def key_metric() -> dict[str, Any]:
    """The metric that the detector's best weights are chosen by."""
    return {"val_f1": IgniteMetricHandler(DetectionF1(), output_transform=from_engine(["pred", "label"]))}


def counts(answer: Tensor, target: Tensor) -> Tensor:
    """Found, invented and overlooked teeth (3) of an answer (5 + K, U, V) against a target (6, U, V)."""
    wanted = teeth_of(target)
    found = 0
    teeth = decoded(answer)
    for tooth in sorted(teeth, key=lambda tooth: -tooth.score):
        kind = max(range(len(tooth.kinds)), key=lambda k: tooth.kinds[k])
        near = [one for one in wanted if one[1] == kind and overlap_of(one[0], tooth.box) >= SAME]
        if near:
            wanted.remove(max(near, key=lambda one: overlap_of(one[0], tooth.box)))
            found += 1
    return torch.tensor([found, len(teeth) - found, len(wanted)], dtype=torch.float32)


def teeth_of(target: Tensor) -> list[tuple[Box, int]]:
    """The boxes in a target (6, U, V), with the number of their kind."""
    cells = torch.nonzero(target[0] > 0).tolist()
    return [
        (box_at(u, v, target[MIDDLE, u, v].tolist(), target[SIZE, u, v].tolist()), int(target[5, u, v]))
        for u, v in cells
    ]
