"""What a training exchanges with others: the weights of all networks that it trains, and their averages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medbundles.errors import BundleError
from medbundles.handlers import BestWeights, ExponentialMovingAverage, WeightsLoader
from medbundles.parts import PartLoader
from medbundles.reproducible import plain
from medbundles.weights import state_of, unwrapped, write_tensors

if TYPE_CHECKING:
    from monai.bundle import ConfigWorkflow

HANDLERS = "train#handlers"
CHECKPOINT = "ResumableCheckpoint"
LOADERS = (WeightsLoader, PartLoader)


class TrainedNetworks(nn.ModuleDict):
    """All networks of a training as one module: what its checkpoint holds, without optimizers.

    A network of a generative pair, or the average of one, is exchanged like any other.

    Attributes:
        averages: the moving averages among them.
        first: every key of the state to the first key that names the same tensor; networks may share parts.
    """

    def __init__(self, objects: Mapping[str, Any]) -> None:
        averages = {k: v for k, v in objects.items() if isinstance(v, ExponentialMovingAverage)}
        modules = {k: unwrapped(v) for k, v in objects.items() if isinstance(v, nn.Module)}
        super().__init__(modules | {name: average.network for name, average in averages.items()})
        self.averages = list(averages.values())
        self.first = _first_names(self.state_dict())

    def exchanged(self) -> dict[str, Tensor]:
        """Returns each tensor once, on the CPU; it goes on with the network as long as that is there, too."""
        state = self.state_dict()
        return {key: state[key].detach().cpu() for key in dict.fromkeys(self.first.values())}

    def all_keys(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the state with the keys that `exchanged` leaves out."""
        return {key: state[first] for key, first in self.first.items()}

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Loads what `exchanged` returned, here or elsewhere."""
        self.load_state_dict(self.all_keys(state))


def networks_of(workflow: ConfigWorkflow) -> TrainedNetworks:
    """The networks of an initialized training workflow; no data are read.

    Raises:
        BundleError: its training keeps no networks in a checkpoint.
    """
    handlers = workflow.parser[HANDLERS]
    places = [i for i, item in enumerate(handlers) if _target(item).endswith(CHECKPOINT)]
    objects = workflow.parser.get_parsed_content(f"{HANDLERS}#{places[0]}#objects") if places else {}
    networks = TrainedNetworks(objects)
    if not len(networks):
        raise BundleError(
            "a training whose networks are not known",
            expected=f"a {CHECKPOINT} among the handlers of the training, with the networks as objects",
            source=HANDLERS,
            advice="train another stage, or add the checkpoint to train.json",
        )
    return networks


@torch.no_grad()
def first_weights(workflow: ConfigWorkflow) -> dict[str, Tensor]:
    """The weights that a federated training begins with: random ones, or those of `initial_weights`."""
    workflow.initialize()
    networks = networks_of(workflow)
    for i, item in enumerate(workflow.parser[HANDLERS]):
        if _target(item).rpartition(".")[2] in {kind.__name__ for kind in LOADERS}:
            workflow.parser.get_parsed_content(f"{HANDLERS}#{i}")(None)
    for average in networks.averages:
        average()
    return {key: value.clone() for key, value in networks.exchanged().items()}


def write_weights(workflow: ConfigWorkflow, state: Mapping[str, Tensor], path: Path) -> None:
    """Writes the weights file that inference loads, as the training itself would have written it."""
    workflow.initialize()
    networks_of(workflow).take(state)
    best: BestWeights = workflow.parser.get_parsed_content("validate#best_weights")
    write_tensors(plain(state_of(best.network), "weights"), path)


def _target(item: Any) -> str:
    return str(item.get("_target_", "")) if isinstance(item, Mapping) else ""


def _first_names(state: Mapping[str, Tensor]) -> dict[str, str]:
    names: dict[tuple, str] = {}
    own = (f"{i}" for i in range(len(state)))  # tensors without elements have no address of their own
    return {
        key: names.setdefault((value.data_ptr() or next(own), value.shape, value.dtype), key)
        for key, value in state.items()
    }
