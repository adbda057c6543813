"""Where the windows of a volume lie, what they hold, and how much each of their voxels counts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

import torch
from monai.data.utils import compute_importance_map
from torch import Tensor
from torch.nn import functional

APART = 8  # voxels that are looked at first
ROWS = 16  # of a volume that are looked at together
LEAST_WEIGHT = 1e-3  # of a voxel in the corner of a window

Box = tuple[slice, ...]


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """First voxels of the windows along an axis, as MONAI lays them: no fewer reach over all of it.

    Args:
        size: voxels of the axis, at least `window`.
        window: voxels of a window.
        overlap: share of a window that it has in common with the next, at least.
    """
    if size == window:
        return [0]
    step = max(1, int(window * (1 - overlap)))
    count = math.ceil((size - window) / step) + 1
    return [min(index * step, size - window) for index in range(count)]


def windows(size: Sequence[int], window: Sequence[int], overlap: float) -> Iterator[Box]:
    """The windows of a volume; those that begin first along the first axis come first."""
    starts = [window_starts(n, w, overlap) for n, w in zip(size, window, strict=True)]
    for corner in product(*starts):
        yield tuple(slice(at, at + w) for at, w in zip(corner, window, strict=True))


def importance(window: Sequence[int], blend: str, device: torch.device) -> Tensor:
    """How much each voxel of a window counts where windows overlap: (1, 1, ...), as MONAI has it.

    Args:
        window: its size.
        blend: `gaussian`, the middle counts most; or `constant`.
        device: where to put it.
    """
    weights = compute_importance_map(tuple(window), mode=blend, device=device, dtype=torch.float32)
    return weights.clamp_(min=max(float(weights.min()), LEAST_WEIGHT))[None, None]


def background_of(volume: Tensor) -> Tensor:
    """The value of each channel of a volume (C, ...) where there is nothing: that of its first voxel."""
    return volume.reshape(len(volume), -1)[:, 0]


def is_empty(volume: Tensor, background: Tensor) -> bool:
    """Whether a volume (C, ...) holds nothing but the background."""
    value = background.view(-1, *[1] * (volume.ndim - 1))
    few = volume[(slice(None), *[slice(None, None, APART)] * (volume.ndim - 1))]  # mostly these tell already
    return bool((few == value).all()) and bool((volume == value).all())


def informative_box(volume: Tensor, background: Tensor) -> Box:
    """The box around everything in a volume (C, ...) that is not background; all of it if there is nothing.

    Args:
        volume: read slab by slab, so that it may be larger than the memory.
        background: of each channel.
    """
    value = background.view(-1, *[1] * (volume.ndim - 1))
    found = [torch.zeros(n, dtype=torch.bool, device=volume.device) for n in volume.shape[1:]]
    for start in range(0, volume.shape[1], ROWS):
        there = (volume[:, start : start + ROWS] != value).any(0)
        found[0][start : start + ROWS] = there.flatten(1).any(1)
        there = there.any(0)
        for axis in range(there.ndim):
            others = [other for other in range(there.ndim) if other != axis]
            found[axis + 1] |= there.any(dim=others) if others else there
    if not found[0].any():
        return tuple(slice(0, n) for n in volume.shape[1:])
    ends = [(int(line.nonzero()[0]), int(line.nonzero()[-1]) + 1) for line in found]
    return tuple(slice(low, high) for low, high in ends)


def with_margin(box: Box, margin: int, size: Sequence[int], window: Sequence[int], overlap: float) -> Box:
    """A box with up to `margin` voxels more on every side, along axes where that takes no further window."""
    grown = []
    for part, n, w in zip(box, size, window, strict=True):
        wider = slice(max(0, part.start - margin), min(n, part.stop + margin))
        counts = [len(window_starts(max(w, one.stop - one.start), w, overlap)) for one in (part, wider)]
        grown.append(wider if counts[0] == counts[1] else part)
    return tuple(grown)


def at_least(box: Box, window: Sequence[int], size: Sequence[int]) -> Box:
    """A box that is grown to the size of a window, where the volume is that large."""
    grown = []
    for part, least, n in zip(box, window, size, strict=True):
        missing = max(0, min(least, n) - (part.stop - part.start))
        start = min(max(0, part.start - missing // 2), n - (part.stop - part.start) - missing)
        grown.append(slice(start, start + part.stop - part.start + missing))
    return tuple(grown)


def padded(volume: Tensor, window: Sequence[int]) -> tuple[Tensor, Box]:
    """A volume (C, ...) with zeros around it where it is smaller than a window, and its place in there."""
    lacks = [max(0, w - n) for n, w in zip(volume.shape[1:], window, strict=True)]
    place = tuple(slice(lack // 2, lack // 2 + n) for lack, n in zip(lacks, volume.shape[1:], strict=True))
    if not any(lacks):
        return volume, place
    sides = [side for lack in reversed(lacks) for side in (lack // 2, lack - lack // 2)]
    return functional.pad(volume, sides), place
