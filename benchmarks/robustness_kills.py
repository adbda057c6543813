"""SIGKILL at any moment: what is in the folder then, and whether the same command completes it."""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import robustness_jobs as jobs
from robustness_folders import Reference, contents, hidden, reference_of, snapshot, touched, unsound
from robustness_subjects import Subject

from medbundles.zoo.workflows import TRAIN, monai_command

logger = logging.getLogger(__name__)

AT_ONCE, OVER = "SIGKILL", "SIGKILL over results of other options"
LAST_STEP = 400  # a command that changes more files than this does not end


@dataclass
class Tally:
    """What came of a kind of fault for a subject; a row of the table."""

    subject: str
    fault: str
    n: int = 0
    completed: int = 0
    killed: int = 0
    half: int = 0
    differ: int = 0
    touched: int = 0
    incomplete: int = 0
    speechless: int = 0
    remarks: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def row(self) -> dict[str, Any]:
        """The row, with its columns in words."""
        return {
            **{"subject": self.subject, "fault": self.fault, "n": self.n, "completed": self.completed},
            "killed": self.killed,
            "half-written results taken as results": self.half,
            "results unlike an undisturbed run's": self.differ,
            "inputs touched": self.touched,
            "reruns that did not complete": self.incomplete,
            "errors without a message": self.speechless,
            "seconds": round(time.monotonic() - self.started),
            "remarks": "; ".join(dict.fromkeys(self.remarks)),
        }

    def wrong(self) -> int:
        """How many promises were broken."""
        return self.half + self.differ + self.touched + self.incomplete + self.speechless


@dataclass
class Bench:
    """A subject, its undisturbed results, and a place to break it in.

    Attributes:
        reference: of its own options, and of the other ones as far as cases go.
        other: files of the other ones.
        seconds: of processor time that an undisturbed run takes.
        earlier: folder with the results of the other options.
    """

    subject: Subject
    place: Path
    reference: Reference
    other: dict[str, str]
    seconds: float
    earlier: Path | None

    @property
    def out(self) -> Path:
        """The folder of the results."""
        return self.place / "out"

    @property
    def log(self) -> Path:
        """What the last command said."""
        return self.place / "log.txt"

    def fresh(self, start: Path | None = None) -> None:
        """Empties the folder of the results, or fills it with earlier ones."""
        shutil.rmtree(self.out, ignore_errors=True)
        if start is not None:
            shutil.copytree(start, self.out)


def bench(subject: Subject, work: Path) -> Bench:
    """Runs a subject undisturbed, three times, and returns where to break it."""
    place = work / "broken" / subject.name.replace(" ", "_").replace(",", "")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    own, other, seconds = place / "own", place / "other", 0.0
    for out in (place / "first", own):
        seconds = _must(subject.words(out), place / "log.txt")
    if contents(own) != contents(place / "first"):
        raise RuntimeError(f"two undisturbed runs of {subject.name} differ: nothing can be compared")
    if subject.other:
        _must(subject.words(other, options=subject.other), place / "log.txt")
        both = reference_of(own, other)
        return Bench(subject, place, both, contents(other), seconds, other)
    return Bench(subject, place, reference_of(own), {}, seconds, None)


def at_random(item: Bench, count: int, rng: np.random.Generator, *, over: bool = False) -> Tally:
    """Kills a command at moments spread evenly from its start to its end.

    Args:
        item: what to break.
        count: how often.
        rng: of the moments.
        over: the folder holds results of other options, and every second rerun wants those back.
    """
    tally = Tally(item.subject.name, f"{OVER if over else AT_ONCE}, any moment")
    moments = (rng.permutation(count) + rng.random(count)) / count * item.seconds
    for number, moment in enumerate(moments):
        item.fresh(item.earlier if over else None)

        def kill(moment: float = moment) -> bool:
            process = jobs.start(item.subject.words(item.out), item.log)
            jobs.watch(process.pid or 0, process.is_alive, moment)
            process.join()
            return process.exitcode == -9

        trial(item, tally, kill)
        _rerun(item, tally, back=over and number % 2 == 1)
    return tally


def at_each_step(item: Bench, *, over: bool = False, every: int = 1) -> Tally:
    """Kills a command before its first change of a file in the folder, then before the second, and so on.

    Args:
        item: what to break.
        over: as above.
        every: only every so many changes.
    """
    tally = Tally(item.subject.name, f"{OVER if over else AT_ONCE}, before each change of a file")
    for number, step in enumerate(range(1, LAST_STEP, every)):
        item.fresh(item.earlier if over else None)
        trouble = jobs.Trouble(step=step, folder=str(item.out))
        words = item.subject.words(item.out)
        ended = trial(item, tally, lambda t=trouble, w=words: jobs.run(w, item.log, t) == -9)
        _rerun(item, tally, back=over and number % 2 == 1)
        if not ended:
            return tally
    raise RuntimeError(f"{item.subject.name} changes more than {LAST_STEP} files")


def from_command_line(item: Bench, count: int, rng: np.random.Generator) -> Tally:
    """Kills the command as a user starts it: `medbundles predict`, or MONAI's own for a training."""
    name = "medbundles predict" if item.subject.command == "predict" else "python -m monai.bundle run"
    tally = Tally(item.subject.name, f"SIGKILL, any moment, {name}")
    item.fresh()
    process = _spawn(item)
    seconds = jobs.watch(process.pid, lambda: process.poll() is None)
    for moment in (rng.permutation(count) + rng.random(count)) / count * seconds:
        item.fresh()

        def kill(moment: float = moment) -> bool:
            process = _spawn(item)
            jobs.watch(process.pid, lambda: process.poll() is None, moment)
            return process.wait() == -9

        trial(item, tally, kill)
        _rerun(item, tally, status=_spawn(item, again=True).wait())
    return tally


def trial(item: Bench, tally: Tally, disturb: Callable[[], bool]) -> bool:
    """Disturbs a command once and looks at what it left; returns whether it was killed."""
    before = snapshot(item.subject.inputs)
    killed = disturb()
    tally.n += 1
    tally.killed += killed
    tally.completed += not killed
    problems = unsound(item.out, item.reference) if item.out.exists() else []
    tally.half += bool(problems)
    tally.remarks += problems[:2]
    changed = touched(before, item.subject.inputs)
    tally.touched += bool(changed)
    return killed


def _rerun(item: Bench, tally: Tally, *, back: bool = False, status: int | None = None) -> None:
    """The same command again, or that of the earlier results, and what it should have given."""
    subject, left = item.subject, hidden(item.out) if item.out.exists() else 0
    before = snapshot(subject.inputs)
    if status is None:
        words = subject.words(item.out, options=subject.other if back else None, again=True)
        status = jobs.run(words, item.log)
    problems = unsound(item.out, item.reference)
    tally.incomplete += status != 0
    expected = item.other if back else item.reference.files
    now = contents(item.out)
    tally.differ += bool(problems) or now != expected
    tally.touched += bool(touched(before, subject.inputs))
    if status or now != expected or problems:
        unlike = [name for name in expected if expected.get(name) != now.get(name)]
        tally.remarks += [f"rerun: exit status {status}, other: {', '.join(unlike[:3])}", *problems[:2]]
        logger.warning("%s, %s: %s", subject.name, tally.fault, tally.remarks[-1])
        kept = item.place / f"odd_{len(list(item.place.glob('odd_*')))}"
        shutil.copytree(item.out, kept)
    if left and not any("hidden" in remark for remark in tally.remarks):
        tally.remarks.append("unfinished files stay behind, hidden")


def _spawn(item: Bench, *, again: bool = False) -> subprocess.Popen:
    subject = item.subject
    words = [sys.executable, "-m", "medbundles.cli", *subject.words(item.out, again=again)]
    if subject.command == "train":
        options = dict(
            word.removeprefix("--").split("=") for word in subject.words(item.out, again=again)[2:]
        )
        line = monai_command(subject.bundle, TRAIN, options).split()
        words = [sys.executable, *line[1:]]
    with open(item.log, "wb") as log:
        return subprocess.Popen(words, stdout=log, stderr=log, env=os.environ | {"PYTHONUNBUFFERED": "1"})


def _must(words: list[str], log: Path) -> float:
    process = jobs.start(words, log)
    seconds = jobs.watch(process.pid or 0, process.is_alive)
    process.join()
    if process.exitcode:
        raise RuntimeError(f"an undisturbed run failed: {log.read_text(errors='replace')[-1500:]}")
    return seconds
