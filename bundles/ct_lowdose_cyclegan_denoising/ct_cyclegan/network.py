"""The generator of Kang et al. (2019): modules at full resolution, all joined, and a bypass around them.

Shapes: B batch, W width, X and Y the axes of a slice. Values are HU divided by 400 (`transforms.ScaleHud`).
Nothing is down-sampled: detail of a pixel's size can pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "none": None}
NARROW = 15  # channels before the last convolution, as in the paper
QUIET = 0.1


def _convolution(in_channels: int, out_channels: int, norm: str) -> list[nn.Module]:
    """A 3x3 convolution and its normalisation."""
    kind = NORMS[norm]
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=kind is None)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return [convolution] if kind is None else [convolution, kind(out_channels, affine=True)]


class Module(nn.Module):
    """Convolutions with ReLU between them, added to their input, and a ReLU."""

    def __init__(self, width: int, convolutions: int, norm: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(convolutions):
            layers += [*_convolution(width, width, norm), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers[:-1])
        if norm == "none":  # else the activations would grow from module to module
            self.body[-1].weight.data.mul_(QUIET)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


class DenoisingGenerator(nn.Module):
    """Slices in, slices out; the network computes what is to be added to its input.

    It begins near the identity. The modules see values cut to `limits` (metal and padding would drown all
    else); the bypass carries them whole.

    Args:
        width: channels of all convolutions; 128 in the paper.
        modules: how many.
        convolutions: in each module.
        norm: `batch` (the paper's), `instance` or `none`.
        bypass: False lets the modules draw the whole image (the ablation).
        limits: least and largest value that the modules see.
    """

    def __init__(
        self,
        width: int = 16,
        modules: int = 6,
        convolutions: int = 3,
        *,
        norm: str = "batch",
        bypass: bool = True,
        limits: Sequence[float] = (-3.2, 7.68),
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"unknown norm '{norm}': one of {', '.join(NORMS)}")
        self.bypass, self.limits = bypass, (float(limits[0]), float(limits[1]))
        self.first = nn.Sequential(*_convolution(1, width, norm), nn.ReLU(inplace=True))
        self.stages = nn.ModuleList(Module(width, convolutions, norm) for _ in range(modules))
        self.join = nn.Sequential(
            *_convolution((modules + 1) * width, width, norm),
            nn.ReLU(inplace=True),
            *_convolution(width, NARROW, "none"),
            nn.ReLU(inplace=True),
        )
        self.last = nn.Conv2d(NARROW, 1, 3, padding=1)
        nn.init.zeros_(self.last.bias)
        if bypass:
            self.last.weight.data.mul_(QUIET)
        self.to(memory_format=torch.channels_last)  # several times as fast on processors in bfloat16

    def forward(self, x: Tensor) -> Tensor:
        """Denoised slices (B, 1, X, Y) of slices (B, 1, X, Y)."""
        seen = x.clamp(*self.limits).contiguous(memory_format=torch.channels_last)
        features = [self.first(seen)]  # B W X Y
        for module in self.stages:
            features.append(module(features[-1]))
        change = self.last(self.join(torch.cat(features, dim=1)))
        return x + change if self.bypass else change
