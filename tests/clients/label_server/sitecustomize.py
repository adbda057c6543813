"""Goes before every program of the tests with MONAI Label, by way of PYTHONPATH; users need none of it.

Connections to other machines are refused and noted. The rest is for the app that comes with MONAI Label:
torchvision's wheels are built for GPUs, and cannot be imported beside torch for processors unless two of
their operators are declared first; pydicom-seg looks for a module that pydicom 3 has renamed.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import socket
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

NOTES = "LABEL_TEST_CONNECTIONS"  # the file that attempts to leave the machine are noted in
STOCK = "LABEL_TEST_STOCK_APP"  # set for the app that comes with MONAI Label; ours must do without
LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")
OPERATORS = ("nms", "qnms")
BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
UIDS = "pydicom._storage_sopclass_uids"


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Prepares the import of torchvision, and gives pydicom's identifiers by their old name."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Answers for the old name only."""
        if name == "torchvision":
            _declare_operators()
        return importlib.util.spec_from_loader(name, self) if name == UIDS else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Returns the module of the new name."""
        import pydicom.uid

        return pydicom.uid

    def exec_module(self, module: ModuleType) -> None:
        """Does nothing: it has run."""


def _declare_operators() -> None:
    import torch

    for name in OPERATORS if "+cpu" in torch.__version__ else ():
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", BOXES)


def _stay_here(connect: Any) -> Any:
    def connect_here(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
            with open(os.environ[NOTES], "a", encoding="utf-8") as notes:
                notes.write(f"{address}\n")
            raise ConnectionRefusedError(f"a test may not leave this machine: {address}")
        return connect(self, address)

    return connect_here


def _resolve_here(look_up: Any) -> Any:
    def look_up_here(host: Any, *others: Any, **options: Any) -> Any:
        if host is not None and not str(host).startswith(LOOPBACK):
            with open(os.environ[NOTES], "a", encoding="utf-8") as notes:
                notes.write(f"{host}\n")
            raise socket.gaierror(f"a test may not leave this machine: {host}")
        return look_up(host, *others, **options)

    return look_up_here


if NOTES in os.environ:
    socket.socket.connect = _stay_here(socket.socket.connect)  # type: ignore[method-assign]
    socket.getaddrinfo = _resolve_here(socket.getaddrinfo)
if STOCK in os.environ:
    sys.meta_path.insert(0, Finder())
