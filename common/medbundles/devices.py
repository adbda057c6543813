"""The one device knob: which processor a workflow runs on, chosen once and said in one line."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from medbundles.checks import DeviceError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

KINDS = ("auto", "cuda", "mps", "cpu")


def choose_device(name: str | torch.device | None = "auto") -> torch.device:
    """Returns the device to run on; `auto` (or None) prefers cuda, then mps, then the CPU.

    Raises:
        DeviceError: the name is unknown, or the device is not in this machine.
    """
    import torch

    if isinstance(name, torch.device):
        return _present(name)
    text = "auto" if name is None else str(name).strip().lower()
    if text != "auto":
        return _present(_parse(text))
    device = torch.device(_best(torch.cuda.device_count(), torch.backends.mps.is_available()))
    logger.info("device auto: %s", describe_device(device))
    return device


def _best(gpus: int, mps: bool) -> str:
    """The name of the best device; torchrun's processes on one machine share its GPUs out."""
    if not gpus:
        return "mps" if mps else "cpu"
    number = os.environ.get("LOCAL_RANK")
    return "cuda" if number is None else f"cuda:{int(number) % gpus}"


def place(network: torch.nn.Module, device: str | torch.device) -> torch.nn.Module:
    """Returns the network after moving it to the device (a name or `torch.device`)."""
    return network.to(choose_device(device))


def describe_device(device: torch.device) -> str:
    """Returns the device in words, e.g. `cuda (NVIDIA H200)` or `cpu (2 threads)`."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)


def _parse(text: str) -> torch.device:
    import torch

    try:
        device = torch.device(text)
    except RuntimeError as error:
        raise _refusal(text, "an unknown device name") from error
    if device.type not in KINDS:
        raise _refusal(text, "a device type that is not supported here")
    return device


def _present(device: torch.device) -> torch.device:
    """Refuses a device that this machine lacks, before a network is half-way moved to it."""
    import torch

    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise _refusal(str(device), f"{torch.cuda.device_count()} CUDA devices are usable here")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise _refusal(str(device), "Apple's mps is not usable here")
    return device


def _refusal(text: str, found: str) -> DeviceError:
    return DeviceError(
        f"device '{text}': {found}",
        expected="auto, cpu, cuda, cuda:<number> or mps",
        source="option device",
        advice="use --device auto, or --device cpu",
    )
