"""An Orthanc with its DICOMweb plugin, alone with its clients in a network of its own.

Orthanc listens on every address and has no option against it, so it runs in a network namespace that has
nothing but a loopback device: nobody outside can reach it, and nothing in it can reach the outside.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import requests

T = TypeVar("T")

PORT, USER, PASSWORD = 8042, "reader", "a password, not guessed"
PLUGINS = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
CLONE_NEWNET = 0x40000000
START_S = 30
ADVICE = "apt-get install orthanc orthanc-dicomweb iproute2 util-linux; and run the tests as root"


class Orthanc:
    """A running server; `inside` runs a function where it can be reached."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("Orthanc", path=os.environ["PATH"] + ":/usr/sbin")
        assert program and PLUGINS.exists(), f"Orthanc is not installed: {ADVICE}"
        folder.mkdir()
        (folder / "orthanc.json").write_text(json.dumps(_options(folder)))
        self.folder, self.log = folder, folder / "log"
        start = f"ip link set lo up && exec {program} orthanc.json"
        with self.log.open("wb") as log:
            command = ["unshare", "--net", "sh", "-c", start]
            self.process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        self._network = self._wait()

    def stop(self) -> None:
        """Ends the server; its network stays, empty."""
        self.process.terminate()
        self.process.wait(20)

    def inside(self, work: Callable[[], T]) -> T:
        """Returns what a function returns that runs in the server's network."""
        found: list[Any] = []

        def run() -> None:
            try:
                _enter(self._network)
                found.append((work(), None))
            except BaseException as error:  # SystemExit of a command among them
                found.append((None, error))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        value, error = found[0]
        if error is not None:
            raise error
        return value

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and all that it starts, are in the server's network until the block ends."""
        outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _enter(self._network)
        try:
            yield
        finally:
            _enter(outside)
            os.close(outside)

    def get(self, path: str) -> Any:
        """Returns an answer of Orthanc's own interface."""
        return self.inside(lambda: self._ask("GET", path).json())

    def file(self, instance: str) -> bytes:
        """Returns an instance as a DICOM file."""
        return self.inside(lambda: self._ask("GET", f"/instances/{instance}/file").content)

    def add(self, path: Path) -> None:
        """Puts a DICOM file into the archive."""
        self.inside(lambda: self._ask("POST", "/instances", data=path.read_bytes()))

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(
                method, f"http://127.0.0.1:{PORT}{path}", auth=(USER, PASSWORD), timeout=30, **options
            )
        answer.raise_for_status()
        return answer

    def _wait(self) -> int:
        """Returns the network's descriptor as soon as the server answers in it."""
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self._network = _network_of(self.process.pid)
                self.get("/system")
                return self._network
            except OSError:  # not yet in a network of its own, or not yet listening
                time.sleep(0.2)
        self.process.kill()
        raise AssertionError(f"Orthanc does not start: {ADVICE}\n{self.log.read_text()[-2000:]}")


def _network_of(pid: int) -> int:
    """Returns a descriptor of the network of a process, which must have one of its own."""
    theirs = f"/proc/{pid}/ns/net"
    if os.readlink(theirs) == os.readlink("/proc/self/ns/net"):
        raise OSError("no network of its own")
    return os.open(theirs, os.O_RDONLY)


def _enter(network: int) -> None:
    """Moves this thread, and no other, into a network."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(network, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"setns failed: {ADVICE}")


def _options(folder: Path) -> dict[str, Any]:
    return {
        "Name": "test",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [str(PLUGINS)],
        "HttpPort": PORT,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "DicomServerEnabled": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
