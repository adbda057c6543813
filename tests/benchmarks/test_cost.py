"""What a command costs."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from cost import cost


def test_the_cost_is_that_of_the_process_that_ran() -> None:
    found = cost(["list"])
    assert found["command"] == "medbundles list"
    assert 0 < found["processor_seconds"] and 0 < found["seconds"]
    assert 0.01 < found["memory_gb"] < 100  # wrong by the unit would be wrong by a thousand


def test_a_command_that_fails_has_no_cost() -> None:
    with pytest.raises(SystemExit) as error:
        cost(["lits"])
    assert error.value.code not in (0, None)
