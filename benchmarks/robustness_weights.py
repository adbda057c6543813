"""Weights for the fuzz suite: files of torch, judged by the sums of the archive that they are."""

import io
import os
import pickle
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from robustness_samples import DamagedError, Kind, Sample
from torch import nn

from medbundles.weights import load_weights

WRONG = ("missing", "extra", "shape", "nan", "list", "pickle", "code", "script")
TRAP = (
    Path(tempfile.gettempdir()) / f"medbundles-fuzz-trap-{os.getuid()}"
)  # exists once code in a file of weights has run


class _Code:
    def __reduce__(self) -> tuple:
        return os.system, (f"touch {TRAP}",)


def network() -> nn.Module:
    """The network that all samples are for, always with the same weights at first."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()


def make(rng: np.random.Generator) -> Sample:
    """Weights of the network, every third with one thing wrong; two in three of them hide code."""
    state: Any = {
        key: torch.from_numpy(rng.normal(size=tuple(value.shape)).astype(np.float32))
        if value.is_floating_point()
        else torch.tensor(int(rng.integers(100)))
        for key, value in network().state_dict().items()
    }
    truth: Any = {key: value.clone() for key, value in state.items()}
    wrong = str(rng.choice(WRONG)) if rng.random() < 1 / 3 else ""
    if wrong == "missing":
        del state["0.bias"]
    elif wrong == "extra":
        state["9.bias"] = torch.zeros(3)
    elif wrong == "shape":
        state["0.bias"] = torch.zeros(5)
    elif wrong == "nan":
        state["0.weight"][0] = float(rng.choice([np.nan, np.inf]))
    elif wrong == "list":
        state = list(state.values())
    elif wrong == "code":
        state["0.bias"] = _Code()
    stream = io.BytesIO()
    if wrong == "pickle":
        pickle.dump({"0.bias": _Code()}, stream)
    elif wrong == "script":
        torch.save(network(), stream)
    else:
        torch.save({"model": state} if rng.random() < 0.3 and not wrong else state, stream)
    return Sample(stream.getvalue(), None if wrong else truth, f"weights {wrong}".strip())


def answer(path: Path) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The network's weights after loading; it fails if the file made anything run."""
    found = load_weights(network(), path).state_dict()
    if TRAP.exists():
        raise AssertionError("code in a file of weights was run")
    return found, []


def judge(data: bytes) -> None:
    """Sums that do not agree make a file damaged; nothing more is claimed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
        return
    if broken is not None:
        raise DamagedError("the sum of a part")


def same(found: dict[str, torch.Tensor], truth: dict[str, torch.Tensor]) -> bool:
    """Whether every tensor is equal."""
    return all(torch.equal(found[key], value) for key, value in truth.items())


KIND = Kind(".pt", make, answer, judge, same)
