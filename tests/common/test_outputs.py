"""A disk that is full or protected is told in words, and a folder of results is one process's."""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from medbundles.errors import BusyOutputError, InputError, OutputError
from medbundles.io import atomic_folder, atomic_path, read_image, write_image
from medbundles.memory import out_of_memory
from medbundles.outputs import claim, give_up, make_folder
from medbundles.problems import without_traces
from medbundles.weights import write_tensors
from medbundles.zoo.command_line import run

NOISE = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 8)).astype(np.uint8)
HOLDER = (
    "import sys, medbundles.outputs as o; o.claim(sys.argv[1]); print('mine', flush=True); sys.stdin.read()"
)


def _picture(path: Path) -> None:
    write_image(NOISE[..., 0].repeat(8, 1), path, affine=np.eye(4))


def _volume(path: Path) -> None:
    write_image(NOISE, path, affine=np.diag([-1.0, -1, 1, 1]))


def _weights(path: Path) -> None:
    write_tensors({"a": torch.zeros(100_000)}, path)


WRITERS: dict[str, Callable[[Path], None]] = {
    **{"a.png": _picture, "a.nii.gz": _volume, "a.nii": _volume},
    **{"a.mha": _volume, "a.nrrd": _volume, "a.pt": _weights},
}


def _in_child(work: Callable[[], None], limit: int) -> int:
    """Runs something in a process whose files may not grow beyond a limit, as on a disk that is full."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # the other threads were not copied: waiting for them would never end
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        status = 99
        try:
            work()
            status = 0
        except OutputError as error:
            status = 1 if "full" in error.found and "make room" in error.advice else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("name", ["a.png", "a.nii.gz", "a.nii", "a.pt"])
def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    before = path.read_bytes()
    assert _in_child(lambda: WRITERS[name](path), 4096) == 1
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_writers_that_know_no_system_errors_leave_no_half_file_either(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    assert _in_child(lambda: WRITERS[name](tmp_path / name), 4096) != 0
    assert np.array_equal(read_image(tmp_path / name).array, NOISE)
    assert os.listdir(tmp_path) == [name]


def test_a_folder_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    def write(size: int) -> None:
        with atomic_folder(tmp_path / "series") as folder:
            (folder / "slice").write_bytes(b"x" * size)

    write(3)
    assert _in_child(lambda: write(8192), 4096) == 1
    assert (tmp_path / "series" / "slice").read_bytes() == b"xxx"
    assert os.listdir(tmp_path) == ["series"]


def test_a_folder_that_cannot_be_made_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=r"may be written to[\s\S]*name another folder"):
            make_folder(folder)


def test_permissions_for_the_results_are_told_apart_from_those_for_other_files(tmp_path: Path) -> None:
    def fails(name: Path) -> None:
        with atomic_path(tmp_path / "out" / "a.txt"):
            raise PermissionError(errno.EACCES, "Permission denied", str(name))

    with pytest.raises(OutputError, match="Permission denied"):
        fails(tmp_path / "out" / "a.txt")
    with pytest.raises(PermissionError):
        fails(tmp_path / "scans" / "a.txt")


def test_other_errors_of_a_writer_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "a.txt"):
        raise ZeroDivisionError


def test_a_folder_is_one_processs_until_this_ends_however_it_ends(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"mine\n"
    with pytest.raises(BusyOutputError, match="another process"):
        claim(tmp_path)
    with pytest.raises(BusyOutputError):
        claim(tmp_path, shared=True)
    holder.kill()
    holder.communicate()
    claim(tmp_path)
    claim(tmp_path)  # one's own folder stays one's own
    give_up(tmp_path)
    give_up(tmp_path)
    give_up(tmp_path / "none")


def test_processes_of_one_torchrun_share_a_folder(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDER.replace("argv[1])", "argv[1], shared=True)"), str(tmp_path)]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"mine\n"
    claim(tmp_path, shared=True)
    give_up(tmp_path)
    with pytest.raises(BusyOutputError):
        claim(tmp_path)
    holder.communicate()


def test_too_little_memory_is_told_in_words(capsys: pytest.CaptureFixture) -> None:
    def greedy() -> None:
        try:
            torch.empty(1 << 60, dtype=torch.uint8)
        except RuntimeError as error:
            raise ValueError("in the middle of something") from error

    assert run({"greedy": greedy}, ["greedy"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("not enough memory") and "what to do: close other programs" in shown
    assert len(shown.splitlines()) <= 6
    assert out_of_memory(ValueError("something else")) is None
    assert isinstance(out_of_memory(MemoryError()), InputError)


def test_known_problems_are_logged_without_their_trace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def log(error: Exception) -> bool:
        handler = logging.FileHandler(tmp_path / "log.txt")
        logging.root.addHandler(handler)
        try:
            without_traces()
            raise error
        except (OSError, ValueError):
            logging.getLogger("a_handler").exception("Exception: %s", error)
        finally:
            logging.root.removeHandler(handler)
            handler.close()
        return "Traceback" in (tmp_path / "log.txt").read_text()

    assert not log(OSError(errno.ENOSPC, "No space left on device"))
    assert not log(OutputError("full"))
    assert log(ValueError("a mistake of ours"))


@pytest.mark.parametrize(
    ("error", "shown"), [(OSError(errno.ENOSPC, "No space left on device"), 0), (ValueError("ours"), 1)]
)
def test_a_thread_ends_without_a_trace_for_a_known_problem(
    error: Exception, shown: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write() -> None:
        raise error

    seen: list[object] = []
    monkeypatch.setattr(logging, "_logRecordFactory", logging.LogRecord)
    monkeypatch.setattr(threading, "excepthook", seen.append)
    without_traces()
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert len(seen) == shown


def test_a_full_disk_is_told_in_words_wherever_it_is_noticed(capsys: pytest.CaptureFixture) -> None:
    def events() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "runs/events")
        except OSError as error:
            raise RuntimeError("a handler cannot be made") from error

    assert run({"events": events}, ["events"]) == 1
    shown = capsys.readouterr().err
    assert "the disk is full" in shown and "file: runs/events" in shown and "Traceback" not in shown


def test_the_report_of_a_folder_is_never_two_processes_work(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps({"cases": []}))
    claim(tmp_path)
    child = subprocess.run(
        [sys.executable, "-c", HOLDER, str(tmp_path)], capture_output=True, input=b"", check=False
    )
    give_up(tmp_path)
    assert child.returncode == 1 and b"BusyOutputError" in child.stderr
