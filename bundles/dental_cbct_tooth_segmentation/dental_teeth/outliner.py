"""The outline of one tooth on a panorama: a U-Net on what lies in its box.

Shapes: B batch, S = 128 pixels a side of a crop. Pictures and crops are (columns, rows).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import BasicUNet
from torch import Tensor
from torch.nn import functional

from dental_teeth.boxes import Box

SIDE = 128
AROUND = 0.2  # of the box's sides, shown around it: its edges are guesses


class Outliner(BasicUNet):
    """Logits (B, 1, S, S) of the tooth in the middle of crops (B, 1, S, S).

    Args:
        width: channels at full resolution, doubled at each of three levels.
    """

    def __init__(self, width: int = 16) -> None:
        features = (width, width, 2 * width, 4 * width, 8 * width, width)
        super().__init__(2, 1, 1, features, norm=("GROUP", {"num_groups": 8, "affine": True}))


def window_of(box: Box) -> Box:
    """Returns the part of the panorama that is shown of a box."""
    across, down = AROUND * (box.right - box.left), AROUND * (box.bottom - box.top)
    return Box(box.left - across, box.top - down, box.right + across, box.bottom + down)


def crop(picture: Tensor, window: Box) -> Tensor:
    """Returns a window of a picture (columns, rows), stretched to (S, S); 0 beyond the picture."""
    return stretched(picture, window, (SIDE, SIDE))


def stretched(picture: Tensor, window: Box, size: Sequence[int], *, fill: float = 0.0) -> Tensor:
    """Returns a window of a picture (columns, rows), stretched to a size; `fill` beyond the picture."""
    places = [
        start + (end - start) * (torch.arange(count, device=picture.device) + 0.5) / count - 0.5
        for count, start, end in zip(
            size, (window.left, window.top), (window.right, window.bottom), strict=True
        )
    ]
    scaled = [
        2 * places.float() / max(length - 1, 1) - 1
        for places, length in zip(places, picture.shape, strict=True)
    ]
    # grid_sample names the last axis first.
    grid = torch.stack(torch.meshgrid(*scaled, indexing="ij")[::-1], dim=-1)
    values = functional.grid_sample((picture.float() - fill)[None, None], grid[None], align_corners=True)
    return values[0, 0] + fill


def paste(answer: Tensor, window: Box, shape: Sequence[int], *, fill: float) -> Tensor:
    """Returns an answer (S, S) for a window where it belongs in a picture; `fill` around it."""
    across, down = SIDE / (window.right - window.left), SIDE / (window.bottom - window.top)
    picture = Box(
        -window.left * across,
        -window.top * down,
        (shape[0] - window.left) * across,
        (shape[1] - window.top) * down,
    )
    return stretched(answer, picture, shape, fill=fill)
