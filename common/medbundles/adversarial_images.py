"""What an adversarial step works on: named images, made when first needed, and pools of earlier fakes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from medbundles.errors import BundleError

Recipe = Callable[["Images"], torch.Tensor]


class Images(Mapping[str, torch.Tensor]):
    """Named images of one training step; those with a recipe are made when first asked for.

    A loss term that is left out therefore costs nothing: no network runs for images that nobody reads. Images
    in half precision become float32, since their losses would lose small differences.

    Args:
        given: the batch, or all images if there are no recipes.
        recipes: name to a function that makes the image from the others.
    """

    def __init__(self, given: Mapping[str, Any], recipes: Mapping[str, Recipe] | None = None) -> None:
        self._made = {name: full_precision(value) for name, value in given.items()}
        self._recipes = dict(recipes or {})
        self._answers: dict[tuple[int, str], Any] = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._made:
            recipe = named(self._recipes, name, "image", also=self._made)
            self._made[name] = full_precision(recipe(self))
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._made or name in self._recipes

    def __iter__(self) -> Iterator[str]:
        return iter(self._made | self._recipes)

    def __len__(self) -> int:
        return len(self._made | self._recipes)

    def made(self) -> dict[str, torch.Tensor]:
        """Returns the images of the batch and those made so far, cut off from the graph."""
        return {k: v.detach() for k, v in self._made.items() if isinstance(v, torch.Tensor)}

    def answer(self, network: torch.nn.Module, name: str) -> Any:
        """Returns what a network says of an image; it runs once, however many losses ask."""
        key = id(network), name
        if key not in self._answers:
            self._answers[key] = network(self[name])
        return self._answers[key]

    def detached(self) -> Images:
        """Returns the same images cut off from the graph; what is made later is made without gradients."""
        return Images(self._made | self.made(), {k: torch.no_grad()(v) for k, v in self._recipes.items()})


class CycleTranslation:
    """Translation between two domains without pairs: there, back again, and each domain to itself.

    From a batch with the images `a` and `b` it offers, for a = "low" and b = "routine":

    * `fake_routine` = forward(low), `fake_low` = backward(routine);
    * `cycled_low` = backward(fake_routine), `cycled_routine` = forward(fake_low);
    * `same_routine` = forward(routine), `same_low` = backward(low), for identity terms;

    and everything else in the batch under its own name. Only what a term reads is computed. Without
    `backward` this is a plain translation in one direction: a GAN, or with pairs a supervised network.

    Args:
        a: key of the images of the first domain.
        b: key of the images of the second domain.
        forward: name of the generator from the first domain to the second.
        backward: name of the generator from the second domain to the first, or None.
    """

    def __init__(
        self, a: str = "a", b: str = "b", *, forward: str = "forward", backward: str | None = "backward"
    ) -> None:
        self.a, self.b = a, b
        self.forward, self.backward = forward, backward

    def images(self, batch: Mapping[str, Any], generators: Mapping[str, torch.nn.Module]) -> Images:
        """Returns the batch and the recipes of all translated images.

        Raises:
            BundleError: there is no generator of that name.
        """
        a, b = self.a, self.b
        to_b = named(generators, self.forward, "generator")
        recipes: dict[str, Recipe] = {
            f"fake_{b}": lambda images: to_b(images[a]),
            f"same_{b}": lambda images: to_b(images[b]),
        }
        if self.backward is not None:
            to_a = named(generators, self.backward, "generator")
            recipes |= {
                f"fake_{a}": lambda images: to_a(images[b]),
                f"same_{a}": lambda images: to_a(images[a]),
                f"cycled_{a}": lambda images: to_a(images[f"fake_{b}"]),
                f"cycled_{b}": lambda images: to_b(images[f"fake_{a}"]),
            }
        return Images(batch, recipes)


class ImagePool:
    """A history of generated images: a discriminator must not forget earlier fakes (Shrivastava 2017).

    Until the pool is full, images are kept and returned. Then each image is, with even chances, returned
    as it is or exchanged for a random one of the pool. The draws come from torch's global generator, which
    `ResumableCheckpoint` seeds for each epoch; give it the pool as one of its objects.

    Args:
        size: how many images are kept; 0 returns all images as they are.
    """

    def __init__(self, size: int = 50) -> None:
        if size < 0:
            raise ValueError(f"a pool of {size} images")
        self.size = int(size)
        self.images: list[torch.Tensor] = []

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Returns a batch of the same shape, in which some images may be earlier ones."""
        images = images.detach()
        return torch.stack([self._exchange(image) for image in images]) if self.size else images

    def _exchange(self, image: torch.Tensor) -> torch.Tensor:
        if len(self.images) < self.size:
            self.images.append(image.clone())
            return image
        if torch.rand(()) < 0.5:
            return image
        index = int(torch.randint(self.size, ()))
        earlier, self.images[index] = self.images[index], image.clone()
        return earlier.to(image) if earlier.shape == image.shape else image

    def state_dict(self) -> dict[str, Any]:
        """Returns the kept images."""
        return {"images": list(self.images)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned; a smaller pool keeps the first of them."""
        self.images = [image.clone() for image in state["images"][: self.size]]


def full_precision(value: Any) -> Any:
    """Returns a half precision tensor in float32, anything else as it is."""
    half = isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value


def named(items: Mapping[str, Any], name: str, kind: str, *, also: Iterable[str] = ()) -> Any:
    """Returns the item of that name.

    Raises:
        BundleError: there is none; the message lists those that exist and the nearest of them.
    """
    if name in items:
        return items[name]
    names = sorted({*items, *also})
    nearest = difflib.get_close_matches(str(name), names, 1)
    raise BundleError(
        f"a loss or a step asks for the {kind} '{name}', which does not exist",
        expected=f"one of {', '.join(names) or 'none'}",
        source="the adversarial part of the training configuration",
        advice=f"did you mean '{nearest[0]}'?" if nearest else f"correct the name of the {kind}",
    )
