"""A checkpoint from which a training goes on exactly where it ended."""

from __future__ import annotations

import logging
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch.optim.lr_scheduler import LRScheduler

from medbundles.checks import BundleError
from medbundles.outputs import claim, give_up, make_folder
from medbundles.reproducible import (
    epoch_seed,
    overlay_changed,
    plain,
    random_state,
    restore_random_state,
    seed_everything,
    seed_loader,
)
from medbundles.weights import is_writer, load_state, read_tensors, state_of, write_tensors

logger = logging.getLogger(__name__)

CHECKPOINT_NAME = "checkpoint.pt"
PREVIOUS_NAME = "checkpoint_previous.pt"


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
        """Restores an earlier run, or sets its checkpoint aside.

        Raises:
            OutputError: the folder cannot be written to.
            BusyOutputError: another training writes into it.
        """
        if is_writer():
            make_folder(self.path.parent)
            claim(self.path.parent)
        if self.resume:
            self._restore(engine)
        elif self.path.exists() and is_writer() and not engine.state.epoch:  # else it is of this very run
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
        if is_writer():
            give_up(self.path.parent)

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
