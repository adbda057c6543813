"""What a site and a server take from each other, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from medbundles.errors import FederationError
from medbundles.federated.exchange import mean_metrics, mean_weights, numbers, packed, steps_of, unpacked

WEIGHTS = {"network.weight": torch.tensor([[1.0, 2.0]]), "network.steps": torch.tensor(3)}


class Payload:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (open, ("must_not_be_there", "w"))


def test_weights_come_back_as_they_were_and_do_not_follow_the_network() -> None:
    live = {key: value.clone() for key, value in WEIGHTS.items()}
    arrays = packed(live)
    live["network.weight"].zero_()
    received = unpacked(arrays, live, sender="a")
    assert all(torch.equal(received[k], v) and received[k].dtype == v.dtype for k, v in WEIGHTS.items())


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (None, "a NoneType"),
        ({"network.weight": np.ones((1, 2))}, "names that only one side has"),
        (
            {**packed(WEIGHTS), "network.more": np.ones(1)},
            "names that only one side has, such as network.more",
        ),
        ({**packed(WEIGHTS), "network.weight": np.ones((2, 1))}, r"of the shape \(2, 1\)"),
        ({**packed(WEIGHTS), "network.weight": np.array([[1.0, math.nan]])}, "NaN or infinite"),
        ({**packed(WEIGHTS), "network.weight": np.array([[1.0, math.inf]])}, "NaN or infinite"),
        ({**packed(WEIGHTS), "network.weight": np.array([[Payload(), 1]], dtype=object)}, "array of object"),
        ({**packed(WEIGHTS), "network.weight": np.array([["1", "2"]])}, "array of <U1"),
        ({**packed(WEIGHTS), "network.weight": [[1.0, 2.0]]}, "a list as network.weight"),
    ],
    ids=["nothing", "too few", "too many", "shape", "nan", "infinite", "objects", "texts", "list"],
)
def test_anything_but_the_networks_own_numbers_is_refused_with_the_senders_name(
    arrays: Any, said: str
) -> None:
    with pytest.raises(FederationError, match=said) as raised:
        unpacked(arrays, WEIGHTS, sender="hospital_a")
    assert str(raised.value).startswith("hospital_a sent")


def test_the_mean_counts_a_site_as_often_as_it_has_taken_steps() -> None:
    low = {"w": torch.zeros(2), "n": torch.tensor(10)}
    high = {"w": torch.tensor([4.0, 8.0]), "n": torch.tensor(21)}
    mean = mean_weights([(low, 30), (high, 10)])
    assert torch.equal(mean["w"], torch.tensor([1.0, 2.0]))
    assert mean["n"].dtype == torch.int64
    assert mean["n"].item() == 13  # 12.75, and counters are whole numbers


def test_only_finite_numbers_under_plain_names_travel() -> None:
    found = {
        "val_dice": torch.tensor(0.5),
        "loss": np.float32(2),
        "path": "/data/DOE^JANE.dcm",
        "nan": math.nan,
    }
    found |= {"per_case": torch.tensor([0.1, 0.2]), "/data/DOE^JANE.dcm": 1.0, "x" * 65: 1.0}
    assert numbers(found) == {"val_dice": 0.5, "loss": 2.0}
    assert numbers(None) == {}


def test_a_metric_counts_where_all_sites_have_it() -> None:
    assert mean_metrics([({"dice": 0.5, "a": 1.0}, 1), ({"dice": 0.9}, 3)]) == {"dice": pytest.approx(0.8)}


@pytest.mark.parametrize("steps", [0, -1, 2.5, True, None, "7", 10**12])
def test_a_number_of_steps_that_is_none_is_refused(steps: Any) -> None:
    with pytest.raises(FederationError, match="hospital_a says"):
        steps_of(steps, sender="hospital_a")
