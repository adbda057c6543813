"""The device knob takes every sensible name, says what it chose, and refuses the rest in words."""

from __future__ import annotations

import logging

import pytest
import torch

from medbundles.checks import DeviceError
from medbundles.devices import choose_device, describe_device, place


def test_auto_takes_the_fastest_device_there_is_and_says_so_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "medbundles.devices")
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == best
    assert len(caplog.records) == 1
    assert best in caplog.text


@pytest.mark.parametrize("name", ["cpu", "CPU ", torch.device("cpu")])
def test_a_name_or_a_device_is_taken_as_it_is(name: str | torch.device) -> None:
    assert choose_device(name) == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "xpu", "cuda:99", ""])
def test_an_unknown_or_absent_device_is_refused_with_the_names_that_work(name: str) -> None:
    with pytest.raises(DeviceError, match="cpu"):
        choose_device(name)


def test_a_network_is_placed_and_returned() -> None:
    network = torch.nn.Linear(1, 1)
    assert place(network, "cpu") is network
    assert "threads" in describe_device(torch.device("cpu"))
