"""AF-net: a U-Net that sees the frame at every grid, at several rates, and answers at every grid.

Shapes: B batch, C channels, L labels, S side outputs (the finest first), X columns (to the right), Y rows
(away from the probe). Each level halves the grid; the finest is half the input's, and maps are interpolated
to the input's grid: outlines are smooth, and half the grid costs a quarter.

Labels: 0 background, 1 fluid, 2 fetal parts and cord, 3 fluid under reverberation.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

LABELS = 4
RATES = (1, 2, 4)


def averaged(maps: Tensor) -> Tensor:
    """Logits (..., L, X, Y) whose probabilities are the mean of those of side outputs (..., S, L, X, Y)."""
    return torch.logsumexp(maps.float().log_softmax(dim=-3), dim=-4) - math.log(maps.shape[-4])


def halved(x: Tensor) -> Tensor:
    """The mean of each 2 x 2 pixels of images (B, C, X, Y); an odd last row or column stays alone."""
    return functional.avg_pool2d(x, 2, ceil_mode=True)


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Images (B, C, X, Y) interpolated to another number of columns and rows."""
    return functional.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def normalised_conv(in_channels: int, out_channels: int, *, stride: int = 1, rate: int = 1) -> nn.Sequential:
    """A 3x3 convolution, whose taps lie `rate` pixels apart, with batch norm and ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=rate, dilation=rate, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class AtrousBlock(nn.Module):
    """A convolution, and the sum of it and of a chain of convolutions of growing rate.

    The sum holds what was seen at each rate. All rates 1 make it a plain block of the same size and cost.
    """

    def __init__(self, in_channels: int, out_channels: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.enter = normalised_conv(in_channels, out_channels)
        self.chain = nn.ModuleList(normalised_conv(out_channels, out_channels, rate=rate) for rate in rates)

    def forward(self, x: Tensor) -> Tensor:
        total = x = self.enter(x)
        for conv in self.chain:
            x = conv(x)
            total = total + x
        return total


class UpBlock(nn.Module):
    """Doubles the grid, joins the skip connection of that grid and mixes them."""

    def __init__(self, in_channels: int, skip_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, skip_channels, 1)
        self.mix = nn.Sequential(
            normalised_conv(2 * skip_channels, skip_channels), normalised_conv(skip_channels, skip_channels)
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.mix(torch.cat([resized(self.reduce(x), skip.shape[2:]), skip], dim=1))


class ReverberationPath(nn.Module):
    """A small U-Net that finds where echoes of the near wall lie over whatever is below.

    Its stem works at half the input grid, where the lines of the echoes are still apart.

    Args:
        in_channels: of the frame.
        widths: channels per grid, from half the input grid downwards.
    """

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            nn.Sequential(normalised_conv(fine, coarse, stride=2), normalised_conv(coarse, coarse))
            for fine, coarse in pairwise((in_channels, *widths))
        )
        # It ends at a quarter of the input grid: a band is wide, and it has no sharp lower edge.
        self.up = nn.ModuleList(
            UpBlock(coarse, fine) for fine, coarse in zip(widths[-2:0:-1], widths[:1:-1], strict=True)
        )
        self.head = nn.Conv2d(widths[1], 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, X/4, Y/4), and the logit (B, 1, X/4, Y/4) that fluid, if any, is under echoes."""
        features = []
        for stage in self.down:
            features.append(x := stage(x))
        y = features.pop()
        for stage in self.up:
            y = stage(y, features.pop())
        return y, self.head(y)


class AFNet(nn.Module):
    """U-Net on a frame and the geometry of its beam; each addition of AF-net is a switch.

    Args:
        in_channels: 4: grey value, sector mask, depth along the beam, signed beam angle.
        widths: channels per grid, from half the input grid downwards.
        atrous: convolutions of rates 1, 2 and 4 on the way down; else of rate 1, at the same size and cost.
        side_input: the frame itself, shrunk, enters at each grid.
        side_output: each grid on the way up gives a map of its own; else only the finest does.
        reverberation: a path of its own finds reverberation: the second path of a dual-path network. Its
            features enter the way down, and it divides the fluid into clear fluid and reverberation band.
        reverberation_widths: channels per grid of that path.
        dropout: share of channels dropped at the coarsest grid in training.
    """

    def __init__(
        self,
        in_channels: int = 4,
        widths: Sequence[int] = (16, 32, 64, 112, 160),
        *,
        atrous: bool = True,
        side_input: bool = True,
        side_output: bool = True,
        reverberation: bool = True,
        reverberation_widths: Sequence[int] = (12, 24, 48),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        rates = RATES if atrous else (1,) * len(RATES)
        self.stem = normalised_conv(in_channels, widths[0], stride=2)
        self.first = AtrousBlock(widths[0], widths[0], rates)
        self.side_inputs = nn.ModuleList(
            normalised_conv(in_channels, width) for width in (widths[:-1] if side_input else ())
        )
        self.reverberation = ReverberationPath(in_channels, reverberation_widths) if reverberation else None
        entering = [width * (2 if side_input else 1) for width in widths[:-1]]
        if reverberation:
            entering[0] += reverberation_widths[1]
        self.down = nn.ModuleList(
            AtrousBlock(fine, coarse, rates) for fine, coarse in zip(entering, widths[1:], strict=True)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.up = nn.ModuleList(
            UpBlock(coarse, fine) for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        answers = LABELS - 1 if reverberation else LABELS
        heads = widths[-2::-1] if side_output else widths[:1]
        self.heads = nn.ModuleList(nn.Conv2d(width, answers, 1) for width in heads)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of frames (B, 4, X, Y): averaged maps (B, L, X, Y), in training all maps (B, S, L, X, Y)."""
        # A mirrored scan is as good as the scan, so only the size of the angle may matter.
        frame = torch.cat([x[:, :3], x[:, 3:].abs()], dim=1)
        prior, band = (None, None) if self.reverberation is None else self.reverberation(frame)
        grids = self._decode(self._encode(frame, prior))
        maps = [
            resized(head(y).float(), x.shape[2:])
            for head, y in zip(self.heads, grids[-len(self.heads) :], strict=True)
        ]
        stacked = torch.stack(maps[::-1], dim=1)  # B S L X Y
        if band is not None:
            stacked = divided(stacked, resized(band.float(), x.shape[2:])[:, None])
        return stacked if self.training else averaged(stacked)

    def _encode(self, frame: Tensor, prior: Tensor | None) -> list[Tensor]:
        """Features at each grid, the finest first."""
        features = [self.first(self.stem(frame))]  # B W0 X/2 Y/2
        shrunk = halved(frame)
        for level, stage in enumerate(self.down):
            entering = [functional.max_pool2d(features[-1], 2, ceil_mode=True)]
            if len(self.side_inputs):
                shrunk = halved(shrunk)
                entering.append(self.side_inputs[level](shrunk))
            if level == 0 and prior is not None:
                entering.append(prior)
            features.append(stage(torch.cat(entering, dim=1)))
        return features

    def _decode(self, features: list[Tensor]) -> list[Tensor]:
        """Features at each grid on the way up, the finest last."""
        y, grids = self.dropout(features.pop()), []
        for stage in self.up:
            y = stage(y, features.pop())
            grids.append(y)
        return grids


def divided(maps: Tensor, band: Tensor) -> Tensor:
    """Logits (B, S, 4, X, Y) of maps (B, S, 3, X, Y) whose fluid is divided by the logit of a band.

    The probability of fluid, clear or not, stays what it was: log(e^f s(b) + e^f (1 - s(b))) = f for the
    logistic function s. So a band that is missed or imagined costs no fluid.
    """
    rest, fluid, parts = maps.split(1, dim=2)
    band = band.expand_as(fluid)
    clear, under = fluid + functional.logsigmoid(-band), fluid + functional.logsigmoid(band)
    return torch.cat([rest, clear, parts, under], dim=2)
