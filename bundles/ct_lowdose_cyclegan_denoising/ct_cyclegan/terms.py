"""What the generator is asked for beyond the paper: that what was put into a slice comes out again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from medbundles.adversarial_images import named

LEAST = 1e-3  # of what was put into a slice, so that one without lesions counts as nothing lost


class LesionsKeptTerm:
    """The share of its lesions that a generator loses or smears, squared, in the mean over the slices.

    Cycle and discriminators forgive what is small: a generator that blurs reaches the noise of a routine dose
    with faint lesions gone and edges wider. Each batch has the same noisy slices with lesions and without,
    and the lesions are known: what is left of them is measured without a pair of low and routine dose.

    Args:
        generator: its name.
        image: key of the slices with lesions.
        bare: key of the same slices without.
        output: key of the generator's answer to `image`.
        weight: factor in the sum of losses.
    """

    def __init__(self, generator: str, image: str, bare: str, output: str, *, weight: float = 1.0) -> None:
        self.generator, self.image, self.bare, self.output = generator, image, bare, output
        self.weight = weight

    def __call__(self, images: Mapping[str, Tensor], networks: Mapping[str, torch.nn.Module]) -> Tensor:
        """Returns the mean squared share; a lesion that is erased counts as 1."""
        network = named(networks, self.generator, "generator")
        lesions = images[self.image] - images[self.bare]
        left = images[self.output] - network(images[self.bare]).float()
        lost, put_in = ((part.abs().flatten(1).sum(1)) for part in (left - lesions, lesions))
        return ((lost / put_in.clamp_min(LEAST)) ** 2).mean()
