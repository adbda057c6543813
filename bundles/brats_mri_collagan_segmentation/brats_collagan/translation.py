"""The training step of CollaGAN: a contrast is left out and imputed, then each of the others in turn.

Shapes: B batch, C contrasts, S slices of context, X and Y the axes of a slice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from medbundles.adversarial_images import Images, named

ImageMap = Mapping[str, Tensor]


class CollaTranslation:
    """A `step` of `medbundles.adversarial.AdversarialTrainer` with one generator for all contrasts.

    Each image of a batch (B, C * S, X, Y) draws the contrast that it is to lack, from torch's global
    generator. Besides the batch there are then

    * `target` (B), which contrast that is; `present` (B, C), which are shown instead;
    * `original`, `imputed` (B, 1, X, Y): the contrast left out and what the generator makes of the rest;
    * `others` (B, N), `rest`, `cycled` (B, N, X, Y): other contrasts, by number, as they are, and as the
      generator makes each when the imputed contrast stands for the original (the multiple cycle);
    * `fakes`, `reals` (B * (1 + N), 1, X, Y): `imputed` and `cycled` in one batch, and what they imitate;
      `judged_contrasts` (B * (1 + N)) says which contrasts they are.

    Only what a loss reads is computed: without cycle terms, judge `imputed` of contrasts `target`.

    Args:
        image: key of the contrasts in the batch.
        generator: name of the generator.
        contrasts: how many there are.
        slices: slices of context of each.
        targets: those that may be left out; all unless given. One alone trains a network for that contrast.
        dropout: how often a further contrast is missing in the input of `imputed`.
        cycles: N, how many of the other contrasts each image of the cycle draws; all C - 1 unless given.
    """

    def __init__(
        self,
        image: str = "image",
        generator: str = "imputer",
        *,
        contrasts: int = 4,
        slices: int = 1,
        targets: Sequence[int] | None = None,
        dropout: float = 0.0,
        cycles: int | None = None,
    ) -> None:
        self.image, self.generator = image, generator
        self.contrasts, self.slices = contrasts, slices
        self.targets = list(range(contrasts)) if targets is None else list(targets)
        self.dropout, self.cycles = dropout, contrasts - 1 if cycles is None else cycles

    def images(self, batch: Mapping[str, Any], generators: Mapping[str, torch.nn.Module]) -> Images:
        """Returns the batch, what was drawn, and the recipes of all other images.

        Raises:
            BundleError: there is no generator of that name.
        """
        network = named(generators, self.generator, "generator")
        whole = named(batch, self.image, "image")
        target, others, present = (part.to(whole.device) for part in self._draw(len(whole)))
        given = dict(batch) | {"target": target, "others": others, "present": present}
        recipes = {
            "original": lambda images: self._of(whole, target[:, None]),
            "rest": lambda images: self._of(whole, others),
            "imputed": lambda images: network(whole, target, present),
            "cycled": lambda images: self._cycle(network, images),
            "fakes": lambda images: one_batch(images["imputed"], images["cycled"]),
            "judged_contrasts": lambda images: torch.cat([target[:, None], others], 1).flatten(),
            "reals": lambda images: one_batch(images["original"], images["rest"]),
        }
        return Images(given, recipes)

    def _draw(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Target (B), other contrasts for the cycle (B, N), and which of all are present (B, C)."""
        target = torch.tensor(self.targets)[torch.randint(len(self.targets), (count,))]
        every = torch.arange(self.contrasts).expand(count, -1)
        others = every[every != target[:, None]].view(count, -1)
        present = every != target[:, None]
        further = others.gather(1, torch.randint(self.contrasts - 1, (count, 1)))
        dropped = torch.rand(count, 1) < self.dropout
        present = present & ~(dropped & (every == further))
        if self.cycles < self.contrasts - 1:
            order = torch.rand(count, self.contrasts - 1).argsort(1)
            others = others.gather(1, order[:, : self.cycles])
        return target, others, present

    def _of(self, whole: Tensor, contrasts: Tensor) -> Tensor:
        """The middle slices (B, N, X, Y) of the contrasts (B, N)."""
        slices = middle(whole, self.slices)
        return slices.gather(1, contrasts[:, :, None, None].expand(-1, -1, *slices.shape[2:]))

    def _cycle(self, network: torch.nn.Module, images: ImageMap) -> Tensor:
        """Each of `others` (B, N, X, Y) from the imputed contrast and the originals that remain."""
        completed = complete(images[self.image], images["target"], images["imputed"], slices=self.slices)
        others = images["others"]
        answer = network(completed.repeat_interleave(self.cycles, 0), others.flatten())
        return answer.view(*others.shape, *answer.shape[2:])


def one_batch(first: Tensor, others: Tensor) -> Tensor:
    """Slices (B, 1, X, Y) and others (B, N, X, Y) as images with one channel (B * (1 + N), 1, X, Y)."""
    return torch.cat([first, others], 1).flatten(0, 1)[:, None]


def middle(images: Tensor, slices: int) -> Tensor:
    """The middle slices (B, C, X, Y) of contrasts with context (B, C * S, X, Y)."""
    return images[:, slices // 2 :: slices]


def complete(images: Tensor, target: Tensor | int, imputed: Tensor, *, slices: int = 1) -> Tensor:
    """The contrasts (B, C * S, X, Y) with imputed ones (B, 1, X, Y) in their places.

    An imputed slice stands for its neighbours as well, which were not imputed.
    """
    index = torch.as_tensor(target, device=images.device).expand(len(images))
    place = torch.arange(images.shape[1], device=images.device) // slices == index[:, None]
    return torch.where(place[:, :, None, None], imputed.to(images.dtype), images)
