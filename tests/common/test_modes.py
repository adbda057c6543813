"""The speed knob means the same in every inferer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medbundles.checks import OverrideError
from medbundles.inferers import AutocastInferer, MirrorInferer, SlicewiseInferer, WindowInferer

INFERERS = [
    lambda mode: AutocastInferer(mode=mode),
    lambda mode: MirrorInferer(mode=mode),
    lambda mode: SlicewiseInferer(window=8, mode=mode),
    lambda mode: WindowInferer(8, mode=mode),
]


@pytest.mark.parametrize("make", INFERERS)
def test_an_unknown_mode_is_refused_with_the_three_names(make) -> None:
    with pytest.raises(OverrideError, match="fast, balanced, exact"):
        make("quick")


def test_exact_computes_in_float32_even_if_amp_is_allowed() -> None:
    network, x = nn.Conv2d(1, 1, 3, padding=1), torch.rand(1, 1, 8, 8)
    assert torch.equal(AutocastInferer(amp=True, mode="exact")(x, network), network(x))


def test_fast_asks_once_and_balanced_once_per_mirror_image() -> None:
    asked = []

    def network(x: torch.Tensor) -> torch.Tensor:
        asked.append(1)
        return x

    for mode, passes in {"fast": 1, "balanced": 4, "exact": 4}.items():
        asked.clear()
        MirrorInferer(dims=(0, 1), mode=mode)(torch.rand(1, 1, 4, 4), network)
        assert len(asked) == passes


def test_fast_overlaps_half_as_much() -> None:
    assert WindowInferer(8, 0.5, "fast").overlap == 0.25
    assert WindowInferer(8, 0.5, "balanced").overlap == 0.5
