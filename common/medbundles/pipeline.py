"""The next case is read and the last one written while the network works on this one: one each, no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")
END = object()


def read_ahead(items: Iterator[T], lock: Lock) -> Iterator[T]:
    """Yields the items while the next one is being made in a thread of its own.

    Args:
        items: made one by one.
        lock: held while one is made: transforms that read a case and those that bring its result back share
            their state, so they must not run at once.
    """

    def following() -> Any:
        with lock:
            return next(items, END)

    with ThreadPoolExecutor(1, "reading") as pool:
        coming = pool.submit(following)
        while (item := coming.result()) is not END:
            coming = pool.submit(following)
            yield item


class Behind:
    """Runs one task in the background; the next waits until it is done."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "writing")
        self._last: Future | None = None

    def submit(self, task: Callable[[], Any]) -> None:
        """Hands a task over, once the last one is done."""
        self.wait()
        self._last = self._pool.submit(task)

    def wait(self) -> None:
        """Returns when the last task is done; raises what it raised."""
        last, self._last = self._last, None
        if last is not None:
            last.result()
