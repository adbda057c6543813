"""Weights files: tensors only, written whole or not at all, read with errors that say what does not fit."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from medbundles.checks import BundleError
from medbundles.io import atomic_path


def unwrapped(network: torch.nn.Module) -> torch.nn.Module:
    """Returns the network itself when it is wrapped for data parallel training."""
    parallel = (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)
    return network.module if isinstance(network, parallel) else network


def state_of(item: Any) -> dict[str, Any]:
    """Returns the state dict of a network (as if it were not wrapped) or of anything else that has one."""
    return unwrapped(item).state_dict() if isinstance(item, torch.nn.Module) else item.state_dict()


def is_writer() -> bool:
    """Returns whether this process writes files: always, or only the first of several that train together."""
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


def load_weights(
    network: torch.nn.Module, path: str | os.PathLike, device: str | torch.device = "cpu"
) -> torch.nn.Module:
    """Returns the network after loading a weights file (a state dict, or one under `model`), strictly.

    Raises:
        BundleError: the file is missing, unreadable or damaged, its keys or shapes are not the network's, or
            weights are not numbers.
    """
    state = read_tensors(Path(path), device)
    state = state["model"] if isinstance(state.get("model"), Mapping) else state
    _check_finite(state, str(path))
    load_state(network, state, source=str(path))
    return network


def load_state(network: torch.nn.Module, state: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Loads a state dict strictly; the error lists the first few keys that do not fit.

    Raises:
        BundleError: keys are missing or unexpected, or shapes differ.
    """
    network = unwrapped(network)
    own = network.state_dict()
    problems = {
        "missing": [key for key in own if key not in state],
        "unexpected": [key for key in state if key not in own],
        "of another shape": [k for k in own if k in state and own[k].shape != state[k].shape],
    }
    found = [f"{len(keys)} keys {kind} ({_some(keys)})" for kind, keys in problems.items() if keys]
    if found:
        raise BundleError(
            f"weights that do not fit the network: {'; '.join(found)}",
            expected=f"the {len(own)} keys of {type(network).__name__}",
            source=source,
            advice="use the weights that belong to this version of the bundle",
        )
    network.load_state_dict(state)


def _check_finite(state: Mapping[str, torch.Tensor], source: str) -> None:
    bad = [key for key, value in state.items() if torch.is_tensor(value) and not torch.isfinite(value).all()]
    if bad:
        raise BundleError(
            f"weights that are not numbers: {len(bad)} keys ({_some(bad)})",
            expected="finite numbers",
            source=source,
            advice="use weights of a training that went well; this one diverged",
        )


def _some(keys: Iterable[str], n: int = 3) -> str:
    keys = list(keys)
    return ", ".join(keys[:n]) + (", ..." if len(keys) > n else "")


def write_tensors(state: Any, path: Path) -> None:
    """Saves to a temporary name beside the path, flushes to the disk and renames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def _check_sums(path: Path) -> None:
    """Compares the parts of the zip archive that torch writes with their sums, which torch does not do."""
    if not zipfile.is_zipfile(path):
        return  # torch says what else it may be
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{damaged} is damaged")


def read_tensors(path: Path, device: str | torch.device) -> dict[str, Any]:
    """Returns a file of tensors; every way in which it cannot be read is one BundleError."""
    try:
        _check_sums(path)
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, OSError, KeyError ...
        raise BundleError(
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}",
            expected="a PyTorch file that holds tensors only",
            source=str(path),
            advice="check the path; download or train the weights again if the file is damaged",
        ) from error
    if not isinstance(state, dict):
        raise BundleError(
            f"a {type(state).__name__}",
            expected="a state dict (names to tensors)",
            source=str(path),
            advice="save network.state_dict() instead",
        )
    return state
