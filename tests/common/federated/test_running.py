"""The command that writes the job of real sites, which needs no NVFLARE; and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from medbundles.errors import FederationError, InputError, OverrideError
from medbundles.federated.networks import TrainedNetworks
from medbundles.federated.running import federate
from medbundles.handlers import ExponentialMovingAverage
from medbundles.weights import read_tensors
from medbundles.zoo.new import TEMPLATE
from medbundles.zoo.workflows import build_network


def job(folder: Path, sites: str = "north,south", **knobs: Any) -> Path:
    federate(str(TEMPLATE), sites, 3, 2, "", folder / "unused", str(folder / "job"), knobs)
    return folder / "job"


def test_a_job_names_the_sites_and_begins_with_the_networks_own_weights(tmp_path: Path) -> None:
    place = job(tmp_path, learning_rate=0.01, seed=5)
    meta = json.loads((place / "meta.json").read_text(encoding="utf-8"))
    assert meta["deploy_map"] == {"app_server": ["server"], "app_sites": ["north", "south"]}
    first = read_tensors(place / "app_server" / "config" / "first_weights.pt", "cpu")
    assert {f"network.{key}" for key in build_network(TEMPLATE).state_dict()} == set(first)
    client = json.loads((place / "app_sites/config/config_fed_client.json").read_text(encoding="utf-8"))
    plan = client["executors"][0]["executor"]["args"]["plan"]
    assert (plan["rounds"], plan["local_epochs"]) == (3, 2)
    assert plan["knobs"] == {"learning_rate": 0.01, "seed": 5}
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize(
    ("sites", "knobs", "kind", "said"),
    [
        ("north", {}, OverrideError, "--sites north"),
        ("north,south", {"learning_rat": 0.1}, OverrideError, "did you mean --learning_rate"),
        ("north,south", {"learning_rate": "fast"}, OverrideError, "learning_rate"),
        ("north,south", {"dataset_dir": "data"}, FederationError, "dataset_dir"),
        ("north,south", {"epochs": 4}, FederationError, "epochs"),
    ],
)
def test_a_job_that_no_site_could_follow_is_not_written(
    tmp_path: Path, sites: str, knobs: dict[str, Any], kind: type[InputError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        job(tmp_path, sites, **knobs)
    assert not (tmp_path / "job").exists()


def test_networks_that_share_a_part_send_it_once_and_both_get_it() -> None:
    part, head = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)
    objects = {"network": part, "trained": torch.nn.Sequential(part, head), "optimizer": object()}
    objects["average"] = ExponentialMovingAverage(part)
    networks = TrainedNetworks(objects)
    sent = networks.exchanged()
    assert set(sent) == {
        *("network.weight", "network.bias", "average.weight", "average.bias"),
        *("trained.1.weight", "trained.1.bias"),
    }
    networks.take({key: torch.full_like(value, 7) for key, value in sent.items()})
    assert all((value == 7).all() for value in networks.state_dict().values())
    assert (part.weight == 7).all() and (objects["average"].network.bias == 7).all()
