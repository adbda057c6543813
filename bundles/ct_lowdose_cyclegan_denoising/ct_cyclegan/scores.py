"""How good a denoised slice is, beside its truth: decibels, bias by tissue, and whether lesions are left.

A case for lesions is a stack of two slices of the same anatomy and the same noise, with inserted lesions and
without: what differs between the two denoised slices is what is left of the lesions, free of noise.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ignite.metrics import Metric
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scipy import ndimage

from medbundles.image_quality import (
    body_mask,
    hu_bias,
    lesion_response,
    psnr,
    rmse,
    ssim,
    tissue_regions,
)

PEAK_HU = 2924.0  # as LDCT-bench, so that decibels can be compared
ENOUGH, PRICE_DB = 0.94, 20.0  # where the benchmark finds 0.9 of a faint lesion's contrast
LESION_HU = 3.0  # where a lesion begins
REACH_PX = 3

Array = NDArray[np.floating]


def slice_scores(output: Array, image: Array, truth: Array) -> dict[str, float]:
    """Figures of one denoised slice (X, Y) in HU: over the body, and bias by tissue where there is any."""
    body = body_mask(truth)
    body = body if body.any() else np.ones_like(body)
    quality = [psnr(a, truth, data_range=PEAK_HU, mask=body) for a in (output, image)]
    found = {
        "PSNR gain dB": quality[0] - quality[1],
        "PSNR dB": quality[0],
        "PSNR of the input dB": quality[1],
        "SSIM": ssim(output, truth, data_range=PEAK_HU, mask=body),
        "SSIM of the input": ssim(image, truth, data_range=PEAK_HU, mask=body),
        "RMSE HU": rmse(output, truth, mask=body),
        "RMSE of the input HU": rmse(image, truth, mask=body),
    }
    bias = hu_bias(output, truth, tissue_regions(truth))
    return found | {f"bias {name} HU": value for name, value in bias.items() if value is not None}


def lesion_responses(output: Array, truth: Array) -> list[float]:
    """For each lesion of a stack (X, Y, 2), how much of it is left: 1 is kept, 0 is erased."""
    lesions = truth[..., 0] - truth[..., 1]
    parts, count = ndimage.label(ndimage.binary_dilation(np.abs(lesions) > LESION_HU, iterations=REACH_PX))
    return [
        lesion_response(output[..., 0], output[..., 1], np.where(parts == index, lesions, 0))
        for index in range(1, count + 1)
    ]


def case_scores(output: Array, image: Array, truth: Array, lesions: bool = False) -> dict[str, float]:
    """Figures of a case (X, Y, N) in HU: means over its slices; of a stack with lesions, the first's."""
    chosen = [0] if lesions else range(truth.shape[-1])
    rows = [slice_scores(output[..., z], image[..., z], truth[..., z]) for z in chosen]
    names = dict.fromkeys(name for row in rows for name in row)
    found = {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
    if lesions and (left := lesion_responses(output, truth)):
        found["lesion contrast kept"] = float(np.mean(left))
    return found


def quality(scores: Mapping[str, float]) -> float:
    """One number to choose weights by: decibels gained, less 0.2 for each hundredth of lesion contrast lost.

    The first six hundredths are free; without this price the smoothest network would win.
    """
    kept = scores.get("lesion contrast kept", 1.0)
    return scores["PSNR gain dB"] - PRICE_DB * max(0.0, ENOUGH - kept)


class MeanScore(Metric):
    """The mean of a score over the cases of a validation; takes lists of `scores`.

    Args:
        score: a name in the scores, or `quality` for the function of that name.
    """

    def __init__(self, score: str = "quality", **options: Any) -> None:
        self.score = score
        super().__init__(**options)

    def reset(self) -> None:
        self._values: list[float] = []

    def update(self, output: Sequence[Mapping[str, float]]) -> None:
        for scores in output:
            value = quality(scores) if self.score == "quality" else scores.get(self.score)
            self._values += [] if value is None else [value]

    def compute(self) -> float:
        return float(np.mean(self._values)) if self._values else float("nan")


class ScoreDenoisingd(MapTransform):
    """Adds `scores` and `group` to a case whose truth is known.

    Args:
        keys: the denoised image, in HU on the grid of the file.
        image_key: the input, likewise.
        label_key: the truth, likewise.
    """

    def __init__(self, keys: KeysCollection, image_key: str = "image", label_key: str = "label") -> None:
        super().__init__(keys)
        self.image_key, self.label_key = image_key, label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        truth, image = (_slices(data[key]) for key in (self.label_key, self.image_key))
        for key in self.key_iterator(data):
            output = _slices(data[key])
            data["scores"] = case_scores(output, image, truth, lesions=bool(data.get("lesions")))
            data["group"] = str(data.get("group", "cases"))
        return data


def _slices(image: torch.Tensor | Array) -> Array:
    """The values of an image (1, X, Y[, N]) in HU as doubles (X, Y, N)."""
    values = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    return np.atleast_3d(values[0].astype(np.float64))
