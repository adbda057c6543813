"""Adversarial training that is interrupted goes on bit for bit; in two processes it stays one training.

Run as a script, this file is the second of two processes that train together.
"""

from __future__ import annotations

import datetime
import functools
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.handlers import LrScheduleHandler
from monai.transforms import RandFlipd
from monai.utils import set_determinism

from medbundles.adversarial import (
    AdversarialTerm,
    AdversarialTrainer,
    ConstantThenLinear,
    CycleTranslation,
    ImagePool,
    Judgement,
    L1Term,
    parameters,
)
from medbundles.handlers import ExponentialMovingAverage, ResumableCheckpoint

torch.set_num_threads(1)


class Noisy(torch.nn.Sequential):
    """A generator with batch statistics and dropout: everything whose state a resume could forget."""

    def __init__(self) -> None:
        layers = [torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU()]
        super().__init__(*layers, torch.nn.Dropout(0.2), torch.nn.Conv2d(4, 1, 1))


def trainer(loader: Any, epochs: int, *, wrap: Callable = lambda network: network, **options: Any) -> Any:
    """A whole CycleGAN with identity and pools that are soon full; `wrap` is put round every network."""
    generators = {name: wrap(Noisy()) for name in ("there", "back")}
    discriminators = {name: wrap(torch.nn.Conv2d(1, 1, 4, stride=2)) for name in ("judge_a", "judge_b")}
    terms: dict[str, Any] = {}
    for side in "ab":
        terms[f"fool_{side}"] = AdversarialTerm(f"judge_{side}", f"fake_{side}")
        terms[f"cycle_{side}"] = L1Term(f"cycled_{side}", side, weight=10)
        terms[f"identity_{side}"] = L1Term(f"same_{side}", side, weight=5)
    return AdversarialTrainer(
        "cpu",
        epochs,
        loader,
        generators=generators,
        discriminators=discriminators,
        generator_optimizer=torch.optim.Adam(parameters(generators), lr=0.004),
        discriminator_optimizer=torch.optim.Adam(parameters(discriminators), lr=0.01),
        step=CycleTranslation(forward="there", backward="back"),
        terms=terms,
        judgements={
            f"judged_{side}": Judgement(f"judge_{side}", side, f"fake_{side}", pool=ImagePool(4))
            for side in "ab"
        },
        **options,
    )


def resumable(folder: Path, epochs: int, *, resume: bool = False, **options: Any) -> AdversarialTrainer:
    """Random data, schedules and an average besides; losses go to losses.txt."""
    set_determinism(3)
    data = [{"a": torch.rand(1, 8, 8), "b": torch.rand(1, 8, 8) + 0.5} for _ in range(10)]
    dataset = Dataset(data, RandFlipd(["a", "b"], prob=0.5, spatial_axis=0))
    engine = trainer(DataLoader(dataset, batch_size=3, shuffle=True), epochs, **options)
    average = ExponentialMovingAverage(engine.generators["there"], decay=0.9)
    objects = engine.generators | engine.discriminators | {"average": average}
    for side, optimizer in engine.optimizers.items():
        schedule = ConstantThenLinear(optimizer, 1, 5)
        objects |= {f"{side}_optimizer": optimizer, f"{side}_schedule": schedule}
        LrScheduleHandler(schedule, print_lr=False).attach(engine)
    for name, judgement in engine.judgements.items():
        objects[f"{name}_pool"] = judgement.pool
    average.attach(engine)
    ResumableCheckpoint(folder, objects, resume=resume, seed=3).attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED, write_losses, folder / "losses.txt")
    return engine


def write_losses(engine: AdversarialTrainer, path: Path) -> None:
    numbers = [value.hex() for value in engine.state.output.values() if isinstance(value, float)]
    with open(path, "a") as file:
        file.write(f"{engine.state.epoch} {engine.state.iteration} {' '.join(numbers)}\n")


def flat(state: Any, name: str = "") -> dict[str, Any]:
    """Every tensor and number of a checkpoint by its place."""
    if isinstance(state, torch.Tensor):
        return {name: state.tolist()}
    if isinstance(state, list | tuple):
        state = dict(enumerate(state))
    if not isinstance(state, dict):
        return {name: state}
    return {key: value for k, item in state.items() for key, value in flat(item, f"{name}.{k}").items()}


def test_two_plus_two_epochs_are_four_bit_for_bit(tmp_path: Path) -> None:
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    resumable(tmp_path / "whole", 4).run()
    resumable(tmp_path / "parts", 2).run()
    torch.manual_seed(99)  # what the process did before must not matter
    resumable(tmp_path / "parts", 4, resume=True).run()
    whole, parts = (tmp_path / folder / "losses.txt" for folder in ("whole", "parts"))
    assert len(whole.read_text().splitlines()) == 16
    assert whole.read_text() == parts.read_text()
    states = [
        torch.load(path.with_name("checkpoint.pt"), weights_only=True)["objects"] for path in (whole, parts)
    ]
    ours, theirs = map(flat, states)
    assert ours == theirs
    kinds = {key.split(".")[1] for key in ours}
    assert {"there", "back", "judge_a", "judge_b", "judged_a_pool", "judged_b_pool", "average"} <= kinds
    assert ours[".generator_schedule.last_epoch"] == 4
    assert ours[".generator_schedule._last_lr.0"] == pytest.approx(0.001)


def test_the_scale_of_float16_losses_is_resumed_too(tmp_path: Path) -> None:
    options = {"amp": True, "amp_dtype": "float16"}
    first = resumable(tmp_path, 1, **options)
    first.run()
    first.scaler.update(128.0)
    second = resumable(tmp_path, 2, resume=True, **options)
    second.run()
    scale = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["objects"]["grad_scaler"]["scale"]
    assert scale == second.scaler.get_scale() > 0


def test_two_processes_train_the_same_networks(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    other = subprocess.Popen([sys.executable, __file__, address])
    try:
        ours, our_images = train_in_one_of_two_processes(address, 0)
        theirs, their_images = ours.clone(), our_images.clone()
        torch.distributed.broadcast(theirs, 1)
        torch.distributed.broadcast(their_images, 1)
    finally:
        other.kill()
        other.wait()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    assert not torch.equal(our_images, their_images)
    assert torch.equal(ours, theirs)


def train_in_one_of_two_processes(address: str, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Trains data parallel with batch statistics; returns all weights and the last images of this process."""
    patience = datetime.timedelta(seconds=180)
    torch.distributed.init_process_group("gloo", address, rank=rank, world_size=2, timeout=patience)
    set_determinism(0)
    wrap = functools.partial(torch.nn.parallel.DistributedDataParallel, broadcast_buffers=False)
    images = [{"a": torch.rand(4, 1, 8, 8), "b": torch.rand(4, 1, 8, 8) + 0.5} for _ in range(6)]
    engine = trainer(images[rank::2], 2, wrap=wrap)
    engine.run()
    weights = [weight.detach().flatten() for weight in parameters(engine.generators | engine.discriminators)]
    return torch.cat(weights), engine.state.output["a"]


if __name__ == "__main__":
    for result in train_in_one_of_two_processes(sys.argv[1], rank=1):
        torch.distributed.broadcast(result, 1)
    os._exit(0)  # gloo's threads may abort an orderly exit
