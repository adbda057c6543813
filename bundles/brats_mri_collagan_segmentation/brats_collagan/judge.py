"""CollaGAN's discriminator: is this slice real, and which contrast does it show?

Shapes: B batch, C contrasts, X and Y the axes of a slice, at least 32 pixels each.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

SLOPE = 0.2


class Verdict(NamedTuple):
    """What the judge says of a batch of slices.

    Attributes:
        score: high where a slice looks real (B, 1, X / 16, Y / 16).
        contrast: logits of the contrasts (B, C).
    """

    score: Tensor
    contrast: Tensor


def _convolution(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    padding = (kernel - stride + 1) // 2
    layer = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding)
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, nn.LeakyReLU(SLOPE))


class CollaJudge(nn.Module):
    """Three paths to a quarter of the resolution, joined; a map of scores and a contrast for the whole.

    The class head averages over the field: the paper's is a convolution that fits 240 x 240 and nothing else.

    Args:
        width: channels at full resolution; 4 in the paper for MR images.
        contrasts: how many to tell apart.
        dropout: share of features that the heads do not see in training.
    """

    def __init__(self, width: int = 8, contrasts: int = 4, *, dropout: float = 0.5) -> None:
        super().__init__()
        n = width
        self.paths = nn.ModuleList(
            [
                nn.Sequential(  # looks closely first
                    _convolution(1, n), _convolution(n, n), _convolution(n, n), _convolution(n, 4 * n, 4, 4)
                ),
                nn.Sequential(
                    _convolution(1, n),
                    nn.MaxPool2d(2),
                    _convolution(n, 2 * n),
                    nn.MaxPool2d(2),
                    _convolution(2 * n, 4 * n),
                ),
                nn.Sequential(  # steps back first
                    _convolution(1, 4 * n, 4, 4), *(_convolution(4 * n, 4 * n) for _ in range(3))
                ),
            ]
        )
        self.trunk = nn.Sequential(_convolution(12 * n, 8 * n, 4, 2), _convolution(8 * n, 16 * n, 4, 2))
        self.score = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(16 * n, 1, 3, padding=1))
        self.contrast = nn.Sequential(
            _convolution(16 * n, 32 * n, 4, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(32 * n, contrasts),
        )
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Verdict:
        """The verdict on slices (B, 1, X, Y) of any contrast."""
        if min(x.shape[2:]) < 32:
            raise ValueError(f"a slice of {x.shape[2]} x {x.shape[3]} pixels is too small to judge: 32 x 32")
        height, width = (4 * (size // 4) for size in x.shape[2:])  # the three paths must end on one grid
        x = x[..., :height, :width].contiguous(memory_format=torch.channels_last)
        features = self.trunk(torch.cat([path(x) for path in self.paths], dim=1))
        return Verdict(self.score(features), self.contrast(features))
