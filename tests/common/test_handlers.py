"""Training that is interrupted goes on as if nothing had happened."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import small_training
import torch
from ignite.engine import Engine, Events
from small_training import Net, build

from medbundles.checks import BundleError
from medbundles.handlers import (
    ResumableCheckpoint,
    WeightsLoader,
)


def losses(folder: Path) -> dict[tuple[str, str], str]:
    """Returns (epoch, iteration) to the loss as written last; hexadecimal, hence exact."""
    lines = (folder / "losses.txt").read_text().splitlines()
    return {(epoch, iteration): loss for epoch, iteration, loss in map(str.split, lines)}


def states(folder: Path) -> dict[str, torch.Tensor]:
    objects = torch.load(folder / "checkpoint.pt", weights_only=True)["objects"]
    flat = dict(objects["network"]) | {f"average.{k}": v for k, v in objects["average"]["network"].items()}
    for index, moments in objects["optimizer"]["state"].items():
        flat |= {f"optimizer.{index}.{k}": v for k, v in moments.items()}
    return flat | {f"best.{k}": v for k, v in torch.load(folder / "model.pt", weights_only=True).items()}


def assert_same_run(folder: Path, other: Path) -> None:
    assert losses(folder) == losses(other)
    ours, theirs = states(folder), states(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_training_starts_from_given_weights_and_without_a_path_from_its_own(tmp_path: Path) -> None:
    network, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    torch.save(other.state_dict(), tmp_path / "weights.pt")
    before = network.weight.clone()
    for path, expected in ((None, before), (tmp_path / "weights.pt", other.weight)):
        engine = Engine(lambda engine, batch: None)
        WeightsLoader(network, path).attach(engine)
        engine.run([0], max_epochs=1)
        assert torch.equal(network.weight, expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_two_plus_two_epochs_are_four_bit_for_bit(tmp_path: Path, workers: int) -> None:
    build(tmp_path / "whole", 4, workers=workers).run()
    build(tmp_path / "parts", 2, workers=workers).run()
    np.random.seed(99)  # noqa: NPY002 - what the process did before must not matter
    random.seed(99)
    torch.manual_seed(99)
    build(tmp_path / "parts", 4, resume=True, workers=workers).run()
    assert len(losses(tmp_path / "whole")) == 16
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_every_epoch_sees_other_random_numbers(tmp_path: Path) -> None:
    trainer = build(tmp_path, 3)
    seen = []
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: seen.append(torch.rand(1).item()))
    trainer.add_event_handler(
        Events.ITERATION_STARTED(event_filter=lambda engine, event: event % 4 == 1),
        lambda engine: seen.append(float(engine.state.batch["image"].sum())),
    )
    trainer.run()
    assert len(set(seen)) == 6


def test_another_seed_gives_another_run(tmp_path: Path) -> None:
    build(tmp_path / "a", 1, seed=1).run()
    build(tmp_path / "b", 1, seed=2).run()
    assert losses(tmp_path / "a") != losses(tmp_path / "b")


def test_a_run_killed_at_any_moment_resumes_with_the_losses_of_the_uninterrupted_one(tmp_path: Path) -> None:
    build(tmp_path / "whole", 6).run()
    folder = tmp_path / "killed"
    kills = 0
    for moment in (0.4, 0.15):
        before = len(losses(folder)) if folder.exists() else 0
        process = train_in_subprocess(folder, 6, resume=True, pause_ms=40)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if (folder / "losses.txt").exists() and len(losses(folder)) > before:
                break
            time.sleep(0.01)
        time.sleep(moment)
        kills += process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert kills == 2
    assert len(losses(folder)) < 24
    build(folder, 6, resume=True).run()
    assert_same_run(tmp_path / "whole", folder)


def train_in_subprocess(folder: Path, epochs: int, **options: int) -> subprocess.Popen:
    folder.mkdir(parents=True, exist_ok=True)
    words = [f"{key}={int(value)}" for key, value in options.items()]
    return subprocess.Popen([sys.executable, small_training.__file__, str(folder), str(epochs), *words])


def test_a_kill_while_saving_leaves_the_last_whole_checkpoint(tmp_path: Path) -> None:
    build(tmp_path, 1).run()
    before = (tmp_path / "checkpoint.pt").read_bytes()
    code = (
        "import os, sys, signal, torch, medbundles.weights as w\n"
        "def save(state, file):\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "torch.save = save\n"
        "from pathlib import Path\n"
        "w.write_tensors({}, Path(sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "checkpoint.pt")])
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_finished_run_trains_no_further_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build(tmp_path, 2).run()
    caplog.set_level(logging.INFO)
    build(tmp_path, 2, resume=True).run()
    assert len((tmp_path / "losses.txt").read_text().splitlines()) == 8
    assert "already has 2 epochs" in caplog.text


def test_resuming_before_the_first_checkpoint_starts_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    build(tmp_path, 1, resume=True).run()
    assert "nothing to resume" in caplog.text
    assert len(losses(tmp_path)) == 4


def test_the_best_metric_survives_a_resume(tmp_path: Path) -> None:
    first = build(tmp_path, 2)
    first.run()
    second = build(tmp_path, 2, resume=True)
    second.run()
    assert second.best.best_metric == first.best.best_metric
    assert second.best._engine.state.best_metric_epoch == first.best.best_epoch > 0


def test_a_new_run_sets_the_old_checkpoint_aside(tmp_path: Path) -> None:
    build(tmp_path, 1).run()
    old = (tmp_path / "checkpoint.pt").read_bytes()
    build(tmp_path, 1, seed=8).run()
    assert (tmp_path / "checkpoint_previous.pt").read_bytes() == old


def test_more_epochs_stretch_a_schedule_instead_of_restarting_it(tmp_path: Path) -> None:
    rates = []
    for epochs, resume in ((2, False), (4, True)):
        network = torch.nn.Linear(1, 1)
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=epochs)
        trainer = Engine(lambda engine, batch, optimizer=optimizer: optimizer.step())
        trainer.state.rank, trainer.state.epoch_length, trainer.state.max_epochs = 0, 1, epochs
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine, schedule=schedule: schedule.step())
        objects = {"network": network, "optimizer": optimizer, "schedule": schedule}
        ResumableCheckpoint(tmp_path, objects, resume=resume).attach(trainer)
        trainer.run([0], max_epochs=epochs)
        rates.append(schedule.total_iters)
    assert rates == [2, 4]
    assert schedule.last_epoch == 4


def test_a_checkpoint_of_other_objects_is_refused(tmp_path: Path) -> None:
    build(tmp_path, 1).run()
    network = Net()
    trainer = Engine(lambda engine, batch: None)
    trainer.state.rank = 0
    ResumableCheckpoint(tmp_path, {"generator": network}, resume=True).attach(trainer)
    with pytest.raises(BundleError, match="generator"):
        trainer.run([0])


def test_a_truncated_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    build(tmp_path, 1).run()
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(BundleError, match=r"checkpoint\.pt"):
        build(tmp_path, 2, resume=True).run()
