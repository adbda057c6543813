"""The low-dose CT denoiser against classical filters, a supervised twin, and itself without its parts.

`train` trains the variants at equal budget, `measure` compares filters and weights on patients that nothing
was trained on, with known truth. See README.md beside this file.
"""

import gc
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire
from ct_filters import FILTERS
from ct_measure import Job, run
from ct_report import write_report
from ct_scenes import BUNDLE
from ct_variants import VARIANTS, shared_overrides, variants
from named_weights import named_weights

from ct_cyclegan.cases import training_cases  # found since ct_scenes is
from medbundles.simulators import ct
from medbundles.zoo.workflows import TRAIN, read_config, run_workflow

logger = logging.getLogger(__name__)

KNOBS = ("doses", "slices_per_case", "simulated_patients", "simulated_routine_dose", "seed")


def train(
    dataset_dir: str,
    work: str,
    epochs: int,
    *,
    only: str | Sequence[str] = VARIANTS,
    **knobs: Any,
) -> None:
    """Trains the variants with equal seed, learning rates and number of optimiser steps.

    Weights go to WORK/<variant>/model.pt. A run that was stopped goes on where its last epoch ended.

    Args:
        dataset_dir: the folder of the data.
        work: the folder of the runs, and of the scanned slices that the variants share.
        epochs: of each variant; an epoch has as many steps as `full` has batches.
        only: the variants to train, with commas.
        knobs: of train.json, the same for all; --width 8 --patch 32 makes a quick trial.
    """
    config, folder = read_config(BUNDLE, TRAIN), Path(work).resolve()
    settings = {key: config[key] for key in KNOBS} | {k: v for k, v in knobs.items() if k in KNOBS}
    source = str(Path(dataset_dir).resolve())
    cases = training_cases(source, str(folder / "scans" / "train"), **settings)
    steps = math.ceil(len(cases) / knobs.get("batch_size", config["batch_size"]))
    logger.info("%d cases; %d x %d optimiser steps", len(cases), epochs, steps)
    shared = {
        "dataset_dir": source,
        "epochs": epochs,
        "schedule_epochs": epochs,
        "constant_epochs": round(epochs * config["constant_epochs"] / config["schedule_epochs"]),
        "val_interval": min(config["val_interval"], epochs),
        **knobs,
        **shared_overrides(folder, steps),
    }
    for name, overrides in _chosen(variants(config), _listed(only)).items():
        logger.info("training %s", name)
        own = {"output_dir": str(folder / name), "weights": str(folder / name / "model.pt")}
        run_workflow(BUNDLE, TRAIN, {**shared, **own, **overrides}, logging_file=False)
        gc.collect()  # engines and their cached slices hold on to each other


def measure(
    dataset_dir: str,
    weights: str | Sequence[str],
    *,
    scanner: str = "trained",
    doses: Sequence[float] | float = (0.25, 0.10, 0.05),
    out: str = "benchmarks/results",
    filters: str | Sequence[str] = tuple(FILTERS),
    **options: int,
) -> None:
    """Measures filters and weights on a slice of each test case.

    Args:
        dataset_dir: the folder of the data.
        weights: name=path,name=path; `shipped` alone stands for the bundle's own. It, or without it
            `full`, is the one whose curve is compared; `no_bypass` is built without its bypass.
        scanner: trained, or other: another geometry and kernel than trained on.
        doses: fractions of the routine dose. Curves are drawn at 0.1, or else at the first.
        out: the folder of the results.
        filters: which of gaussian, nlm, tv, bm3d; '' for none.
        options: limit=0, test slices, 0 for all; crop=208, pixels a side of the window that is compared, 0
            for whole slices; jobs=2, processes.
    """
    unknown = sorted(set(options) - {"limit", "crop", "jobs"})
    if unknown:
        raise SystemExit(f"unknown option --{unknown[0]}: one of --limit, --crop, --jobs")
    ct.scanner(scanner)  # refuses a wrong name before any work
    doses = tuple(float(d) for d in (doses if isinstance(doses, Sequence) else [doses]))
    job = Job(
        weights=named_weights(weights, BUNDLE),
        filters=tuple(_chosen(FILTERS, _listed(filters))),
        scanner=scanner,
        doses=doses,
        main_dose=0.1 if 0.1 in doses else doses[0],
        crop=options.get("crop", 208),
    )
    rows, patches = run(job, dataset_dir, limit=options.get("limit", 0), jobs=options.get("jobs", 2))
    write_report(rows, patches, job, Path(out))


def _listed(names: str | Sequence[str]) -> list[str]:
    entries = names.split(",") if isinstance(names, str) else names
    return [entry.strip() for entry in entries if entry.strip()]


def _chosen(known: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"'{unknown[0]}' is not one of {', '.join(known)}")
    return {name: known[name] for name in names}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    fire.Fire({"train": train, "measure": measure})
