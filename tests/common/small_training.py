"""A training of seconds with every handler. Run as a script, this file trains once."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, MeanAbsoluteError, ValidationHandler, from_engine
from monai.transforms import Compose, RandAffined, RandFlipd, RandGaussianNoised
from monai.utils import set_determinism

from medbundles.handlers import (
    BestWeights,
    ExponentialMovingAverage,
    ResumableCheckpoint,
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


if __name__ == "__main__":
    options = {key: int(value) for key, value in (word.split("=") for word in sys.argv[3:])}
    build(Path(sys.argv[1]), int(sys.argv[2]), resume=bool(options.pop("resume", 0)), **options).run()
