"""Networks that take blocks of pixels or voxels as channels, and take them apart again at the end.

A block of 2 x 2 x 2 leaves an eighth of the places to compute on; there is still an answer for each voxel.
Shapes: B batch, C channels of the image, R of the answer, X, Y and Z the axes of a volume.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import SegResNet
from monai.networks.utils import pixelshuffle, pixelunshuffle
from torch import Tensor, nn
from torch.nn import functional

GROUPS = 8


class FoldedSegResNet(SegResNet):
    """MONAI's SegResNet on blocks of voxels, for volumes of any size.

    Args:
        channels: of the input.
        outputs: channels of the output.
        width: channels at full resolution, a multiple of 8.
        blocks: residual blocks at each level of the encoder.
        dropout: share of channels dropped after the first convolution in training.
        fold: voxels a side of a block; 1 is SegResNet itself.
        bias: what all answers begin with, as logits: low for what is rare.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        width: int = 16,
        *,
        blocks: Sequence[int] = (1, 2, 2, 4),
        dropout: float = 0.0,
        fold: int = 1,
        bias: float = 0.0,
    ) -> None:
        if width % GROUPS:
            raise ValueError(f"a width of {width} cannot be normalised in {GROUPS} groups")
        super().__init__(
            spatial_dims=3,
            init_filters=width,
            in_channels=channels * fold**3,
            out_channels=outputs * fold**3,
            dropout_prob=dropout,
            norm=("GROUP", {"num_groups": GROUPS}),
            blocks_down=tuple(blocks),
            blocks_up=(1,) * (len(blocks) - 1),
            use_conv_final=False,  # `decode` applies it
        )
        nn.init.constant_(self.conv_final[-1].conv.bias, bias)
        start_alike(self.conv_final[-1].conv, fold**3)
        self.fold, self.step = fold, fold * 2 ** (len(blocks) - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, R, X, Y, Z) of images (B, C, X, Y, Z)."""
        size = x.shape[2:]
        margins = [margin for length in reversed(size) for margin in (0, -length % self.step)]
        features, skips = self.encode(functional.pad(x, margins))
        logits = self.decode(features, skips[::-1])
        return logits[..., : size[0], : size[1], : size[2]]

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The deepest features and those of every level, of images."""
        return super().encode(pixelunshuffle(x, 3, self.fold))

    def decode(self, x: Tensor, down_x: list[Tensor]) -> Tensor:
        """Logits from features, the deepest level's first; in float32, so that close ones stay apart."""
        features = super().decode(x, down_x)
        with torch.autocast(features.device.type, enabled=False):
            logits = self.conv_final(features.float())
        return pixelshuffle(logits, 3, self.fold)


def start_alike(layer: nn.Module, parts: int) -> None:
    """Gives all parts of a block the weights of its first: a new network answers without a checkerboard.

    Args:
        layer: a convolution; the parts of each output are neighbours among its channels.
        parts: pixels or voxels in a block.
    """
    for weights in (layer.weight, layer.bias):
        weights.data.copy_(weights.data[::parts].repeat_interleave(parts, 0))
