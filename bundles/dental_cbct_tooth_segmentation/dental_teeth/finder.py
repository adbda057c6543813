"""The finder of jaws: marks upper and lower teeth on a coarse copy of a scan.

Shapes: B batch, X, Y and Z the axes of a coarse scan, to left, back and up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dental_teeth.border import Volume
from dental_teeth.frame import Array
from dental_teeth.jaws import COARSE_MM, Finder
from dental_teeth.patches import density
from medbundles.folding import FoldedSegResNet
from medbundles.images import spacing_of

RARE = -3.0  # logit that answers begin with: a voxel in twenty is an upper tooth


class JawFinder(FoldedSegResNet):
    """Logits (B, 2, X, Y, Z) of upper and lower teeth in coarse scans (B, 1, X, Y, Z).

    Args:
        width: channels of the first level, a multiple of 8.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__(1, 2, width, blocks=(1, 1, 2, 2), fold=2, bias=RARE)


def finder_of(
    network: nn.Module,
    answer: Callable[[nn.Module, Tensor], Tensor],
    *,
    device: str | torch.device = "cpu",
) -> Finder:
    """Returns how a network marks the teeth of a coarse scan; it always sees voxels of one size.

    Args:
        network: a `JawFinder`.
        answer: how to ask it.
        device: where it is.
    """

    def find(small: Volume, affine: Array) -> Volume:
        shown = density(torch.from_numpy(np.ascontiguousarray(small, np.float32)).to(device))[None, None]
        lengths = np.asarray(small.shape) * spacing_of(affine, 3)
        size = [max(1, round(length / COARSE_MM)) for length in lengths]
        logits = answer(network, functional.interpolate(shown, size, mode="trilinear")).float()
        return functional.interpolate(logits, small.shape, mode="trilinear")[0].sigmoid().cpu().numpy()

    return find
