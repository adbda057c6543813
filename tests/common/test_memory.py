"""What memory is left is told by the process itself, and arrays that would exceed it lie on disk."""

from __future__ import annotations

import mmap

import pytest
import torch

from medbundles.errors import MemoryLimitError
from medbundles.memory import GB, MemoryBudget, Store, is_out_of_memory, own_bytes, peak_bytes, resident_bytes

CPU = torch.device("cpu")


def test_a_large_array_shows_in_what_the_process_holds() -> None:
    before = own_bytes()
    with mmap.mmap(-1, 100_000_000) as pages:  # new ones: an allocator may have had enough
        pages.write(b"1" * 100_000_000)
        assert 0.9e8 < own_bytes() - before < 2.5e8
        assert own_bytes() <= resident_bytes() <= peak_bytes()


def test_what_is_written_to_disk_is_there_after_its_pages_were_released() -> None:
    store = Store((3, 40, 50), torch.float32, CPU, on_disk=True)
    assert store.on_disk and float(store.tensor.abs().max()) == 0
    store.tensor[1, 2:4] = 7
    store.release()
    assert store.tensor[1].sum() == 7 * 2 * 50
    store.tensor += 1
    store.release()
    assert store.tensor[0].mean() == 1


def test_without_a_limit_all_is_in_memory_and_with_one_only_what_fits() -> None:
    free = MemoryBudget()
    assert free.left() is None
    assert not free.zeros((10, 10), torch.float32, CPU).on_disk
    tight = MemoryBudget((own_bytes() + 4_000_000) / GB)
    assert not tight.zeros((10, 10), torch.float32, CPU).on_disk
    large = tight.zeros((1000, 1000), torch.float32, CPU)
    assert large.on_disk and float(large.tensor.max()) == 0


def test_what_is_reserved_is_not_given_away_and_must_fit() -> None:
    budget = MemoryBudget((own_bytes() + 50_000_000) / GB)
    before = budget.left()
    budget.reserve(20_000_000, "use a smaller window")
    assert abs(before - budget.left() - 20_000_000) < 5_000_000
    with pytest.raises(MemoryLimitError, match="use a smaller window"):
        budget.reserve(500_000_000, "use a smaller window")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
        (RuntimeError("can't start new thread"), True),
        (MemoryError(), True),
        (RuntimeError("shape mismatch"), False),
    ],
)
def test_errors_of_memory_are_told_from_others(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
