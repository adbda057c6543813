"""Several networks in one bundle, with their weights in one file: each is trained by itself.

The network of such a bundle is a module whose children are the parts.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor, nn

from medbundles.errors import OverrideError
from medbundles.weights import load_state, read_tensors, unwrapped

logger = logging.getLogger(__name__)


class PartLoader:
    """Loads parts of a network from a weights file when training starts; a missing file is passed over.

    Whoever trains one part takes the others from the file, so that what is saved has all.

    Args:
        network: what is trained, or its average.
        path: the file; None loads nothing.
        parts: names of children; None loads all.
    """

    def __init__(
        self, network: nn.Module, path: str | os.PathLike | None, parts: Sequence[str] | None = None
    ) -> None:
        known = [name for name, _ in network.named_children()]
        parts = known if parts is None else parts
        if unknown := set(parts) - set(known):
            raise ValueError(f"the network has no part {', '.join(sorted(unknown))}: {', '.join(known)}")
        self.network, self.parts = network, tuple(parts)
        self.path = None if path is None else Path(path)

    def attach(self, engine: Engine) -> None:
        """Registers the loading at the start of the run."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Loads the weights."""
        if self.path is None or not self.path.is_file():
            logger.info("no weights to take the %s from: it starts anew", " and ".join(self.parts))
            return
        state = read_tensors(self.path, "cpu")
        for part in self.parts:
            load_state(getattr(self.network, part), part_of(state, part), source=str(self.path))
        logger.info("weights of the %s: %s", " and ".join(self.parts), self.path)


def child(network: nn.Module, name: str) -> nn.Module:
    """The part of a network with this name.

    Raises:
        OverrideError: there is none.
    """
    parts = dict(network.named_children())
    if name not in parts:
        raise OverrideError(
            f"no part '{name}' of the network",
            expected=", ".join(parts),
            source="option part",
            advice="name one of them",
        )
    return parts[name]


class Halved:
    """What is saved of a network: its weights in 16 bits, for a file of half the size.

    Loading them turns them into 32 bits again; what is lost is far below what averaging leaves to chance.

    Args:
        network: the network.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the weights, floating ones as float16."""
        state = unwrapped(self.network).state_dict()
        return {key: value.half() if value.is_floating_point() else value for key, value in state.items()}


def part_of(state: Mapping[str, Any], part: str) -> dict[str, Any]:
    """The state of one part in that of the whole network."""
    prefix = f"{part}."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def loss_of(output: Any) -> Any:
    """The loss in a trainer's output, for handlers that log it."""
    return (output[0] if isinstance(output, list) else output)["loss"]
