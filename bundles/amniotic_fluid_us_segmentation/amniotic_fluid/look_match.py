"""How alike two sets of frames look: brightness, and the strength of detail from speckle to texture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.metrics import Metric
from torch import Tensor
from torch.nn import functional

SCALES = 4  # each twice as coarse as the last
FAINT = 1e-3
DARK = 0.08  # grey value below which a pixel shows nothing


def features(frame: Tensor) -> Tensor:
    """What a frame (4, X, Y) looks like inside its sector.

    The mean grey value, the share of dark pixels, and the log of the detail left between one scale and the
    next.
    """
    grey, inside = frame[:1].float()[None], (frame[1:2] > 0.5).float()[None]
    area = inside.sum().clamp_min(1)
    found = [(grey * inside).sum() / area, ((grey < DARK) * inside).sum() / area]
    for _ in range(SCALES):
        coarse = functional.avg_pool2d(grey, 2)
        detail = grey[..., : 2 * coarse.shape[2], : 2 * coarse.shape[3]] - functional.interpolate(
            coarse, scale_factor=2.0
        )
        seen = inside[..., : detail.shape[2], : detail.shape[3]]
        found.append(((detail**2 * seen).sum() / seen.sum().clamp_min(1)).sqrt().clamp_min(FAINT).log())
        grey, inside = coarse, functional.avg_pool2d(inside, 2)
    return torch.stack(found)


class LookMatch(Metric):
    """Minus the mean distance of the features of translated frames from those of real ones.

    In standard deviations between real frames: 0 is the best, -1 is off by one of them on average. It takes
    lists of pairs (translated, real); the pairs are of no other use than to bring both sets.
    """

    def reset(self) -> None:
        self._made: list[Tensor] = []
        self._real: list[Tensor] = []

    def update(self, output: Sequence[Sequence[Tensor]]) -> None:
        for made, real in zip(*output, strict=True):
            self._made.append(features(torch.as_tensor(made).as_subclass(Tensor)))
            self._real.append(features(torch.as_tensor(real).as_subclass(Tensor)))

    def compute(self) -> float:
        made, real = torch.stack(self._made), torch.stack(self._real)
        spread = real.std(dim=0).clamp_min(FAINT)
        return -float(((made.mean(dim=0) - real.mean(dim=0)).abs() / spread).mean())


def made_and_real(data: Sequence[Mapping[str, Any]]) -> tuple[list[Tensor], list[Tensor]]:
    """The pairs for `LookMatch` in a decollated batch."""
    return [case["pred"] for case in data], [case["counterpart"] for case in data]
