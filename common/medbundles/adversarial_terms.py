"""The named losses of adversarial training: what a generator is asked for, and what a discriminator judges.

Every term has a `weight` and is called with the images of the step and all networks by name. A bundle adds
its own (a classification head, a structural similarity) as any object of this kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from monai.losses import PatchAdversarialLoss

from medbundles.adversarial_images import ImagePool, Images, named
from medbundles.adversarial_networks import Networks

ImageMap = Mapping[str, torch.Tensor]

CRITERIA = ("least_squares", "hinge", "bce")


class Term(Protocol):
    """A loss with a name in the configuration; with weight 0 it is not computed."""

    weight: float

    def __call__(self, images: ImageMap, networks: Networks) -> torch.Tensor:
        """Returns a scalar, not yet multiplied with the weight."""


class Criterion:
    """The adversarial loss on a discriminator's raw answer, always in float32.

    `least_squares` is (score - 1)^2 for what should pass as real and score^2 for fakes. By default MONAI's
    loss runs the scores through a leaky ReLU first, which all but removes the gradient of fakes scored below
    zero, just those that the generator should learn from; here it does not. Its `hinge` and `bce` take the
    tanh and the sigmoid of the score: a discriminator ends without an activation.

    Args:
        name: `least_squares`, `hinge` or `bce`.
    """

    def __init__(self, name: str = "least_squares") -> None:
        if name not in CRITERIA:
            raise ValueError(f"unknown adversarial criterion '{name}': one of {', '.join(CRITERIA)}")
        self.loss = PatchAdversarialLoss(criterion=name, no_activation_leastsq=True)

    def __call__(self, answer: Any, *, real: bool, judging: bool) -> torch.Tensor:
        """Returns the mean loss.

        Args:
            answer: the scores, or a list of them at several scales.
            real: whether the discriminator should have called these images real.
            judging: whether the discriminator is trained, not the generator.
        """
        scores = [score.float() for score in (answer if isinstance(answer, list) else [answer])]
        with torch.autocast(scores[0].device.type, enabled=False):  # BCELoss refuses to run in autocast
            return self.loss(scores, target_is_real=real, for_discriminator=judging)


def scores_of(answer: Any, head: str | int | None = None) -> Any:
    """Returns the real-or-fake scores in a discriminator's answer.

    MONAI's `PatchDiscriminator` returns the features of each layer with the scores last, and its
    `MultiScalePatchDiscriminator` a pair of (scores of each scale, features).

    Args:
        answer: what the discriminator returned.
        head: key or index of the scores, for discriminators with several heads.
    """
    if head is not None:
        return answer[head]
    if isinstance(answer, tuple):
        return answer[0]
    return answer[-1] if isinstance(answer, list) else answer


class Later:
    """A term that joins in when the training has gone on for a while.

    Args:
        term: the loss.
        after: epochs without it.
    """

    def __init__(self, term: Term, after: int) -> None:
        self.term, self.after = term, int(after)

    @property
    def weight(self) -> float:
        """Returns the term's own."""
        return self.term.weight

    def __call__(self, images: ImageMap, networks: Networks) -> torch.Tensor:
        """Returns the term's own value."""
        return self.term(images, networks)


def answer_of(networks: Networks, discriminator: str, images: ImageMap, image: str) -> Any:
    """Returns what a discriminator says of an image; for `Images`, several losses share one answer.

    Raises:
        BundleError: there is no discriminator, or no image, of that name.
    """
    network = named(networks, discriminator, "discriminator")
    return images.answer(network, image) if isinstance(images, Images) else network(images[image])


class AdversarialTerm:
    """How far a generated image is from being called real by a discriminator.

    Args:
        discriminator: its name.
        image: key of the generated image.
        weight: factor in the sum of losses.
        criterion: `least_squares`, `hinge` or `bce`, the same as in the `Judgement`.
        head: key or index of the scores, for discriminators with several heads.
    """

    def __init__(
        self,
        discriminator: str,
        image: str,
        *,
        weight: float = 1.0,
        criterion: str = "least_squares",
        head: str | int | None = None,
    ) -> None:
        self.discriminator, self.image, self.head = discriminator, image, head
        self.weight = weight
        self.criterion = Criterion(criterion)

    def __call__(self, images: ImageMap, networks: Networks) -> torch.Tensor:
        """Returns the loss of the generator."""
        answer = answer_of(networks, self.discriminator, images, self.image)
        return self.criterion(scores_of(answer, self.head), real=True, judging=False)


class Judgement:
    """How well a discriminator tells real from generated images: the mean of the losses on the two.

    Args:
        discriminator: its name.
        real: key of the real images.
        fake: key of the generated images.
        pool: a history of generated images to judge as well as the newest.
        weight: factor in the sum of losses.
        criterion: `least_squares`, `hinge` or `bce`.
        head: key or index of the scores, for discriminators with several heads.
    """

    def __init__(
        self,
        discriminator: str,
        real: str,
        fake: str,
        *,
        pool: ImagePool | None = None,
        weight: float = 1.0,
        criterion: str = "least_squares",
        head: str | int | None = None,
    ) -> None:
        self.discriminator, self.real, self.fake, self.head = discriminator, real, fake, head
        self.pool, self.weight = pool, weight
        self.criterion = Criterion(criterion)

    def __call__(self, images: ImageMap, networks: Networks) -> torch.Tensor:
        """Returns the loss of the discriminator; no gradient reaches a generator."""
        network = named(networks, self.discriminator, "discriminator")
        fake = images[self.fake].detach()
        fake = fake if self.pool is None else self.pool(fake)
        answers = (answer_of(networks, self.discriminator, images, self.real), True), (network(fake), False)
        return 0.5 * sum(
            self.criterion(scores_of(answer, self.head), real=is_real, judging=True)
            for answer, is_real in answers
        )


class FunctionTerm:
    """Any loss function of two images: a MONAI or torch loss, or a function.

    Args:
        loss: called with the image and its target.
        image: key of the first.
        target: key of the second.
        weight: factor in the sum of losses.
    """

    def __init__(self, loss: Callable, image: str, target: str, *, weight: float = 1.0) -> None:
        self.loss, self.image, self.target = loss, image, target
        self.weight = weight

    def __call__(self, images: ImageMap, networks: Networks) -> torch.Tensor:
        """Returns the loss, averaged if the function gives one value per image."""
        return self.loss(images[self.image], images[self.target]).mean()


class L1Term(FunctionTerm):
    """The mean absolute difference of two images: cycle consistency, identity, or a paired target.

    Args:
        image: key of the first.
        target: key of the second.
        weight: factor in the sum of losses.
    """

    def __init__(self, image: str, target: str, *, weight: float = 1.0) -> None:
        super().__init__(torch.nn.L1Loss(), image, target, weight=weight)
