"""What the finder of jaws is shown in training: coarse scans, turned and cut off at random."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Randomizable, Transform
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from dental_teeth.frame import AIR_HU, Array, nearest, sample, shrunk, transformed
from dental_teeth.jaws import COARSE_MM
from dental_teeth.panorama import LOWER_QUADRANTS, UPPER_QUADRANTS
from dental_teeth.patches import density
from medbundles.images import spacing_of
from medbundles.saving import affine_of, array_of

SIZE = (96, 88, 72)  # 77 x 70 x 58 mm
TURN_DEG = 9.0  # standard deviation; heads are tilted by up to 20


class RandJaws(Randomizable, Transform):
    """A coarse scan (1, X, Y, Z) and where its upper and lower teeth are (2, X, Y, Z).

    Args:
        size: voxels of the sample.
        vary: strength of all random changes; 0 for none, as in validation.
    """

    def __init__(self, size: Sequence[int] = SIZE, vary: float = 1.0) -> None:
        super().__init__()
        self.size, self.vary = tuple(int(n) for n in size), float(vary)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[str, Tensor]:
        scan, labels = (array_of(data[key])[0] for key in ("image", "label"))
        affine = affine_of(data["image"])
        small, place = shrunk(scan, affine, COARSE_MM)
        points = self._points(place, small.shape)
        hu = sample(small, points, fill=AIR_HU)
        quadrants = nearest(labels, transformed(points, np.linalg.inv(affine) @ place)) // 10
        teeth = np.stack([np.isin(quadrants, own) for own in (UPPER_QUADRANTS, LOWER_QUADRANTS)])
        if self.vary:
            hu, teeth = self._cut_off(hu, teeth)
            gain, level = 1 + 0.12 * self.vary * self.R.standard_normal(), 40 * self.vary * self.R.rand()
            seed = torch.Generator().manual_seed(int(self.R.randint(2**31)))
            hu = (hu - AIR_HU) * gain + AIR_HU + level * torch.randn(hu.shape, generator=seed)
        return {"image": density(hu)[None], "label": torch.from_numpy(teeth.astype(np.float32))}

    def _points(self, affine: Array, shape: Sequence[int]) -> NDArray:
        """Positions in the coarse scan (X, Y, Z, 3) of the sample's voxels."""
        index = np.stack(np.meshgrid(*map(np.arange, self.size), indexing="ij"), -1)
        offset = (index - (np.asarray(self.size) - 1) / 2) * COARSE_MM
        turn, move = np.eye(3), np.zeros(3)
        if self.vary:
            angles = self.vary * TURN_DEG * np.clip(self.R.standard_normal(3), -2.5, 2.5)
            turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
            turn = turn * (1 + 0.12 * self.vary * self.R.uniform(-1, 1))
            move = self.vary * self.R.uniform(-8, 8, 3)
            if self.R.rand() < 0.5:
                turn = turn @ np.diag([-1.0, 1.0, 1.0])  # a mirrored patient
        middle = (np.asarray(shape) - 1) / 2
        return middle + (offset @ turn.T + move) / np.asarray(spacing_of(affine, 3))

    def _cut_off(self, hu: Tensor, teeth: NDArray[np.bool_]) -> tuple[Tensor, NDArray[np.bool_]]:
        """Now and then a smaller field of view: one side, half a jaw, is not there."""
        if self.R.rand() > 0.3 * self.vary:
            return hu, teeth
        axis, share = self.R.randint(3), self.R.uniform(0.1, 0.45)
        away = [slice(None)] * 3
        count = round(share * self.size[axis])
        away[axis] = slice(0, count) if self.R.rand() < 0.5 else slice(self.size[axis] - count, None)
        hu, teeth = hu.clone(), teeth.copy()
        hu[tuple(away)], teeth[(slice(None), *away)] = AIR_HU, False
        return hu, teeth
