"""What is the panoramic prior worth? The tooth bundle against itself without parts, and without panoramas.

`train` trains the variants at equal budget, `measure` compares them on patients of a scanner that training
never sees, `streaks` compares how much of metal's streaks is left in slices and in panoramas. See README.md
beside this file.
"""

import gc
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire
from dental_measure import bench, measured, named_cases
from dental_report import write_report
from dental_streaks import Patients, streak_rows, write_streaks
from dental_variants import (
    BUNDLE,
    DETECTOR,
    DIRECT_OPTIONS,
    FINDER,
    OUTLINER,
    POSITIONS,
    VARIANTS,
    overrides,
    stage_of,
)
from trained_runs import chosen_runs, listed

from dental_teeth.cases import training_cases  # found since dental_variants is
from medbundles.zoo.workflows import TRAIN, read_config, run_workflow

logger = logging.getLogger(__name__)


def train(
    dataset_dir: str,
    work: str,
    epochs: int,
    *,
    finder_epochs: int | None = None,
    detector_epochs: int | None = None,
    outliner_epochs: int | None = None,
    seeds: int | Sequence[int] = 0,
    only: str | Sequence[str] = VARIANTS,
    **knobs: Any,
) -> None:
    """Trains all variants; those of a kind with the same patients and number of optimiser steps.

    Weights go to WORK/seed_<seed>/<variant>/model.pt. A training that was stopped goes on where its last
    epoch ended.

    Args:
        dataset_dir: the folder of the data.
        work: the folder of the runs, and of the simulated patients that they share.
        epochs: of each segmenter, and of the direct network.
        finder_epochs: of the finder of jaws, if not as many.
        detector_epochs: of each detector, if not as many.
        outliner_epochs: of the outliner, if not as many.
        seeds: 0,1,2 trains everything three times.
        only: the variants to train, with commas.
        knobs: of the training configs, for all that have them; direct_width, direct_mm and direct_size.
    """
    chosen = listed(only, VARIANTS)
    options = {name: knobs.pop(name) for name in DIRECT_OPTIONS if name in knobs}
    _refuse_unknown(knobs)
    folder, data = Path(work).resolve(), str(Path(dataset_dir).resolve())
    seed_of_data = read_config(BUNDLE, TRAIN)["seed"]
    simulated = int(knobs.get("simulated_cases", 0))
    cases = training_cases(data, str(folder / "simulated"), simulated_cases=simulated, seed=seed_of_data)
    logger.info("%d training cases, %d patients simulated for them", len(cases), simulated)
    passes = dict.fromkeys((DETECTOR, POSITIONS), detector_epochs)
    passes |= {FINDER: finder_epochs, OUTLINER: outliner_epochs}
    for seed in [seeds] if isinstance(seeds, int) else seeds:
        for variant in chosen:
            wanted = {**knobs, "dataset_dir": data, "epochs": passes.get(variant) or epochs}
            changes = overrides(variant, int(seed), folder, wanted, options)
            logger.info("training %s, seed %s, %d epochs", variant, seed, wanted["epochs"])
            run_workflow(BUNDLE, stage_of(variant), changes, logging_file=False)
            gc.collect()  # engines and their cached volumes hold on to each other


def measure(
    dataset_dir: str,
    work: str,
    *,
    runs: str | Sequence[str] = "",
    out: str = "benchmarks/results",
    split: str = "test",
    scanner: str = "other",
    limit: int = 0,
    **knobs: Any,
) -> None:
    """Measures every run on test patients.

    Args:
        dataset_dir: the folder of the data.
        work: the folder of the runs. What was measured is kept in WORK/measured and not measured again.
        runs: folders in `work`, with commas; all that there are unless given. `shipped` is the bundle's own.
        out: the folder of the results.
        split: test, validation, train or all.
        scanner: `other`, simulated patients of the scanner that training never sees; or `all`.
        limit: measure only so many cases, evenly spread over the levels of metal; 0 for all.
        knobs: of the bundle: patch, patch_mm, least_score, batch_teeth, device, amp.
    """
    tools, folder = bench(knobs), Path(work).resolve()
    chosen = chosen_runs(runs, folder)
    cases = named_cases(dataset_dir, split, limit, scanner)
    logger.info("%d cases, runs: %s", len(cases), ", ".join(chosen))
    rows = [row for run in chosen for part in measured(run, cases, folder, tools) for row in part]
    for line in write_report(rows, Path(out)):
        logger.info(line)
    logger.info("tables in %s", out)


def streaks(
    work: str,
    *,
    n: int = 12,
    seed: int = 0,
    spacing_mm: float = 0.4,
    device: str = "cpu",
    out: str = "benchmarks/results",
) -> None:
    """Scans patients with and without metal, and measures its streaks in slices and in panoramas.

    Args:
        work: what was measured is kept in WORK/streaks and not measured again.
        n: patients.
        seed: the same seed gives the same patients.
        spacing_mm: of the voxels.
        device: where to scan and reconstruct.
        out: the folder of the results.
    """
    patients = Patients(int(n), int(seed), float(spacing_mm), device)
    for line in write_streaks(streak_rows(patients, Path(work).resolve()), Path(out)):
        logger.info(line)
    logger.info("tables in %s", out)


def _refuse_unknown(knobs: dict[str, Any]) -> None:
    """Misspelt knobs, before any work: each training takes only those that its own configs have."""
    known = set().union(*(read_config(BUNDLE, stage_of(variant)) for variant in VARIANTS))
    if unknown := [name for name in knobs if name not in known]:
        raise SystemExit(
            f"unknown option --{unknown[0]}: no knob of the training configs, nor one of "
            f"{', '.join(DIRECT_OPTIONS)}"
        )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    fire.Fire({"train": train, "measure": measure, "streaks": streaks})
