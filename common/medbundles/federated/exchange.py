"""What travels between a site and the server: arrays of known names, shapes and kinds, and nothing else.

Nothing here unpickles. What comes from outside is compared with the networks before it is used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medbundles.errors import FederationError

NUMBERS = "fiub"  # kinds of numpy arrays: floating, integers, booleans; never objects
METRIC = re.compile(r"\w{1,64}")
MOST_STEPS = 10**9


@dataclass(frozen=True)
class Contribution:
    """What a site sends after a round: weights, the steps in them, and scores of what it was sent."""

    weights: dict[str, np.ndarray]
    steps: int
    metrics: dict[str, float]


def packed(state: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Weights as arrays of their own, which do not change when training goes on."""
    return {key: value.detach().cpu().numpy().copy() for key, value in state.items()}


def unpacked(arrays: Any, like: Mapping[str, Tensor], *, sender: str) -> dict[str, Tensor]:
    """The weights that were received, as tensors of the networks' own kinds.

    Args:
        arrays: what was received.
        like: the weights of the same networks here.
        sender: who sent it, for the message.

    Raises:
        FederationError: it is anything else than finite numbers under exactly the networks' names and shapes.
    """
    if not isinstance(arrays, Mapping):
        raise _refused(f"a {type(arrays).__name__}", sender)
    if unknown := sorted(set(map(str, arrays)) ^ set(like)):
        raise _refused(f"{len(unknown)} names that only one side has, such as {unknown[0][:80]}", sender)
    return {key: _tensor(arrays[key], value, key, sender) for key, value in like.items()}


def _tensor(array: Any, like: Tensor, key: str, sender: str) -> Tensor:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in NUMBERS:
        raise _refused(f"a {_kind(array)} as {key}", sender)
    if array.shape != tuple(like.shape):
        raise _refused(f"{key} of the shape {array.shape}", sender)
    if not np.isfinite(array).all():
        raise _refused(f"{key} with NaN or infinite values", sender)
    numbers = array if like.is_floating_point() else np.rint(array)
    return torch.from_numpy(np.array(numbers)).to(like.dtype)


def _kind(array: Any) -> str:
    return f"array of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__


def _refused(found: str, sender: str) -> FederationError:
    return FederationError(
        f"{sender} sent {found}",
        expected="finite weights of exactly this bundle's networks",
        advice="all must have the same version of the bundle and of medbundles; if they have, ask the sender",
    )


def numbers(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """The metrics that may travel: finite numbers under plain names; everything else stays."""
    found = {}
    for name, value in (metrics or {}).items():
        value = value.numpy(force=True) if isinstance(value, Tensor) else value
        if np.size(value) != 1:
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if METRIC.fullmatch(str(name)) and math.isfinite(number):
            found[str(name)] = number
    return found


def steps_of(value: Any, *, sender: str) -> int:
    """The number of steps that a site says it has trained.

    Raises:
        FederationError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < MOST_STEPS:
        raise FederationError(
            f"{sender} says that it has trained {value!r:.40} steps",
            expected="a whole number above 0",
            advice="look into the site's training.log: it may have no case to train on",
        )
    return value


def mean_weights(contributions: Sequence[tuple[Mapping[str, Tensor], int]]) -> dict[str, Tensor]:
    """Federated averaging: the mean of the sites' weights, each as often as it has taken steps."""
    total = sum(steps for _, steps in contributions)
    first = contributions[0][0]
    mean = {}
    for key, like in first.items():
        value = sum(weights[key].double() * (steps / total) for weights, steps in contributions)
        mean[key] = (value if like.is_floating_point() else value.round()).to(like.dtype)
    return mean


def mean_metrics(contributions: Sequence[tuple[Mapping[str, float], int]]) -> dict[str, float]:
    """The mean over the sites of each metric that all of them have."""
    total = sum(steps for _, steps in contributions)
    names = set.intersection(*(set(metrics) for metrics, _ in contributions))
    return {name: sum(m[name] * steps / total for m, steps in contributions) for name in sorted(names)}
