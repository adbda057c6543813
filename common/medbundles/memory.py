"""How much memory the process holds, how much it may, and arrays that lie on disk where it may not."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medbundles.errors import MemoryLimitError

GB = 1e9
TOO_LITTLE = ("can't allocate memory", "Cannot allocate memory", "can't start new thread")


def resident_bytes() -> int:
    """The memory that this process holds now, mapped files included; 0 where the system does not tell."""
    return _status("VmRSS")


def own_bytes() -> int:
    """The memory that this process holds now for itself: pages of mapped files can be had back any time."""
    return _status("RssAnon") + _status("RssShmem")


def peak_bytes() -> int:
    """The most memory that this process ever held; 0 where the system does not tell.

    `getrusage` would count what the parent held when it started this process.
    """
    return _status("VmHWM")


def _status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was not enough, on a GPU or for the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in str(error) for words in TOO_LITTLE
    )


def out_of_memory(error: BaseException | None, source: str | Path | None = None) -> MemoryLimitError | None:
    """What to tell a user whose machine has not enough memory; None if the error is about something else.

    Args:
        error: whatever was raised; its causes count, too.
        source: what was worked on.
    """
    while error is not None and not is_out_of_memory(error):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    on_gpu = isinstance(error, torch.OutOfMemoryError)
    lines = [line for line in str(error).splitlines() if line.strip()]
    return MemoryLimitError(
        f"not enough memory{' on the GPU' if on_gpu else ''}" + (f": {lines[0]}" if lines else ""),
        source=source,
        advice=("use --device cpu, or close" if on_gpu else "close")
        + " other programs, or use a machine with more memory",
    )


class MemoryBudget:
    """How much of a limit is left, and arrays that keep within it.

    Args:
        limit_gb: of the whole process, in GB; None for no limit.
    """

    def __init__(self, limit_gb: float | None = None) -> None:
        self.limit = None if limit_gb is None else int(float(limit_gb) * GB)
        self._reserved = 0

    def reserve(self, size: int, advice: str) -> None:
        """Keeps so many bytes free for what comes and goes.

        Raises:
            MemoryLimitError: there are not so many.
        """
        self._reserved = size
        left = self.left()
        if left is not None and left < 0:
            raise MemoryLimitError(
                f"{(self.limit - left) / GB:.2f} GB are needed at once",
                expected=f"at most {self.limit / GB:.2f} GB",
                source="option memory_limit",
                advice=advice,
            )

    def left(self) -> int | None:
        """Bytes that may still be taken for good; None without a limit."""
        return None if self.limit is None else self.limit - own_bytes() - self._reserved

    def zeros(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Store:
        """An array of zeros, see `empty`."""
        store = self.empty(shape, dtype, device)
        if not store.on_disk:  # a new file holds zeros
            store.tensor.zero_()
        return store

    def empty(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Store:
        """An array of any values: on the device if half of what is left is enough for it, else on disk."""
        left = self.left()
        size = int(np.prod(shape)) * dtype.itemsize
        return Store(shape, dtype, device, on_disk=left is not None and size > left / 2)


class Store:
    """An array in memory or, once it would be too much, in a temporary file without a name.

    Attributes:
        tensor: the array; in a file, zeros at first.
        on_disk: whether it lies in a file.
    """

    def __init__(
        self, shape: Sequence[int], dtype: torch.dtype, device: torch.device, *, on_disk: bool = False
    ) -> None:
        self.on_disk = on_disk
        if not on_disk:
            self.tensor = torch.empty(tuple(shape), dtype=dtype, device=device)
            return
        count = int(np.prod(shape))
        with tempfile.TemporaryFile(prefix="medbundles_") as file:
            file.truncate(max(1, count * dtype.itemsize))
            self._map = mmap.mmap(file.fileno(), 0)
        self.tensor: Tensor = torch.frombuffer(self._map, dtype=dtype, count=count).view(tuple(shape))

    def release(self) -> None:
        """Leaves what is on disk to the disk; it stays readable and writable."""
        if self.on_disk:
            release(self._map)


def release(mapped: mmap.mmap) -> None:
    """Hands the pages of a mapped file back to the system; reading them again reads the file."""
    if hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_DONTNEED)
