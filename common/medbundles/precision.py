"""bfloat16 where the processor computes it and the network answers the same, and weights laid out for it."""

from __future__ import annotations

import logging
import platform
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from medbundles.headers import plain

logger = logging.getLogger(__name__)

TOLERANCE = 0.05  # of an answer's spread; the trained networks of the bundles stay below it
SAMPLE = 64  # voxels or pixels a side that are looked at
MULTIPLE = 32  # of which a side of the sample is one, so that every network can halve it

Network = Callable[..., Tensor]

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}  # by the dimensions of a convolution's weights

_found: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Returns bfloat16 where the device computes it, else None (stay in float32)."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    return torch.bfloat16 if device.type == "cpu" and processor_computes_bfloat16() else None


def processor_computes_bfloat16() -> bool:
    """Returns whether this processor has instructions for bfloat16; emulated, it is slower than float32."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        check = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", bool)
        return bool(check())
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def answers_alike(network: Network, inputs: Tensor, dtype: torch.dtype, *args: Any, **kwargs: Any) -> bool:
    """Whether a network answers in a reduced precision what it answers in float32, on the middle of an input.

    It is tried once per network; an input on which nothing can be told (all of it the same, or too small
    for the network) decides nothing and counts as yes.

    Args:
        network: any callable; only modules in evaluation are tried.
        inputs: batch, channels, then the axes of a frame or volume.
        dtype: the reduced precision.
        args: what else the network takes, and `kwargs`.
    """
    if not isinstance(network, nn.Module) or network.training:
        return True
    if network in _found:
        return _found[network]
    difference = precision_loss(network, sample_of(inputs), dtype, *args, **kwargs)
    if difference is None:
        return True
    alike = difference <= TOLERANCE
    logger.log(
        logging.DEBUG if alike else logging.WARNING,
        "%s differs from float32 by %.2g of the answer's spread: %s",
        dtype,
        difference,
        "used" if alike else "float32 is used",
    )
    _found[network] = alike
    return alike


def lay_out(network: Network) -> None:
    """Puts the channels of a network's weights last, which is faster for convolutions in bfloat16.

    Answers then have their channels last, too. Networks that are being trained are left alone, so that a
    run that is resumed computes as one that was not.
    """
    if not isinstance(network, nn.Module) or network.training:
        return
    weights = list(network.parameters())
    if any(weight.grad is not None for weight in weights):
        return
    for weight in weights:
        if layout := LAYOUTS.get(weight.ndim):
            weight.data = weight.data.contiguous(memory_format=layout)


def precision_loss(
    network: nn.Module, sample: Tensor, dtype: torch.dtype, *args: Any, **kwargs: Any
) -> float | None:
    """How far answers in a reduced precision are from float32: root mean square, in standard deviations.

    Returns:
        The largest of all channels, or None where nothing can be told.
    """
    if not sample.numel() or sample.amin() == sample.amax():
        return None
    kind = sample.device.type
    try:
        with torch.inference_mode():
            with torch.autocast(kind, enabled=False):
                full = network(sample, *args, **kwargs)
            with torch.autocast(kind, dtype=dtype):
                reduced = network(sample, *args, **kwargs)
    except (RuntimeError, ValueError) as error:  # the real input will tell what is wrong, if anything is
        logger.debug("precision not tried on %s: %s", tuple(sample.shape), error)
        return None
    if not isinstance(full, Tensor) or not full.is_floating_point():
        return None
    full, reduced = (answer.float().transpose(0, 1).flatten(1) for answer in (full, reduced))
    spread = full.std(1)
    known = spread > 0
    if not known.any():
        return None
    distance = (full - reduced).square().mean(1).sqrt()
    return float((distance[known] / spread[known]).max())


def sample_of(inputs: Tensor) -> Tensor:
    """The middle of the first item of a batch, of sides that networks can halve several times."""
    middle = plain(inputs)[:1]
    for axis, size in enumerate(inputs.shape[2:], start=2):
        length = min(SAMPLE, size - size % MULTIPLE) if size >= MULTIPLE else size
        middle = middle.narrow(axis, (size - length) // 2, length)
    return middle
