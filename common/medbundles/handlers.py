"""Ignite handlers for training: a checkpoint that resumes exactly, the best weights, averaged weights."""

from __future__ import annotations

import copy
import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch.optim.lr_scheduler import LRScheduler

from medbundles.checks import BundleError
from medbundles.reproducible import (
    epoch_seed,
    overlay_changed,
    plain,
    random_state,
    restore_random_state,
    seed_everything,
    seed_loader,
)
from medbundles.weights import (
    is_writer,
    load_state,
    load_weights,
    read_tensors,
    state_of,
    unwrapped,
    write_tensors,
)

__all__ = ["BestWeights", "ExponentialMovingAverage", "ResumableCheckpoint", "WeightsLoader", "load_weights"]

logger = logging.getLogger(__name__)

CHECKPOINT_NAME = "checkpoint.pt"
PREVIOUS_NAME = "checkpoint_previous.pt"


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


class ResumableCheckpoint:
    """Saves a training run so that it can be continued exactly where its last saved epoch ended.

    Every epoch starts from a seed that depends only on (seed, epoch, rank): random transforms, shuffling,
    dropout and worker processes follow it. An epoch is therefore a function of the saved state alone, and a
    run that was killed repeats the epoch it was in with the same losses. On the CPU 2 + 2 epochs equal 4 bit
    for bit, provided that the learning rate schedule does not depend on the number of epochs.

    A schedule that was configured differently for the new run (say, over more epochs) takes the new values.

    Args:
        save_dir: the folder of `checkpoint.pt`.
        objects: name to anything with `state_dict` and `load_state_dict`: networks, optimizers, schedulers,
            `BestWeights`, `ExponentialMovingAverage`, image pools; one that is None is left out, so that an
            overlay of a configuration can take it away.
        interval: epochs from one save to the next; the last epoch is always saved.
        every_minutes: also saves at the end of an epoch when this much time has passed since the last save.
        resume: continue from the checkpoint in `save_dir` if there is one.
        seed: the seed of the run.
    """

    def __init__(
        self,
        save_dir: str | os.PathLike,
        objects: dict[str, Any],
        *,
        interval: int = 1,
        every_minutes: float | None = None,
        resume: bool = False,
        seed: int = 0,
    ) -> None:
        self.path = Path(save_dir) / CHECKPOINT_NAME
        self.objects = {name: item for name, item in objects.items() if item is not None}
        self.interval = max(1, int(interval))
        self.every_minutes = math.inf if every_minutes is None else float(every_minutes)
        self.resume = resume
        self.seed = int(seed)
        self._fresh = {k: plain(state_of(v)) for k, v in self.objects.items() if isinstance(v, LRScheduler)}
        self._saved_epoch = 0
        self._completed_epoch = 0
        self._saved_at = time.monotonic()
        self._attached_last = False

    def attach(self, engine: Engine) -> None:
        """Registers restoring, seeding and saving with a trainer."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_STARTED, self.start_epoch)
        engine.add_event_handler(Events.COMPLETED, self.complete)

    def start(self, engine: Engine) -> None:
        """Restores an earlier run, or sets its checkpoint aside."""
        if self.resume:
            self._restore(engine)
        elif self.path.exists() and is_writer():
            os.replace(self.path, self.path.with_name(PREVIOUS_NAME))
            logger.warning(
                "a checkpoint of an earlier run was set aside as %s; --resume true continues a run",
                PREVIOUS_NAME,
            )
        if not self._attached_last:  # registered now, so that schedulers and validation have done their part
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.complete_epoch)
            self._attached_last = True

    def start_epoch(self, engine: Engine) -> None:
        """Seeds everything for this epoch and starts the data loader anew from these seeds."""
        seed = epoch_seed(self.seed, engine.state.epoch, engine.state.rank)
        seed_everything(seed)
        loader = getattr(engine, "data_loader", engine.state.dataloader)
        if loader is not None:
            seed_loader(loader, seed)
            engine.set_data(loader)

    def complete_epoch(self, engine: Engine) -> None:
        """Saves when an interval, or enough time, has passed."""
        self._completed_epoch = engine.state.epoch
        minutes = (time.monotonic() - self._saved_at) / 60
        if engine.state.epoch % self.interval == 0 or minutes >= self.every_minutes:
            self.save(engine)

    def complete(self, engine: Engine) -> None:
        """Saves the last epoch, unless that is done or the run was stopped in the middle of one."""
        if self._saved_epoch < engine.state.epoch == self._completed_epoch:
            self.save(engine)

    def save(self, engine: Engine) -> None:
        """Writes the checkpoint whole or not at all; with several processes only the first one writes."""
        self._saved_epoch, self._saved_at = engine.state.epoch, time.monotonic()
        if not is_writer():
            return
        state = {"objects": {name: state_of(item) for name, item in self._all_objects(engine).items()}}
        state |= {"fresh": self._fresh, "seed": self.seed, "random": random_state()}
        keys = ("epoch", "iteration", "epoch_length", "best_metric", "best_metric_epoch")
        state["trainer"] = {key: getattr(engine.state, key, None) for key in keys}
        write_tensors(plain(state, "checkpoint"), self.path)
        logger.debug("checkpoint of epoch %d: %s", engine.state.epoch, self.path)

    def _all_objects(self, engine: Engine) -> dict[str, Any]:
        scaler = getattr(engine, "scaler", None)
        return self.objects | ({} if scaler is None else {"grad_scaler": scaler})

    def _restore(self, engine: Engine) -> None:
        if not self.path.exists():
            logger.info("nothing to resume in %s: starting at epoch 1", self.path.parent)
            return
        saved = read_tensors(self.path, "cpu")
        self._check_names(engine, saved)
        for name, item in self._all_objects(engine).items():
            state = saved["objects"][name]
            if name in self._fresh:
                state = overlay_changed(state, saved["fresh"].get(name), self._fresh[name])
            if isinstance(item, torch.nn.Module):
                load_state(item, state, source=str(self.path))
            else:
                item.load_state_dict(state)
        restore_random_state(saved["random"])
        self._restore_trainer(engine, saved["trainer"])
        if saved["seed"] != self.seed:
            logger.warning("the run was started with seed %s; it goes on with %s", saved["seed"], self.seed)

    def _restore_trainer(self, engine: Engine, trainer: dict[str, Any]) -> None:
        state = engine.state
        epoch = self._saved_epoch = self._completed_epoch = trainer["epoch"]
        if trainer["epoch_length"] != state.epoch_length:
            message = "an epoch now has %s iterations (%s before): the run goes on, but not as it would have"
            logger.warning(message, state.epoch_length, trainer["epoch_length"])
        state.epoch, state.iteration = epoch, epoch * (state.epoch_length or trainer["epoch_length"])
        state.best_metric, state.best_metric_epoch = trainer["best_metric"], trainer["best_metric_epoch"]
        if epoch >= state.max_epochs:
            logger.info("%s already has %d epochs: nothing left to train", self.path, epoch)
        else:
            logger.info("resuming %s after epoch %d of %d", self.path, epoch, state.max_epochs)

    def _check_names(self, engine: Engine, saved: dict[str, Any]) -> None:
        names = sorted(self._all_objects(engine))
        if "objects" not in saved or sorted(saved["objects"]) != names:
            raise BundleError(
                f"a checkpoint of {sorted(saved.get('objects', []))}",
                expected=f"a checkpoint of {names}",
                source=str(self.path),
                advice="resume with the configuration of that run, or train into another folder",
            )


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
        self.best_epoch = -1
        self._engine: Engine | None = None

    def attach(self, engine: Engine) -> None:
        """Registers the comparison with an evaluator that has a key metric."""
        self._engine = engine
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Compares the key metric with the best so far, and saves."""
        name = engine.state.key_metric_name
        metric = float(engine.state.metrics[name])
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
