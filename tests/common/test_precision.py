"""bfloat16 is used only for networks that answer the same in it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from medbundles.inferers import AutocastInferer, SlicewiseInferer
from medbundles.precision import (
    TOLERANCE,
    lay_out,
    precision_loss,
    processor_computes_bfloat16,
    sample_of,
)


class Cancelling(nn.Module):
    """Its answer is the small difference of two large numbers: bfloat16 has not enough digits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.constant_(self.conv.weight, 1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x + 1000.0).float() - 1000.0


@pytest.fixture
def frame() -> torch.Tensor:
    return torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.usefixtures("with_bfloat16")
def test_a_network_that_needs_more_digits_runs_in_float32(
    frame: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    network = Cancelling().eval()
    with caplog.at_level(logging.WARNING):
        answer = AutocastInferer()(frame, network)
    torch.testing.assert_close(answer, frame, atol=1e-4, rtol=0)
    assert "float32 is used" in caplog.text


@pytest.mark.usefixtures("with_bfloat16")
def test_a_network_that_does_not_runs_in_bfloat16(frame: torch.Tensor) -> None:
    network, seen = nn.Conv2d(1, 4, 3, padding=1).eval(), []
    AutocastInferer()(frame, network)
    network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    AutocastInferer()(frame, network)
    assert seen == [torch.bfloat16]  # tried before, and not again


def test_a_processor_without_instructions_for_it_computes_in_float32(
    frame: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medbundles.precision.processor_computes_bfloat16", lambda: False)
    network, seen = nn.Conv2d(1, 4, 3, padding=1).eval(), []
    network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    assert torch.equal(AutocastInferer()(frame, network), network(frame))
    assert set(seen) == {torch.float32}


def test_the_instructions_are_those_that_the_processor_names() -> None:
    flags = Path("/proc/cpuinfo")
    words = set(flags.read_text(encoding="utf-8").split()) if flags.is_file() else set()
    if {"avx512_bf16", "amx_bf16"} & words:
        assert processor_computes_bfloat16()
    elif "avx2" in words:
        assert not processor_computes_bfloat16()
    else:
        assert isinstance(processor_computes_bfloat16(), bool)


def test_the_loss_of_a_rounded_answer_is_what_bfloat16_has(frame: torch.Tensor) -> None:
    network = nn.Conv2d(1, 1, 1, bias=False).eval()
    nn.init.constant_(network.weight, 1.0)
    rounded = frame.bfloat16().float()
    expected = ((frame - rounded).square().mean().sqrt() / frame.std()).item()
    assert precision_loss(network, frame, torch.bfloat16) == pytest.approx(expected, rel=0.01)
    assert expected < TOLERANCE < precision_loss(Cancelling().eval(), frame, torch.bfloat16)


def test_the_sample_lies_in_the_middle_and_can_be_halved_five_times() -> None:
    volume = torch.zeros(2, 3, 240, 70, 20)
    volume[0, :, 120, 35, 10] = 1
    sample = sample_of(volume)
    assert sample.shape == (1, 3, 64, 64, 20)
    assert sample[0, :, 32, 32, 10].tolist() == [1, 1, 1]


@pytest.mark.usefixtures("with_bfloat16")
def test_slices_are_tried_one_by_one() -> None:
    volume = torch.rand(1, 1, 64, 64, 5)
    answer = AutocastInferer(SlicewiseInferer())(volume, Cancelling().eval())
    torch.testing.assert_close(answer, volume, atol=1e-4, rtol=0)


@pytest.mark.parametrize("x", [torch.ones(1, 1, 64, 64), torch.rand(1, 1, 2, 2)])
def test_where_nothing_can_be_told_nothing_is_decided(x: torch.Tensor) -> None:
    network = nn.Conv2d(1, 1, 3).eval()
    assert precision_loss(network, sample_of(x), torch.bfloat16) is None


def test_laid_out_weights_are_the_same_numbers_and_give_the_same_answer(frame: torch.Tensor) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3)).eval()
    before, expected = {k: v.clone() for k, v in network.state_dict().items()}, network(frame)
    lay_out(network)
    assert network[2].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    torch.testing.assert_close(network(frame), expected)


def test_a_network_that_is_being_trained_keeps_its_layout(frame: torch.Tensor) -> None:
    network = nn.Conv2d(4, 4, 3).train()
    network(frame.expand(-1, 4, -1, -1)).sum().backward()
    lay_out(network)
    lay_out(network.eval())  # validated between two epochs
    assert network.weight.is_contiguous()
