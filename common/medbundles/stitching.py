"""Windows become a volume again: slab by slab, so that only as many rows as a window has are kept in float.

Shapes: K channels of the answer, then the axes of the volume.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from medbundles.memory import MemoryBudget, Store
from medbundles.windows import Box

LITTLE = 4  # rows that are handled at once where they lie on disk

Reduce = Callable[[Tensor], Tensor]


class Stitcher:
    """Sums windows that come in the order of the first axis, and hands finished rows on.

    Args:
        size: of the volume.
        window: of a window.
        weights: how much each voxel of a window counts, (1, 1, *window).
        reduce: from the answer (K, rows, ...) to what is kept of it; None keeps it.
        budget: how much memory there is for it.
        amid: the size of a larger volume, and the box in it that the windows are of; the answer is then as
            large, with any values outside of the box.
    """

    def __init__(
        self,
        size: Sequence[int],
        window: Sequence[int],
        weights: Tensor,
        *,
        reduce: Reduce | None = None,
        budget: MemoryBudget | None = None,
        amid: tuple[Sequence[int], Box] | None = None,
    ) -> None:
        self.size, self.window, self.weights, self.reduce = tuple(size), tuple(window), weights[0], reduce
        self.budget = budget or MemoryBudget()
        self.full, self.box = amid or (self.size, tuple(slice(0, n) for n in self.size))
        self._first = 0
        self._sum: Store | None = None
        self._weight: Store | None = None
        self._whole: Store | None = None

    def add(self, place: Box, answer: Tensor) -> None:
        """Adds the answer (K, *window) of one window; none may begin before the last one did."""
        if self._sum is None:
            slab = (self.window[0], *self.size[1:])
            self._sum = self.budget.zeros((len(answer), *slab), torch.float32, answer.device)
            self._weight = self.budget.zeros((1, *slab), torch.float32, answer.device)
            self.weights = self.weights.to(self._sum.tensor.device)
        self._hand_on(place[0].start)
        rows = slice(place[0].start - self._first, place[0].stop - self._first)
        inside = (slice(None), rows, *place[1:])
        self._sum.tensor[inside].addcmul_(answer.to(self._sum.tensor.device), self.weights)
        self._weight.tensor[inside] += self.weights
        self._release()

    def finish(self) -> Store:
        """The whole volume: (K, ...), or what `reduce` makes of it."""
        self._hand_on(self.size[0])
        return self._whole

    def _hand_on(self, first: int) -> None:
        """Finishes the rows before `first`: no window will reach them any more."""
        rows = first - self._first
        if rows <= 0:
            return
        step = LITTLE if self._sum.on_disk else rows
        for start in range(0, rows, step):
            part = slice(start, min(start + step, rows))
            self._keep(slice(self._first + part.start, self._first + part.stop), part)
        for store in (self._sum, self._weight):
            _shift(store, rows, self.window[0], step)
        self._first = first

    def _keep(self, whole: slice, part: slice) -> None:
        answer = self._sum.tensor[:, part] / self._weight.tensor[:, part]
        kept = answer if self.reduce is None else self.reduce(answer)
        if self._whole is None:
            self._whole = self.budget.empty((len(kept), *self.full), kept.dtype, kept.device)
        first = self.box[0].start
        rows = slice(first + whole.start, first + whole.stop)
        self._whole.tensor[(slice(None), rows, *self.box[1:])] = kept
        self._release()

    def _release(self) -> None:
        for store in (self._sum, self._weight, self._whole):
            if store is not None:
                store.release()


def _shift(store: Store, rows: int, length: int, step: int) -> None:
    """Moves what follows the first `rows` to the front, in parts that do not overlap, and clears the rest."""
    left = max(0, length - rows)
    step = min(rows, step)
    for start in range(0, left, step):
        stop = min(start + step, left)
        store.tensor[:, start:stop] = store.tensor[:, rows + start : rows + stop]
        store.release()
    for start in range(left, length, step):
        store.tensor[:, start : min(start + step, length)] = 0
        store.release()
