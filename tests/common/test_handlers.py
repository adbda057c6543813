"""Training that is interrupted goes on as if nothing had happened. Run as a script, this file trains once."""

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
import torch
from ignite.engine import Engine, Events
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, MeanAbsoluteError, ValidationHandler, from_engine
from monai.transforms import Compose, RandAffined, RandFlipd, RandGaussianNoised
from monai.utils import set_determinism

from medbundles.checks import BundleError
from medbundles.handlers import (
    BestWeights,
    EarlyStop,
    ExponentialMovingAverage,
    ResumableCheckpoint,
    WeightsLoader,
    load_weights,
)

torch.set_num_threads(1)


class Net(torch.nn.Sequential):
    """A few weights, batch statistics and dropout: everything whose state a resume could forget."""

    def __init__(self) -> None:
        layers = [torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU()]
        super().__init__(*layers, torch.nn.Dropout(0.2), torch.nn.Conv2d(4, 1, 1))


def loader(workers: int = 0, *, augment: bool = True) -> DataLoader:
    grid = np.linspace(0, 1, 12, dtype=np.float32)
    images = [np.sin(grid * (i + 2))[None, :, None] * np.cos(grid * 3)[None, None] for i in range(10)]
    transform = Compose(
        [
            RandFlipd(["image", "label"], prob=0.5, spatial_axis=0),
            RandAffined(["image", "label"], prob=0.8, rotate_range=0.4, mode="bilinear"),
            RandGaussianNoised("image", prob=0.9, std=0.2),
        ]
    )
    data = [{"image": image, "label": image > 0.3} for image in images]
    data = [{key: value.astype(np.float32) for key, value in case.items()} for case in data]
    dataset = CacheDataset(data, transform if augment else Compose([]), progress=False)
    return DataLoader(dataset, batch_size=3, shuffle=augment, num_workers=workers)


def build(folder: Path, epochs: int, *, resume: bool = False, **options: int) -> SupervisedTrainer:
    """Returns a trainer with all handlers; it appends `epoch iteration loss` to losses.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    workers, pause, seed = (
        options.get("workers", 0),
        options.get("pause_ms", 0) / 1000,
        options.get("seed", 3),
    )
    set_determinism(seed)
    network = Net()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.8)
    average = ExponentialMovingAverage(network, decay=0.9)
    best = BestWeights(average.network, folder / "model.pt")
    evaluator = SupervisedEvaluator(
        torch.device("cpu"),
        loader(augment=False),
        average.network,
        key_val_metric={"mae": MeanAbsoluteError(output_transform=from_engine(["pred", "label"]))},
        metric_cmp_fn=smaller,
        val_handlers=[best],
    )
    objects = {
        "network": network,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "average": average,
        "best": best,
    }
    trainer = SupervisedTrainer(
        torch.device("cpu"),
        epochs,
        loader(workers),
        network,
        optimizer,
        torch.nn.MSELoss(),
        train_handlers=[
            ResumableCheckpoint(
                folder, objects, resume=resume, seed=seed
            ),  # first, to show that order is free
            LrScheduleHandler(scheduler, print_lr=False),
            ValidationHandler(1, evaluator),
            average,
        ],
    )
    trainer.best = best
    trainer.add_event_handler(Events.ITERATION_COMPLETED, write_loss, folder / "losses.txt", pause)
    return trainer


def smaller(current: float, best: float) -> bool:
    return current < best


def write_loss(engine: Engine, path: Path, pause: float) -> None:
    loss = engine.state.output[0]["loss"]
    with open(path, "a") as file:
        file.write(f"{engine.state.epoch} {engine.state.iteration} {float(loss).hex()}\n")
    time.sleep(pause)


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
    return subprocess.Popen([sys.executable, __file__, str(folder), str(epochs), *words])


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


def test_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    state = Net().state_dict()
    state["extra"] = state.pop("0.bias")
    state["4.weight"] = torch.zeros(2, 4, 1, 1)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(BundleError) as caught:
        load_weights(Net(), tmp_path / "model.pt")
    for word in ("0.bias", "extra", "4.weight", "model.pt"):
        assert word in str(caught.value)


def test_weights_load_from_both_usual_layouts_and_when_an_engine_starts(tmp_path: Path) -> None:
    trained = Net()
    torch.save({"model": trained.state_dict()}, tmp_path / "wrapped.pt")
    torch.save(trained.state_dict(), tmp_path / "model.pt")
    engine = Engine(lambda engine, batch: None)
    started = Net()
    WeightsLoader(started, tmp_path / "model.pt").attach(engine)
    engine.run([0])
    for network in (started, load_weights(Net(), tmp_path / "wrapped.pt")):
        assert torch.equal(network[0].weight, trained[0].weight)


def test_the_first_nan_is_not_the_best_for_ever(tmp_path: Path) -> None:
    best = BestWeights(Net(), tmp_path / "model.pt")
    trainer = build(tmp_path, 1)
    engine = trainer.best._engine
    engine.state.metrics["mae"] = float("nan")
    best(engine)
    assert best.best_metric is None
    assert not (tmp_path / "model.pt").exists()


def test_the_best_weights_are_chosen_anew_when_something_else_is_trained_for(tmp_path: Path) -> None:
    best, engine = BestWeights(Net(), tmp_path / "model.pt", anew=3), build(tmp_path, 1).best._engine
    for epoch, error, chosen in [
        (1, 0.5, 1),
        (2, 0.3, 2),
        (3, 0.4, 2),
        (5, 0.9, 5),
        (6, 0.95, 5),
        (7, 0.8, 7),
    ]:
        engine.state.epoch, engine.state.metrics["mae"] = epoch, error
        best(engine)
        assert best.best_epoch == chosen


def test_the_average_of_constant_weights_is_these_weights_and_lags_behind_a_jump() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    average = ExponentialMovingAverage(network, decay=0.5)
    torch.nn.init.constant_(network.weight, 1.0)
    for _ in range(20):
        average()
    assert average.network.weight.item() == 1.0
    torch.nn.init.constant_(network.weight, 3.0)
    average()
    assert average.network.weight.item() == 2.0


if __name__ == "__main__":
    options = {key: int(value) for key, value in (word.split("=") for word in sys.argv[3:])}
    build(Path(sys.argv[1]), int(sys.argv[2]), resume=bool(options.pop("resume", 0)), **options).run()


def test_training_ends_when_the_best_weights_are_old_and_goes_on_where_nothing_says_so(
    tmp_path: Path,
) -> None:
    """Errors fall to epoch 3 and rise from then on; validation is every second epoch, the odd ones."""
    for patience, last in ((2, 5), (3, 7), (None, 9)):
        best, evaluator = BestWeights(Net(), tmp_path / "model.pt"), build(tmp_path, 1).best._engine
        trainer = Engine(lambda engine, batch: None)

        def validate(engine: Engine, evaluator: Engine = evaluator, best: BestWeights = best) -> None:
            if engine.state.epoch % 2:
                evaluator.state.epoch, evaluator.state.metrics["mae"] = (
                    engine.state.epoch,
                    abs(engine.state.epoch - 3) + 0.5,
                )
                best(evaluator)

        trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
        EarlyStop(best, patience).attach(trainer)
        trainer.run([0], max_epochs=9)
        assert (trainer.state.epoch, best.best_epoch) == (last, 3)


def test_what_is_trained_for_anew_gets_its_own_patience(tmp_path: Path) -> None:
    best = BestWeights(Net(), tmp_path / "model.pt", anew=6)
    best.best_metric, best.best_epoch = 0.1, 2
    trainer = Engine(lambda engine, batch: setattr(best, "last_epoch", engine.state.epoch))
    EarlyStop(best, 3).attach(trainer)
    trainer.run([0], max_epochs=20)
    assert trainer.state.epoch == 9


def test_a_resumed_run_knows_how_old_its_best_weights_are(tmp_path: Path) -> None:
    """Nothing is ever better than an impossible best of epoch 1, which only the checkpoint knows of."""
    first = build(tmp_path, 2)
    first.add_event_handler(
        Events.EPOCH_COMPLETED(once=1),
        lambda: first.best.load_state_dict({"best_metric": -1.0, "best_epoch": 1}),
    )
    first.run()
    first.best.load_state_dict({"best_metric": -1.0, "best_epoch": 1})
    second = build(tmp_path, 9, resume=True)
    EarlyStop(second.best, 3).attach(second)
    second.run()
    assert second.best.best_metric == -1.0
    assert second.state.epoch == 4
