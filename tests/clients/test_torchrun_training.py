"""A training that processes of torchrun share is the training of one; run as a script, one of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from medbundles.adversarial import AdversarialTerm, AdversarialTrainer, CycleTranslation, Judgement, L1Term
from medbundles.distributed import average_gradients, join, leave, share
from medbundles.errors import InputError
from medbundles.shards import rank_and_size
from medbundles.zoo.demo import simulate
from medbundles.zoo.new import TEMPLATE
from medbundles.zoo.workflows import SEVERAL, TRAIN, config_files

PROGRAM = str(Path(sys.executable).with_name("medbundles"))
CASES = 16  # of which 8 are for training: whole batches for one process and for two
RESIZED = {"_target_": "ResizeWithPadOrCropd", "keys": ["image", "label"], "spatial_size": 64}
STEADY = {
    "train#random_transforms": [RESIZED],  # no random changes: each process would draw its own
    # Adam would blow up the last digit of a gradient that is nearly zero.
    "optimizer": {"_target_": "torch.optim.SGD", "params": "$@network.parameters()", "lr": 0.05},
    "amp": False,
}


def torchrun(processes: int, *command: str) -> str:
    """Runs a command in so many processes and returns what they print."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    environment = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE")}
    done = subprocess.run(
        [*launcher, "--nproc-per-node", str(processes), *command],
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-4000:]
    return text


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    simulate(TEMPLATE, folder, CASES, 0)
    return folder


def train(cases: Path, folder: Path, epochs: int) -> str:
    """Two processes train the smallest bundle, each with two cases of a batch of four."""
    options = {"dataset_dir": str(cases), "output_dir": str(folder), "weights": str(folder / "model.pt")}
    options |= {"epochs": epochs, "batch_size": 2, **STEADY}
    words = [word for name, value in options.items() for word in (f"--{name}", _text(value))]
    return torchrun(2, "--no-python", PROGRAM, "train", str(TEMPLATE), *words)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value).replace("false", "False")


@pytest.fixture(scope="module")
def alone(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where one process has trained two epochs, and what it printed."""
    folder = tmp_path_factory.mktemp("alone")
    return folder, one_process(cases, folder, 2)


def one_process(cases: Path, folder: Path, epochs: int) -> str:
    """One process goes on with a training, with four cases a batch, in the order that two would take."""
    return torchrun(1, __file__, str(cases), str(folder), str(epochs))


def scores(text: str) -> list[float]:
    """The metric of each epoch over all training cases, as the log tells it."""
    return [float(value) for value in re.findall(r"Metrics -- train_dice: ([0-9.]+)", text)]


def curves(folder: Path) -> int:
    """Files of TensorBoard that hold more than their head, which every process writes."""
    return sum(path.stat().st_size > 200 for path in (folder / "events").iterdir())


def weights(folder: Path) -> torch.Tensor:
    state = torch.load(folder / "checkpoint.pt", weights_only=True)["objects"]["network"]
    return torch.cat([tensor.float().flatten() for tensor in state.values()])


def test_two_processes_take_the_steps_of_one_with_all_cases(
    cases: Path, alone: tuple[Path, str], tmp_path: Path
) -> None:
    text = train(cases, tmp_path, 2)
    torch.testing.assert_close(weights(tmp_path), weights(alone[0]), rtol=1e-4, atol=1e-6)
    assert len(scores(text)) == 2 and text.count("the same through MONAI") == 1, "the first process speaks"
    assert scores(text) == pytest.approx(scores(alone[1]), abs=1e-3)
    assert (tmp_path / "model.pt").is_file()
    assert curves(tmp_path) == curves(alone[0]) > 0


def test_a_training_goes_on_with_another_number_of_processes(
    cases: Path, alone: tuple[Path, str], tmp_path: Path
) -> None:
    train(cases, tmp_path, 1)
    assert "after epoch 1 of 2" in one_process(cases, tmp_path, 2)
    torch.testing.assert_close(weights(tmp_path), weights(alone[0]), rtol=1e-4, atol=1e-6)


def test_without_torchrun_there_is_nothing_to_join() -> None:
    with pytest.raises(InputError, match="started as one"):
        join("cpu")


def test_gradients_are_averaged_also_where_one_process_has_none_and_before_they_are_clipped() -> None:
    text = torchrun(2, __file__)
    assert text.count("gradients averaged") == 2 and text.count("networks the same") == 2


def check_gradients() -> None:
    """Weights of which only the first process has gradients, and one that nobody has one of."""
    rank, _ = rank_and_size()
    both, one, none = (nn.Parameter(torch.zeros(3)) for _ in range(3))
    optimizer = torch.optim.SGD([both, one, none], lr=1.0)
    both.grad = torch.full((3,), 1.0 + rank)
    one.grad = torch.full((3,), 4.0) if rank == 0 else None
    average_gradients(optimizer)
    assert both.grad.tolist() == [1.5] * 3 and one.grad.tolist() == [2.0] * 3 and none.grad is None
    print("gradients averaged")


def check_adversaries() -> None:
    """A CycleGAN whose processes start apart and see different images, with clipped gradients."""
    rank, _ = rank_and_size()
    torch.manual_seed(rank)
    generators = {name: nn.Conv2d(1, 1, 3, padding=1) for name in ("there", "back")}
    judges = {name: nn.Conv2d(1, 1, 4, stride=2) for name in ("judge_a", "judge_b")}
    sides = [
        torch.optim.Adam([w for n in group.values() for w in n.parameters()], lr=0.01)
        for group in (generators, judges)
    ]
    trainer = AdversarialTrainer(
        "cpu",
        2,
        [{"a": torch.rand(2, 1, 8, 8), "b": torch.rand(2, 1, 8, 8)} for _ in range(3)],
        generators=generators,
        discriminators=judges,
        generator_optimizer=sides[0],
        discriminator_optimizer=sides[1],
        step=CycleTranslation(forward="there", backward="back"),
        terms={"fool": AdversarialTerm("judge_b", "fake_b"), "cycle": L1Term("cycled_a", "a", weight=10)},
        judgements={f"judged_{side}": Judgement(f"judge_{side}", side, f"fake_{side}") for side in "ab"},
        clip_gradients=0.1,
    )
    share(trainer)
    trainer.run()
    mine = torch.cat(
        [w.detach().flatten() for n in (*generators.values(), *judges.values()) for w in n.parameters()]
    )
    first = mine.clone()
    torch.distributed.broadcast(first, 0)
    assert torch.equal(mine, first)
    print("networks the same")


def main(arguments: list[str]) -> None:
    """One of the processes."""
    if arguments:
        from monai.bundle import run

        from medbundles.zoo.find import add_to_path

        add_to_path(TEMPLATE)
        cases, folder, epochs = arguments
        run(
            config_file=config_files(TEMPLATE, (*TRAIN, SEVERAL)),
            bundle_root=str(TEMPLATE),
            dataset_dir=cases,
            output_dir=folder,
            weights=f"{folder}/model.pt",
            epochs=int(epochs),
            batch_size=4,
            resume=True,
            **STEADY,
        )
        return
    join("cpu")
    check_gradients()
    check_adversaries()
    leave()


if __name__ == "__main__":
    main(sys.argv[1:])
