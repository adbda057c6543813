"""Hounsfield units to the network's scale and back, and how much of the denoising is let through."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import InvertibleTransform, MapTransform
from torch import Tensor

from medbundles.checks import OverrideError

HU_PER_UNIT = 400.0
PADDING_HU = -1500.0  # no noise reaches below it: scanners mark so what they did not reconstruct


class ScaleHud(MapTransform, InvertibleTransform):
    """Divides Hounsfield units by 400; the inverse multiplies. Nothing is cut off."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            data[key] = data[key] / HU_PER_UNIT
            self.push_transform(data[key])
        return data

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            self.pop_transform(data[key])
            data[key] = data[key] * HU_PER_UNIT
        return data


def blend(before: Tensor, after: Tensor, strength: float) -> Tensor:
    """The image between `before` (strength 0) and `after` (1), in HU; padding stays as it is."""
    mixed = before + strength * (after - before)
    return torch.where(before < PADDING_HU, before, mixed)


def checked_strength(strength: float) -> float:
    """The strength as a number from 0 to 1.

    Raises:
        OverrideError: it is anything else.
    """
    try:
        number = float(strength)
    except (TypeError, ValueError):
        number = math.nan
    if 0.0 <= number <= 1.0:
        return number
    raise OverrideError(
        f"--strength {strength}",
        expected="a number from 0 (the input unchanged) to 1 (all that the network removes)",
        source="option strength",
        advice="write for example --strength 0.7",
    )


class BlendStrengthd(MapTransform):
    """Lets a share of the denoising through, see `blend`.

    Args:
        keys: the denoised image, in HU on the input's grid.
        strength: 0 gives the input back, 1 all that the network changed; 0.7 keeps a third of the grain.
        image_key: the input, likewise.
    """

    def __init__(self, keys: KeysCollection, strength: float = 1.0, image_key: str = "image") -> None:
        super().__init__(keys)
        self.strength, self.image_key = checked_strength(strength), image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            data[key] = blend(data[self.image_key], data[key], self.strength)
        return data
