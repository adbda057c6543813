"""Volumes as stacks of slices: along which axis they are stacked, and every slice in its standard view."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys

from medbundles.images import RAS_FROM_LPS, frame_axes, spacing_of

CLEARLY_COARSER = 1.5


def slice_axis(affine: np.ndarray, shape: Sequence[int]) -> int:
    """Returns the axis along which the slices of an image (x, y[, z]) are stacked.

    It is the third axis of a frame, the axis of length one of a single slice, the clearly coarsest axis of a
    volume, and else the axis that runs nearest to head and feet.

    Args:
        affine: 4x4.
        shape: the number of voxels along each spatial axis.
    """
    single = [axis for axis, n in enumerate(shape) if n == 1]
    if len(shape) == 2 or single:
        return single[-1] if single and len(shape) == 3 else 2
    spacing = np.array(spacing_of(affine, 3))
    coarsest = int(np.argmax(spacing))
    if spacing[coarsest] > CLEARLY_COARSER * np.delete(spacing, coarsest).max():
        return coarsest
    return int(np.argmax(np.abs(np.asarray(affine, float)[2, :3]) / spacing))


def slice_view(affine: np.ndarray, shape: Sequence[int]) -> tuple[list[int], list[bool]]:
    """Returns in which order to take the three axes, and which to flip then, for slices in standard view.

    The first two axes of the result run as on the screen (axial slices: to the patient's left and back), the
    third through the slices, to the head, the front or the left.
    """
    last = slice_axis(affine, shape)
    first, second = (axis for axis in range(3) if axis != last)
    affine = np.asarray(affine, float)
    axes = frame_axes(affine[:, [first, second, last, 3]])
    if abs(axes[0, 1]) + abs(axes[1, 0]) > abs(axes[0, 0]) + abs(axes[1, 1]):
        first, second, axes = second, first, axes[:, ::-1]
    through = (RAS_FROM_LPS @ affine)[:3, last]
    towards = through[int(np.argmax(np.abs(through)))] * (-1 if np.argmax(np.abs(through)) == 1 else 1)
    return [first, second, last], [bool(axes[0, 0] < 0), bool(axes[1, 1] < 0), bool(towards < 0)]


def to_slices(array: torch.Tensor, order: Sequence[int], flips: Sequence[bool]) -> torch.Tensor:
    """Returns an image (C, x, y[, z]) as slices (C, x, y, n), as `slice_view` says."""
    array = array[..., None] if array.ndim == 3 else array
    array = array.permute(0, *(axis + 1 for axis in order))
    return array.flip([axis + 1 for axis, flip in enumerate(flips) if flip]).contiguous()


def from_slices(
    array: torch.Tensor, order: Sequence[int], flips: Sequence[bool], ndim: int = 3
) -> torch.Tensor:
    """Returns slices (C, x, y, n) on the grid that they came from, with its number of axes."""
    array = array.flip([axis + 1 for axis, flip in enumerate(flips) if flip])
    array = array.permute(0, *(int(i) + 1 for i in np.argsort(order)))
    return (array[..., 0] if ndim == 2 else array).contiguous()


class AsSlicesd(MapTransform, InvertibleTransform):
    """Turns a frame or a volume into slices in standard view, (C, x, y, n); the inverse turns them back.

    A network for slices then sees the same picture however the file stores it, and a frame is a volume of
    one slice.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the case with its images as slices."""
        case = dict(data)
        for key in self.key_iterator(case):
            image: MetaTensor = case[key]
            affine, shape = np.asarray(image.affine, float), tuple(image.shape[1:])
            order, flips = slice_view(affine, shape)
            slices = to_slices(image.as_tensor(), order, flips)
            step = _index_map(order, flips, slices.shape[1:])
            case[key] = _like(image, slices, affine @ step)
            info = {"order": order, "flips": flips}
            self.push_transform(case[key], orig_size=shape, extra_info=info)
        return case

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the case with its images on their own grid."""
        case = dict(data)
        for key in self.key_iterator(case):
            slices: MetaTensor = case[key]
            record = self.pop_transform(slices)
            order, flips = (record[TraceKeys.EXTRA_INFO][name] for name in ("order", "flips"))
            order, flips = [int(axis) for axis in order], [bool(flip) for flip in flips]
            image = from_slices(slices.as_tensor(), order, flips, len(record[TraceKeys.ORIG_SIZE]))
            step = _index_map(order, flips, slices.shape[1:])
            case[key] = _like(slices, image, np.asarray(slices.affine, float) @ np.linalg.inv(step))
        return case


def _index_map(order: Sequence[int], flips: Sequence[bool], shape: Sequence[int]) -> np.ndarray:
    """The 4x4 map from indices of the slices to indices of the image; `shape` is that of the slices."""
    step = np.zeros((4, 4))
    step[3, 3] = 1
    for axis, (old, flip) in enumerate(zip(order, flips, strict=True)):
        step[old, axis], step[old, 3] = (-1, shape[axis] - 1) if flip else (1, 0)
    return step


def _like(image: MetaTensor, pixels: torch.Tensor, affine: np.ndarray) -> MetaTensor:
    meta = {key: value for key, value in image.meta.items() if key != "affine"}
    place = torch.as_tensor(affine, dtype=torch.float64)
    return MetaTensor(pixels, affine=place, meta=meta, applied_operations=list(image.applied_operations))
