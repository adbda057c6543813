"""Volumes and diameters of a tumour, with what they rest on, and what must not be read from them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from medbundles.contrasts import TITLES
from medbundles.metadata import bundle_info
from medbundles.regions import region_measurements
from medbundles.saving import Metadata

ENHANCED = "t1gd"  # shows the agent; no other contrast knows where it went
FIGURE = "et_dice_with_{}_imputed_mean"
COMPLETE_FIGURE = "et_dice_with_all_contrasts_mean"


class MeasureTumourd(MapTransform):
    """Adds volumes and RANO diameters of WT, TC and ET, marked with the contrasts that were imputed.

    Without a measured T1Gd, nothing is said of enhancing tumour: its values are None, with the reason and
    with how far its outline fell short in evaluation.

    Args:
        keys: the label map (1, X, Y, Z) on the grid of the input.
        metadata: path or content of metadata.json; its `eval_metrics` give the measured drop.
        image_only: there is no segmentation, and nothing is measured.
    """

    def __init__(
        self, keys: KeysCollection, metadata: Metadata | None = None, image_only: bool = False
    ) -> None:
        super().__init__(keys)
        self.figures = dict(bundle_info(metadata).metadata.get("eval_metrics") or {})
        self.image_only = bool(image_only)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        synthetic = list(data.get("synthetic_inputs", []))
        warnings = _warnings(synthetic, self.image_only)
        for key in self.key_iterator(data):
            labels: MetaTensor = data[key]
            if not self.image_only:
                found = self.measure(labels, synthetic)
                data["measurements"] = [*data.get("measurements", []), *found]
        data["warnings"] = [*data.get("warnings", []), *warnings]
        return data

    def measure(self, labels: MetaTensor, synthetic: Sequence[str]) -> list[dict[str, Any]]:
        """The measurements of a label map when these contrasts were imputed."""
        found = region_measurements(
            labels.as_tensor()[0].numpy(),
            np.asarray(labels.affine, float),
            calibrated=bool(labels.meta.get("calibrated", True)),
            unreliable={"ET": unreliable_enhancement(self.figures)} if ENHANCED in synthetic else None,
        )
        return [{**item, "reason": item["reason"] or rests_on(synthetic)} for item in found]


def rests_on(synthetic: Sequence[str]) -> str | None:
    """The remark on a value that was computed with these imputed contrasts; None without any."""
    return f"rests on synthetic {' and '.join(TITLES[n] for n in synthetic)}" if synthetic else None


def unreliable_enhancement(figures: Mapping[str, float]) -> str:
    """Why enhancing tumour is not reported, with the drop of its Dice if that has been measured."""
    reason = "T1Gd is missing, and enhancement cannot be derived from the other contrasts"
    before, after = figures.get(COMPLETE_FIGURE), figures.get(FIGURE.format(ENHANCED))
    if before is None or after is None:
        return reason + "."
    return (
        f"{reason}: with an imputed T1Gd the Dice of ET fell from {before:.2f} to {after:.2f} in evaluation."
    )


def _warnings(synthetic: Sequence[str], image_only: bool) -> list[str]:
    if not synthetic:
        return ["no contrast is missing: nothing was imputed"] if image_only else []
    names = " and ".join(TITLES[name] for name in synthetic)
    notes = [f"{names} missing, imputed from the other contrasts: synthetic, not for reading"]
    if ENHANCED in synthetic and not image_only:
        notes.append("enhancing tumour is not reported: T1Gd is missing; label 3 in the label map is a guess")
    return notes
