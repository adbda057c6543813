"""What each network is shown in training: panoramas, crops of them, patches of the scan; all varied."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Randomizable, Transform
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from dental_teeth.boxes import Box
from dental_teeth.detector import encoded
from dental_teeth.frame import Array, sample, transformed
from dental_teeth.numbering import KIND_OF
from dental_teeth.outliner import crop, stretched, window_of
from dental_teeth.patches import BOTH, SIZE, STEP_MM, channels, cut, known_regions, patch_at
from dental_teeth.truth import JawTruth
from medbundles.saving import affine_of, array_of

logger = logging.getLogger(__name__)

Case = Mapping[Hashable, Any]


class _Samples(Randomizable, Transform):
    """Samples of a case; each is a dictionary with `image` and `label`.

    Args:
        vary: strength of all random changes; 0 for none, as in validation.
    """

    def __init__(self, vary: float = 1.0) -> None:
        super().__init__()
        self.vary = float(vary)

    def _teeth(self, case: Case, count: int) -> list[tuple[JawTruth, int]]:
        """Some teeth of a case: drawn, or evenly spread without variation; fewer if it has no more."""
        teeth = [(jaw, code) for jaw in case["truth"] for code in jaw.masks]
        if len(teeth) <= count:
            return teeth
        if not self.vary:
            return [teeth[i] for i in np.linspace(0, len(teeth) - 1, count).round().astype(int)]
        return [teeth[i] for i in self.R.choice(len(teeth), count, replace=False)]

    def _moved(self, box: Box, share: float = 0.06) -> Box:
        """A box as a detector might give it: each edge off by a share of the side."""
        across, down = box.right - box.left, box.bottom - box.top
        off = self.vary * share * self.R.standard_normal(4) * (across, down, across, down)
        left, top, right, bottom = np.array([box.left, box.top, box.right, box.bottom]) + off
        return Box(left, top, max(right, left + 4), max(bottom, top + 4))

    def _contrast(self, x: Tensor, *, noise: float) -> Tensor:
        """Other contrast, brightness and noise, as of another scanner."""
        if not self.vary:
            return x
        gain, offset = (
            1 + 0.15 * self.vary * self.R.standard_normal(),
            0.1 * self.vary * self.R.standard_normal(),
        )
        level = abs(noise * self.vary * self.R.standard_normal())
        seed = int(self.R.randint(2**31))
        grain = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
        return x * gain + offset + level * grain


class RandPanoramas(_Samples):
    """Panoramas (1, columns, rows) with what the detector should answer, see `encoded`.

    Args:
        kinds: how many kinds are told apart: four, or eight for the number itself.
        vary: strength of all random changes.
    """

    def __init__(self, kinds: int = 4, vary: float = 1.0) -> None:
        super().__init__(vary)
        self.kind_of = KIND_OF if kinds == 4 else tuple(range(8))

    def __call__(self, data: Case) -> list[dict[str, Tensor]]:
        return [self._shown(jaw) for jaw in data["truth"]]

    def _shown(self, jaw: JawTruth) -> dict[str, Tensor]:
        shown, shape = torch.from_numpy(jaw.shown), jaw.shown.shape
        boxes = jaw.boxes
        kinds = [self.kind_of[code % 10 - 1] for code in boxes]
        found = list(boxes.values())
        if self.vary and self.R.rand() < 0.5:
            shown, found = (
                shown.flip(0),
                [Box(shape[0] - b.right, b.top, shape[0] - b.left, b.bottom) for b in found],
            )
        if self.vary:
            window = self._window(shape)
            shown = stretched(shown, window, shape)
            found = [_seen_through(window, box, shape) for box in found]
        label = encoded(found, kinds, shape)
        return {"image": self._contrast(shown, noise=0.1)[None], "label": label}

    def _window(self, shape: Sequence[int]) -> Box:
        """Part of a panorama, or more than it, of nearly the same size."""
        scale = 1 + 0.08 * self.vary * self.R.uniform(-1, 1, 2)
        middle = np.array(shape) / 2 + self.vary * self.R.uniform(-1, 1, 2) * (30, 10)
        half = np.array(shape) * scale / 2
        return Box(middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1])


def _seen_through(window: Box, box: Box, shape: Sequence[int]) -> Box:
    across, down = shape[0] / (window.right - window.left), shape[1] / (window.bottom - window.top)
    return Box(
        (box.left - window.left) * across,
        (box.top - window.top) * down,
        (box.right - window.left) * across,
        (box.bottom - window.top) * down,
    )


class RandOutlines(_Samples):
    """Crops (1, S, S) around teeth on the panoramas, with their masks.

    Args:
        teeth: how many of each case.
        vary: strength of all random changes.
    """

    def __init__(self, teeth: int = 8, vary: float = 1.0) -> None:
        super().__init__(vary)
        self.teeth = int(teeth)

    def __call__(self, data: Case) -> list[dict[str, Tensor]]:
        return [self._shown(jaw, code) for jaw, code in self._teeth(data, self.teeth)]

    def _shown(self, jaw: JawTruth, code: int) -> dict[str, Tensor]:
        window = window_of(self._moved(jaw.boxes[code]))
        shown = crop(torch.from_numpy(jaw.shown), window)
        mask = (crop(torch.from_numpy(jaw.masks[code].astype(np.float32)), window) > 0.5).float()
        if self.vary and self.R.rand() < 0.5:
            shown, mask = shown.flip(0), mask.flip(0)
        return {"image": self._contrast(shown, noise=0.1)[None], "label": mask[None]}


class RandTeeth(_Samples):
    """Patches (2, X, Y, Z) of teeth in the scan, loose and tight, with what is the tooth (1, X, Y, Z).

    Args:
        teeth: how many of each case.
        patch: points of a patch.
        patch_mm: their distance.
        vary: strength of all random changes.
        regions: what is shown of them, see `channels`.
    """

    def __init__(
        self,
        teeth: int = 4,
        patch: Sequence[int] = SIZE,
        patch_mm: float = STEP_MM,
        vary: float = 1.0,
        regions: str = BOTH,
    ) -> None:
        super().__init__(vary)
        self.teeth, self.patch, self.patch_mm = int(teeth), tuple(patch), float(patch_mm)
        self.regions = known_regions(regions)

    def __call__(self, data: Case) -> list[dict[str, Tensor]]:
        scan, labels = (array_of(data[key])[0] for key in ("image", "label"))
        affine = affine_of(data["image"])
        return [self._shown(scan, labels, affine, tooth) for tooth in self._teeth(data, self.teeth)]

    def _shown(
        self, scan: NDArray, labels: NDArray, affine: Array, tooth: tuple[JawTruth, int]
    ) -> dict[str, Tensor]:
        jaw, code = tooth
        patch = patch_at(jaw.view, self._moved(jaw.boxes[code], 0.04), size=self.patch, step_mm=self.patch_mm)
        grey = self._contrast(cut(scan, affine, patch), noise=0.05).clamp_min(0)
        places = transformed(patch.points(), jaw.view.frame.to_voxels(affine))
        inside = sample(labels == code, places, fill=0.0) > 0.5
        return {
            "image": channels(grey, patch, self._guessed(jaw.masks[code]), self.regions),
            "label": inside[None].float(),
        }

    def _guessed(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask as an outliner might give it: moved, a little too large or too small."""
        if not self.vary:
            return mask
        columns, rows = np.rint(self.vary * self.R.standard_normal(2)).astype(int)
        mask = np.roll(mask, (columns, rows), (0, 1))
        size = round(float(self.vary * self.R.standard_normal()))
        if size == 0:
            return mask
        change = ndimage.binary_dilation if size > 0 else ndimage.binary_erosion
        return change(mask, iterations=abs(size))
