"""Commands of `medbundles` in processes of their own that have the imports already done, and can be killed.

A process starts as a copy of one that has imported everything and computed nothing, so that a kill costs a
second and not ten.
"""

import ctypes
import json
import math
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOAD = ["robustness_jobs", "torch", "monai.bundle", "monai.engines", "medbundles.engines"]
PRELOAD += ["medbundles.zoo.predicting", "medbundles.zoo.results_page", "medbundles.transforms"]
PRELOAD += ["medbundles.dicom_results", "medbundles.handlers", "scipy.ndimage", "ignite.handlers"]
PRELOAD += ["medbundles.cli", "medbundles.zoo.command_line", "medbundles.overrides", "medbundles.measure"]
PRELOAD += ["fire.core", "PIL.PngImagePlugin", "nibabel"]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}
MS_RDONLY, MS_REMOUNT, MS_REC, MS_PRIVATE, CLONE_NEWNS = 1, 32, 1 << 14, 1 << 18, 0x20000
NO_CAPABILITY = (0x20080522, 0)  # version and process of capset(2)


@dataclass(frozen=True)
class Trouble:
    """What is to befall a command.

    Attributes:
        step: at which change of a file in `folder` it gets the signal, counted from 1; 0 for never.
        folder: where its results go.
        signal: SIGKILL, or SIGSTOP to look in between.
        memory: bytes that it may take beside those that it has at its start; None for any.
        powerless: it may not write where others may not, as users who are not root.
    """

    step: int = 0
    folder: str = ""
    signal: int = signal.SIGKILL
    memory: int | None = None
    powerless: bool = False


def start(words: Sequence[str], log: Path, trouble: Trouble | None = None) -> BaseProcess:
    """Starts `medbundles` with these words; what it says goes to `log`."""
    return spawn(run_here, list(words), str(log), trouble or Trouble())


def run(words: Sequence[str], log: Path, trouble: Trouble | None = None) -> int:
    """Runs `medbundles` to its end and returns its exit status, negative for a signal."""
    process = start(words, log, trouble)
    process.join()
    return int(process.exitcode or 0)


def run_mounted(words: Sequence[str], out: Path, seen: Path, options: tuple[str, str]) -> list[int]:
    """Runs a command twice with `out` on a disk of its own, and returns both exit statuses.

    Args:
        words: of the command.
        out: the folder of results; it becomes a small disk in memory that only this command sees.
        seen: gets `first` and `second`, copies of what `out` held after each run, and their logs.
        options: of the disk before the first and before the second run: `size=64k`, `ro`, `rw,size=9m`.
    """
    seen.mkdir(parents=True, exist_ok=True)
    process = spawn(_run_mounted, list(words), str(out), str(seen), options)
    process.join()
    return json.loads((seen / "statuses.json").read_text())


def watch(pid: int, alive: Callable[[], bool], most: float = math.inf) -> float:
    """Waits for the end of a process, and kills it once it has worked for `most` seconds.

    Its own processor time is what counts: other work on the machine would shift moments on the clock.

    Returns:
        the seconds that it had worked when it was last seen.
    """
    worked = 0.0
    while alive():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            return worked
        worked = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        if worked >= most:
            os.kill(pid, signal.SIGKILL)
            return worked
        time.sleep(0.005)
    return worked


def wait_until_stopped(process: BaseProcess) -> bool:
    """Returns when a process has stopped itself, or ended; whether it has stopped."""
    while process.is_alive():
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "T":
            return True
        time.sleep(0.01)
    return False


def spawn(target: Any, *arguments: Any) -> BaseProcess:
    """Starts a function of this folder in a process that has the imports already done."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, [before])])
    forkserver.ensure_running()  # the process with the imports finds this folder, others need not
    os.environ["PYTHONPATH"] = before
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def run_here(words: list[str], log: str, trouble: Trouble) -> None:
    """Runs `medbundles` in this process, as from a command line; it ends the process."""
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = open(1, "w", buffering=1, closefd=False), open(2, "w", closefd=False)
    if trouble.powerless and ctypes.CDLL(None).capset(
        (ctypes.c_uint32 * 2)(*NO_CAPABILITY), (ctypes.c_uint32 * 6)()
    ):
        raise OSError("the privileges of root could not be given up")
    if trouble.memory is not None:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + trouble.memory,) * 2)
    if trouble.step:
        sys.addaudithook(_Steps(trouble))
    from medbundles.cli import main

    main(words)


class _Steps:
    """Sends this process a signal just before its n-th change of a file in a folder."""

    def __init__(self, trouble: Trouble) -> None:
        self.trouble, self.count = trouble, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            _, mode, flags = arguments
            if not (isinstance(mode, str) and set(mode) & set("wax+")) and not (flags or 0) & WRITING:
                return
        elif event not in CHANGES:
            return
        if str(arguments[0]).startswith(self.trouble.folder):
            self.count += 1
            if self.count == self.trouble.step:
                os.kill(os.getpid(), self.trouble.signal)


def _run_mounted(words: list[str], out: str, seen: str, options: tuple[str, str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(CLONE_NEWNS))
    _check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    statuses = []
    for number, name in enumerate(("first", "second")):
        given = options[number].split(",")
        flags = (MS_RDONLY if "ro" in given else 0) | (MS_REMOUNT if number else 0)
        size = ",".join(option for option in given if option not in ("ro", "rw"))
        _check(libc.mount(b"none", out.encode(), b"tmpfs", flags, size.encode()))
        child = os.fork()
        if child == 0:
            _leave_with(words, str(Path(seen) / f"{name}.log"))
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        shutil.copytree(out, Path(seen) / name)
    (Path(seen) / "statuses.json").write_text(json.dumps(statuses))


def _leave_with(words: list[str], log: str) -> None:
    status = 1
    try:
        run_here(words, log, Trouble())
    except SystemExit as stop:
        status = int(stop.code or 0)
    except BaseException as error:  # as Python does it: what is not an exit shows where it was
        sys.excepthook(type(error), error, error.__traceback__)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}: disks of one's own need root")
