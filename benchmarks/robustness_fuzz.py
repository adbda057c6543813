"""Thousands of odd files per format, each read in a process that may die, and what became of them."""

import contextlib
import csv
import hashlib
import json
import logging
import multiprocessing
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from robustness_samples import DamagedError, Kind, Sample, mutated
from trained_runs import listed

from medbundles.errors import MAX_LINES, InputError
from medbundles.evaluation import write_rows
from medbundles.memory import peak_bytes

logger = logging.getLogger(__name__)

KINDS = ("nifti", "nrrd", "png", "dicom", "weights", "options")
CHUNK = 500  # inputs per process
HANG_S = 20.0
DEAD_S = 60.0  # a process that does not even answer an alarm
START_S = 600.0  # imports, on a busy machine
SHARE_MUTATED = 0.6
RIGHT, WARNED, REFUSED = "read as the file says", "wrong, but warned", "refused in words"
HARMFUL = ("wrong without a word", "sound but refused", "traceback", "hang", "crash", "long message")
OUTCOMES = (RIGHT, "read, not judged", WARNED, REFUSED, *HARMFUL)


class _HangError(Exception):
    pass


def fuzz(
    work: str,
    *,
    inputs: int = 6000,
    seed: int = 0,
    only: str | Sequence[str] = "",
    out: str = "benchmarks/results",
) -> None:
    """Reads odd inputs of every kind, and writes `robustness_fuzz.csv` with a row per kind.

    Args:
        work: a folder for the inputs that did harm, for a closer look.
        inputs: how many per kind.
        seed: of the inputs; input i of a kind is always the same.
        only: the kinds, with commas; all unless given. Rows of others stay in the table.
        out: the folder of the results.
    """
    rows = []
    for name in listed(only, KINDS) if only else KINDS:
        started = time.monotonic()
        found, memory = _all_of(name, int(inputs), int(seed), Path(work))
        count = Counter(row["outcome"] for row in found)
        row = {"kind": name, "inputs": len(found), "mutated": sum(r["mutated"] for r in found)}
        row |= {outcome: count[outcome] for outcome in OUTCOMES}
        row |= {"peak GB": round(memory, 2), "seconds": round(time.monotonic() - started, 1)}
        rows.append(row)
        logger.info("%s", json.dumps(row))
    path = Path(out) / "robustness_fuzz.csv"
    write_rows([*_others(path, {row["kind"] for row in rows}), *rows], path)


def _others(path: Path, kinds: set[str]) -> list[dict[str, Any]]:
    """Rows of kinds that were not read again."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["kind"] not in kinds]


def _all_of(name: str, inputs: int, seed: int, work: Path) -> tuple[list[dict[str, Any]], float]:
    """Every verdict, from processes that are replaced when they die or hang."""
    found: list[dict[str, Any]] = []
    memory = 0.0
    with tempfile.TemporaryDirectory(prefix="medbundles-fuzz-") as folder:
        while len(found) < inputs:
            log = Path(folder) / f"{len(found)}.jsonl"
            stop = min(inputs, len(found) + CHUNK)
            process = multiprocessing.get_context("spawn").Process(
                target=_chunk, args=(name, len(found), stop, seed, log, work)
            )
            process.start()
            how = _watch(process, log)
            lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
            memory = max([memory, *(line["memory"] for line in lines)])
            found += [line for line in lines if "outcome" in line]
            if len(found) < stop:
                index = len(found)
                sample = _sample(name, index, seed)
                found.append(_verdict_row(index, sample, how, "the process died"))
                _keep(work, name, index, sample, how)
    return found, memory


def _watch(process: multiprocessing.process.BaseProcess, log: Path) -> str:
    """Waits while the log grows; it appears once everything is imported."""
    size, since = -1, time.monotonic()
    while process.is_alive():
        process.join(0.2)
        now = log.stat().st_size if log.exists() else 0
        if now != size:
            size, since = now, time.monotonic()
        elif time.monotonic() - since > (DEAD_S if log.exists() else START_S):
            process.kill()
            process.join()
            return "hang"
    return "crash"


def _chunk(name: str, start: int, stop: int, seed: int, log: Path, work: Path) -> None:
    kind = _kind(name)
    kind.ready()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="medbundles-fuzz-") as folder, log.open("w") as file:
        for index in range(start, stop):
            sample, damaged = _sample(name, index, seed)
            path = Path(folder) / f"input{kind.suffix}"
            path.write_bytes(_bytes_of((sample, damaged)))
            outcome, detail = judged(kind, sample, damaged, path)
            row = _verdict_row(index, (sample, damaged), outcome, detail) | {"memory": peak_bytes() / 1e9}
            file.write(json.dumps(row) + "\n")
            file.flush()
            if outcome in HARMFUL:
                _keep(work, name, index, (sample, damaged), f"{outcome}: {detail}")


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raises _HangError after a time; a timer that runs already is put back."""

    def alarm(*_: Any) -> None:
        raise _HangError

    before = signal.signal(signal.SIGALRM, alarm)
    remaining, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, remaining)
        signal.signal(signal.SIGALRM, before)


def _kind(name: str) -> Kind:
    return import_module(f"robustness_{name}").KIND


def _sample(name: str, index: int, seed: int) -> tuple[Sample, bytes | None]:
    """Input `index` of a kind: the sample, and its bytes after damage if it has any."""
    rng = np.random.default_rng([seed, KINDS.index(name), index])
    sample = _kind(name).make(rng)
    damaged = mutated(sample.data, rng) if rng.random() < SHARE_MUTATED else None
    return sample, damaged


def _bytes_of(sample: tuple[Sample, bytes | None]) -> bytes:
    return sample[0].data if sample[1] is None else sample[1]


def judged(kind: Kind, sample: Sample, damaged: bytes | None, path: Path) -> tuple[str, str]:
    """One of OUTCOMES, and what stands behind it."""
    try:
        with _at_most(HANG_S):
            found, warnings = kind.answer(path)
    except InputError as error:
        return _refused(error, sample, damaged)
    except _HangError:
        return "hang", f"more than {HANG_S:g} s"
    except Exception:
        return "traceback", traceback.format_exc()[-1500:]
    try:
        truth = kind.judge(damaged) if damaged is not None else sample.truth
    except DamagedError as error:
        return ("wrong, but warned", "") if warnings else ("wrong without a word", f"damaged: {error}")
    if truth is None and damaged is None:
        return (WARNED, "") if warnings else ("wrong without a word", "must be refused")
    if truth is None:
        return "read, not judged", ""
    if kind.same(found, truth):
        return RIGHT, ""
    return (WARNED, "") if warnings else ("wrong without a word", "another content")


def _refused(error: InputError, sample: Sample, damaged: bytes | None) -> tuple[str, str]:
    if len(str(error).splitlines()) > MAX_LINES:
        return "long message", str(error)
    if damaged is None and sample.truth is not None:
        return "sound but refused", str(error)
    return REFUSED, ""


def _verdict_row(
    index: int, sample: tuple[Sample, bytes | None], outcome: str, detail: str
) -> dict[str, Any]:
    return {
        "index": index,
        "mutated": sample[1] is not None,
        "outcome": outcome,
        "what": sample[0].what,
        "detail": detail,
    }


def _keep(work: Path, name: str, index: int, sample: tuple[Sample, bytes | None], why: str) -> None:
    folder = work / "harmful"
    folder.mkdir(parents=True, exist_ok=True)
    data = _bytes_of(sample)
    digest = hashlib.sha256(data).hexdigest()[:8]
    place = folder / f"{name}_{index}_{digest}{_kind(name).suffix}"
    place.write_bytes(data)
    place.with_name(place.name + ".why").write_text(f"{sample[0].what}\n{why}\n", encoding="utf-8")
