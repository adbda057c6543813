"""Several networks with their weights in one file."""

from pathlib import Path

import pytest
import torch
from torch import nn

from medbundles.errors import OverrideError
from medbundles.parts import Halved, PartLoader, child, loss_of, part_of
from medbundles.weights import write_tensors


class Both(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.finder, self.reader = nn.Linear(3, 2), nn.BatchNorm1d(2)
        nn.init.normal_(self.reader.weight)


def test_a_part_is_taken_from_the_file_and_the_rest_stays(tmp_path: Path) -> None:
    other, network = Both(1), Both(2)
    write_tensors(Halved(other).state_dict(), tmp_path / "model.pt")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    PartLoader(network, tmp_path / "model.pt", ["finder"])(None)
    for key, value in part_of(other.state_dict(), "finder").items():
        torch.testing.assert_close(network.state_dict()[f"finder.{key}"], value, atol=1e-3, rtol=1e-3)
    for key, value in part_of(before, "reader").items():
        assert torch.equal(network.state_dict()[f"reader.{key}"], value)


def test_without_names_all_parts_are_taken_and_without_a_file_none(tmp_path: Path) -> None:
    other, network = Both(1), Both(2)
    before = network.finder.weight.clone()
    PartLoader(network, tmp_path / "none.pt")(None)  # a first training has no file yet
    PartLoader(network, None)(None)
    assert torch.equal(network.finder.weight, before)
    write_tensors(other.state_dict(), tmp_path / "model.pt")
    PartLoader(network, tmp_path / "model.pt")(None)
    assert all(torch.equal(network.state_dict()[key], value) for key, value in other.state_dict().items())


def test_a_part_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="finder, reader"):
        PartLoader(Both(0), None, ["judge"])
    with pytest.raises(OverrideError, match="finder, reader"):
        child(Both(0), "judge")


def test_a_child_is_found_by_its_name() -> None:
    network = Both(0)
    assert child(network, "reader") is network.reader


def test_what_is_saved_halved_has_half_the_bytes_and_whole_numbers_stay() -> None:
    state, whole = Halved(Both(0)).state_dict(), Both(0).state_dict()
    assert state["finder.weight"].dtype == torch.float16
    assert state["reader.num_batches_tracked"].dtype == whole["reader.num_batches_tracked"].dtype


def test_the_loss_is_found_in_both_forms_of_an_output() -> None:
    assert loss_of({"loss": 3.0}) == loss_of([{"loss": 3.0}, {"loss": 3.0}]) == 3.0
