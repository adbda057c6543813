"""A volume of any size in overlapping windows: MONAI's answer, for less work and bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import fall_back_tuple
from torch import Tensor

from medbundles.compiled import compiled
from medbundles.headers import plain, with_header_of
from medbundles.memory import MemoryBudget, Store, is_out_of_memory, peak_bytes, resident_bytes
from medbundles.modes import BALANCED, EXACT, FAST, known_mode
from medbundles.precision import Network
from medbundles.stitching import Reduce, Stitcher
from medbundles.windows import (
    ROWS,
    Box,
    at_least,
    background_of,
    importance,
    informative_box,
    is_empty,
    padded,
    windows,
    with_margin,
)

logger = logging.getLogger(__name__)

SMALL = 32  # voxels a side of an empty window that stands for all outside
MARGIN = 8  # voxels kept around what a volume holds, where they cost nothing
MOST_AT_ONCE = 16  # windows in one pass
SHARE_OF_FREE = 0.6  # of a GPU's free memory


class WindowInferer(Inferer):
    """Runs a network over a volume in windows, and blends what they say where they overlap.

    What a volume does not hold costs nothing: windows of background only share one answer, and `balanced`
    and `fast` look only around what is not background, which is taken to be what the first voxel holds.
    Beyond that, the answer is what the network says in the middle of a small empty window. `exact` is MONAI's
    `SlidingWindowInferer`, to rounding.

    Args:
        window: voxels a side, as MONAI's `roi_size`; what is not above 0 is the volume's own size.
        overlap: share of a window that it has in common with the next.
        mode: `fast`, `balanced` or `exact`, see `medbundles.modes`.
        blend: `gaussian` or `constant`.
        batch_windows: windows in one pass; None takes one on a CPU, and on a GPU what fits.
        reduce: from a part of the answer (K, ...) to what is wanted of it, such as `as_labels`; the parts
            that are kept in float then stay small. None keeps the answer.
        memory_limit: of the whole process, in GB; what would exceed it lies on disk. None: no limit.
        compile: compile the network first, which takes a minute; worth it for many volumes.
    """

    def __init__(
        self,
        window: Sequence[int] | int,
        overlap: float = 0.25,
        mode: str = BALANCED,
        *,
        blend: str = "gaussian",
        batch_windows: int | None = None,
        reduce: Reduce | None = None,
        memory_limit: float | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.window, self.mode, self.blend = window, known_mode(mode), blend
        self.overlap = float(overlap) / (2 if mode == FAST else 1)
        self.batch_windows, self.reduce, self.memory_limit = batch_windows, reduce, memory_limit
        self.compile = bool(compile)

    def __call__(self, inputs: Tensor, network: Network, *args: Any, **kwargs: Any) -> Tensor:
        """Returns the answer (B, K, ...) for volumes (B, C, ...), or what `reduce` makes of it.

        The answer to a `MetaTensor` has its header and history, so that its transforms can be inverted.

        Raises:
            MemoryLimitError: one window alone needs more than the memory limit.
        """
        network = compiled(network, inputs.device) if self.compile else network
        answers = [self._one(volume, network, args, kwargs) for volume in plain(inputs)]
        return with_header_of(inputs, answers[0][None] if len(answers) == 1 else torch.stack(answers))

    def _one(self, volume: Tensor, network: Network, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        size = volume.shape[1:]
        window = fall_back_tuple(self.window, size)
        background = background_of(volume)
        box = tuple(slice(0, n) for n in size)
        large = all(n >= w for n, w in zip(size, window, strict=True))
        if self.mode != EXACT and large:
            box = with_margin(informative_box(volume, background), MARGIN, size, window, self.overlap)
            box = at_least(box, window, size)
        budget = MemoryBudget(self.memory_limit)
        work = _Work(network, args, kwargs, background, window, budget, self.batch_windows)
        region, place = padded(volume[(slice(None), *box)], window)
        weights = importance(window, self.blend, volume.device)
        amid = (size, box) if large else None
        stitcher = Stitcher(region.shape[1:], window, weights, reduce=self.reduce, budget=budget, amid=amid)
        places = list(windows(region.shape[1:], window, self.overlap))
        for where, answer in work.answers(region, places):
            stitcher.add(where, answer)
        found = stitcher.finish()
        if not large:
            return found.tensor[(slice(None), *place)]
        if region.shape[1:] != size:
            outside = work.middle_of_nothing()
            fill_outside(found, box, outside if self.reduce is None else self.reduce(outside))
        return found.tensor


def fill_outside(store: Store, box: Box, value: Tensor) -> None:
    """Sets everything of an array (K, ...) that is not in a box to a value (K, 1, ...)."""
    inner: tuple[slice, ...] = (slice(None),)
    for part, n in zip(box, store.tensor.shape[1:], strict=True):
        for start, stop in ((0, part.start), (part.stop, n)):
            for row in range(start, stop, ROWS):
                store.tensor[(*inner, slice(row, min(row + ROWS, stop)))] = value
                store.release()
        inner = (*inner, part)


class _Work:
    """One volume's windows on their way through a network."""

    def __init__(
        self,
        network: Network,
        args: tuple,
        kwargs: dict[str, Any],
        background: Tensor,
        window: Sequence[int],
        budget: MemoryBudget,
        at_once: int | None,
    ) -> None:
        self.network, self.args, self.kwargs = network, args, kwargs
        self.background, self.window, self.budget = background, tuple(window), budget
        self.at_once = at_once
        self._measured = False
        self._nothing: Tensor | None = None

    def nothing(self) -> Tensor:
        """The answer (K, *window) to a window of background, computed once."""
        if self._nothing is None:
            self._nothing = self._ask(self._empty(self.window))[0]
        return self._nothing

    def middle_of_nothing(self) -> Tensor:
        """The answer (K, 1, ...) in the middle of a small window of background."""
        size = [min(n, SMALL) for n in self.window] if self._nothing is None else self.window
        answer = self._ask(self._empty(size))[0] if self._nothing is None else self._nothing
        return answer[(slice(None), *[slice(n // 2, n // 2 + 1) for n in size])]

    def _empty(self, size: Sequence[int]) -> Tensor:
        return self.background.view(1, -1, *[1] * len(size)).expand(-1, -1, *size).contiguous()

    def answers(self, volume: Tensor, places: Sequence[Box]) -> Iterator[tuple[Box, Tensor]]:
        """Each window's place and its answer (K, *window), in the order of the places."""
        remaining = iter(places)
        while batch := list(islice(remaining, self.at_once or 1)):
            cut = [volume[(slice(None), *place)] for place in batch]
            held = [not is_empty(part, self.background) for part in cut]
            found = iter(self._answered([part for part, there in zip(cut, held, strict=True) if there]))
            for place, there in zip(batch, held, strict=True):
                yield place, next(found) if there else self.nothing()

    def _answered(self, parts: Sequence[Tensor]) -> list[Tensor]:
        found: list[Tensor] = []
        while len(found) < len(parts):
            some = parts[len(found) : len(found) + (self.at_once or 1)]
            some = some[0][None] if len(some) == 1 else torch.stack(some)
            try:
                found += self._ask(some).unbind(0)
            except RuntimeError as error:
                if len(some) == 1 or not is_out_of_memory(error):
                    raise
                self.at_once = len(some) // 2
                logger.warning("out of memory: going on with %d windows in a pass", self.at_once)
        return found

    def _ask(self, x: Tensor) -> Tensor:
        if self._measured:
            return self.network(x, *self.args, **self.kwargs).float()
        before = _taken(x.device)
        answer = self.network(x, *self.args, **self.kwargs).float()
        self._learn(_peak(x.device) - before, x.device)
        return answer

    def _learn(self, cost: int, device: torch.device) -> None:
        """From what the first pass took: how many windows may go at once, and what they need."""
        self._measured = True
        if device.type == "cpu":
            self.budget.reserve(max(0, cost), "use a smaller window, or raise --memory_limit")
        if self.at_once is None:
            self.at_once = 1 if device.type == "cpu" else _fitting(cost, device)


def _taken(device: torch.device) -> int:
    if device.type != "cuda":
        return resident_bytes()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_bytes()


def _fitting(cost: int, device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(MOST_AT_ONCE, int(free * SHARE_OF_FREE / max(1, cost))))
