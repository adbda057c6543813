"""The discriminator: a PatchGAN behind fixed filters that let it see noise beneath anatomy.

Shapes: B batch, X and Y the axes of a slice. Values are HU divided by 400. Noise of a low dose is 30 to 60 HU
on anatomy of a thousand: a discriminator that is given the slice as it is learns anatomy first, and meanwhile
the generators settle at the identity. For the same reason there is no normalisation inside: dividing by an
image's own deviation takes away the strength of the noise, which is what tells the domains apart.
"""

from __future__ import annotations

import torch
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn
from torch.nn import functional

SIGMA_PX, REACH_PX = 1.5, 4  # of the blur that is taken off
LEAK = 0.2  # slope of PatchDiscriminator's LeakyReLU
FAINT = 0.01  # deviation of the last layer's first weights: it begins undecided


class NoiseJudge(nn.Module):
    """Judges slices by their fine detail, amplified, and by their soft tissue, windowed.

    Args:
        width: channels of the first layer.
        layers: those with stride 2; two see 22 pixels of the filtered slice, three 46.
        gain: amplification of the detail; 400 / gain is the HU at which it begins to saturate.
        centre: of the window, in HU / 400.
        window: half of its width, in HU / 400.
    """

    def __init__(
        self, width: int = 32, layers: int = 2, *, gain: float = 5.0, centre: float = 0.1, window: float = 0.5
    ) -> None:
        super().__init__()
        self.gain, self.centre, self.window = float(gain), float(centre), float(window)
        self.register_buffer("blur", _gaussian()[None, None], persistent=False)
        self.patches = PatchDiscriminator(2, width, 2, num_layers_d=layers, norm=None)
        _prepare(self.patches)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, 1, X', Y') of slices (B, 1, X, Y), one for each patch."""
        return self.patches(self.seen(x))[-1]

    def seen(self, x: Tensor) -> Tensor:
        """What is judged: detail and windowed slice (B, 2, X, Y), both from -1 to 1."""
        padded = functional.pad(x, (REACH_PX,) * 4, mode="reflect")
        detail = x - functional.conv2d(padded, self.blur.to(x.dtype))
        return torch.cat([torch.tanh(self.gain * detail), torch.tanh((x - self.centre) / self.window)], dim=1)


def _gaussian() -> Tensor:
    line = torch.exp(-(torch.arange(-REACH_PX, REACH_PX + 1) ** 2) / (2 * SIGMA_PX**2))
    return torch.outer(line, line) / line.sum() ** 2


def _prepare(network: nn.Module) -> None:
    """First weights for layers without normalisation; through MONAI's the signal would fade."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, LEAK)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    nn.init.normal_(layers[-1].weight, 0.0, FAINT)
