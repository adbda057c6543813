"""Random changes for training: what another scanner would have made of a brain, and the pieces that are cut.

Shapes: C contrasts, S slices of context, X, Y and Z the axes of a volume, N pixels a side of a cut slice. All
images are z-scored over the brain and 0 around it, and remain 0 there.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor
from torch.nn import functional

from brats_collagan.collagan import with_neighbours

FULL_ENOUGH = 0.2  # brain in a slice, as a part of that in the fullest slice
COARSE = 5  # control points of a bias field along each axis


class RandAppearanced(RandomizableTransform, MapTransform):
    """Changes each contrast by itself: gamma, gain, offset, shading, noise, thick slices.

    Args:
        keys: contrasts (C, X, Y, Z).
        prob: share of the contrasts that each change happens to.
        strength: factor on all changes; 0 changes nothing.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.4, strength: float = 1.0) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, 1.0)
        self.share, self.strength = float(prob), float(strength)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            volume = torch.as_tensor(data[key]).as_subclass(Tensor)
            data[key] = torch.stack([self.change(contrast) for contrast in volume])
        return data

    def change(self, contrast: Tensor) -> Tensor:
        """One contrast (X, Y, Z), changed."""
        brain = contrast != 0
        for step in (self._slices, self._gamma, self._shading, self._level, self._noise):
            if self.R.random() < self.share:
                contrast = step(contrast)
        return contrast * brain

    def _level(self, x: Tensor) -> Tensor:
        gain = float(np.exp(self.strength * self.R.uniform(-0.25, 0.25)))
        return x * gain + self.strength * self.R.uniform(-0.3, 0.3)

    def _gamma(self, x: Tensor) -> Tensor:
        low, high = -3.0, 5.0
        exponent = float(np.exp(self.strength * self.R.uniform(-0.4, 0.4)))
        unit = ((x - low) / (high - low)).clamp_min(0)
        return unit**exponent * (high - low) + low

    def _shading(self, x: Tensor) -> Tensor:
        points = torch.from_numpy(self.R.normal(0, 0.15 * self.strength, (1, 1, COARSE, COARSE, COARSE)))
        field = functional.interpolate(points.to(x.dtype), x.shape, mode="trilinear", align_corners=True)[
            0, 0
        ]
        return (x + 3) * torch.exp(field) - 3  # about -3 is black

    def _noise(self, x: Tensor) -> Tensor:
        spread = abs(self.R.normal(0, 0.15 * self.strength))
        noise = torch.from_numpy(self.R.standard_normal(x.shape).astype(np.float32))
        return x + spread * noise.to(x.dtype)

    def _slices(self, x: Tensor) -> Tensor:
        """Thick slices along one axis, interpolated again."""
        axis = int(self.R.randint(3))
        thickness = self.R.uniform(1.0, 1.0 + 4.0 * self.strength)
        size = list(x.shape)
        size[axis] = max(2, round(size[axis] / thickness))
        thick = functional.adaptive_avg_pool3d(x[None, None], size)
        return functional.interpolate(thick, x.shape, mode="trilinear", align_corners=False)[0, 0]


class RandSlicesd(RandomizableTransform, MapTransform):
    """Turns an item into a list of items with slices, cut, padded and mirrored alike.

    Contrasts become (C * S, N, N) with their context, regions (R, N, N) without.

    Args:
        keys: contrasts (C, X, Y, Z), then regions (R, X, Y, Z).
        size: pixels a side; a larger slice is cut at a random place, a smaller one padded with 0.
        samples: slices from each item.
        slices: slices of context.
        tumour_share: share of the slices that are drawn from those with tumour, if there are any.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: int = 192,
        samples: int = 4,
        *,
        slices: int = 1,
        tumour_share: float = 0.7,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, 1.0)
        self.size, self.samples, self.slices = int(size), int(samples), int(slices)
        self.tumour_share = float(tumour_share)

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        image, regions = (torch.as_tensor(data[key]).as_subclass(Tensor) for key in self.key_iterator(data))
        brain = full_slices(image)
        tumour = torch.nonzero((regions != 0).any(0).any(0).any(0)).flatten().tolist() or brain
        places = [tumour if self.R.random() < self.tumour_share else brain for _ in range(self.samples)]
        return [self._sample(image, regions, int(self.R.choice(place))) for place in places]

    def _sample(self, image: Tensor, regions: Tensor, place: int) -> dict[Hashable, Tensor]:
        near = image[..., max(0, place - self.slices) : place + self.slices + 1]
        context = with_neighbours(near[None], self.slices)[0][..., min(place, self.slices)]
        corner, mirror = self.R.random(2), self.R.random() < 0.5
        cut = [_single(cut_or_pad(part, self.size, corner)) for part in (context, regions[..., place])]
        return dict(zip(self.keys, (part.flip(1) if mirror else part for part in cut), strict=True))


def full_slices(volume: Tensor) -> list[int]:
    """Indices of the slices of a volume (C, X, Y, Z) that show enough brain to learn from."""
    area = (volume != 0).any(0).sum((0, 1))
    found = torch.nonzero(area > FULL_ENOUGH * area.max()).flatten().tolist()
    return found or [volume.shape[-1] // 2]


def cut_or_pad(image: Tensor, size: int, corner: Sequence[float]) -> Tensor:
    """An image (..., X, Y) brought to `size` pixels a side.

    Args:
        corner: where to cut, from 0 (first pixels) to 1 (last pixels), for X and Y.
    """
    for axis, share in zip((-2, -1), corner, strict=True):
        spare = image.shape[axis] - size
        if spare > 0:
            image = image.narrow(axis, int(share * (spare + 1)), size)
        elif spare < 0:
            margins = [0, 0, 0, 0]
            first = 2 if axis == -2 else 0
            margins[first : first + 2] = [-spare // 2, -spare - -spare // 2]
            image = functional.pad(image, margins)
    return image.contiguous()


class RandPatchesd(RandomizableTransform, MapTransform):
    """Turns an item into a list of items with patches of volume and regions, more often than not on tumour.

    Args:
        keys: contrasts (C, X, Y, Z), then regions (R, X, Y, Z).
        size: voxels along each axis; smaller volumes are padded with 0.
        samples: patches from each item.
        tumour_share: share of the patches whose middle is in a tumour, if there is one.
    """

    def __init__(
        self, keys: KeysCollection, size: Sequence[int], samples: int = 1, *, tumour_share: float = 0.7
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, 1.0)
        self.size, self.samples = tuple(int(n) for n in size), int(samples)
        self.tumour_share = float(tumour_share)

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        volumes = {key: self._padded(data[key]) for key in self.key_iterator(data)}
        return [self._sample(volumes) for _ in range(self.samples)]

    def _padded(self, volume: Tensor) -> Tensor:
        volume = torch.as_tensor(volume).as_subclass(Tensor)
        margins: list[int] = []
        for length, wanted in zip(reversed(volume.shape[1:]), reversed(self.size), strict=True):
            lack = max(0, wanted - length)
            margins += [lack // 2, lack - lack // 2]
        return functional.pad(volume, margins)

    def _sample(self, volumes: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        image, regions = (volumes[key] for key in self.keys)
        shape = image.shape[1:]
        centre = self._place(regions) if self.R.random() < self.tumour_share else None
        centre = centre or self._place(image) or tuple(n // 2 for n in shape)
        starts = [min(max(c - w // 2, 0), n - w) for c, w, n in zip(centre, self.size, shape, strict=True)]
        cut = (slice(None), *(slice(s, s + w) for s, w in zip(starts, self.size, strict=True)))
        flips = [axis for axis in (1,) if self.R.random() < 0.5]
        return {key: _single(volume[cut].flip(flips)).contiguous() for key, volume in volumes.items()}

    def _place(self, volume: Tensor) -> tuple[int, ...] | None:
        """A random voxel in which any channel is not 0, if there is one."""
        places = torch.nonzero((volume != 0).any(0).flatten())[:, 0]
        if not len(places):
            return None
        index = int(places[int(self.R.randint(len(places)))])
        return tuple(int(i) for i in np.unravel_index(index, volume.shape[1:]))


def _single(volume: Tensor) -> Tensor:
    """Volumes may be kept in 16 bits; they are not to be computed with in those."""
    return volume.float() if volume.is_floating_point() else volume
