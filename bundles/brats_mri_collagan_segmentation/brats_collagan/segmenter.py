"""The segmenter after Myronenko (2018): residual encoder and decoder, in training also an autoencoder.

Shapes: B batch, C contrasts, R nested regions, W width, L latent variables, X, Y and Z the axes of a volume.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks.segresnet_block import ResBlock, get_conv_layer, get_upsample_layer
from monai.networks.utils import pixelunshuffle
from torch import Tensor, nn

from medbundles.folding import GROUPS, FoldedSegResNet

NORM = ("GROUP", {"num_groups": GROUPS})
NARROW = 16  # channels before the latent variables, as in the paper
RARE = -4.0  # logit that answers begin with: a voxel in fifty is tumour
LOG_VARIANCE = 10.0  # limits: exp must neither vanish nor overflow


class Segmenter(FoldedSegResNet):
    """The part that is shipped: logits of nested regions from all contrasts.

    Args:
        width: channels at full resolution, a multiple of 8; 32 in the paper.
        contrasts: channels of the input.
        regions: channels of the output.
        blocks: residual blocks at each level of the encoder.
        dropout: share of channels dropped after the first convolution in training; 0.2 in the paper.
        fold: voxels a side that are taken together as channels; 1 is the paper's.
    """

    def __init__(
        self,
        width: int = 16,
        contrasts: int = 4,
        regions: int = 3,
        *,
        blocks: Sequence[int] = (1, 2, 2, 4),
        dropout: float = 0.0,
        fold: int = 1,
    ) -> None:
        super().__init__(contrasts, regions, width, blocks=blocks, dropout=dropout, fold=fold, bias=RARE)


class Autoencoder(nn.Module):
    """From the encoder's last features to latent variables and back to the contrasts.

    Args:
        segmenter: whose features they are.
        patch: size of the training patches.
        latent: how many variables.
    """

    def __init__(self, segmenter: Segmenter, patch: Sequence[int], latent: int = 128) -> None:
        super().__init__()
        width, levels = segmenter.init_filters, len(segmenter.blocks_down)
        self.fold, deep, step = segmenter.fold, width * 2 ** (levels - 1), 2 * segmenter.step
        if any(length % step for length in patch):
            raise ValueError(f"patches of {list(patch)} voxels: multiples of {step} are needed")
        self.patch, self.coarse = list(patch), [length // step for length in patch]
        elements = NARROW * self.coarse[0] * self.coarse[1] * self.coarse[2]
        self.down = nn.Sequential(
            nn.GroupNorm(8, deep),
            nn.ReLU(inplace=False),  # the features belong to the segmenter
            get_conv_layer(3, deep, NARROW, stride=2, bias=True),
            nn.Flatten(),
            nn.Linear(elements, 2 * latent),
        )
        self.expand = nn.Sequential(nn.Linear(latent, elements), nn.ReLU(inplace=True))
        stages: list[nn.Module] = [
            get_conv_layer(3, NARROW, deep, kernel_size=1),
            get_upsample_layer(3, deep),
        ]
        for channels in (width * 2**level for level in reversed(range(levels - 1))):
            stages += [
                get_conv_layer(3, 2 * channels, channels, kernel_size=1),
                get_upsample_layer(3, channels),
                ResBlock(3, channels, norm=NORM),
            ]
        last = get_conv_layer(3, width, segmenter.in_channels, kernel_size=1, bias=True)
        self.up = nn.Sequential(*stages, last)

    def forward(self, features: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """The mean squared error (B) of the contrasts and the divergence (B) per voxel."""
        if list(image.shape[2:]) != self.patch:
            raise ValueError(f"patches of {self.patch} voxels are expected, not {list(image.shape[2:])}")
        mean, log_variance = self.down(features).float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-LOG_VARIANCE, LOG_VARIANCE)
        drawn = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        coarse = self.expand(drawn).view(-1, NARROW, *self.coarse)
        error = self.up(coarse).float() - pixelunshuffle(image.float(), 3, self.fold)
        error = error.square().flatten(1).mean(1)
        divergence = (mean.square() + log_variance.exp() - log_variance - 1).sum(1)
        return error, divergence / image[0, 0].numel()


class SegmenterVAE(nn.Module):
    """The segmenter as it is trained; in evaluation it answers as the segmenter does.

    Its weights are for a checkpoint. Those to ship are the segmenter's own, which have nothing of the branch.

    Args:
        segmenter: the network to train.
        patch: size of the training patches; None trains without autoencoder.
        latent: its latent variables.
        contrast_dropout: how often an image lacks contrasts in training (0: never).
        most_missing: how many it may lack then.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        patch: Sequence[int] | None = None,
        *,
        latent: int = 128,
        contrast_dropout: float = 0.0,
        most_missing: int = 1,
    ) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.contrast_dropout, self.most_missing = contrast_dropout, most_missing
        self.branch: Autoencoder | None = None
        if patch is not None:
            self.branch = Autoencoder(segmenter, patch, latent)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Logits (B, R, X, Y, Z); in training with a branch also its error (B) and divergence (B)."""
        if not self.training:
            return self.segmenter(x)
        seen = self._with_some_missing(x)
        if self.branch is None:
            return self.segmenter(seen)
        features, skips = self.segmenter.encode(seen)
        error, divergence = self.branch(features, x)
        return self.segmenter.decode(features, skips[::-1]), error, divergence

    def _with_some_missing(self, x: Tensor) -> Tensor:
        """Images (B, C, X, Y, Z) of which some contrasts are 0; the draws are torch's global generator's."""
        if not self.contrast_dropout:
            return x
        batch, contrasts = x.shape[:2]
        count = torch.randint(1, self.most_missing + 1, (batch, 1))
        count = count * (torch.rand(batch, 1) < self.contrast_dropout)
        missing = torch.rand(batch, contrasts).argsort(1) < count
        return torch.where(missing.to(x.device)[:, :, None, None, None], 0, x)
