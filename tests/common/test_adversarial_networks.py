"""Networks by name: their parameters, and freezing some of them for a while."""

from __future__ import annotations

import pytest
import torch

from medbundles.adversarial_networks import frozen, parameters


def test_frozen_networks_pass_gradients_on_and_get_none() -> None:
    judge, x = torch.nn.Linear(1, 1), torch.ones(1, 1, requires_grad=True)
    with frozen([judge]):
        judge(x).sum().backward()
    assert x.grad is not None
    assert judge.weight.grad is None
    assert judge.weight.requires_grad


def test_what_was_frozen_before_stays_frozen() -> None:
    judge = torch.nn.Linear(1, 1)
    judge.bias.requires_grad_(False)
    with frozen([judge]):
        assert not judge.weight.requires_grad
    assert judge.weight.requires_grad
    assert not judge.bias.requires_grad


def test_an_error_does_not_leave_networks_frozen() -> None:
    judge = torch.nn.Linear(1, 1)
    with pytest.raises(RuntimeError, match="out of memory"), frozen([judge]):
        raise RuntimeError("out of memory")
    assert judge.weight.requires_grad


def test_shared_parameters_are_listed_once() -> None:
    shared, own = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    weights = parameters({"there": torch.nn.Sequential(shared, own), "back": shared})
    assert len(weights) == len({id(weight) for weight in weights}) == 4
