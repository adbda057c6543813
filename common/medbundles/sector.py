"""From any stored ultrasound frame to a network's grid and back: upright, isotropic, whole, with its beams.

Frames are (C, X, Y). The network's grid shows the whole frame, the probe at the top, with square pixels; what
is left over stays black. One affine map does all of it at once, and the same map brings the answer back.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medbundles.blanked import noted
from medbundles.images import frame_axes
from medbundles.sector_beam import find_beam, sector_mask, visible_sector

BRIGHTEST = 0.995


def grid_to_frame(
    affine: NDArray[np.floating], shape: Sequence[int], size: Sequence[int]
) -> NDArray[np.float64]:
    """The 3x3 map from pixels of the network's grid to pixels of a frame.

    Args:
        affine: 4x4 RAS affine of the frame.
        shape: (X, Y) of the frame.
        size: (X, Y) of the network's grid.
    """
    axes = frame_axes(affine)  # columns: where the frame's axes point on the display
    spacing = np.maximum(np.linalg.norm(affine[:3, :2], axis=0), 1e-9)
    # The frame axis that runs most along the display's x axis becomes x; an oblique rest is left as it is.
    swap = abs(axes[0, 1]) / spacing[1] > abs(axes[0, 0]) / spacing[0]
    order = (1, 0) if swap else (0, 1)
    upright = np.zeros((2, 2))
    for display, axis in enumerate(order):
        sign = -1.0 if axes[display, axis] < 0 else 1.0
        upright[axis, display] = sign / spacing[axis]  # frame pixels per millimetre of display
    extent = [shape[axis] * spacing[axis] for axis in order]
    millimetres = max(extent[0] / size[0], extent[1] / size[1])
    linear = upright * millimetres
    centre = (np.asarray(shape, float) - 1) / 2 - linear @ ((np.asarray(size, float) - 1) / 2)
    return np.vstack([np.column_stack([linear, centre]), [0, 0, 1]])


def resample(
    image: Tensor,
    to_source: NDArray[np.floating],
    size: Sequence[int],
    *,
    mode: str = "bilinear",
    outside: str = "zeros",
) -> Tensor:
    """An image (C, X, Y) looked up at `to_source` of each pixel of a new grid; options: see `grid_sample`."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]), indexing="ij")
    points = to_source[:2, :2] @ np.stack([x.ravel(), y.ravel()]) + to_source[:2, 2:]
    # grid_sample wants (last axis, first axis) in -1..1 over the outer edges of the pixels.
    unit = [(2 * points[axis] + 1) / image.shape[axis + 1] - 1 for axis in (1, 0)]
    grid = torch.as_tensor(np.stack(unit, -1).reshape(1, *size, 2), dtype=torch.float32, device=image.device)
    sampled = functional.grid_sample(
        image[None].float(), grid, mode=mode, padding_mode=outside, align_corners=False
    )
    return sampled[0]


def _shrink_safely(image: Tensor, to_source: NDArray[np.floating]) -> Tensor:
    """Averages an image before it is shrunk, so that speckle does not alias."""
    steps = [max(1, int(np.abs(to_source[axis, :2]).max())) for axis in (0, 1)]
    if max(steps) == 1:
        return image
    kernel = [step + 1 - step % 2 for step in steps]
    padded = functional.pad(image[None], [kernel[1] // 2] * 2 + [kernel[0] // 2] * 2, mode="replicate")
    return functional.avg_pool2d(padded, kernel, stride=1)[0]


def beam_channels(grey: NDArray[np.floating]) -> NDArray[np.float32]:
    """Sector mask, depth and signed beam angle (3, X, Y) of an upright frame (X, Y) with values in 0..1."""
    mask = sector_mask(grey)
    beam = find_beam(mask)
    return np.stack([visible_sector(mask, beam).astype(np.float32), *beam.depth_and_angle(grey.shape)])


class StandardiseSectord(MapTransform, InvertibleTransform):
    """Puts a frame on the network's grid as grey value in 0..1, sector mask, depth and beam angle.

    A label under another key follows the frame onto the grid. Boxes that were painted over the frame are
    noted in the meta information, see `medbundles.blanked`. The inverse brings a prediction on the network's
    grid back to the pixels of the stored frame.

    Args:
        keys: the frame, then labels that go with it.
        size: (X, Y) of the network's grid.
    """

    def __init__(self, keys: KeysCollection, size: Sequence[int], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.size = tuple(size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        frame: MetaTensor = data[self.keys[0]]
        shape = tuple(frame.shape[1:])
        to_frame = grid_to_frame(np.asarray(frame.affine, float), shape, self.size)
        affine = frame.affine.clone()
        meta = dict(frame.meta) | noted(torch.as_tensor(frame).as_subclass(Tensor)[0].cpu().numpy())
        for key in self.key_iterator(data):
            image = torch.as_tensor(data[key]).as_subclass(Tensor)
            is_frame = key == self.keys[0]
            moved = (
                self._frame(image, to_frame)
                if is_frame
                else resample(image, to_frame, self.size, mode="nearest")
            )
            data[key] = MetaTensor(moved, meta=dict(meta), applied_operations=list(frame.applied_operations))
            data[key].affine = affine @ _embedded(to_frame)
            self.push_transform(data[key], orig_size=shape, extra_info={"to_frame": to_frame.tolist()})
        return data

    def _frame(self, image: Tensor, to_frame: NDArray[np.floating]) -> Tensor:
        image = image[:1].float()
        image = image - image.min()
        image = image / torch.quantile(
            image.flatten()[:: max(1, image.numel() // 100_000)], BRIGHTEST
        ).clamp_min(1e-6)
        grey = resample(_shrink_safely(image.clamp(0, 1), to_frame), to_frame, self.size)
        return torch.cat([grey, torch.from_numpy(beam_channels(grey[0].numpy()))])

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            record = self.pop_transform(data[key])
            to_frame = np.asarray(record[TraceKeys.EXTRA_INFO]["to_frame"])
            shape = tuple(int(n) for n in record[TraceKeys.ORIG_SIZE])
            prediction: MetaTensor = data[key]
            mode = "bilinear" if prediction.is_floating_point() else "nearest"
            moved = resample(
                prediction.as_subclass(Tensor), np.linalg.inv(to_frame), shape, mode=mode, outside="border"
            )
            data[key] = MetaTensor(
                moved.to(prediction.dtype),
                meta=dict(prediction.meta),
                applied_operations=prediction.applied_operations,
            )
            data[key].affine = prediction.affine @ _embedded(np.linalg.inv(to_frame))
        return data


def _embedded(in_plane: NDArray[np.floating]) -> Tensor:
    """A 3x3 map of pixels as the 4x4 map that leaves the third axis alone."""
    full = np.eye(4)
    full[:2, :2], full[:2, 3] = in_plane[:2, :2], in_plane[:2, 2]
    return torch.as_tensor(full, dtype=torch.float64)
