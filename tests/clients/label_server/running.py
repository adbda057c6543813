"""Starting and stopping MONAI Label servers for the tests, and the images that they serve."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE_S = 600  # a loaded machine takes minutes to import torch


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        url: where it listens.
        studies: its images.
        home: its own folder.
        log: what it prints.
        connections: notes of attempts to leave the machine.
    """

    url: str
    studies: Path
    home: Path
    log: Path
    connections: Path

    def attempts(self) -> list[str]:
        """The addresses of other machines that it asked for."""
        return self.connections.read_text(encoding="utf-8").split() if self.connections.exists() else []


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def environment(connections: Path, *, stock: bool = False) -> dict[str, str]:
    """The variables of every program of these tests."""
    paths = [str(HERE), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "LABEL_TEST_CONNECTIONS": str(connections)}
    return {**os.environ, **own, "OMP_NUM_THREADS": "1"} | ({"LABEL_TEST_STOCK_APP": "1"} if stock else {})


@contextmanager
def running(
    command: Sequence[str], studies: Path, home: Path, port: int, *, stock: bool = False
) -> Iterator[Server]:
    """Runs a server until the block ends; its whole process group ends with it.

    Args:
        command: what Python is called with.
        studies: the images.
        home: the server's own folder; its log lies beside it.
        port: where it listens.
        stock: whether it is the app that comes with MONAI Label.
    """
    url, log = f"http://127.0.0.1:{port}", home.with_suffix(".log")
    server = Server(url, studies, home, log, home.with_suffix(".connections"))
    with open(log, "w", encoding="utf-8") as out:
        program = subprocess.Popen(
            [sys.executable, *command],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment(server.connections, stock=stock),
            start_new_session=True,
        )
    try:
        _wait(server, program)
        yield server
    finally:
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()


def _wait(server: Server, program: subprocess.Popen) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{server.url}/info/", timeout=PATIENCE_S):
                return
        except OSError:
            if program.poll() is not None:
                break
            time.sleep(0.5)
    tail = "\n".join(server.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
    raise AssertionError(f"the server did not start:\n{tail}")
