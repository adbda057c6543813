"""Losses: structural similarity and contrast for CollaGAN, Dice and autoencoder for the segmenter.

Shapes: B batch, N slices, C contrasts, R regions, X, Y and Z the axes of an image.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional

from medbundles.adversarial import answer_of

Networks = Mapping[str, nn.Module]
ImageMap = Mapping[str, Tensor]

WINDOW, WINDOW_SD = 11, 1.5  # Wang et al. 2004
LEAST = 1e-6


class SsimTerm:
    """-log((1 + SSIM) / 2): nothing for equal images, without bound for opposite ones.

    The similarity is averaged over windows whose centre is in the brain; around it all images are equal.

    Args:
        image: key of the first images (B, N, X, Y).
        target: key of the second.
        weight: factor in the sum of losses.
        data_range: of the z-scores, from dark to bright; 5 in the paper.
    """

    def __init__(self, image: str, target: str, *, weight: float = 1.0, data_range: float = 5.0) -> None:
        self.image, self.target, self.weight, self.data_range = image, target, weight, data_range

    def __call__(self, images: ImageMap, networks: Networks) -> Tensor:
        """Returns the loss, the mean over all slices."""
        image, target = images[self.image], images[self.target]
        with torch.autocast(image.device.type, enabled=False):  # variances are differences of large numbers
            similarity = mean_ssim(image.float(), target.float(), self.data_range)
        return -torch.log(((1 + similarity) / 2).clamp_min(LEAST)).mean()


def mean_ssim(image: Tensor, target: Tensor, data_range: float) -> Tensor:
    """The structural similarity of each slice (B * N) inside the target's brain; 1 where there is none.

    The similarity is made for brightness from 0 up: two z-scores of opposite sign would count as equal where
    the structure is reversed as well. So both are raised by half the range.
    """
    image, target = (x.flatten(0, 1)[:, None] for x in (image, target))
    edge = WINDOW // 2
    brain = (target != 0)[..., edge:-edge, edge:-edge]
    similarity = ssim_of_windows(image + data_range / 2, target + data_range / 2, data_range)
    return 1 - ((1 - similarity) * brain).sum((1, 2, 3)) / brain.sum((1, 2, 3)).clamp_min(1)


def ssim_of_windows(image: Tensor, target: Tensor, data_range: float) -> Tensor:
    """The structural similarity (N, 1, X', Y') of all windows that lie whole in images (N, 1, X, Y).

    The Gaussian window is applied along one axis after the other, which is quicker than a square one.
    """
    products = (image, target, image * image, target * target, image * target)
    mean, wanted, square, wanted_square, product = _window_means(torch.cat(products)).chunk(5)
    both, squares = mean * wanted, mean**2 + wanted**2
    low, high = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    structure = (2 * (product - both) + high) / (square + wanted_square - squares + high)
    return structure * (2 * both + low) / (squares + low)


def _window_means(images: Tensor) -> Tensor:
    places = torch.arange(WINDOW, device=images.device, dtype=images.dtype) - WINDOW // 2
    weights = torch.exp(-((places / WINDOW_SD) ** 2) / 2)
    weights = weights / weights.sum()
    return functional.conv2d(functional.conv2d(images, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))


class TumourL1Term:
    """The mean absolute difference of two images in which tumour counts more than its few pixels would.

    Without that a bright oedema is cheaper to leave out than to draw: it is a small part of a slice.

    Args:
        image: key of the first images (B, 1, X, Y).
        target: key of the second.
        regions: key of the tumour's regions (B, R, X, Y); where any of them is, there is tumour.
        weight: factor in the sum of losses.
        tumour_weight: of a pixel in tumour, when one elsewhere has 1.
    """

    def __init__(
        self, image: str, target: str, regions: str, *, weight: float = 1.0, tumour_weight: float = 1.0
    ) -> None:
        self.image, self.target, self.regions = image, target, regions
        self.weight, self.tumour_weight = weight, float(tumour_weight)

    def __call__(self, images: ImageMap, networks: Networks) -> Tensor:
        """Returns the weighted mean."""
        tumour = (images[self.regions] != 0).any(1, keepdim=True)
        weights = torch.where(tumour, self.tumour_weight, 1.0)
        return ((images[self.image] - images[self.target]).abs() * weights).sum() / weights.sum()


class ContrastTerm:
    """How far the judge's class head is from naming the contrast of images.

    Among the terms, with the fakes, it asks the generator for the right contrast; among the judgements, with
    the reals, it teaches the head.

    Args:
        discriminator: name of the judge.
        image: key of the images (B, 1, X, Y).
        contrast: key of their contrasts (B).
        weight: factor in the sum of losses.
    """

    def __init__(self, discriminator: str, image: str, contrast: str, *, weight: float = 1.0) -> None:
        self.discriminator, self.image, self.contrast = discriminator, image, contrast
        self.weight = weight

    def __call__(self, images: ImageMap, networks: Networks) -> Tensor:
        """Returns the cross entropy."""
        answer = answer_of(networks, self.discriminator, images, self.image)
        return functional.cross_entropy(answer[1].float(), images[self.contrast])


class RegionLoss(nn.Module):
    """Soft Dice of nested regions, and what the autoencoder branch of the segmenter adds in training.

    Args:
        reconstruction_weight: of the squared error of the autoencoder; 0.1 in Myronenko's paper.
        divergence_weight: of the divergence of its latent variables; 0.1.
        entropy_weight: of a binary cross entropy besides; it also teaches on patches without a region.
    """

    def __init__(
        self,
        reconstruction_weight: float = 0.1,
        divergence_weight: float = 0.1,
        entropy_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.dice = DiceLoss(sigmoid=True, squared_pred=True, smooth_nr=1.0, smooth_dr=1.0)
        self.reconstruction_weight, self.divergence_weight = reconstruction_weight, divergence_weight
        self.entropy_weight = entropy_weight

    def forward(self, answer: Tensor | tuple[Tensor, ...], regions: Tensor) -> Tensor:
        """The loss of an answer of the segmenter against regions (B, R, X, Y, Z), 0 or 1.

        Args:
            answer: logits (B, R, X, Y, Z), or those with error (B) and divergence (B) of the autoencoder.
            regions: the truth.
        """
        logits, *branch = answer if isinstance(answer, tuple | list) else (answer,)
        logits, regions = logits.float(), regions.float()
        loss = self.dice(logits, regions)
        if self.entropy_weight:
            entropy = functional.binary_cross_entropy_with_logits(logits, regions)
            loss = loss + self.entropy_weight * entropy
        for value, weight in zip(branch, (self.reconstruction_weight, self.divergence_weight), strict=False):
            loss = loss + weight * value.float().mean()
        return loss
