"""Tensors without their headers, which slow every step of a network, and with them again."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from torch import Tensor


def plain(image: Tensor) -> Tensor:
    """The same numbers without header and history."""
    return image.as_subclass(Tensor)


def with_header_of(image: Tensor, answer: Tensor) -> Tensor:
    """An answer with the header and history of its image, so that transforms can be inverted."""
    if not isinstance(image, MetaTensor) or not isinstance(answer, torch.Tensor):
        return answer
    return MetaTensor(plain(answer)).copy_meta_from(image)
