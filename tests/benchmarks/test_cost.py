"""What a command costs."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from cost import cost


def test_the_cost_is_that_of_the_process_that_ran() -> None:
    found = cost(["list"])
    assert found["command"] == "medbundles list"
    assert 0 < found["processor_seconds"] and 0 < found["seconds"]
    assert 0.01 < found["memory_gb"] < 100  # wrong by the unit would be wrong by a thousand


def test_the_memory_of_the_process_that_asks_does_not_count() -> None:
    held = np.ones(2**28)  # 2 GiB
    assert cost(["list"])["memory_gb"] < held.nbytes / 2e9


def test_a_command_that_fails_has_no_cost() -> None:
    with pytest.raises(SystemExit) as error:
        cost(["lits"])
    assert error.value.code not in (0, None)
