"""Random numbers that can be continued: seeds that depend on the epoch alone, and states as plain tensors."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from monai.data.utils import set_rnd

_KEPT_MAPPINGS = (OrderedDict, Counter)  # what torch.load(weights_only=True) gives back as the same type


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Returns the 32-bit seed of one epoch on one rank; neighbouring epochs get unrelated streams."""
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0])


def seed_everything(seed: int) -> None:
    """Seeds python, numpy and torch (all devices) without touching torch's other settings."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - third-party code draws from numpy's global state
    torch.manual_seed(seed)


def seed_loader(loader: Iterable, seed: int) -> None:
    """Seeds the random transforms behind a data loader, and the generators that shuffle it.

    Worker processes derive their seeds from torch's global one when they start, so they follow too, except
    with `persistent_workers=True`, whose workers never start again.
    """
    set_rnd(getattr(loader, "dataset", None), seed)
    samplers = [loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)]
    for generator in {
        id(g): g for s in samplers if (g := getattr(s, "generator", None)) is not None
    }.values():
        generator.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """Returns the state of every global random generator, as tensors and plain Python values."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "python": random.getstate(),
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Puts back what `random_state` returned."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, values, gauss = state["python"]
    random.setstate((version, tuple(values), gauss))


def plain(value: Any, where: str = "state") -> Any:
    """Returns the value with numpy scalars and arrays as Python numbers and tensors.

    Raises:
        TypeError: something in it could not be read again by `torch.load(weights_only=True)`.
    """
    if isinstance(value, dict):
        items = {key: plain(item, f"{where}.{key}") for key, item in value.items()}
        return type(value)(items) if isinstance(value, _KEPT_MAPPINGS) else items
    if isinstance(value, list | tuple):
        return type(value)([plain(item, f"{where}[{i}]") for i, item in enumerate(value)])
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, torch.Tensor):
        return value.as_tensor().detach() if hasattr(value, "as_tensor") else value.detach()
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    raise TypeError(f"{where} holds a {type(value).__name__}; a checkpoint holds tensors and numbers only")


def overlay_changed(saved: Any, saved_fresh: Any, fresh: Any) -> Any:
    """Returns the saved state, with the new run's value wherever the two were configured differently.

    Args:
        saved: the state at the end of the earlier run.
        saved_fresh: the state the earlier run started from, i.e. its configuration.
        fresh: the state the new run starts from.
    """
    if isinstance(fresh, dict) and isinstance(saved, dict) and isinstance(saved_fresh, dict):
        merged = {k: overlay_changed(v, saved_fresh.get(k), fresh.get(k, v)) for k, v in saved.items()}
        return type(saved)(merged) if isinstance(saved, _KEPT_MAPPINGS) else merged
    if isinstance(fresh, list) and isinstance(saved, list) and isinstance(saved_fresh, list):
        if len(fresh) == len(saved) == len(saved_fresh):
            return [overlay_changed(*three) for three in zip(saved, saved_fresh, fresh, strict=True)]
    if isinstance(fresh, torch.Tensor):
        return saved
    return saved if saved_fresh == fresh else fresh
