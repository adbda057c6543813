"""Which scans a workflow sees: every data set of a known layout, split by patient, and simulated ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from dental_teeth.labels import CTOOTH, SIMULATED, TOOTHFAIRY
from dental_teeth.plans import SPACING_MM
from dental_teeth.simulator import OTHER_NAME, sidecar_of, write_cases
from medbundles.checks import DatasetError
from medbundles.datasets import ctooth, simulated
from medbundles.datasets.discovery import load_all
from medbundles.datasets.records import Case
from medbundles.datasets.split import split_of

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
SPLIT_SEED = 3633  # with it five simulated patients of seed 0, 1 or 2 are enough for all three parts
DEFAULT_KINDS = (TOOTHFAIRY, SIMULATED)
KINDS = (*DEFAULT_KINDS, CTOOTH)


def find_cases(
    dataset_dir: str,
    split: str,
    *,
    most: int | None = None,
    kinds: Sequence[str] = DEFAULT_KINDS,
    toothless: bool = False,
) -> list[dict[str, Any]]:
    """The scans with numbered teeth of every data set in a folder that fall into `split`.

    Patients never cross the splits, and those of the other simulated scanner are always test cases. Each
    case is a dictionary with `image` and `label` (files), `kind`, `subject`, `name`, and, where they are
    known, `metal` ("none", "some" or "heavy") and the number of `teeth`.

    Args:
        dataset_dir: where the data sets are.
        split: train, validation, test, or all.
        most: at most so many, spread evenly over kinds and levels of metal.
        kinds: the layouts to read. CTooth only when asked: as published it shows all teeth together, and
            `dataset_dir` must then be its own folder.
        toothless: with simulated patients who have no tooth at all. Only the finder of jaws learns from them:
            they have no panorama.

    Raises:
        DatasetError: there is none.
    """
    found = (
        ctooth.load(dataset_dir)[0] if tuple(kinds) == (CTOOTH,) else load_all(dataset_dir, kinds=kinds)[0]
    )
    cases = [_entry(case) for case in found if case["truth"].get("mask")]
    cases = [case for case in cases if toothless or case["teeth"] != 0]
    cases = [case for case in cases if split in ("all", part_of(case["subject"]))]
    if not cases:
        raise DatasetError(
            f"no case for the split '{split}'",
            expected="ToothFairy 2 or 3, or 5 or more simulated cases",
            source=dataset_dir,
            advice="point --dataset_dir at the folder of the data sets, or make cases: medbundles simulate",
        )
    return cases if most is None else evenly(cases, most)


def training_cases(
    dataset_dir: str,
    simulated_dir: str,
    *,
    simulated_cases: int = 0,
    simulated_spacing_mm: float = SPACING_MM,
    seed: int = 0,
    toothless: bool = False,
) -> list[dict[str, Any]]:
    """The training split of a folder plus that of simulated cases, made first if there are fewer."""
    cases = find_cases(dataset_dir, "train", toothless=toothless)
    if simulated_cases > 0:
        write = partial(write_cases, seed=seed, spacing_mm=simulated_spacing_mm)
        more = [_entry(case) for case in simulated.made(simulated_dir, simulated_cases, write)]
        known = {case["subject"] for case in cases}
        cases += [
            case for case in more if part_of(case["subject"]) == "train" and case["subject"] not in known
        ]
    return cases


def evaluation_cases(
    dataset_dir: str, *, split: str = "test", most: int | None = None, metal: str | None = None
) -> list[dict[str, Any]]:
    """The cases of a split, sorted by metal and name, of one level of metal if it is given."""
    cases = sorted(find_cases(dataset_dir, split), key=_rank)
    cases = [case for case in cases if metal in (None, case["metal"])]
    return cases if most is None else evenly(cases, most)


def part_of(subject: str) -> str:
    """The split that a subject belongs to, whatever other subjects there are."""
    if subject.startswith(OTHER_NAME):
        return "test"
    return split_of(subject, fractions=SHARES, seed=SPLIT_SEED)


def evenly(cases: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most so many of the cases, evenly spaced once they are sorted by kind, metal and name."""
    ranked = sorted(cases, key=_rank)
    count = min(most, len(ranked))
    return [ranked[i * len(ranked) // count] for i in range(count)]


def _rank(case: dict[str, Any]) -> tuple[str, str, str]:
    return case["kind"], case["metal"] or "", case["name"]


def _entry(case: Case) -> dict[str, Any]:
    kind = (
        SIMULATED if case["kind"] == SIMULATED else TOOTHFAIRY if case["source"] == "ToothFairy" else CTOOTH
    )
    entry = {"image": case["image"], "label": case["truth"]["mask"], "kind": kind, "subject": case["subject"]}
    # A simulated patient is named after its seed and number, so it is its own name.
    return entry | {"name": case.get("name", case["subject"])} | _known(case, kind)


def _known(case: Case, kind: str) -> dict[str, Any]:
    """Level of metal and number of teeth as the simulator wrote them down; None of other cases."""
    sidecar = sidecar_of(case["image"], case["subject"])
    if kind != SIMULATED or not sidecar.is_file():
        return {"metal": None, "teeth": None}
    facts = json.loads(sidecar.read_text(encoding="utf-8"))
    return {"metal": facts["metal"], "teeth": len(facts["teeth"])}
