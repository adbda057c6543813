"""Last layers whose channels are the voxels of a block, to be taken apart."""

from __future__ import annotations

from torch import nn


def start_alike(layer: nn.Module, parts: int) -> None:
    """Gives all parts of a block the weights of its first: a new network answers without a checkerboard.

    Args:
        layer: a convolution; the parts of each output are neighbours among its channels.
        parts: pixels or voxels in a block.
    """
    for weights in (layer.weight, layer.bias):
        weights.data.copy_(weights.data[::parts].repeat_interleave(parts, 0))
