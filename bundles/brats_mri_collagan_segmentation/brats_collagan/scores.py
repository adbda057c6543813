"""How well a label map agrees with the truth, and an imputed contrast with the one that was withheld."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray

from medbundles.contrasts import CONTRASTS, TITLES
from medbundles.images import spacing_of
from medbundles.metrics import dice, hausdorff
from medbundles.regions import region_mask
from medbundles.saving import affine_of, array_of

ORDER = ("WT", "TC", "ET")
ALL_THERE = "all contrasts"

Labels = NDArray[np.integer]


def region_scores(found: Labels, truth: Labels, spacing: tuple[float, ...]) -> dict[str, float]:
    """Dice and HD95 of each region of two label maps (X, Y, Z).

    A region that neither has counts as 1 and 0 mm, as in the BraTS rules; where only one of the two has it,
    the Dice is 0 and there is no distance.
    """
    scores = {}
    for region in ORDER:
        masks = [np.asarray(region_mask(labels, region)) for labels in (found, truth)]
        there = [bool(mask.any()) for mask in masks]
        scores[f"{region} Dice"] = dice(*masks) if any(there) else 1.0
        if all(there):
            scores[f"{region} HD95 mm"] = hausdorff(*masks, spacing=spacing, percentile=95)
        elif not any(there):
            scores[f"{region} HD95 mm"] = 0.0
    return scores


class ScoreTumourd(MapTransform):
    """Adds `scores` and `group` to a case whose truth is known; the group says what was imputed.

    Args:
        keys: the label map (1, X, Y, Z).
        label_key: the truth on the same grid.
    """

    def __init__(self, keys: KeysCollection, label_key: str = "label") -> None:
        super().__init__(keys)
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            found, truth = (array_of(data[name])[0].astype(np.uint8) for name in (key, self.label_key))
            data["scores"] = region_scores(found, truth, spacing_of(affine_of(data[key]), 3))
            data["group"] = group_of(data.get("synthetic_inputs", []), data.get("kind"))
        return data


def group_of(synthetic: list[str], kind: str | None = None) -> str:
    """The row of the table that a case belongs to, such as `simulated, T1Gd imputed`."""
    names = " and ".join(TITLES[name] for name in CONTRASTS if name in synthetic)
    what = f"{names} imputed" if names else ALL_THERE
    return f"{kind}, {what}" if kind else what
