"""The labels of the bundle, and what of them every case shares: the outlines of abdomen and head."""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch import Tensor

LABELS = {1: "abdomen", 2: "stomach bubble", 3: "umbilical vein", 4: "spine", 5: "head"}
ABDOMEN_PARTS = (1, 2, 3, 4)
HEAD = 5
# In the truth of a real frame: the abdomen, of which nobody said where its structures are.
UNDIVIDED_ABDOMEN = 6


def whole_abdomen(label: Tensor) -> Tensor:
    """True inside the outline of the abdomen, whatever structure lies there."""
    return torch.isin(label, torch.tensor([*ABDOMEN_PARTS, UNDIVIDED_ABDOMEN], device=label.device))


class Outlinesd(MapTransform):
    """Reduces logits (6, X, Y) or a label map (1, X, Y) to masks (2, X, Y) of whole abdomen and head."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            image = torch.as_tensor(data[key]).as_subclass(Tensor)
            data[key] = _from_logits(image) if image.shape[0] > 1 else _from_labels(image[0])
        return data


def _from_logits(logits: Tensor) -> Tensor:
    p = logits.float().softmax(dim=0)
    return torch.stack([p[list(ABDOMEN_PARTS)].sum(dim=0), p[HEAD]]) > 0.5


def _from_labels(label: Tensor) -> Tensor:
    return torch.stack([whole_abdomen(label), label == HEAD])
