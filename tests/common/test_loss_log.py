"""The means of named losses reach the log and TensorBoard, epoch by epoch, also over a resume."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medbundles.loss_log import LossLog, numbers_of

OUTPUTS = [{"loss": 1.0, "cycle": 10.0, "fake": torch.zeros(2)}, {"loss": 3.0}]


def run(log: LossLog, epochs: int = 2, outputs: Any = OUTPUTS, first: int = 0) -> None:
    engine = Engine(lambda engine, batch: batch)
    log.attach(engine)

    @engine.on(Events.STARTED)
    def resume(engine: Engine) -> None:
        engine.state.epoch, engine.state.iteration = first, first * len(outputs)

    engine.run(outputs, max_epochs=epochs)


def curves(folder: Path) -> dict[str, dict[int, float]]:
    events = EventAccumulator(str(folder), purge_orphaned_data=True).Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_each_number_is_averaged_over_the_iterations_that_had_it(tmp_path: Path) -> None:
    log = LossLog(tmp_path)
    run(log)
    assert log.means == {"loss": 2.0, "cycle": 10.0}
    assert curves(tmp_path) == {"train/loss": {1: 2.0, 2: 2.0}, "train/cycle": {1: 10.0, 2: 10.0}}


def test_every_epoch_starts_anew() -> None:
    log, engine = LossLog(), Engine(lambda engine, batch: {"loss": float(engine.state.iteration)})
    log.attach(engine)
    engine.run([0, 0], max_epochs=3)
    assert log.means == {"loss": 5.5}


def test_the_log_has_a_line_per_epoch(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "medbundles.loss_log")
    run(LossLog())
    lines = [record.getMessage() for record in caplog.records if record.name == "medbundles.loss_log"]
    assert lines == ["epoch 1 of 2: loss 2, cycle 10", "epoch 2 of 2: loss 2, cycle 10"]


def test_decollated_outputs_and_outputs_without_numbers_are_understood() -> None:
    log = LossLog()
    run(log, outputs=[[{"loss": 4.0, "pred": torch.ones(1)}, {"loss": 4.0}]])
    assert log.means == {"loss": 4.0}
    run(log, outputs=[None])
    assert log.means == {}


def test_a_resumed_run_replaces_the_points_of_the_epochs_it_repeats(tmp_path: Path) -> None:
    run(LossLog(tmp_path, tag="ct"), epochs=3)
    for event in tmp_path.iterdir():  # the files of one second would be sorted by chance
        event.rename(event.with_name("events.out.tfevents.0.first"))
    run(LossLog(tmp_path, tag="ct"), epochs=4, outputs=[{"loss": 7.0}], first=2)
    assert curves(tmp_path)["ct/loss"] == {1: 2.0, 2: 2.0, 3: 7.0, 4: 7.0}


def test_every_number_of_an_output_is_told_by_name() -> None:
    cases = [{"image": torch.zeros(1, 2), "loss": torch.tensor(0.5)}, {"loss": torch.tensor(9.0)}]
    assert numbers_of(cases) == {"train_loss": 0.5}
    assert numbers_of(OUTPUTS[0]) == {"train_loss": 1.0, "cycle": 10.0}
    assert numbers_of([]) is numbers_of({"fake": torch.zeros(2)}) is numbers_of(3.0) is None
