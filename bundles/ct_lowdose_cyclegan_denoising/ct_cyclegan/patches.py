"""Random patches of slices, each with a few small lesions, for training without pairs.

Values are HU / 400, slices (1, X, Y, N), patches (1, S, S). The images of an item come from different
patients, so that each of them gets a place, a pose and lesions of its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor

from ct_cyclegan.transforms import HU_PER_UNIT

EMPTY = -940 / HU_PER_UNIT  # mean of a patch that shows little but the air around the patient
TRIES = 10
LUNG = -500 / HU_PER_UNIT
BARE = "_bare"  # the patch `image` without lesions is `image_bare`
EDGE_PX = 0.43  # a lesion fades from 90 to 10 % over 1.9 pixels, as a reconstruction blurs it


class RandPatchesd(RandomizableTransform, MapTransform):
    """Turns an item into a list of items with patches, taken where the patient is, turned and mirrored.

    Args:
        keys: slices (1, X, Y, N) each; every one gets a place of its own.
        size: pixels a side.
        samples: patches from each item.
    """

    def __init__(self, keys: KeysCollection, size: int = 64, samples: int = 4) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, 1.0)
        self.size, self.samples = int(size), int(samples)

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        """As many items as samples, with plain tensors (1, S, S) under the keys."""
        return [{key: self.patch(data[key]) for key in self.key_iterator(data)} for _ in range(self.samples)]

    def patch(self, slices: Tensor) -> Tensor:
        """One patch of slices."""
        slices = torch.as_tensor(slices).as_subclass(Tensor)
        patch = self._cut(slices)
        for _ in range(TRIES):
            if patch.mean() > EMPTY:
                break
            patch = self._cut(slices)
        if self.R.random() < 0.5:
            patch = patch.transpose(1, 2)
        return patch.flip([axis for axis in (1, 2) if self.R.random() < 0.5]).contiguous()

    def _cut(self, slices: Tensor) -> Tensor:
        _, *plane, count = slices.shape
        if min(plane) < self.size:
            raise ValueError(
                f"patches of {self.size} pixels do not fit into slices of {plane[0]} x {plane[1]}"
            )
        x, y = (int(self.R.randint(n - self.size + 1)) for n in plane)
        return slices[:, x : x + self.size, y : y + self.size, int(self.R.randint(count))]


class RandLesionsd(RandomizableTransform, MapTransform):
    """Adds small round lesions: faint ones in soft tissue, brighter or darker; dense ones in the lung.

    They stand in both domains alike, so that a lesion is nothing by which the domains can be told apart. The
    patch without them is kept under its key with `BARE` behind it.

    Args:
        keys: patches (1, S, S), each with lesions of its own.
        prob: share of the patches that are given any.
        most: lesions in one patch.
        contrast_hu: least and largest contrast in soft tissue.
        radius_px: least and largest radius.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.8,
        *,
        most: int = 5,
        contrast_hu: tuple[float, float] = (10, 200),
        radius_px: tuple[float, float] = (1.5, 8),
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.most, self.contrast_hu, self.radius_px = int(most), tuple(contrast_hu), tuple(radius_px)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            self.randomize(None)
            data[f"{key}{BARE}"] = data[key]
            if self._do_transform:
                data[key] = self.add(data[key])
        return data

    def add(self, patch: Tensor) -> Tensor:
        """The patch (1, S, S) with lesions."""
        patch = patch.clone()
        for _ in range(int(self.R.randint(1, self.most + 1))):
            shape = self._shape(patch.shape[-1])
            around = float((patch[0] * shape).sum() / shape.sum())
            patch[0] += shape * self._contrast(around) / HU_PER_UNIT
        return patch

    def _shape(self, size: int) -> Tensor:
        """An ellipse (S, S) from 0 to 1 with a soft edge."""
        x, y = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        centre, angle = self.R.uniform(0, size, 2), self.R.uniform(0, torch.pi)
        radius, stretch = self.R.uniform(*self.radius_px), self.R.uniform(1.0, 1.6)
        cos, sin = torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))
        along = ((x - centre[0]) * cos + (y - centre[1]) * sin) / stretch
        across = (y - centre[1]) * cos - (x - centre[0]) * sin
        return torch.sigmoid((radius - torch.hypot(along, across)) / EDGE_PX).float()

    def _contrast(self, around: float) -> float:
        """In HU: a lesion in the lung (or in what is as dark) is denser than its surroundings."""
        if around < LUNG:
            return self.R.uniform(150, 850)
        return self.R.uniform(*self.contrast_hu) * self.R.choice([-1.0, 1.0])
