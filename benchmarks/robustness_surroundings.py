"""Full and protected disks, inputs that come and go, clocks that go back, company, and too little memory."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import robustness_jobs as jobs
from robustness_folders import contents, reference_of, snapshot, touched, unsound
from robustness_kills import Bench, Tally
from robustness_subjects import Subject, volume, write_series

from medbundles.reports import read_report

YEAR = 365 * 86400
DISKS_KB = (4, 8, 16, 24, 32, 48, 64, 96, 128, 192)
MEMORY_MB = (1, 4, 16, 32, 64, 96, 128, 192, 256, 384, 512, 1024)
MAX_LINES = 6  # of a message
NOBODY = 65534
TRACE, ADVICE = "Traceback (most recent call last)", "what to do:"


def experiments(at: Callable[[str], Bench]) -> dict[str, Callable[[], Tally]]:
    """The experiments by a title of subject and fault; `at` gives the bench of a subject."""
    return {
        "discs: disk full": lambda: disk_full(at("discs")),
        "discs, training: disk full": lambda: disk_full(at("discs, training")),
        "discs: read-only disk": lambda: read_only(at("discs")),
        "discs: permission denied": lambda: permission_denied(at("discs")),
        "discs: input vanishes": lambda: vanishing(at("discs")),
        "discs: input is being written": lambda: growing(at("discs")),
        "CT series: slices still come": lambda: arriving(at("CT series")),
        "discs: clock goes back": lambda: clock_back(at("discs")),
        "discs: two processes": lambda: two_processes(at("discs")),
        "discs, training: two processes": lambda: two_trainings(at("discs, training")),
        "discs: out of memory": lambda: out_of_memory(at("discs")),
    }


def disk_full(item: Bench) -> Tally:
    """The disk of the results is too small, then large enough."""
    tally = Tally(item.subject.name, "disk full (ENOSPC on a small tmpfs)")
    for size in DISKS_KB:
        _mounted(item, tally, (f"size={size}k", "size=256m"))
    return tally


def read_only(item: Bench) -> Tally:
    """The disk of the results is mounted read-only, then not."""
    tally = Tally(item.subject.name, "read-only output folder (EROFS)")
    _mounted(item, tally, ("ro,size=64m", "rw,size=64m"))
    return tally


def permission_denied(item: Bench) -> Tally:
    """The folder of the results is another user's, and the process has none of root's privileges."""
    tally = Tally(item.subject.name, "permission denied (EACCES)")
    item.fresh()
    item.out.mkdir()
    item.out.chmod(0o555)
    if os.geteuid() == 0:
        os.chown(item.out, NOBODY, NOBODY)
    _fault(item, tally, jobs.run(_words(item), item.log, jobs.Trouble(powerless=True)))
    item.out.chmod(0o755)
    _complete(item, tally, item.subject)
    return tally


def vanishing(item: Bench) -> Tally:
    """An input is listed, and gone when it is to be read."""
    tally, subject = Tally(item.subject.name, "input vanishes between listing and reading"), _copy(item, 6)
    lost = sorted(subject.inputs.iterdir())[-1]
    aside = item.place / lost.name
    process = jobs.start(subject.words(item.out), item.log, jobs.Trouble(1, str(item.out), signal.SIGSTOP))
    if jobs.wait_until_stopped(process):  # at the first result
        lost.rename(aside)
        os.kill(int(process.pid or 0), signal.SIGCONT)
    process.join()
    _fault(item, tally, int(process.exitcode or 0), traces=False)
    statuses = [case["status"] for case in read_report(item.out)["cases"]]
    if statuses != ["ok"] * 5 + ["failed"]:
        tally.remarks.append(f"{statuses}")
        tally.differ += 1
    aside.rename(lost)
    _complete(item, tally, subject)
    return tally


def growing(item: Bench) -> Tally:
    """Inputs are half there when they are read; later they are whole."""
    tally, subject = Tally(item.subject.name, "input still being written"), _copy(item, 3)
    files = sorted(subject.inputs.iterdir())
    whole = {file: file.read_bytes() for file in files}
    for part in (0.0, 0.3, 0.6, 0.95):
        item.fresh()
        files[1].write_bytes(whole[files[1]][: int(part * len(whole[files[1]]))])
        _fault(item, tally, jobs.run(subject.words(item.out), item.log))
        files[1].write_bytes(whole[files[1]])
        _complete(item, tally, subject)
    return tally


def arriving(item: Bench) -> Tally:
    """Slices of a series come after it was read and before its result is written."""
    tally = Tally(item.subject.name, "slices still come while the first ones are computed")
    item.fresh()
    inputs, aside = item.place / "arriving", item.place / "aside"
    for folder in (inputs, aside):
        shutil.rmtree(folder, ignore_errors=True)
    late = write_series(inputs / "scan", volume())[2:]
    aside.mkdir()
    for path in late:
        path.rename(aside / path.name)
    subject = Subject(item.subject.name, "predict", item.subject.bundle, inputs)
    process = jobs.start(subject.words(item.out), item.log, jobs.Trouble(2, str(item.out), signal.SIGSTOP))
    if jobs.wait_until_stopped(process):
        for path in late:
            (aside / path.name).rename(path)
        os.kill(int(process.pid or 0), signal.SIGCONT)
    process.join()
    tally.n, tally.completed = 1, 1
    _complete(item, tally, subject)
    return tally


def clock_back(item: Bench) -> Tally:
    """Results are a year in the future, or the input that takes another's place is a year old."""
    tally = Tally(item.subject.name, "clock goes back between runs, input replaced")
    for results, image in ((YEAR, 0), (0, -YEAR), (YEAR, -YEAR)):
        item.fresh()
        subject = _copy(item, 3)
        jobs.run(subject.words(item.out), item.log)
        _shift(item.out, results)
        files = sorted(subject.inputs.iterdir())
        files[0].write_bytes(files[1].read_bytes())
        _shift(files[0], image)
        tally.n, tally.completed = tally.n + 1, tally.completed + 1
        _complete(item, tally, subject)
    return tally


def two_processes(item: Bench) -> Tally:
    """Two commands on one folder of results: of the same inputs, and of others that are called the same."""
    tally = Tally(item.subject.name, "two processes on one output folder")
    first, second = _copy(item, 4), _copy(item, 4, "same_names", turn=1)
    for one, other in ((first, first), (first, second)):
        item.fresh()
        before = [snapshot(s.inputs) for s in (one, other)]
        logs = [item.log, item.log.with_name("log_2.txt")]
        processes = [jobs.start(s.words(item.out), g) for s, g in zip((one, other), logs, strict=True)]
        while any(process.is_alive() for process in processes):
            tally.half += bool(unsound(item.out)) if item.out.exists() else 0
            time.sleep(0.05)
        for process, log in zip(processes, logs, strict=True):
            process.join()
            _count(tally, int(process.exitcode or 0), log)
        tally.half += bool(unsound(item.out))
        tally.touched += any(touched(b, s.inputs) for b, s in zip(before, (one, other), strict=True))
        for subject in (one, other):
            _complete(item, tally, subject, alone=one is other)
    return tally


def two_trainings(item: Bench) -> Tally:
    """Two trainings in one folder."""
    tally = Tally(item.subject.name, "two processes on one output folder")
    item.fresh()
    logs = [item.log, item.log.with_name("log_2.txt")]
    processes = [jobs.start(item.subject.words(item.out), log) for log in logs]
    for process, log in zip(processes, logs, strict=True):
        process.join()
        _count(tally, int(process.exitcode or 0), log)
    tally.half += bool(unsound(item.out))
    _complete(item, tally, item.subject)
    return tally


def out_of_memory(item: Bench) -> Tally:
    """The process may take only so much memory beside what its imports took."""
    tally = Tally(item.subject.name, "out of memory (RLIMIT_AS)")
    for size in MEMORY_MB:
        item.fresh()
        _fault(item, tally, jobs.run(_words(item), item.log, jobs.Trouble(memory=size << 20)))
        _complete(item, tally, item.subject)
    return tally


def _words(item: Bench) -> list[str]:
    return item.subject.words(item.out)


def _copy(item: Bench, count: int, name: str = "inputs", turn: int = 0) -> Subject:
    """The subject with inputs of its own that may be spoilt: `count` files, in another order by `turn`."""
    folder = item.place / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    files = sorted((item.place.parents[1] / "cases" / "images").iterdir())[: count + turn]
    for number in range(count):
        shutil.copy(files[number + turn], folder / files[number].name)
    return Subject(item.subject.name, item.subject.command, item.subject.bundle, folder, item.subject.options)


def _shift(path: Path, seconds: float) -> None:
    if seconds:
        for file in [path, *path.rglob("*")]:
            moment = file.stat().st_mtime + seconds
            os.utime(file, (moment, moment))


def _mounted(item: Bench, tally: Tally, options: tuple[str, str]) -> None:
    item.fresh()
    item.out.mkdir()
    seen = item.place / "seen"
    shutil.rmtree(seen, ignore_errors=True)
    before = snapshot(item.subject.inputs)
    words = item.subject.words(item.out)
    if item.subject.command == "train":
        words.append("--resume=true")
    first, second = jobs.run_mounted(words, item.out, seen, options)
    _count(tally, first, seen / "first.log")
    problems = unsound(seen / "first", item.reference)
    tally.half += bool(problems)
    tally.remarks += problems[:2]
    tally.incomplete += second != 0
    if second == 0 and contents(seen / "second") != item.reference.files:
        tally.differ += 1
    tally.touched += bool(touched(before, item.subject.inputs))


def _fault(item: Bench, tally: Tally, status: int, *, traces: bool = True) -> None:
    """What a disturbed command left, and whether it said why."""
    _count(tally, status, item.log)
    problems = unsound(item.out) if item.out.exists() else []
    tally.half += bool(problems)
    tally.remarks += problems[:2]


def _count(tally: Tally, status: int, log: Path) -> None:
    """Counts a command; one that failed owes its user a message that says what to do, and no traceback."""
    text = log.read_text(errors="replace")
    tally.n += 1
    tally.completed += status == 0
    tally.killed += status < 0
    if status < 0:
        tally.remarks.append(f"the process died of signal {-status}")
    elif status and (TRACE in text or ADVICE not in text):
        tally.speechless += 1
        tally.remarks.append("said: " + " | ".join(text.strip().splitlines()[-2:])[-300:])


def _complete(item: Bench, tally: Tally, subject: Subject, *, alone: bool = True) -> None:
    """The same command again, undisturbed: it gives what it gives in an empty folder."""
    again, fresh = item.log.with_name("again.txt"), item.place / "fresh"
    before = snapshot(subject.inputs)
    status = jobs.run(subject.words(item.out, again=True), again)
    shutil.rmtree(fresh, ignore_errors=True)
    expected = item.reference.files
    if subject.inputs != item.subject.inputs:
        jobs.run(subject.words(fresh), again)
        expected = contents(fresh)
    found = contents(item.out)
    problems = unsound(item.out, reference_of(fresh) if fresh.exists() else item.reference)
    tally.incomplete += status != 0
    own = {name: value for name, value in found.items() if alone or name in expected}
    tally.differ += bool(problems) or own != expected
    tally.remarks += problems[:2]
    tally.touched += bool(touched(before, subject.inputs))
