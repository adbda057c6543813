"""The generator of CollaGAN (Lee et al. 2019): any missing contrast of a brain from those that are there.

Shapes: B batch, C contrasts, S slices of context (the wanted one in the middle), X and Y the axes of a slice,
D, D2, ... channels of the decoder. The S slices of a contrast are neighbours among the channels.

Inputs are z-scored over the brain and 0 around it. What is computed is 0 around it as well: wherever no
contrast has anything there is no brain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medbundles.folding import start_alike
from medbundles.inferers import SlicewiseInferer

NORMS = {
    "instance": lambda n: nn.InstanceNorm2d(n, affine=True),
    "batch": nn.BatchNorm2d,
    "none": nn.Identity,
}
SLOPE = 0.2


class Block(nn.Module):
    """Two 3x3 convolutions, each with norm and leaky ReLU, in branches that do not see one another.

    The code is what the paper's mask planes are, one number per image. As a plane it would be wiped out by
    the norm after the first convolution (a constant less its mean), so it enters behind the norm.

    Args:
        in_channels: of all branches together.
        out_channels: of all branches together.
        branches: how many.
        code: length of the code; 0 for none.
        norm: `instance`, `batch` or `none`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, branches: int = 1, code: int = 0, norm: str = "instance"
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, out_channels, 3, padding=1, groups=branches)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1, groups=branches)
        for layer in (self.first, self.second):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)
            nn.init.zeros_(layer.bias)
        self.norms = nn.ModuleList(NORMS[norm](out_channels) for _ in range(2))
        self.shift = nn.Linear(code, out_channels) if code else None

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        x = self.norms[0](self.first(x))
        if self.shift is not None:
            x = x + self.shift(code)[:, :, None, None]
        x = functional.leaky_relu(x, SLOPE)
        return functional.leaky_relu(self.norms[1](self.second(x)), SLOPE)


class ConditionalAttention(nn.Module):
    """CCAM: scales each channel by what is wanted and by what the features are on average."""

    def __init__(self, channels: int, contrasts: int) -> None:
        super().__init__()
        hidden = max(channels // 4, 4)
        self.mlp = nn.Sequential(
            nn.Linear(channels + contrasts, hidden),
            nn.LeakyReLU(SLOPE),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(SLOPE),
            nn.Linear(hidden, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor, wanted: Tensor) -> Tensor:
        factors = self.mlp(torch.cat([wanted, x.float().mean((2, 3))], dim=1))
        return x * factors[:, :, None, None].to(x.dtype)


class CollaGenerator(nn.Module):
    """U-Net with an encoder for each contrast and one decoder that sees all of them.

    Args:
        width: channels of each encoder at full resolution; doubled at each level. 16 in the paper.
        levels: how often the grid is halved.
        contrasts: how many there are.
        slices: slices of context, odd; 1 sees the slice alone.
        decoder_width: channels of the decoder at full resolution, 2 * width unless given; 4 * width in the
            paper.
        attention: False leaves the conditional channel attention out (the ablation).
        norm: `instance` (the paper's), `batch` or `none`.
        fold: pixels a side that are taken together as channels, and taken apart again at the end. 1 is the
            paper's; 2 computes on a quarter of the pixels and still answers for each of them.
    """

    def __init__(
        self,
        width: int = 8,
        levels: int = 4,
        contrasts: int = 4,
        *,
        slices: int = 1,
        decoder_width: int | None = None,
        attention: bool = True,
        norm: str = "instance",
        fold: int = 1,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"unknown norm '{norm}': one of {', '.join(NORMS)}")
        if slices < 1 or slices % 2 == 0:
            raise ValueError(f"{slices} slices have no middle one: an odd number is needed")
        self.contrasts, self.slices, self.fold = contrasts, slices, fold
        self.step = fold * 2**levels
        ours = [width * 2**level * contrasts for level in range(levels + 1)]  # of all encoders together
        theirs = [(decoder_width or 2 * width) * 2**level for level in range(levels + 1)]
        self.encoders, self.down = nn.ModuleList(), nn.ModuleList()
        for level, channels in enumerate(ours[:-1]):
            before = contrasts * slices * fold**2 if level == 0 else channels
            block = Block(before, channels, branches=contrasts, code=2 * contrasts, norm=norm)
            self.encoders.append(block)
            self.down.append(nn.Conv2d(channels, ours[level + 1], 2, stride=2, groups=contrasts))
        self.fusion = Block(ours[-1], theirs[-1], norm=norm)
        self.up, self.decoders = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(levels)):
            self.up.append(nn.ConvTranspose2d(theirs[level + 1], theirs[level], 2, stride=2))
            self.decoders.append(Block(theirs[level] + ours[level], theirs[level], norm=norm))
        self.attentions = nn.ModuleList(
            ConditionalAttention(channels, contrasts) if attention else Unchanged()
            for channels in reversed(theirs)
        )
        self.last = nn.Conv2d(theirs[0], fold**2, 1)
        start_alike(self.last, fold**2)
        self.to(memory_format=torch.channels_last)  # several times as fast on processors in bfloat16

    def forward(
        self,
        images: Tensor,
        target: Tensor | int,
        present: Tensor | Sequence[bool] | None = None,
        told: Tensor | int | None = None,
    ) -> Tensor:
        """The contrast `target` (B, 1, X, Y) of the middle slices, from the other contrasts.

        Args:
            images: (B, C * S, X, Y); whatever stands at the target, or at a contrast that is not present, is
                not looked at.
            target: index of the contrast that is wanted, for all or for each image (B).
            present: which contrasts there are, for all (C) or for each image (B, C); all unless given.
            told: the target that the network is told of, if it is to be misled (the ablation).
        """
        wanted = self._one_hot(target, images)
        shown = torch.ones_like(wanted) if present is None else self._rows(present, images).to(wanted)
        shown = shown * (1 - wanted)
        code = torch.cat([wanted if told is None else self._one_hot(told, images), shown], dim=1)
        visible = shown.bool().repeat_interleave(self.slices, 1)[:, :, None, None]
        seen = torch.where(visible, images, 0)  # a product would let NaN through
        brain = (seen[:, self.slices // 2 :: self.slices] != 0).any(1, keepdim=True)
        height, width = seen.shape[2:]
        seen = functional.pad(seen, (0, -width % self.step, 0, -height % self.step))
        features = self._encode(functional.pixel_unshuffle(seen, self.fold), code)
        made = functional.pixel_shuffle(self._decode(features, code[:, : self.contrasts]), self.fold)
        return torch.where(brain, made[..., :height, :width], 0)

    def _encode(self, x: Tensor, code: Tensor) -> list[Tensor]:
        """Features of all encoders at every level, the bottom last."""
        features, x = [], x.contiguous(memory_format=torch.channels_last)
        for block, down in zip(self.encoders, self.down, strict=True):
            features.append(block(x, code))
            x = down(features[-1])
        return [*features, x]

    def _decode(self, features: list[Tensor], wanted: Tensor) -> Tensor:
        x = self.attentions[0](self.fusion(features.pop()), wanted)
        for up, block, attention in zip(self.up, self.decoders, self.attentions[1:], strict=True):
            x = attention(block(torch.cat([up(x), features.pop()], dim=1)), wanted)
        return self.last(x)

    def _one_hot(self, index: Tensor | int, images: Tensor) -> Tensor:
        """(B, C)"""
        index = torch.as_tensor(index, device=images.device).long().expand(images.shape[0])
        return functional.one_hot(index, self.contrasts).to(images.dtype)

    def _rows(self, present: Tensor | Sequence[bool], images: Tensor) -> Tensor:
        """(B, C)"""
        return torch.as_tensor(present, device=images.device).expand(images.shape[0], self.contrasts)


class Unchanged(nn.Module):
    """Stands where there is no attention."""

    def forward(self, x: Tensor, wanted: Tensor) -> Tensor:
        return x


def with_neighbours(volume: Tensor, slices: int) -> Tensor:
    """The slices of a volume (B, C, X, Y, Z), each with its neighbours as channels: (B, C * S, X, Y, Z).

    Beyond the first and the last slice these are repeated.
    """
    depth = volume.shape[-1]
    places = torch.arange(depth, device=volume.device)
    reach = range(-(slices // 2), slices // 2 + 1)
    shifted = [volume[..., (places + offset).clamp(0, depth - 1)] for offset in reach]
    return torch.stack(shifted, 2).flatten(1, 2)


def impute(
    network: CollaGenerator,
    volume: Tensor,
    present: Sequence[bool],
    *,
    inferer: Callable[..., Tensor] | None = None,
) -> Tensor:
    """The volume (B, C, X, Y, Z) with every missing contrast imputed from those that are present.

    Args:
        network: in evaluation mode.
        volume: z-scored contrasts; anything may stand in place of those that are missing.
        present: for each contrast, whether it is there.
        inferer: runs the network slice by slice; four slices at a time unless given.
    """
    inferer = SlicewiseInferer(batch_slices=4) if inferer is None else inferer
    around, whole = with_neighbours(volume, network.slices), volume.clone()
    for target in (index for index, there in enumerate(present) if not there):
        whole[:, [target]] = inferer(around, network, target=target, present=present).to(whole.dtype)
    return whole
