"""The named losses of a training run: one line per epoch in the log, one curve each in TensorBoard."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch
from ignite.engine import Engine, Events

from medbundles.weights import is_writer

logger = logging.getLogger(__name__)


def numbers_of(output: Any) -> dict[str, float] | None:
    """Every number in a trainer's output, `loss` as `train_loss`; None if there is none."""
    output = output[0] if isinstance(output, list) and output else output  # decollated: every item holds them
    if not isinstance(output, Mapping):
        return None
    values = {
        name: value.item() if isinstance(value, torch.Tensor) and value.ndim == 0 else value
        for name, value in output.items()
    }
    found = {name: float(value) for name, value in values.items() if isinstance(value, Real)}
    return {"train_loss" if name == "loss" else name: value for name, value in found.items()} or None


class LossLog:
    """Reports the mean over the epoch of every number in the trainer's output.

    Args:
        log_dir: folder of TensorBoard events; None writes to the log only.
        tag: first part of the name of each curve, e.g. `train/cycle`.
    """

    def __init__(self, log_dir: str | os.PathLike | None = None, *, tag: str = "train") -> None:
        self.log_dir = log_dir
        self.tag = tag
        self.means: dict[str, float] = {}
        self._sums: dict[str, tuple[float, int]] = {}
        self._writer: Any = None

    def attach(self, engine: Engine) -> None:
        """Registers adding up and reporting with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.report)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE, self.close)

    def start_epoch(self, engine: Engine) -> None:
        """Forgets the sums of the epoch before."""
        self._sums = {}

    def add(self, engine: Engine) -> None:
        """Adds the numbers of one iteration; a loss may be absent from some iterations."""
        output = engine.state.output
        output = output[0] if isinstance(output, list) else output  # decollated: every item holds them
        for name, value in output.items() if isinstance(output, Mapping) else ():
            if isinstance(value, Real):
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = (total + float(value), count + 1)

    def report(self, engine: Engine) -> None:
        """Writes the means of the epoch; with several processes only the first one does."""
        self.means = {name: total / count for name, (total, count) in self._sums.items()}
        if not self.means or not is_writer():
            return
        epoch = engine.state.epoch
        text = ", ".join(f"{name} {mean:.4g}" for name, mean in self.means.items())
        logger.info("epoch %d of %d: %s", epoch, engine.state.max_epochs, text)
        if self.log_dir is not None:
            writer = self._open(epoch)
            for name, mean in self.means.items():
                writer.add_scalar(f"{self.tag}/{name}", mean, epoch)
            writer.flush()

    def close(self, engine: Engine) -> None:
        """Closes the file of events."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self, epoch: int) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # a resumed run replaces the points of epochs that it repeats
            self._writer = SummaryWriter(log_dir=str(self.log_dir), purge_step=epoch)
        return self._writer
