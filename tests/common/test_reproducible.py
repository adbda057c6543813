"""Random numbers go on where they stopped, and a state is only what can safely be read back."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from medbundles.reproducible import (
    epoch_seed,
    overlay_changed,
    plain,
    random_state,
    restore_random_state,
    seed_everything,
)


def draw() -> tuple[float, float, float, float]:
    normal = np.random.normal()  # noqa: NPY002
    return random.random(), random.gauss(0, 1), float(normal), float(torch.rand(()))


def test_a_restored_state_repeats_the_same_numbers_also_from_a_file(tmp_path: Path) -> None:
    seed_everything(5)
    draw()
    torch.save(plain(random_state()), tmp_path / "state.pt")
    expected = draw()
    draw()
    restore_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert draw() == expected


def test_epochs_seeds_and_ranks_have_unrelated_seeds() -> None:
    seeds = {epoch_seed(s, e, r) for s in range(5) for e in range(20) for r in range(3)}
    assert len(seeds) == 300
    assert epoch_seed(1, 2) == epoch_seed(1, 2)


def test_a_plain_state_holds_no_numpy_and_keeps_its_containers() -> None:
    state = plain(
        {"best": np.float64(0.5), "n": np.int64(3), "a": np.arange(2), "c": Counter({3: 1}), "t": (1, 2)}
    )
    assert type(state["best"]) is float
    assert type(state["n"]) is int
    assert torch.equal(state["a"], torch.arange(2))
    assert isinstance(state["c"], Counter)
    assert state["t"] == (1, 2)


def test_what_could_not_be_read_back_is_refused_with_its_place() -> None:
    with pytest.raises(TypeError, match=r"objects\.pool\[1\]"):
        plain({"pool": [1, object()]}, "objects")


def test_only_settings_that_changed_replace_saved_ones() -> None:
    fresh_then = {"total": 100, "step": 0, "rates": [0.1, 0.2], "inner": {"power": 1}}
    saved = {"total": 100, "step": 40, "rates": [0.05, 0.1], "inner": {"power": 1}}
    fresh_now = {"total": 200, "step": 0, "rates": [0.1, 0.4], "inner": {"power": 2}}
    assert overlay_changed(saved, fresh_then, fresh_now) == {
        "total": 200,
        "step": 40,
        "rates": [0.05, 0.4],
        "inner": {"power": 2},
    }
