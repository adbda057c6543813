"""What MLflow has of a training: parameters once, losses of each step, metrics of each epoch; no network."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medbundles.errors import MissingInputError
from medbundles.tracking import NO_REPORTS, settings_file
from medbundles.zoo.demo import simulate
from medbundles.zoo.new import TEMPLATE
from medbundles.zoo.workflows import TRAIN, run_workflow

pytestmark = pytest.mark.tracking

EPOCHS, CASES = 2, 12


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the smallest bundle, with cases beside it."""
    place = tmp_path_factory.mktemp("tracked")
    folder = shutil.copytree(TEMPLATE, place / TEMPLATE.name, ignore=shutil.ignore_patterns("__pycache__"))
    simulate(folder, place / "cases", CASES, 0)
    return folder


def options(template: Path, output: Path) -> dict[str, Any]:
    """A training that takes seconds."""
    paths = {"dataset_dir": str(template.parent / "cases"), "output_dir": str(output)}
    paths["weights"] = str(output / "best.pt")
    return {**paths, "device": "cpu", "epochs": EPOCHS, "val_interval": 1, "num_workers": 0, "batch_size": 4}


def only_run(output: Path, experiment: str) -> tuple[Any, Any]:
    """The client of the database of an output folder, and its one run."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{output / 'mlruns.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return client, run


def validated(output: Path) -> dict[int, float]:
    """The metric of each epoch as TensorBoard has it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for file in output.rglob("events.out.tfevents.*"):
        events = EventAccumulator(str(file))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            if "val_dice" in tag:
                found |= {entry.step: entry.value for entry in events.Scalars(tag)}
    return found


def test_parameters_losses_and_metrics_of_every_epoch_are_read_back(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    connect = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", lambda own, to: asked.append(to) or connect(own, to))
    tracked = {"tracking": settings_file("mlflow"), "run_name": "first"}
    run_workflow(template, TRAIN, options(template, tmp_path), logging_file=False, tracked=tracked)
    client, run = only_run(tmp_path, "medbundles")
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert {"batch_size": "4", "seed": "0", "max_epochs": "2"}.items() <= run.data.params.items()
    assert float(run.data.params["learning_rate"]) > 0
    dice = {entry.step: entry.value for entry in client.get_metric_history(run.info.run_id, "val_dice")}
    assert sorted(dice) == [1, 2]
    assert dice == pytest.approx(validated(tmp_path))
    losses = client.get_metric_history(run.info.run_id, "train_loss")
    assert len(losses) == EPOCHS * int(run.data.params["epoch_length"])
    assert len(list(tmp_path.glob("config_*.json"))) == 1
    assert asked == [] and os.environ[NO_REPORTS] == "true"


def test_monais_own_switch_works_on_the_command_line(template: Path, tmp_path: Path) -> None:
    words = [word for key, value in options(template, tmp_path).items() for word in (f"--{key}", str(value))]
    config = str(template / "configs" / "train.json")
    words += ["--config_file", config, "--bundle_root", str(template), "--tracking", "mlflow"]
    subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", *words],
        env={**os.environ, NO_REPORTS: "true"},
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    client, run = only_run(tmp_path, "monai_experiment")
    assert [e.step for e in client.get_metric_history(run.info.run_id, "val_dice")] == [1, 2]


def test_settings_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no settings"):
        settings_file(str(tmp_path / "wandb.json"))
