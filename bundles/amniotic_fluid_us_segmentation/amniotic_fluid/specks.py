"""Floating particles for training: a beam smears each into a bright streak across it.

How bright and how long the streaks are depends on the machine. A network that has seen few calls fluid full
of them tissue.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from scipy.ndimage import gaussian_filter
from torch import Tensor

from amniotic_fluid.losses import UNDIVIDED_FLUID
from amniotic_fluid.pockets import WET

PER_PIXEL = (0.0008, 0.02)  # particles on the network's grid, drawn by their logarithm
BRIGHTEST = (0.25, 1.0)
ACROSS_PX, ALONG_PX = (0.6, 2.5), (0.4, 0.9)  # standard deviations of a streak; the frame stands upright


class RandSpecksd(RandomizableTransform, MapTransform):
    """Adds streaks to the fluid of a frame (4, X, Y), as its labels (1, X, Y) show it.

    Args:
        keys: the frame and its labels, which stay as they are.
        prob: share of the frames.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.15) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return data
        frame, labels = (torch.as_tensor(data[key]).as_subclass(Tensor) for key in self.keys)
        fluid = torch.isin(labels[0], torch.tensor([*WET, UNDIVIDED_FLUID], device=labels.device))
        streaks = torch.from_numpy(self._streaks(tuple(fluid.shape))) * fluid
        data[self.keys[0]] = torch.cat([torch.maximum(frame[:1], streaks[None].to(frame.dtype)), frame[1:]])
        return data

    def _streaks(self, shape: tuple[int, int]) -> np.ndarray:
        """Grey values (X, Y) of streaks on black."""
        density = np.exp(self.R.uniform(*np.log(PER_PIXEL)))
        points = (self.R.random(shape) < density) * self.R.uniform(0.3, 1.0, shape)
        streaks = gaussian_filter(points, (self.R.uniform(*ACROSS_PX), self.R.uniform(*ALONG_PX)))
        return (streaks * (self.R.uniform(*BRIGHTEST) / max(streaks.max(), 1e-6))).astype(np.float32)
