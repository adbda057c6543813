"""All four networks as one, with their weights in one file.

Shapes: B batch, K = 33 classes (background and 32 teeth), X, Y and Z the axes of a volume.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dental_teeth.detector import ToothDetector
from dental_teeth.finder import JawFinder
from dental_teeth.frame import NotDentalError
from dental_teeth.inferer import TeethInferer
from dental_teeth.outliner import Outliner
from dental_teeth.teeth import FDI_CODES
from medbundles.folding import FoldedSegResNet

RARE = -2.0  # logit that answers begin with: a place in eight of a patch is its tooth
SPACING_MM = 0.4


class ToothSegmenter(FoldedSegResNet):
    """Logits (B, 1, X, Y, Z) of a tooth in patches of its loose and tight region (B, 2, X, Y, Z).

    Args:
        width: channels of the first level, a multiple of 8.
        fold: points a side of a patch that are taken together.
    """

    def __init__(self, width: int = 16, fold: int = 2) -> None:
        super().__init__(2, 1, width, blocks=(1, 2, 2), fold=fold, bias=RARE)


class ToothNetworks(nn.Module):
    """The finder of jaws, the detector of teeth on panoramas, the outliner and the segmenter of each tooth.

    Args:
        finder: works on coarse scans.
        detector: on panoramas.
        outliner: on crops of them.
        segmenter: on patches of the scan.
    """

    def __init__(
        self, finder: JawFinder, detector: ToothDetector, outliner: Outliner, segmenter: ToothSegmenter
    ) -> None:
        super().__init__()
        self.finder, self.detector, self.outliner, self.segmenter = finder, detector, outliner, segmenter

    def forward(self, x: Tensor) -> Tensor:
        """All of it for scans (B, 1, X, Y, Z) of 0.4 mm voxels, axes to left, back and up: (B, K, X, Y, Z).

        1 for the class of each voxel and 0 for the others. A volume without teeth is all background: to be
        told why, use the `TeethInferer`, which also knows where the voxels are.
        """
        affine = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0])
        inferer = TeethInferer(amp=False)
        labels = []
        for volume in x:
            try:
                labels.append(inferer.label(volume[0], affine, self)[0])
            except NotDentalError:
                labels.append(torch.zeros(volume.shape[1:], dtype=torch.uint8))
        classes = functional.one_hot(torch.stack(labels).long(), len(FDI_CODES) + 1)
        return classes.movedim(-1, 1).to(x)
