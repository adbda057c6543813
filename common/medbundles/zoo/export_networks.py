"""The networks of a bundle that can be exported, and images to try them with; metadata say what they take.

`network_data_format` describes the whole network, `<name>_data_format` its child of that name. What a network
takes besides an image stands in `medbundles.export.<name>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medbundles.errors import BundleError
from medbundles.weights import load_weights
from medbundles.zoo.find import read_metadata
from medbundles.zoo.source import as_dict
from medbundles.zoo.workflows import build_network

WHOLE, FORMAT = "network", "_data_format"
MULTIPLE = re.compile(r"(?P<step>\d+)\*n")
BATCH = "batch"
# Sizes to export with, then to try, in steps: axes that differ, so that none can be taken for another.
# None is below LEAST: where the deepest grid has one place, torch.export takes that for a constant.
FACTORS = {2: ((6, 4), (5, 3), (3, 6)), 3: ((3, 4, 5), (5, 3, 4), (4, 5, 3))}
LEAST = 3
GRAIN = 16  # steps of a side that is described as one number
ODD = -3  # such a side is tried with what is no multiple, too


@dataclass(frozen=True)
class Exportable:
    """A network, or the reason why there is none.

    Attributes:
        name: `network` is the whole one.
        network: in evaluation mode, with the bundle's weights.
        channels: of the image.
        size: of the image, as described: a number, or a multiple as `16*n`.
        values: least and largest value of the image.
        others: what the network takes besides, by name: shape, dtype and values.
        reason: why it cannot be exported.
    """

    name: str
    network: nn.Module | None = None
    channels: int = 1
    size: tuple[int | str, ...] = ()
    values: tuple[float, float] = (0.0, 1.0)
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reason: str = ""

    @property
    def file_stem(self) -> str:
        """The whole network is called `model`, where clients look for it."""
        return "model" if self.name == WHOLE else self.name

    @property
    def names(self) -> list[str]:
        """The names of all that the network takes, the image first."""
        return ["image", *self.others]

    @cached_property
    def steps(self) -> tuple[int, ...] | None:
        """What the sides of an image must be multiples of; None if only the described size will do.

        What is described as a number is the size that the weights are for: most networks take others as well.
        """
        found = [MULTIPLE.fullmatch(str(side)) for side in self.size]
        described = tuple(int(match["step"]) if match else 0 for match in found)
        for grain in (1, GRAIN):
            steps = tuple(step or grain for step in described)
            if all(self._takes(size) for size in _sizes(steps)):
                return steps
        return None

    def _takes(self, size: Sequence[int]) -> bool:
        """Whether the network itself can do with a size."""
        try:
            with torch.no_grad():
                self.network(*self.inputs(1, size))
        except (RuntimeError, ValueError):  # of torch, and of our own networks
            return False
        return True

    def inputs(self, batch: int, size: Sequence[int], seed: int = 0) -> tuple[Tensor, ...]:
        """Random images (B, C, ...) of a size and whatever else the network takes."""
        random = torch.Generator().manual_seed(seed)
        low, high = self.values
        image = torch.rand((batch, self.channels, *size), generator=random) * (high - low) + low
        return image, *(_other(spec, batch, random) for spec in self.others.values())

    def sizes(self) -> list[tuple[int, ...]]:
        """The size that a network is exported with, then others that it must do as well with.

        Without steps, the size that is described.
        """
        return [self.fixed_size()] if self.steps is None else _sizes(self.steps)

    def fixed_size(self) -> tuple[int, ...]:
        """The size that is described, or one that suits it."""
        steps = self.steps or (GRAIN,) * len(self.size)
        return tuple(
            side if isinstance(side, int) else other
            for side, other in zip(self.size, _sizes(steps)[0], strict=True)
        )


def exportables(folder: Path) -> Iterator[Exportable]:
    """Yields every network that the metadata describe, with weights, or with the reason why there is none.

    Raises:
        BundleError: the network cannot be built, or its weights do not fit.
    """
    metadata = read_metadata(folder)
    described = {k.removesuffix(FORMAT): as_dict(v) for k, v in metadata.items() if k.endswith(FORMAT)}
    if WHOLE not in described:
        raise BundleError("no network is described", expected=WHOLE + FORMAT, source=folder)
    network = load_weights(build_network(folder), folder / "models" / "model.pt").eval()
    children = dict(network.named_children())
    parts = [name for name in described if name in children]
    extra = as_dict(as_dict(metadata.get("medbundles")).get("export"))
    for name, formats in described.items():
        if name == WHOLE and parts:
            reason = f"code decides between its parts ({', '.join(parts)}), which are exported one by one"
            yield Exportable(name, reason=reason)
        elif name != WHOLE and name not in children:
            yield Exportable(name, reason="only training uses it, and models/model.pt has no weights of it")
        else:
            part = network if name == WHOLE else children[name]
            yield _described(name, part, formats, as_dict(extra.get(name)))


def _sizes(steps: Sequence[int]) -> list[tuple[int, ...]]:
    """The size to export with, then those to compare on, which are odd where that is allowed."""
    return [
        tuple(
            factor * GRAIN + odd if step == 1 else factor * step
            for factor, step in zip(factors, steps, strict=True)
        )
        for factors, odd in zip(FACTORS[len(steps)], (0, ODD, ODD), strict=True)
    ]


def _described(
    name: str, network: nn.Module, formats: Mapping[str, Any], others: Mapping[str, Any]
) -> Exportable:
    image = as_dict(as_dict(formats.get("inputs")).get("image"))
    low, high = image["value_range"]
    size = tuple(image["spatial_shape"])
    return Exportable(name, network, int(image["num_channels"]), size, (float(low), float(high)), others)


def _other(spec: Mapping[str, Any], batch: int, random: torch.Generator) -> Tensor:
    """Whole numbers from the least to the largest value, of a shape whose first axis is the batch."""
    shape = [batch if side == BATCH else int(side) for side in spec["shape"]]
    low, high = spec["value_range"]
    drawn = torch.randint(int(low), int(high) + 1, shape, generator=random)
    return drawn.to(getattr(torch, spec["dtype"]))
