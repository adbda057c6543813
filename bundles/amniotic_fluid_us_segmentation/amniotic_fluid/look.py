"""The look of real frames for simulated ones: networks of a cycle translation that leave anatomy where it is.

Frames are (B, 4, X, Y) as the segmenter sees them: grey value, sector mask, depth, beam angle. Only the grey
value is changed, from a neighbourhood too small to hold a pocket or a limb.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.networks.nets import PatchDiscriminator
from monai.transforms import MapTransform, Randomizable, RandomizableTransform
from torch import Tensor, nn

from medbundles.weights import load_weights

CHANNELS = 4
QUIET = 0.1  # of the first weights of each block: the generator begins near the identity


class LookGenerator(nn.Module):
    """Adds to the grey value what 3x3 convolutions make of its neighbourhood; nothing outside the sector.

    Args:
        width: channels of all convolutions.
        blocks: of two convolutions each; four see 21 pixels.
    """

    def __init__(self, width: int = 16, blocks: int = 4) -> None:
        super().__init__()
        self.enter = nn.Conv2d(CHANNELS, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
            )
            for _ in range(blocks)
        )
        self.leave = nn.Conv2d(width, 1, 3, padding=1)
        for layer in (*(block[2] for block in self.blocks), self.leave):
            layer.weight.data.mul_(QUIET)

    def forward(self, x: Tensor) -> Tensor:
        """Frames with another grey value and the same geometry."""
        y = torch.relu(self.enter(torch.cat([x[:, :3], x[:, 3:].abs()], dim=1)))
        for block in self.blocks:
            y = torch.relu(y + block(y))
        grey = x[:, :1] + self.leave(y).to(x.dtype) * x[:, 1:2]
        return torch.cat([grey, x[:, 1:]], dim=1)


class LookJudge(nn.Module):
    """Tells real frames from others by patches of their grey value; geometry would give them away.

    Args:
        width: channels of the first layer.
        layers: those with stride 2.
    """

    def __init__(self, width: int = 24, layers: int = 2) -> None:
        super().__init__()
        self.patches = PatchDiscriminator(2, width, 1, num_layers_d=layers, norm=None)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, 1, X', Y') of frames."""
        return self.patches(2 * x[:, :1] - 1)[-1]


class RandInsided(Randomizable, MapTransform):
    """Cuts a square out of each frame (4, X, Y) of which most lies in the sector.

    Args:
        keys: frames, each cut at a place of its own.
        size: pixels a side.
        inside: share of the square that the sector should fill.
        tries: places drawn; the fullest is taken if none is full enough.
    """

    def __init__(self, keys: KeysCollection, size: int = 96, inside: float = 0.9, tries: int = 8) -> None:
        super().__init__(keys)
        self.size, self.inside, self.tries = int(size), float(inside), int(tries)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            data[key] = self._cut(torch.as_tensor(data[key]).as_subclass(Tensor))
        return data

    def _cut(self, frame: Tensor) -> Tensor:
        best, fullest = frame, -1.0
        for _ in range(self.tries):
            x, y = (int(self.R.randint(max(1, n - self.size + 1))) for n in frame.shape[1:])
            square = frame[:, x : x + self.size, y : y + self.size]
            share = float(square[1].mean())
            if share > fullest:
                best, fullest = square, share
            if share >= self.inside:
                break
        return best


class RandLookd(RandomizableTransform, MapTransform):
    """Gives frames (4, X, Y) the look that a trained generator makes.

    Args:
        keys: the frames.
        weights: of a `LookGenerator`; None leaves frames as they are.
        generator: the network.
        prob: share of the frames.
    """

    def __init__(
        self,
        keys: KeysCollection,
        weights: str | Path | None,
        generator: LookGenerator | None = None,
        prob: float = 0.5,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob if weights else 0.0)
        self.generator = (generator or LookGenerator()).eval().requires_grad_(False)
        if weights:
            load_weights(self.generator, Path(weights))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return data
        for key in self.key_iterator(data):
            frame = torch.as_tensor(data[key]).as_subclass(Tensor)
            with torch.no_grad():
                data[key] = self.generator(frame[None].float())[0].clamp_min(0)
        return data
