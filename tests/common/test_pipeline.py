"""Reading ahead and writing behind change when things happen, never what or in which order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from threading import Lock

import pytest

from medbundles.pipeline import Behind, read_ahead


def test_the_next_item_is_made_while_this_one_is_used_and_no_further() -> None:
    made = []

    def items() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            yield number

    seen = read_ahead(items(), Lock())
    assert next(seen) == 0
    deadline = time.monotonic() + 5
    while made != [0, 1] and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1]
    assert list(seen) == [1, 2, 3, 4]


def test_an_error_of_an_item_comes_where_the_item_would() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    seen = read_ahead(items(), Lock())
    assert next(seen) == 1
    with pytest.raises(OSError, match="gone"):
        next(seen)


def test_nothing_is_made_while_the_lock_is_held() -> None:
    lock, made = Lock(), []

    def items() -> Iterator[int]:
        made.append(1)
        yield 1

    with lock:
        seen = read_ahead(items(), lock)
        reader = threading.Thread(target=lambda: next(seen))
        reader.start()
        time.sleep(0.05)
        assert not made
    reader.join(5)
    assert made


def test_tasks_run_one_after_another_in_another_thread() -> None:
    behind, done, threads = Behind(), [], set()

    def task(number: int) -> None:
        threads.add(threading.get_ident())
        time.sleep(0.02 if number == 0 else 0)
        done.append(number)

    for number in range(4):
        behind.submit(lambda number=number: task(number))
    behind.wait()
    assert done == [0, 1, 2, 3]
    assert threading.get_ident() not in threads


def test_what_a_task_raises_is_raised_once() -> None:
    behind = Behind()
    behind.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        behind.wait()
    behind.wait()
