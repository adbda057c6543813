"""Inferers that wrap any other MONAI inferer: mixed precision, mirrored inputs, volumes slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer, SimpleInferer

from medbundles.headers import plain, with_header_of
from medbundles.modes import BALANCED, EXACT, FAST, known_mode
from medbundles.precision import answers_alike, autocast_dtype, lay_out
from medbundles.window_inferer import WindowInferer

__all__ = ["AutocastInferer", "MirrorInferer", "SlicewiseInferer", "WholeInferer", "WindowInferer"]


class WholeInferer(SimpleInferer):
    """Runs a network on all of an input at once. The answer to a `MetaTensor` has its header and history."""

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """Returns the network's answer."""
        return with_header_of(inputs, super().__call__(plain(inputs), network, *args, **kwargs))


class AutocastInferer(Inferer):
    """Runs another inferer in bfloat16 where the input's device can; the answer is always float32.

    bfloat16 keeps the exponent range of float32, hence no loss scaling and no overflow to guard against.
    A network whose answer it changes, on the middle of the first input, is run in float32.

    Args:
        inferer: the inferer to run; the whole input at once unless given.
        amp: allow bfloat16 at all.
        mode: `exact` does not.
    """

    def __init__(self, inferer: Inferer | None = None, amp: bool = True, mode: str = BALANCED) -> None:
        super().__init__()
        self.inferer = WholeInferer() if inferer is None else inferer
        self.amp = bool(amp) and known_mode(mode) != EXACT

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """Returns the wrapped inferer's answer, floating tensors in float32."""
        dtype = autocast_dtype(inputs.device) if self.amp else None
        if dtype is not None:
            seen = self.inferer.a_part(inputs) if isinstance(self.inferer, SlicewiseInferer) else inputs
            dtype = dtype if answers_alike(network, seen, dtype, *args, **kwargs) else None
        if dtype is not None:
            lay_out(network)
        with torch.autocast(inputs.device.type, dtype=dtype, enabled=dtype is not None):
            return _to_float32(self.inferer(inputs, network, *args, **kwargs))


class MirrorInferer(Inferer):
    """Averages the network's answer over the input and its mirror images.

    Only for networks whose classes do not depend on the side, and whose inputs carry no direction along the
    mirrored axes.

    Args:
        inferer: the inferer to run on every mirror image.
        dims: spatial axes that may be mirrored (0 is x); every combination is used, 2**n passes for n axes.
        mode: `fast` mirrors nothing.
    """

    def __init__(
        self, inferer: Inferer | None = None, dims: Sequence[int] | int = (0,), mode: str = BALANCED
    ) -> None:
        super().__init__()
        self.inferer = WholeInferer() if inferer is None else inferer
        dims = (dims,) if isinstance(dims, int) else tuple(dims)
        self.dims = () if known_mode(mode) == FAST else dims

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Returns the mean over all mirror images, in the orientation of the input."""
        total = None
        flips = [axes for n in range(len(self.dims) + 1) for axes in combinations(self.dims, n)]
        for axes in flips:
            axes = [axis + 2 for axis in axes]  # after batch and channel
            answer = self.inferer(torch.flip(inputs, axes), network, *args, **kwargs)
            answer = torch.flip(answer, axes)
            total = answer if total is None else total + answer
        return total / len(flips)


class SlicewiseInferer(Inferer):
    """Runs a network for slices over a volume, several slices at a time, whole or in overlapping windows.

    Args:
        batch_slices: slices in one pass; fewer need less memory.
        window: pixels a side of a window; None takes the slices whole.
        overlap: share of a window that it has in common with the next.
        mode: of the windows, see `WindowInferer`.
    """

    def __init__(
        self,
        batch_slices: int = 4,
        window: int | None = None,
        overlap: float = 0.25,
        mode: str = BALANCED,
    ) -> None:
        super().__init__()
        self.batch_slices, self.window, self.overlap = max(1, int(batch_slices)), window, overlap
        self.inferer: Inferer = WholeInferer()
        if window is not None:
            self.inferer = WindowInferer((window, window), overlap, mode)

    @staticmethod
    def a_part(inputs: torch.Tensor) -> torch.Tensor:
        """What a network sees of slices (B, C, x, y, n), or of frames (B, C, x, y): one frame."""
        return inputs if inputs.ndim == 4 else inputs[..., inputs.shape[-1] // 2]

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Returns the network's answer for slices (B, C, x, y, n), or for frames (B, C, x, y).

        The answer to a `MetaTensor` has its header and history, so that its transforms can be inverted.
        """
        if inputs.ndim == 4:
            return self.inferer(inputs, network, *args, **kwargs)
        if isinstance(inputs, MetaTensor):  # a part of the slices has no affine of its own
            return with_header_of(inputs, self(plain(inputs), network, *args, **kwargs))
        batch, _, *plane, count = inputs.shape
        frames = inputs.movedim(-1, 1).flatten(0, 1)  # (B n, C, x, y)
        parts = [self.inferer(part, network, *args, **kwargs) for part in frames.split(self.batch_slices)]
        return torch.cat(parts).view(batch, count, -1, *plane).movedim(1, -1).contiguous()


def _to_float32(answer: Any) -> Any:
    if isinstance(answer, torch.Tensor):
        return answer.float() if answer.is_floating_point() else answer
    if isinstance(answer, dict):
        return {key: _to_float32(value) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return type(answer)(_to_float32(value) for value in answer)
    return answer
