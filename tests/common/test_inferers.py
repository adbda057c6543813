"""Wrapped inferers change the precision or the views, never the grid or the type of the answer."""

from __future__ import annotations

import pytest
import torch
from monai.inferers import SlidingWindowInferer

from medbundles.inferers import AutocastInferer, MirrorInferer


def weighted(x: torch.Tensor) -> torch.Tensor:
    """A network that is not symmetric: each column is multiplied by its position."""
    return x * torch.arange(x.shape[2], dtype=x.dtype)[:, None]


def test_bfloat16_is_used_inside_and_float32_comes_out() -> None:
    seen = []
    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    answer = AutocastInferer(amp=True)(torch.rand(1, 1, 8, 8), network)
    assert seen == [torch.bfloat16]
    assert answer.dtype == torch.float32


def test_without_amp_the_answer_is_exactly_the_networks() -> None:
    network, x = torch.nn.Conv2d(1, 1, 3, padding=1), torch.rand(1, 1, 8, 8)
    assert torch.equal(AutocastInferer(amp=False)(x, network), network(x))


def test_amp_switched_off_overrides_an_outer_autocast() -> None:
    network, x = torch.nn.Conv2d(1, 1, 3, padding=1), torch.rand(1, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        answer = AutocastInferer(amp=False)(x, network)
    assert torch.equal(answer, network(x))


@pytest.mark.parametrize("kind", [tuple, list])
def test_several_outputs_keep_their_container_and_integers_their_type(kind: type) -> None:
    answer = AutocastInferer()(torch.rand(1, 1, 4), lambda x: kind([x.bfloat16(), {"label": x.long()}]))
    assert isinstance(answer, kind)
    assert answer[0].dtype == torch.float32
    assert answer[1]["label"].dtype == torch.int64


def test_mirroring_averages_the_answers_in_the_orientation_of_the_input() -> None:
    answer = MirrorInferer(dims=0)(torch.ones(1, 1, 5, 3), weighted)
    assert torch.equal(answer, torch.full((1, 1, 5, 3), 2.0))  # (i + (4 - i)) / 2


def test_mirroring_along_two_axes_keeps_a_symmetric_networks_answer() -> None:
    x = torch.rand(2, 1, 6, 4)
    assert torch.allclose(MirrorInferer(dims=(0, 1))(x, lambda t: 2 * t), 2 * x)


def test_they_wrap_any_other_inferer() -> None:
    inferer = AutocastInferer(MirrorInferer(SlidingWindowInferer((8, 8), overlap=0.5), dims=0))
    x = torch.rand(1, 1, 20, 13)
    assert torch.allclose(inferer(x, torch.nn.Identity()), x, atol=1e-6)
