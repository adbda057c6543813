"""The beam-aware U-Net that outlines the fetal abdomen or head and the structures inside the abdomen.

Shapes: B batch, C channels, X columns (to the right), Y rows (away from the probe). The network works at half
the input grid and interpolates its logits back: outlines are smooth, and half the grid costs a quarter.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


def _normalised_conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions added to a (projected) copy of their input."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _normalised_conv(in_channels, out_channels, stride),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


class UpBlock(nn.Module):
    """Doubles the grid, joins the skip connection of that grid and mixes them."""

    def __init__(self, in_channels: int, skip_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, skip_channels, 1)
        self.mix = ResidualBlock(2 * skip_channels, skip_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = functional.interpolate(self.reduce(x), size=skip.shape[2:], mode="bilinear", align_corners=False)
        return self.mix(torch.cat([x, skip], dim=1))


class BeamUNet(nn.Module):
    """Residual U-Net on a frame and the geometry of its beam.

    Args:
        in_channels: 4: grey value, sector mask, depth along the beam, signed beam angle.
        out_channels: labels with background.
        widths: channels per grid, from half the input grid downwards.
        beam_channels: False hides the three geometry channels (the ablation) at the same size and cost.
        dropout: share of channels dropped at the coarsest grid in training.
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 6,
        widths: Sequence[int] = (16, 32, 72, 144, 224),
        beam_channels: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.beam_channels = beam_channels
        self.stem = nn.Sequential(
            _normalised_conv(in_channels, widths[0], stride=2), ResidualBlock(widths[0], widths[0])
        )
        self.down = nn.ModuleList(
            nn.Sequential(ResidualBlock(fine, coarse, stride=2), ResidualBlock(coarse, coarse))
            for fine, coarse in pairwise(widths)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.up = nn.ModuleList(
            UpBlock(coarse, fine) for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, labels, X, Y) of frames (B, 4, X, Y)."""
        grey, sector_and_depth, angle = x[:, :1], x[:, 1:3], x[:, 3:]
        if not self.beam_channels:
            sector_and_depth, angle = torch.zeros_like(sector_and_depth), torch.zeros_like(angle)
        # A mirrored scan is as good as the scan, so only the size of the angle may matter.
        features = [self.stem(torch.cat([grey, sector_and_depth, angle.abs()], dim=1))]  # B W0 X/2 Y/2
        for stage in self.down:
            features.append(stage(features[-1]))
        y = self.dropout(features.pop())
        for stage in self.up:
            y = stage(y, features.pop())
        return functional.interpolate(self.head(y), size=x.shape[2:], mode="bilinear", align_corners=False)
