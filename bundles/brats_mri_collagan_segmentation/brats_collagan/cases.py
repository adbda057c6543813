"""Which patients a workflow sees: every data set of a known layout, split by patient, and simulated ones."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

from brats_collagan.simulator import write_cases
from medbundles.checks import DatasetError
from medbundles.datasets import simulated
from medbundles.datasets.brain_labels import OURS
from medbundles.datasets.discovery import load_all
from medbundles.datasets.split import split_by_group
from medbundles.multicontrast import OurLabelsd
from medbundles.transforms import LoadImageCheckedd

LAYOUTS = ("brats", "msd", "simulated")
SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
SPLIT_SEED = 2877  # with it five simulated patients of seed 0 or 1 are enough for all three parts


def find_cases(
    dataset_dir: str, split: str, *, most: int | None = None, labelled: bool = True
) -> list[dict[str, Any]]:
    """The cases of every data set in a folder that fall into `split`: train, validation, test, or all.

    Patients never cross the splits. Each case is a dictionary with `image` (see `medbundles.studies`),
    `label` (a file) with its `convention`, `kind` and `subject`.

    Args:
        dataset_dir: where the data sets are.
        split: the part.
        most: at most so many, spread evenly.
        labelled: leave cases without a segmentation out.

    Raises:
        DatasetError: there is none.
    """
    found, _ = load_all(dataset_dir, kinds=LAYOUTS)
    if split != "all":
        found = split_by_group(found, fractions=SHARES, seed=SPLIT_SEED)[split]
    cases = [_entry(case) for case in found if not labelled or _label(case)]
    if not cases:
        raise DatasetError(
            f"no case for the split '{split}'",
            expected="BraTS 2015 to 2024, MSD Task01_BrainTumour, or 10 or more simulated cases",
            source=dataset_dir,
            advice="point --dataset_dir at the folder of the data sets, or make cases: medbundles simulate",
        )
    return cases if most is None else evenly(cases, most)


def training_cases(
    dataset_dir: str,
    simulated_dir: str,
    *,
    simulated_cases: int = 0,
    simulated_spacing_mm: float = 1.0,
    labelled: bool = True,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """The training split of a folder plus simulated cases, which are made first if they are not there yet."""
    cases = find_cases(dataset_dir, "train", labelled=labelled)
    if simulated_cases > 0:
        write = partial(write_cases, seed=seed, spacing_mm=simulated_spacing_mm)
        cases += [_entry(case) for case in simulated.made(simulated_dir, simulated_cases, write)]
    return cases


def evaluation_cases(
    dataset_dir: str,
    *,
    split: str = "test",
    withheld: Sequence[str | None] = (None,),
) -> list[dict[str, Any]]:
    """The cases of a split, each once for every entry of `withheld`: a contrast to be imputed, or None."""
    cases = find_cases(dataset_dir, split)
    return [{**case, "withheld": name} for case in cases for name in withheld]


def evenly(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the items, evenly spaced."""
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _label(case: Mapping[str, Any]) -> str | None:
    truth = case.get("truth") or {}
    return str(truth["mask"]) if truth.get("mask") else None


def _entry(case: Mapping[str, Any]) -> dict[str, Any]:
    entry = {"image": case["image"], "kind": case["kind"], "subject": case["subject"]}
    entry["convention"] = case.get("convention", OURS)
    if _label(case):
        entry["label"] = _label(case)
    return entry


class LoadTumourLabelsd(LoadImageCheckedd):
    """Reads label maps (1, X, Y, Z) and brings them to our convention; the case's own is its `convention`."""

    def __call__(self, data: Mapping[Hashable, Any], reader: Any = None) -> dict[Hashable, Any]:
        return OurLabelsd(self.keys)(super().__call__(data, reader))
