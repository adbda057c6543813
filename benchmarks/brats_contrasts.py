"""Which contrast of a brain-tumour study can be imputed, and by what? CollaGAN against simpler ways.

`train` trains the variants at equal budget with several seeds, `measure` takes every contrast away from test
patients in turn. See README.md beside this file.
"""

import gc
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire
from brats_measure import bench, measured, named_cases
from brats_report import write_report
from brats_variants import BUNDLE, IMPUTERS, SEGMENTERS, overrides, stage_of
from trained_runs import chosen_runs, listed

from brats_collagan.cases import training_cases  # found since brats_variants is
from medbundles.zoo.workflows import TRAIN, read_config, run_workflow

logger = logging.getLogger(__name__)

VARIANTS = (*SEGMENTERS, *IMPUTERS)


def train(
    dataset_dir: str,
    work: str,
    epochs: int,
    *,
    segmenter_epochs: int | None = None,
    seeds: int | Sequence[int] = 0,
    only: str | Sequence[str] = VARIANTS,
    **knobs: Any,
) -> None:
    """Trains imputers and segmenters, those of a kind with the same patients and number of optimiser steps.

    Weights go to WORK/seed_<seed>/<variant>/model.pt. A training that was stopped goes on where its last
    epoch ended.

    Args:
        dataset_dir: the folder of the data.
        work: the folder of the runs, and of the simulated patients that they share.
        epochs: of each imputer.
        segmenter_epochs: of each segmenter, if not as many.
        seeds: 0,1,2 trains everything three times.
        only: the variants to train, with commas.
        knobs: of train.json and train_imputer.json, for all that have them.
    """
    chosen = listed(only, VARIANTS)
    _refuse_unknown(knobs)
    folder, data = Path(work).resolve(), str(Path(dataset_dir).resolve())
    config = read_config(BUNDLE, TRAIN)
    wanted = {name: knobs.get(name, config[name]) for name in ("simulated_cases", "spacing_mm")}
    cases = training_cases(
        data,
        str(folder / "simulated"),
        simulated_cases=wanted["simulated_cases"],
        simulated_spacing_mm=wanted["spacing_mm"],
        seed=config["seed"],
    )
    logger.info("%d training cases, of which %d simulated", len(cases), wanted["simulated_cases"])
    for seed in [seeds] if isinstance(seeds, int) else seeds:
        for variant in chosen:
            passes = (segmenter_epochs or epochs) if variant in SEGMENTERS else epochs
            options = overrides(variant, int(seed), folder, {**knobs, "dataset_dir": data, "epochs": passes})
            logger.info("training %s, seed %s, %d epochs", variant, seed, passes)
            run_workflow(BUNDLE, stage_of(variant), options, logging_file=False)
            gc.collect()  # engines and their cached volumes hold on to each other


def measure(
    dataset_dir: str,
    work: str,
    *,
    runs: str | Sequence[str] = "",
    out: str = "benchmarks/results",
    split: str = "test",
    limit: int = 0,
    **knobs: Any,
) -> None:
    """Measures every run on test patients, with each contrast missing in turn.

    Args:
        dataset_dir: the folder of the data.
        work: the folder of the runs. What was measured is kept in WORK/measured and not measured again.
        runs: folders in `work`, with commas; all that there are unless given. `shipped` is the bundle's own.
        out: the folder of the results.
        split: test, validation, train or all.
        limit: measure only so many cases, evenly spread; 0 for all.
        knobs: of train.json: spacing_mm, window, overlap, batch_slices, device, amp.
    """
    tools, folder = bench(knobs), Path(work).resolve()
    chosen = chosen_runs(runs, folder)
    cases = named_cases(dataset_dir, split, limit)
    logger.info("%d cases, runs: %s", len(cases), ", ".join(chosen))
    rows = [row for run in chosen for part in measured(run, cases, folder, tools) for row in part]
    write_report(rows, Path(out))
    logger.info("tables in %s", out)


def _refuse_unknown(knobs: dict[str, Any]) -> None:
    """Misspelt knobs, before any work: each training takes only those that its own configs have."""
    known = set().union(*(read_config(BUNDLE, stage_of(variant)) for variant in VARIANTS))
    if unknown := [name for name in knobs if name not in known]:
        raise SystemExit(f"unknown option --{unknown[0]}: no knob of train.json or train_imputer.json")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    fire.Fire({"train": train, "measure": measure})
