"""Which slices a workflow sees: two domains of different patients for training, known truth for the rest."""

import logging
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ct_cyclegan.anatomy import DOMAINS, Anatomy, find_cases, heart_phases, slices_of
from ct_cyclegan.scans import lesion_stack, low_dose, routine_dose, write_slice, written
from medbundles.checks import DatasetError
from medbundles.datasets.split import split_of
from medbundles.simulators import ct

logger = logging.getLogger(__name__)

LOW_PHASES, ROUTINE_PHASES = (1, 2), (3, 4, 5, 6, 7, 8, 9, 10)
ROUTINE_PHASES_TAKEN = 3
VALIDATION_DOSE = 0.1
FORMAT = 1  # of the written slices; another number has them made again


def training_cases(
    dataset_dir: str,
    scans_dir: str,
    *,
    doses: Sequence[float] = (0.05, 0.2),
    slices_per_case: int = 4,
    simulated_patients: int = 24,
    simulated_routine_dose: float = 2.0,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Items with a low-dose slice (`image`) and a routine-dose slice (`routine`) of another patient.

    A patient belongs to one of the domains. Real slices at routine dose are scanned again at two random doses
    for the low domain; of simulated patients the low domain has the first two phases of the heart's cycle,
    the routine domain some of the rest.

    Args:
        dataset_dir: the data, see `anatomy.find_cases`; its training split is taken.
        scans_dir: where the scanned slices are kept.
        doses: least and largest dose of the low domain, as fractions of routine.
        slices_per_case: most slices from one volume.
        simulated_patients: simulated patients that are added.
        simulated_routine_dose: of those in the routine domain; at 1 they are noisier than most real slices.
        seed: of doses, noise and simulated patients.
    """
    cases = find_cases(dataset_dir, "train")
    settings = settings_of(
        cases,
        doses=list(doses),
        slices_per_case=slices_per_case,
        simulated_patients=simulated_patients,
        simulated_routine_dose=simulated_routine_dose,
        seed=seed,
    )

    def write(folder: Path) -> list[dict[str, Any]]:
        slices = [s for case in cases for s in slices_of(case, slices_per_case)]
        slices += [s for patient in range(simulated_patients) for s in _phases(patient, seed)]
        return [
            entry for s in slices for entry in _write_domain(s, folder, doses, simulated_routine_dose, seed)
        ]

    entries = written(scans_dir, settings, write)
    return paired(entries, dataset_dir)


def paired(entries: Sequence[dict[str, Any]], source: str) -> list[dict[str, Any]]:
    """Every slice of the larger domain beside one of the other; who stands beside whom means nothing.

    Raises:
        DatasetError: a domain is empty.
    """
    domains = {name: [e for e in entries if e["domain"] == name] for name in DOMAINS}
    patients = {name: len({e["subject"] for e in found}) for name, found in domains.items()}
    logger.info(
        "unpaired training: %s",
        ", ".join(f"{len(domains[n])} slices of {patients[n]} patients at {n} dose" for n in DOMAINS),
    )
    empty = [name for name, found in domains.items() if not found]
    if empty:
        raise DatasetError(
            f"no patient for the domain of {' and '.join(empty)} dose",
            expected="several patients: each belongs to one domain only",
            source=source,
            advice="add patients, or set --simulated_patients 24",
        )
    order = np.random.default_rng(0)
    low, routine = (
        [found[i] for i in order.permutation(len(found))] for found in (domains["low"], domains["routine"])
    )
    return [
        {"image": low[i % len(low)]["file"], "routine": routine[i % len(routine)]["file"]}
        for i in range(max(len(low), len(routine)))
    ]


def validation_cases(
    dataset_dir: str, scans_dir: str, *, most: int = 8, seed: int = 0
) -> list[dict[str, Any]]:
    """Up to `most` slices of patients held out, at a tenth of the dose, with lesions and truth."""
    return lesion_cases(
        dataset_dir, scans_dir, split="validation", doses=[VALIDATION_DOSE], most=most, seed=seed
    )


def evaluation_cases(
    dataset_dir: str,
    scans_dir: str,
    *,
    split: str = "test",
    doses: Sequence[float] = (0.25, 0.1, 0.05),
    scanners: Sequence[str] = ("trained", "other"),
    most: int = 24,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Slices of held-out patients with lesions at several doses on several scanners, and measured pairs."""
    cases = lesion_cases(
        dataset_dir, scans_dir, split=split, doses=doses, scanners=scanners, most=most, seed=seed
    )
    pairs = [case for case in find_cases(dataset_dir, split) if case["low"] and case["routine"]]
    return cases + [
        {"image": c["low"][0], "label": c["routine"][0], "lesions": False, "group": f"{c['kind']} pairs"}
        for c in evenly(pairs, most)
    ]


def lesion_cases(
    dataset_dir: str,
    scans_dir: str,
    *,
    split: str,
    doses: Sequence[float],
    scanners: Sequence[str] = ("trained",),
    most: int = 8,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Stacks of two slices, with lesions and without, see `scans.lesion_stack`; one slice from each case."""
    cases = evenly([case for case in find_cases(dataset_dir, split) if case["routine"]], most)
    settings = settings_of(cases, doses=list(doses), scanners=list(scanners), seed=seed)

    def write(folder: Path) -> list[dict[str, Any]]:
        slices = [s for case in cases for s in slices_of(case, 1)]
        kinds = [(name, dose) for name in scanners for dose in doses]
        return [_write_stack(s, folder, name, dose, seed) for s in slices for name, dose in kinds]

    return written(scans_dir, settings, write)


def settings_of(cases: Sequence[dict[str, Any]], **knobs: Any) -> dict[str, Any]:
    """All that written slices depend on: a change in it has them written again."""
    return {"format": FORMAT, "cases": [case["name"] for case in cases], **knobs}


def evenly(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the items, evenly spaced."""
    chosen = np.linspace(0, len(items) - 1, min(most, len(items)))
    return [items[int(i)] for i in np.rint(chosen)]


def domain_of(subject: str) -> str:
    """The domain of a patient, `low` or `routine`: a hash of the name, so that it never changes."""
    return split_of(subject, fractions=dict.fromkeys(DOMAINS, 0.5), seed=1)


def _phases(patient: int, seed: int) -> list[Anatomy]:
    """The phases of a simulated patient that its domain has; every other patient is of the low domain."""
    if patient % 2 == 0:
        return list(heart_phases(patient, LOW_PHASES, seed=seed, domain="low"))
    rng = np.random.default_rng([seed, patient])
    taken = sorted(rng.choice(ROUTINE_PHASES, ROUTINE_PHASES_TAKEN, replace=False).tolist())
    return list(heart_phases(patient, taken, seed=seed, domain="routine"))


def _write_domain(
    anatomy: Anatomy, folder: Path, doses: Sequence[float], routine: float, seed: int
) -> list[dict[str, Any]]:
    """Writes a slice as its patient's domain has it: at two random low doses, or at routine dose."""
    rng = _generator(anatomy.name, seed)
    domain = anatomy.domain or ("low" if anatomy.routine is None else domain_of(anatomy.subject))
    if domain == "low":
        drawn = np.exp(rng.uniform(*np.log(doses), 2)).tolist()
        images = low_dose(anatomy, drawn, rng)
    else:
        images = [routine_dose(anatomy, routine, rng)]
    names = [f"{domain}_{anatomy.name}_{i}" for i in range(len(images))]
    files = [write_slice(im, folder, n, anatomy.pixel_mm) for im, n in zip(images, names, strict=True)]
    return [{"file": file, "domain": domain, "subject": anatomy.subject} for file in files]


def _write_stack(anatomy: Anatomy, folder: Path, scanner: str, dose: float, seed: int) -> dict[str, Any]:
    name = f"{anatomy.name}_{scanner}_{100 * dose:g}"
    stacks = lesion_stack(anatomy, ct.scanner(scanner), dose, _generator(name, seed))
    image, label = (
        write_slice(stack, folder, f"{name}_{key}", anatomy.pixel_mm)
        for stack, key in zip(stacks, ("image", "label"), strict=True)
    )
    anatomies = "simulated" if anatomy.noise_free else "real"
    group = f"{anatomies} anatomy, {100 * dose:g} % dose" + (
        "" if scanner == "trained" else ", other scanner"
    )
    return {"image": image, "label": label, "lesions": True, "group": group, "subject": anatomy.subject}


def _generator(name: str, seed: int) -> np.random.Generator:
    """Random numbers that depend on nothing but the slice and the seed."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
