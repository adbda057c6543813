"""Both networks as one: what is missing is imputed, then tumour is outlined.

Shapes: B batch, C contrasts, K classes (background and three labels), X, Y and Z the axes of a volume, Z from
the feet to the head. Nested regions are TC, WT, ET, as in `medbundles.regions`. A contrast that is 0
everywhere is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from brats_collagan.collagan import CollaGenerator, impute
from brats_collagan.segmenter import Segmenter
from medbundles.headers import plain, with_header_of
from medbundles.inferers import MirrorInferer, SlicewiseInferer, WindowInferer
from medbundles.modes import BALANCED
from medbundles.weights import unwrapped

CLASSES = 4


class CollaSegmenter(nn.Module):
    """The imputer and the segmenter, with weights in one file.

    Args:
        imputer: works on slices.
        segmenter: works on volumes; its regions are TC, WT and ET.
    """

    def __init__(self, imputer: CollaGenerator, segmenter: Segmenter) -> None:
        super().__init__()
        self.imputer, self.segmenter = imputer, segmenter

    def forward(self, x: Tensor) -> Tensor:
        """Margins (B, K, X, Y, Z) of the classes, see `margins`, from z-scored contrasts (B, C, X, Y, Z)."""
        return margins(self.segmenter(self.complete(x)))

    def complete(self, x: Tensor, inferer: Callable[..., Tensor] | None = None) -> Tensor:
        """The contrasts (B, C, X, Y, Z) with those that are missing imputed; without any, all stay 0."""
        return torch.cat([self._complete_one(volume, inferer) for volume in x.split(1)])

    def _complete_one(self, volume: Tensor, inferer: Callable[..., Tensor] | None) -> Tensor:
        there = present(volume[0])
        if all(there) or not any(there):
            return volume
        return impute(self.imputer, volume, there, inferer=inferer)


class CollaInferer(Inferer):
    """Imputes slice by slice, then segments in windows; the answer is both.

    Args:
        window: voxels a side of a window; where the volume is smaller, so is the window. None takes it whole.
        overlap: share of a window that it has in common with the next.
        batch_slices: slices that are imputed at once.
        mirror: average over the brain and its mirror image; twice the time.
        impute_only: leave the segmentation out; its margins are then those of background.
        mode: `fast`, `balanced` or `exact`, see `medbundles.modes`.
        memory_limit: of the process, in GB, see `WindowInferer`.
    """

    def __init__(
        self,
        window: Sequence[int] | None = None,
        overlap: float = 0.25,
        batch_slices: int = 4,
        *,
        mirror: bool = False,
        impute_only: bool = False,
        mode: str = BALANCED,
        memory_limit: float | None = None,
    ) -> None:
        super().__init__()
        self.window = None if window is None else tuple(int(n) for n in window)
        self.overlap, self.mirror, self.impute_only = float(overlap), bool(mirror), bool(impute_only)
        self.mode, self.memory_limit = mode, memory_limit
        self.slicewise = SlicewiseInferer(batch_slices)

    def __call__(self, inputs: Tensor, network: nn.Module) -> Tensor:
        """Margins of the classes, then the completed contrasts: (B, K + C, X, Y, Z)."""
        network = unwrapped(network)
        whole = network.complete(plain(inputs), self.slicewise).float()
        if self.impute_only:
            classes = whole.new_zeros(len(whole), CLASSES, *whole.shape[2:])
        else:
            classes = margins(self._segmenting(whole.shape[2:])(whole, network.segmenter).float())
        return with_header_of(inputs, torch.cat([classes, whole], dim=1))

    def _segmenting(self, size: Sequence[int]) -> Inferer:
        window = size if self.window is None else [min(n, w) for n, w in zip(size, self.window, strict=True)]
        sliding = WindowInferer(window, self.overlap, self.mode, memory_limit=self.memory_limit)
        return MirrorInferer(sliding, dims=[0], mode=self.mode) if self.mirror else sliding


def present(volume: Tensor) -> list[bool]:
    """For each contrast of a volume (C, X, Y, Z), whether there is anything in it."""
    return (volume != 0).flatten(1).any(1).tolist()


def margins(logits: Tensor) -> Tensor:
    """How clearly a voxel is of each class (B, K, ...): above 0 for the one that merging the regions gives.

    Enhancing tumour wins over core, core over whole tumour. Unlike labels, margins can be interpolated.

    Args:
        logits: of the nested regions TC, WT, ET (B, 3, ...).
    """
    core, whole, enhancing = logits.unbind(1)
    no_core = torch.minimum(-enhancing, -core)
    classes = [
        torch.minimum(no_core, -whole),
        torch.minimum(-enhancing, core),
        torch.minimum(no_core, whole),
        enhancing,
    ]
    return torch.stack(classes, dim=1)
