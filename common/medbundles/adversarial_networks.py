"""Networks by name: their parameters for an optimizer, and freezing some while others learn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch

Networks = Mapping[str, torch.nn.Module]


@contextmanager
def frozen(networks: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Takes the parameters of the networks out of the graph for a while; those frozen before stay frozen."""
    weights = [weight for network in networks for weight in network.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def parameters(networks: Networks) -> list[torch.nn.Parameter]:
    """Returns the parameters of all networks for one optimizer; those that networks share come once."""
    return list(
        {id(weight): weight for network in networks.values() for weight in network.parameters()}.values()
    )
