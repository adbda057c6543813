"""MONAI's client algorithm, for every kind of training that the bundles have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Events, State
from monai.engines import Trainer
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import FlStatistics
from monai.fl.utils.exchange_object import ExchangeObject
from torch import Tensor

from medbundles.federated.exchange import numbers, packed
from medbundles.federated.networks import HANDLERS, LOADERS, TrainedNetworks, networks_of
from medbundles.zoo.workflows import open_workflow


class WholeTraining:
    """A trainer as `MonaiAlgo` sees it, whose network is all networks at once.

    `MonaiAlgo` knows one network and one kind of trainer; an adversarial training has several networks.
    """

    def __init__(self, trainer: Trainer, network: TrainedNetworks) -> None:
        self.trainer, self.network = trainer, network

    @property
    def state(self) -> State:
        """Of the trainer."""
        return self.trainer.state

    def run(self) -> None:
        """Trains until the trainer's `max_epochs`."""
        self.trainer.run()

    def get_stats(self) -> dict[str, Any]:
        """Of the trainer."""
        return self.trainer.get_stats()


class BundleAlgo(MonaiAlgo):
    """Trains a bundle of this machine with weights from outside, for some epochs at a time.

    The bundle is the one that is installed here, not one that a server has sent. Optimizers, schedules and
    image pools stay here from round to round.

    Args:
        folder: of the bundle.
        configs: of its training.
        overrides: options of the training.
        local_epochs: epochs of a round.
    """

    def __init__(
        self, folder: Path, configs: tuple[str, ...], overrides: Mapping[str, Any], local_epochs: int
    ) -> None:
        workflow = open_workflow(folder, configs, overrides, logging_file=False)
        super().__init__(
            str(folder),
            local_epochs=local_epochs,
            send_weight_diff=False,
            config_evaluate_filename=None,
            train_workflow=workflow,
        )

    def initialize(self, extra: dict | None = None) -> None:
        """Builds networks and trainer and reads the data."""
        self.client_name = "site"
        self.train_workflow.initialize()
        trainer = self.train_workflow.trainer
        self.networks = networks_of(self.train_workflow)
        for handler in self.train_workflow.parser.get_parsed_content(HANDLERS):
            if isinstance(handler, LOADERS):  # at each start they would load over what the server has sent
                trainer.remove_event_handler(handler, Events.STARTED)
        self.trainer = WholeTraining(trainer, self.networks)
        self.evaluator = self.train_workflow.evaluator

    def train_from(self, weights: Mapping[str, Tensor]) -> tuple[dict[str, Any], int]:
        """Trains one round; returns the weights as arrays, and the number of steps.

        Of what `MonaiAlgo` would send along, which is the state of the trainer, only the steps are taken.
        """
        self.train(ExchangeObject(weights=self.networks.all_keys(weights)))
        statistics = self.get_weights().statistics
        steps = statistics[FlStatistics.NUM_EXECUTED_ITERATIONS]
        return packed(self.networks.exchanged()), int(steps)

    def score(self, weights: Mapping[str, Tensor]) -> dict[str, float]:
        """The key metric of weights on this site's validation cases, by its name."""
        self.networks.take(weights)
        report = self.evaluate(ExchangeObject(weights=self.evaluator.network.state_dict()))
        key = self.evaluator.state.key_metric_name
        return {name: value for name, value in numbers(report.metrics).items() if name == key}

    def abort(self, extra: dict | None = None) -> None:
        """Ends a training at the next step."""
        self.trainer.trainer.interrupt()
