"""The label map with the numbers that dentists use."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from dental_teeth.teeth import FDI_CODES, to_codes
from medbundles.saving import array_of


class FdiCodesd(MapTransform):
    """Turns the values 1 to 32 of a label map into FDI numbers, for tools that want them.

    The case's `label_values` then say which number stands for which label of the metadata.

    Args:
        keys: the label map (1, X, Y, Z).
        enabled: whether that is wanted; if not, nothing happens.
    """

    def __init__(self, keys: KeysCollection, *, enabled: bool = True) -> None:
        super().__init__(keys)
        self.enabled = bool(enabled)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        if not self.enabled:
            return data
        data["label_values"] = dict(enumerate(FDI_CODES, start=1))
        for key in self.key_iterator(data):
            codes = torch.from_numpy(to_codes(array_of(data[key]).astype("uint8")))
            source = data[key]
            data[key] = MetaTensor(codes).copy_meta_from(source) if isinstance(source, MetaTensor) else codes
        return data
