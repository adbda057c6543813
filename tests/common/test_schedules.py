"""Learning rates against numbers worked by hand, whole and resumed."""

from __future__ import annotations

import pytest
import torch

from medbundles.schedules import ConstantThenLinear


def rates(schedule: ConstantThenLinear, epochs: int) -> list[list[float]]:
    """Returns the rates of all groups in each epoch."""
    found = []
    for _ in range(epochs):
        found.append([group["lr"] for group in schedule.optimizer.param_groups])
        schedule.optimizer.step()
        schedule.step()
    return found


def schedule(constant: int, total: int) -> ConstantThenLinear:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1.0, 0.5)]
    return ConstantThenLinear(torch.optim.SGD(groups), constant, total)


def test_the_rate_is_constant_then_falls_in_equal_steps_to_zero_and_stays_there() -> None:
    found = rates(schedule(2, 6), 9)
    assert [first for first, _ in found] == pytest.approx([1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0])


def test_every_group_keeps_its_own_rate() -> None:
    assert all(second == first / 2 for first, second in rates(schedule(2, 6), 8))


def test_no_constant_part_and_nothing_but_a_constant_part_are_possible() -> None:
    assert [first for first, _ in rates(schedule(0, 4), 5)] == [1, 0.75, 0.5, 0.25, 0]
    assert [first for first, _ in rates(schedule(3, 3), 4)] == [1, 1, 1, 0]


def test_a_resumed_schedule_goes_on_where_it_was() -> None:
    whole = rates(schedule(1, 6), 6)
    first, second = schedule(1, 6), schedule(1, 6)
    start = rates(first, 3)
    second.load_state_dict(first.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    assert start + rates(second, 3) == whole


def test_an_impossible_schedule_is_refused() -> None:
    for constant, total in ((5, 4), (-1, 4), (0, 0)):
        with pytest.raises(ValueError, match="constant epochs"):
            schedule(constant, total)
