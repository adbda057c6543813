"""Ignite handlers for training: exact resuming, best weights, averaged weights, early stopping."""

from __future__ import annotations

import copy
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from medbundles.checkpoints import ResumableCheckpoint
from medbundles.reproducible import plain
from medbundles.weights import is_writer, load_state, load_weights, state_of, unwrapped, write_tensors

__all__ = [
    "BestWeights",
    "EarlyStop",
    "ExponentialMovingAverage",
    "ResumableCheckpoint",
    "WeightsLoader",
    "load_weights",
]

logger = logging.getLogger(__name__)


class WeightsLoader:
    """Loads a weights file into a network when the engine starts, as `load_weights` does.

    In a training workflow it stands before `ResumableCheckpoint`, so that a resumed run goes on from its own
    weights; without a path nothing is loaded and training starts from random weights.
    """

    def __init__(self, network: torch.nn.Module, path: str | os.PathLike | None) -> None:
        self.network = network
        self.path = None if path is None else Path(path)

    def attach(self, engine: Engine) -> None:
        """Registers the loading at the start of the run."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Loads the weights."""
        if self.path is None:
            return
        load_weights(self.network, self.path)
        logger.info("weights: %s", self.path)


class BestWeights:
    """Saves the network's state dict whenever the evaluator's key metric improves.

    Attach it to the evaluator; give it to `ResumableCheckpoint` as one of its objects, so that a resumed
    run does not forget how good the saved weights are.

    Args:
        network: the network to save, e.g. the averaged one.
        path: the weights file, tensors only.
        anew: epoch after which the best of the epochs before no longer counts, since from then on something
            else is trained for.
    """

    def __init__(self, network: torch.nn.Module, path: str | os.PathLike, anew: int = 0) -> None:
        self.network = network
        self.path, self.anew = Path(path), int(anew)
        self.best_metric: float | None = None
        self.best_epoch = self.last_epoch = -1
        self._engine: Engine | None = None

    def attach(self, engine: Engine) -> None:
        """Registers the comparison with an evaluator that has a key metric."""
        self._engine = engine
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Compares the key metric with the best so far, and saves."""
        name = engine.state.key_metric_name
        metric = float(engine.state.metrics[name])
        self.last_epoch = engine.state.epoch
        outdated = self.best_epoch <= self.anew < engine.state.epoch
        if not math.isfinite(metric):  # a first NaN would otherwise stay the best for ever
            logger.warning("%s is %s in epoch %d: not compared", name, metric, engine.state.epoch)
        elif self.best_metric is None or outdated or engine.metric_cmp_fn(metric, self.best_metric):
            self.best_metric, self.best_epoch = metric, engine.state.epoch
            self._tell_engine()
            if is_writer():
                write_tensors(plain(state_of(self.network), "weights"), self.path)
                logger.info(
                    "best %s so far: %.4f in epoch %d, saved to %s", name, metric, self.best_epoch, self.path
                )

    def state_dict(self) -> dict[str, Any]:
        """Returns the best metric so far and its epoch."""
        return {"best_metric": self.best_metric, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the best metric, also in the evaluator that this handler is attached to."""
        self.best_metric, self.best_epoch = state["best_metric"], state["best_epoch"]
        self._tell_engine()

    def _tell_engine(self) -> None:
        if self._engine is not None and self.best_metric is not None:
            self._engine.state.best_metric = self.best_metric
            self._engine.state.best_metric_epoch = self.best_epoch


class EarlyStop:
    """Ends a training when the best weights are so many epochs old.

    Attach it to the trainer, behind the validation and the checkpoint. It has no memory of its own: a resumed
    run knows from its checkpoint how old its best weights are.

    Args:
        best: the best weights.
        patience: epochs without better ones; None trains to the last epoch.
    """

    def __init__(self, best: BestWeights, patience: int | None) -> None:
        self.best, self.patience = best, None if patience is None else int(patience)

    def attach(self, engine: Engine) -> None:
        """Registers the comparison after each epoch of a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Ends the training if it has been no better for long enough."""
        judged = self.best.best_metric is not None and self.best.last_epoch == engine.state.epoch
        if self.patience is None or not judged:
            return
        start = max(self.best.best_epoch, self.best.anew)  # before `anew` something else was trained for
        if engine.state.epoch - start >= self.patience:
            logger.info("ended: no better weights since epoch %d", self.best.best_epoch)
            engine.terminate()


class AttachedHandler:
    """Attaches a handler to which other components refer as well, such as an average or the best weights.

    MONAI reads every entry of a list of handlers as a component of its own; a plain
    reference cannot stand there.
    """

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def attach(self, engine: Engine) -> None:
        """Attaches the handler."""
        self.handler.attach(engine)


class ExponentialMovingAverage:
    """Keeps a second copy of a network whose weights are a moving average over the training steps.

    Attach it to the trainer, validate and save `network`. Early on the average is short, so that the random
    initial weights do not linger: the decay of step n is at most (1 + n) / (10 + n).

    Args:
        network: the network being trained.
        decay: how much of the average each step keeps.
    """

    def __init__(self, network: torch.nn.Module, decay: float = 0.999) -> None:
        self.source = network
        self.decay = decay
        self.network = copy.deepcopy(unwrapped(network)).requires_grad_(False).eval()
        self.steps = 0

    def attach(self, engine: Engine) -> None:
        """Registers the update after each iteration of a trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    @torch.no_grad()
    def __call__(self, engine: Engine | None = None) -> None:
        """Moves the average towards the network's present weights; counters and the like are copied."""
        decay = min(self.decay, self.steps / (9 + self.steps))
        own = self.network.state_dict()
        for key, value in unwrapped(self.source).state_dict().items():
            if value.is_floating_point():
                own[key].lerp_(value, 1 - decay)
            else:
                own[key].copy_(value)
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Returns the averaged weights and the number of steps in them."""
        return {"network": self.network.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        load_state(self.network, state["network"], source="averaged weights")
        self.steps = state["steps"]
