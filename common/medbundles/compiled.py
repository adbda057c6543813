"""Networks compiled once, and how long that took."""

from __future__ import annotations

import logging
import time
import weakref
from typing import Any

import torch
from torch import nn

from medbundles.precision import Network

logger = logging.getLogger(__name__)

_compiled: weakref.WeakKeyDictionary[nn.Module, Network] = weakref.WeakKeyDictionary()


def compiled(network: Network, device: torch.device) -> Network:
    """Returns a network as `torch.compile` makes it, on a GPU with CUDA graphs; others as they are.

    The first answer includes compiling; how long it took is logged.
    """
    if not isinstance(network, nn.Module):
        return network
    if network not in _compiled:
        mode = "reduce-overhead" if device.type == "cuda" else "default"
        _compiled[network] = _timed_once(torch.compile(network, mode=mode, dynamic=False))
    return _compiled[network]


def _timed_once(network: Network) -> Network:
    warm = False

    def answer(*args: Any, **kwargs: Any) -> torch.Tensor:
        nonlocal warm
        started = time.monotonic()
        found = network(*args, **kwargs)
        if not warm:
            logger.info("compiled in %.1f s", time.monotonic() - started)
            warm = True
        return found.clone()  # CUDA graphs write the next answer where this one lies

    return answer
