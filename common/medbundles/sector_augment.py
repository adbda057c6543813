"""Random changes of a standardised ultrasound frame (4, X, Y): acoustic shadows, machine settings, pose.

Array classes do the work, the `...d` classes map keys.
"""

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor
from torch.nn import functional


def _smoothed(image: Tensor, sigma: float) -> Tensor:
    radius = max(1, math.ceil(2.5 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None, None]
    along_x = functional.conv2d(image[None, None], kernel[..., None], padding=(radius, 0))
    return functional.conv2d(along_x, kernel[:, :, None], padding=(0, radius))[0, 0]


class RandShadow(RandomizableTransform):
    """Darkens a wedge along the beams, as bone, gas or lost contact does.

    Half of the wedges begin at the probe, and half are fully black.

    Args:
        prob: share of the frames that are given a shadow.
        width: range of the wedge's width, in halves of the sector's opening.
        floor: most of the grey value that a shadow that is not black leaves.
    """

    def __init__(
        self, prob: float = 0.5, width: tuple[float, float] = (0.05, 0.8), floor: float = 0.35
    ) -> None:
        RandomizableTransform.__init__(self, prob)
        self.width, self.floor = width, floor

    def __call__(self, frame: Tensor) -> Tensor:
        """The frame (grey, sector, depth, angle) with the grey value inside a random wedge scaled down."""
        self.randomize(None)
        if not self._do_transform:
            return frame
        _, _, depth, angle = frame
        centre, width = self.R.uniform(-0.8, 0.8), self.R.uniform(*self.width)
        start = self.R.uniform(0.0, 0.6) if self.R.random() < 0.5 else -1.0
        left = self.R.uniform(0.0, self.floor) if self.R.random() < 0.5 else 0.0
        soft = 0.02
        inside = torch.sigmoid((width / 2 - (angle - centre).abs()) / soft) * torch.sigmoid(
            (depth - start) / soft
        )
        return torch.cat([frame[:1] * (1 - (1 - left) * inside), frame[1:]])


class RandAppearance(RandomizableTransform):
    """Gain, gamma, depth gain, smoothing and speckle as different machines and settings give them."""

    def __call__(self, frame: Tensor) -> Tensor:
        """The frame (grey, sector, depth, angle) with another grey value; dark stays dark."""
        grey, _, depth, _ = frame
        grey = grey.clamp_min(0) ** math.exp(self.R.uniform(-0.5, 0.5)) * self.R.uniform(0.6, 1.3)
        grey = grey * (1 + self.R.uniform(-0.5, 0.5) * (depth - 0.5)).clamp_min(0)
        if self.R.random() < 0.3:
            grey = _smoothed(grey, sigma=self.R.uniform(0.4, 1.5))
        if self.R.random() < 0.4:
            grain = torch.from_numpy(self.R.standard_normal(grey.shape).astype(np.float32))
            grain = _smoothed(grain, sigma=self.R.uniform(0.4, 1.2))
            grey = grey * (1 + self.R.uniform(0.1, 0.4) * grain / grain.std())
        return torch.cat([grey.clamp(0, 1)[None], frame[1:]])


class RandPose(RandomizableTransform):
    """Mirrors, turns, scales, shears and shifts, and bends a little; the same for every image it is given.

    Args:
        turn: largest angle.
        scale: largest logarithm of the scale, both ways.
        shift: as a share of the frame.
        bend: deviation of the knots of a smooth field, in halves of the frame.
        closer: how much more, as a logarithm, a frame may be enlarged: operators zoom in.
    """

    def __init__(
        self,
        *,
        turn: float = 0.4,
        scale: float = 0.3,
        shift: float = 0.12,
        bend: float = 0.03,
        closer: float = 0.0,
    ) -> None:
        RandomizableTransform.__init__(self, 1.0)
        self.turn, self.scale, self.shift, self.bend, self.closer = turn, scale, shift, bend, closer

    def randomize(self, data: Any = None) -> None:
        angle = self.R.uniform(-self.turn, self.turn)
        # The grid looks up where pixels come from: less than 1 enlarges.
        zoom = np.exp(self.R.uniform(-self.scale - self.closer, self.scale) + self.R.uniform(-0.08, 0.08, 2))
        mirror = np.array([self.R.choice([-1.0, 1.0]), 1.0])
        cos, sin = math.cos(angle), math.sin(angle)
        self.linear = np.array([[cos, -sin], [sin, cos]]) * (zoom * mirror)
        self.offset = self.R.uniform(-self.shift, self.shift, 2) * 2
        self.knots = self.R.normal(0, self.bend, (1, 2, 4, 5))

    def grid(self, shape: tuple[int, int]) -> Tensor:
        """Where each pixel of the new frame is looked up, in the -1..1 coordinates of `grid_sample`."""
        y, x = torch.meshgrid(
            torch.linspace(-1, 1, shape[1]), torch.linspace(-1, 1, shape[0]), indexing="xy"
        )  # (X, Y) each: y along the last axis
        aspect = shape[0] / shape[1]
        square = torch.stack([x * aspect, y])  # equal units on both axes, so that turning does not shear
        moved = torch.einsum("ij,jxy->ixy", torch.as_tensor(self.linear, dtype=torch.float32), square)
        moved = moved + torch.as_tensor(self.offset, dtype=torch.float32)[:, None, None]
        bent = functional.interpolate(
            torch.as_tensor(self.knots, dtype=torch.float32), size=shape, mode="bicubic", align_corners=True
        )[0]
        moved = moved + bent
        return torch.stack([moved[1], moved[0] / aspect], dim=-1)[None]

    def __call__(self, image: Tensor, mode: str = "bilinear") -> Tensor:
        """The image (C, X, Y) at the current pose; call `randomize` for a new one."""
        grid = self.grid((image.shape[1], image.shape[2]))
        moved = functional.grid_sample(image[None].float(), grid, mode=mode, align_corners=True)
        return moved[0].to(image.dtype)


class _FrameTransformd(MapTransform, RandomizableTransform):
    """A random change of the frame alone."""

    change: RandomizableTransform

    def __init__(self, keys: KeysCollection, change: RandomizableTransform) -> None:
        MapTransform.__init__(self, keys)
        self.change = change

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> "_FrameTransformd":
        self.change.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            data[key] = self.change(torch.as_tensor(data[key]).as_subclass(Tensor))
        return data


class RandShadowd(_FrameTransformd):
    """Dictionary form of `RandShadow`."""

    def __init__(self, keys: KeysCollection, **settings: Any) -> None:
        super().__init__(keys, RandShadow(**settings))


class RandAppearanced(_FrameTransformd):
    """Dictionary form of `RandAppearance`."""

    def __init__(self, keys: KeysCollection, **settings: Any) -> None:
        super().__init__(keys, RandAppearance(**settings))


class RandPosed(_FrameTransformd):
    """Dictionary form of `RandPose`; the first key is the frame, the others are labels of the same pose."""

    def __init__(self, keys: KeysCollection, **settings: Any) -> None:
        super().__init__(keys, RandPose(**settings))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        self.change.randomize(None)
        for key in self.key_iterator(data):
            mode = "bilinear" if key == self.keys[0] else "nearest"
            data[key] = self.change(torch.as_tensor(data[key]).as_subclass(Tensor), mode=mode)
        return data
