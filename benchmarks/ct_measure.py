"""Runs all methods over all scenes, several slices beside each other."""

import logging
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from ct_filters import FILTERS, Filter
from ct_scenes import scenes, test_slices
from ct_scores import INPUT, Method, Patches, Patchwork, score_scene
from ct_variants import denoising_methods
from paired_tables import Row

from ct_cyclegan.anatomy import Anatomy  # found since ct_scenes is
from medbundles.observers import detectability, detectability_change, dog_channels
from medbundles.simulators import ct

logger = logging.getLogger(__name__)

DETECTABILITY = "CHO d' ratio"
CHANNELS = 10
ENOUGH = 24  # patches of each kind, for ten channels and ten folds
Patched = dict[tuple[str, float], Patchwork]


@dataclass(frozen=True)
class Job:
    """What is measured on each slice.

    Attributes:
        weights: files by name.
        filters: keys of `FILTERS`.
        scanner: name of the scanner.
        doses: fractions of the routine dose.
        main_dose: the dose of the curves.
        crop: pixels a side of the window, 0 for whole slices.
    """

    weights: Mapping[str, Path]
    filters: tuple[str, ...]
    scanner: str
    doses: tuple[float, ...]
    main_dose: float
    crop: int

    def methods(self) -> list[Method]:
        """The input, the filters and the networks."""
        chosen = [filter_method(FILTERS[name]) for name in self.filters]
        return [INPUT, *chosen, *denoising_methods(self.weights)]


def filter_method(spec: Filter) -> Method:
    """A filter at each value of its parameter."""
    settings = {f"{value:g}": partial(_filtered, spec, value) for value in spec.sweep}
    return Method(spec.title, settings, f"{spec.usual:g}")


def _filtered(spec: Filter, value: float, image: np.ndarray, noise: float) -> np.ndarray:
    return spec.apply(image, noise, value)


def run(job: Job, dataset_dir: str | Path, *, limit: int, jobs: int) -> tuple[list[Row], Patched]:
    """All rows, and the patches of each method and dose.

    Args:
        job: what is measured.
        dataset_dir: the folder of the data.
        limit: test slices, evenly spread; 0 for all.
        jobs: processes.
    """
    anatomies = test_slices(dataset_dir, limit)
    logger.info("%d slices of %d patients", len(anatomies), len({one.subject for one in anatomies}))
    rows: list[Row] = []
    patches: Patched = {}
    for number, (found, patched) in enumerate(_measured(job, anatomies, jobs), start=1):
        rows += found
        for key, one in patched.items():
            whole = patches.setdefault(key, Patchwork())
            whole.present += one.present
            whole.absent += one.absent
        logger.info("%d of %d slices", number, len(anatomies))
    return rows, patches


def _measured(job: Job, anatomies: Sequence[Anatomy], jobs: int) -> Iterator[tuple[list[Row], Patched]]:
    if jobs < 2:
        yield from map(partial(measure_slice, job), anatomies)
        return
    # Spawned, since a fork of a process that has run torch may hang.
    pool = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    )
    with pool:
        yield from pool.map(partial(measure_slice, job), anatomies)


def measure_slice(job: Job, anatomy: Anatomy) -> tuple[list[Row], Patched]:
    """The rows and patches of one slice: everything at the main dose, less at the others."""
    rows: list[Row] = []
    patches: Patched = {}
    for scene in scenes(anatomy, ct.scanner(job.scanner), job.doses, job.crop):
        for method in job.methods():
            main = scene.dose == job.main_dose
            found, patches[method.name, scene.dose] = score_scene(
                method, scene, sweep=main, probes=main or method.is_ours or method is INPUT
            )
            rows += [{"scanner": job.scanner, **row} for row in found]
    return rows, patches


def detectabilities(patches: Patched) -> list[Row]:
    """d' of a lesion of the main kind in the patches of all slices together, for each method and dose.

    The observer knows the background (it is taken off) and the place; the lesion is a little larger on slices
    with small pixels. Limits are those of the change on the same patches.
    """
    rows = []
    for (name, dose), patchwork in patches.items():
        stacks = _stacks(patchwork)
        reference = patches.get((INPUT.name, dose))
        if reference is None or stacks is None or len(stacks[0]) < ENOUGH:
            continue
        channels = dog_channels(stacks[0].shape[1], count=CHANNELS)
        change = detectability_change(_stacks(reference), stacks, channels)
        around = (change.change, change.lower, change.upper)
        ratio = [1 + value / change.first if change.first else np.nan for value in around]
        row = {"method": name, "dose": dose, "n": change.n, "d' input": change.first, "d'": change.second}
        row |= dict(zip((DETECTABILITY, "lower", "upper"), ratio, strict=True))
        rows.append(row | {"AUC": detectability(*stacks, channels).auc})
    return rows


def _stacks(patchwork: Patchwork) -> tuple[Patches, Patches] | None:
    if not patchwork.present:
        return None
    return np.concatenate(patchwork.present), np.concatenate(patchwork.absent)
