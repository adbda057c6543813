"""Hashes that tell whether a result would come out the same: of weights, and of a pipeline's options."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

MAX_DEPTH = 8
NOT_OPTIONS = {"output_dir", "R"}  # where results go, and random states


def weights_hash(network: torch.nn.Module) -> str:
    """Returns the sha256 of a network's state, independent of the file that it came from."""
    digest = hashlib.sha256()
    for key, value in network.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def options_hash(*parts: Any) -> str:
    """Returns the sha256 of the public options of transforms and inferers, the same in every process."""
    text = json.dumps([_options(part, MAX_DEPTH) for part in parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _options(item: Any, depth: int) -> Any:
    if item is None or isinstance(item, bool | int | float | str):
        return item
    if isinstance(item, torch.nn.Module) or depth == 0:
        return type(item).__qualname__
    if isinstance(item, np.ndarray | torch.Tensor):
        return np.asarray(item).tolist()
    if isinstance(item, list | tuple):
        return [_options(value, depth - 1) for value in item]
    if isinstance(item, Mapping):
        return {str(key): _options(value, depth - 1) for key, value in item.items()}
    if isinstance(item, type) or not hasattr(item, "__dict__") or hasattr(item, "__code__"):
        return getattr(item, "__qualname__", type(item).__qualname__)
    public = {k: v for k, v in vars(item).items() if not k.startswith("_") and k not in NOT_OPTIONS}
    return {type(item).__qualname__: _options(public, depth - 1)}
