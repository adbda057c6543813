"""What the beam channels, the simulated frames and the robust fit of the fetal biometry bundle are worth.

`train` trains the variants at equal budget, `measure` compares weights on real test frames as they are and
with a wedge of beams blacked out. See README.md beside this file.
"""

import gc
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import fire
from fetal_occlusion import BUNDLE, LENGTHS, NO_BEAM, Model, Reader, measure_frame
from named_weights import named_weights
from paired_tables import REFERENCE_WEIGHTS, Row, write_results

from fetal_biometry.cases import find_cases, training_cases  # importable since fetal_occlusion was imported
from medbundles.zoo.workflows import TRAIN, read_config, run_workflow

logger = logging.getLogger(__name__)


def train(
    dataset_dir: str,
    work: str,
    epochs: int,
    *,
    only: str | Sequence[str] | None = None,
    simulated_cases: int | None = None,
    frame_size: Sequence[int] | None = None,
) -> None:
    """Trains the variants full, no_beam and no_simulated with equal seed and equally many optimiser steps.

    Weights go to WORK/<variant>/model.pt. A run that was stopped goes on where its last epoch ended.

    Args:
        dataset_dir: the folder of the data sets.
        work: the folder of the runs, and of the simulated frames that the variants share.
        epochs: of each variant; an epoch is one pass over the cases of `full`.
        only: these variants and no others, so that several processes can share the work.
        simulated_cases: instead of train.json's number.
        frame_size: columns and rows of the network's grid (80,56), instead of train.json's.
    """
    config, folder = read_config(BUNDLE, TRAIN), Path(work).resolve()
    simulated = config["simulated_cases"] if simulated_cases is None else simulated_cases
    cases = training_cases(dataset_dir, str(folder / "simulated"), simulated, config["seed"])
    steps = math.ceil(len(cases) / config["batch_size"])
    logger.info(
        "%d cases, %d of them simulated; %d x %d optimiser steps", len(cases), simulated, epochs, steps
    )
    shared = {
        "dataset_dir": str(Path(dataset_dir).resolve()),
        "epochs": epochs,
        "schedule_epochs": epochs,
        "val_interval": min(config["val_interval"], epochs),
        "simulated_cases": simulated,
        "frame_size": list(frame_size or config["frame_size"]),
    }
    chosen = variants(folder, steps)
    if only is not None:
        chosen = {name: chosen[name] for name in ([only] if isinstance(only, str) else only)}
    for variant, overrides in chosen.items():
        logger.info("training %s", variant)
        run_workflow(BUNDLE, TRAIN, {**shared, **overrides}, logging_file=False)
        gc.collect()  # engines and their cached frames hold on to each other


def variants(folder: Path, steps: int) -> dict[str, Row]:
    """What each variant overrides in train.json.

    Every epoch is given the same number of steps. The variant with fewer cases goes over them more often
    within an epoch, so that steps, learning rates and chances to be the best so far are the same for all.
    """
    changes: dict[str, Row] = {
        REFERENCE_WEIGHTS: {},
        NO_BEAM: {"network_def#beam_channels": False},
        "no_simulated": {"simulated_cases": 0},
    }
    shared = {
        "resume": True,
        "train#dataset#data#simulated_dir": str(folder / "simulated"),
        "train#trainer#epoch_length": steps,
    }
    return {
        name: {
            **shared,
            "output_dir": str(folder / name),
            "weights": str(folder / name / "model.pt"),
            **change,
        }
        for name, change in changes.items()
    }


def measure(dataset_dir: str, weights: str, *, out: str = "benchmarks/results", limit: int = 0) -> None:
    """Measures the real test frames with each of several weights.

    Args:
        dataset_dir: the folder of the data sets.
        weights: name=path,name=path; `shipped` alone stands for the bundle's own. The other variants are
            tested against the one named `full`; `no_beam` is built without its beam channels.
        out: the folder of the tables.
        limit: measure only so many cases, evenly spread; 0 for all.
    """
    models = [Model(*entry) for entry in weights_by_name(weights).items()]
    cases = [
        c for c in find_cases(dataset_dir, "test", tuple(LENGTHS)) if LENGTHS[c["kind"]] in c["expected"]
    ]
    cases = cases[:: math.ceil(len(cases) / limit)] if limit else cases
    logger.info("%d cases, weights: %s", len(cases), ", ".join(model.name for model in models))
    read, rows = Reader(), []
    for number, case in enumerate(cases, start=1):
        frame = read(case)
        rows += [row for model in models for row in measure_frame(model, frame)]
        logger.info("%d of %d: %s", number, len(cases), frame.name)
    write_results(rows, Path(out), "fetal_ablation")


def weights_by_name(text: str | Sequence[str]) -> dict[str, Path]:
    """The entries name=path of a list with commas."""
    return named_weights(text, BUNDLE)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    fire.Fire({"train": train, "measure": measure})
