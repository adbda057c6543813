"""What are the parts of AF-net and the clinician's rule worth? The amniotic fluid bundle without them.

`train` trains the variants at equal budget, `measure` compares networks and rules on simulated patients,
`outlines` compares networks with two readers of real frames. See README.md beside this file.
"""

import gc
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire
from afi_measure import Bench, measured, methods_of, named_cases
from afi_outlines import outline_rows, outlined_twice, write_outlines
from afi_report import kept_rows, write_report
from afi_variants import BUNDLE, SWITCHES, TRUTH, VARIANTS, overrides
from named_weights import SHIPPED
from trained_runs import chosen_runs, listed

from amniotic_fluid.cases import training_cases  # found since afi_variants is
from medbundles.zoo.workflows import TRAIN, read_config, run_workflow

logger = logging.getLogger(__name__)


def train(
    dataset_dir: str,
    work: str,
    epochs: int,
    *,
    seeds: int | Sequence[int] = 0,
    only: str | Sequence[str] = VARIANTS,
    **knobs: Any,
) -> None:
    """Trains all variants with the same patients and number of optimiser steps.

    Weights go to WORK/seed_<seed>/<variant>/model.pt. A training that was stopped goes on where its last
    epoch ended.

    Args:
        dataset_dir: the folder of the data.
        work: the folder of the runs, and of the simulated patients that they share.
        epochs: of each variant.
        seeds: 0,1 trains everything twice.
        only: the variants to train, with commas.
        knobs: of train.json, for all variants.
    """
    chosen = listed(only, VARIANTS)
    config = read_config(BUNDLE, TRAIN)
    if unknown := [name for name in knobs if name not in config or name in SWITCHES]:
        raise SystemExit(f"unknown option --{unknown[0]}: no knob of train.json that all variants share")
    folder, data = Path(work).resolve(), str(Path(dataset_dir).resolve())
    simulated = int(knobs.get("simulated_cases", config["simulated_cases"]))
    cases = training_cases(data, str(folder / "simulated"), simulated, seed=config["seed"])
    logger.info("%d training frames, %d simulated for them", len(cases), simulated)
    for seed in [seeds] if isinstance(seeds, int) else seeds:
        for variant in chosen:
            changes = overrides(variant, int(seed), folder, {**knobs, "dataset_dir": data, "epochs": epochs})
            logger.info("training %s, seed %s, %d epochs", variant, seed, epochs)
            run_workflow(BUNDLE, TRAIN, changes, logging_file=False)
            gc.collect()  # engines and their cached frames hold on to each other


def measure(
    dataset_dir: str,
    work: str,
    *,
    runs: str | Sequence[str] = "",
    out: str = "benchmarks/results",
    split: str = "test",
    limit: int = 0,
    keep: bool = False,
    **knobs: Any,
) -> None:
    """Measures every run, and the rules on true labels, on simulated patients.

    Args:
        dataset_dir: the folder of the data.
        work: the folder of the runs. What was measured is kept in WORK/measured and not measured again.
        runs: folders in `work`, with commas; all that there are unless given. `shipped` is the bundle's own;
            `truth`, the rules on true labels, is always measured.
        out: the folder of the results.
        split: test, validation, train or all.
        limit: measure only so many patients, evenly spread; 0 for all.
        keep: leave what the tables in `out` say of other runs on the same frames.
        knobs: of the bundle: frame_size, mirror, device, amp.
    """
    bench, folder = Bench(knobs), Path(work).resolve()
    chosen = list(dict.fromkeys([*chosen_runs(runs, folder, TRUTH), TRUTH]))
    cases = named_cases(dataset_dir, split, limit)
    logger.info("runs: %s", ", ".join(chosen))
    rows = [row for run in chosen for row in measured(run, cases, folder, bench)]
    write_report([*rows, *(kept_rows(Path(out), rows) if keep else [])], Path(out))
    logger.info("tables in %s", out)


def outlines(
    dataset_dir: str,
    *,
    first: str,
    second: str,
    runs: str | Sequence[str] = SHIPPED,
    work: str = ".",
    out: str = "benchmarks/results",
    **knobs: Any,
) -> None:
    """Compares networks with two readers of real frames, and the readers with each other.

    Args:
        dataset_dir: the folder of the real frames.
        first: the outlines of one reader, a file as evaluate.json takes it.
        second: those of the other.
        runs: `shipped`, the bundle's own weights, or folders in `work`, with commas.
        work: the folder of the runs.
        out: the folder of the results.
        knobs: of the bundle: frame_size, mirror, device, amp.
    """
    bench, folder = Bench(knobs), Path(work).resolve()
    methods = {run: methods_of(run, folder, bench) for run in chosen_runs(runs, folder)}
    rows = []
    cases = outlined_twice(dataset_dir, first, second)
    for number, (name, both) in enumerate(cases.items(), start=1):
        rows += outline_rows(both, methods, bench)
        logger.info("%d of %d, %s", number, len(cases), name)
    write_outlines(rows, Path(out))
    logger.info("tables in %s", out)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    fire.Fire({"train": train, "measure": measure, "outlines": outlines})
