"""What this machine and this installation can do."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import medbundles
from medbundles.zoo.find import bundle_folders, read_metadata
from medbundles.zoo.workflows import thread_count

PACKAGES = (
    "torch",
    "monai",
    "numpy",
    "scipy",
    "finufft",
    "pytorch-ignite",
    "nibabel",
    "itk",
    "pydicom",
    "pillow",
    "tensorboard",
)
PURPOSES = {
    "test": "running the tests",
    "dicom": "writing DICOM segmentations and reports",
    "dicomweb": "studies in an archive (PACS)",
    "label": "the MONAI Label server",
    "sim": "the simulators that need more than numpy",
    "onnx": "exporting to ONNX",
    "sign": "signing packed bundles and checking signatures",
    "fl": "federated learning",
}
# What an extra cannot name, because its own pins contradict ours; it is installed without them.
BESIDE = {"label": ("monailabel", "pydicom-seg")}
MARKER = re.compile(r"extra\s*==\s*['\"](?P<extra>[\w-]+)['\"]")
NAME = re.compile(r"[A-Za-z0-9._-]+")


def report() -> Iterator[str]:
    """The lines of `medbundles doctor`."""
    yield f"medbundles {medbundles.__version__} in {Path(medbundles.__file__).parent}"
    yield f"python {sys.version.split()[0]} on {platform.system()} {platform.machine()}"
    yield "packages: " + ", ".join(f"{name} {installed(name) or 'MISSING'}" for name in PACKAGES)
    yield from _machine()
    yield ""
    yield from _extras()
    yield ""
    yield from _bundles()


def installed(package: str) -> str | None:
    """The version of an installed package, None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _machine() -> Iterator[str]:
    import torch

    from medbundles.devices import choose_device, describe_device
    from medbundles.precision import autocast_dtype

    device = choose_device("auto")
    yield f"device: {describe_device(device)} (what --device auto takes)"
    yield f"threads: torch uses {torch.get_num_threads()} of {thread_count()} processors"
    yield f"memory: {_memory()}"
    if device.type == "cuda":
        yield f"GPU memory: {torch.cuda.get_device_properties(device).total_memory / 2**30:.0f} GB"
    half = autocast_dtype(device) is not None
    yield f"amp: {'bfloat16' if half else 'float32, since this device has no instructions for bfloat16'}"


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return "not known on this system"
    return f"{total / 2**30:.1f} GB, {free / 2**30:.1f} GB of it unused"


def _extras() -> Iterator[str]:
    """Every extra of the distribution: works, or what is missing and what it is for."""
    wanted: dict[str, list[str]] = {}
    try:
        requirements = requires("medbundles") or []
    except PackageNotFoundError:
        yield "extras: not known, medbundles is not installed as a package"
        return
    for line in requirements:
        marker, name = MARKER.search(line), NAME.match(line)
        if marker and name:
            wanted.setdefault(marker["extra"], []).append(name[0])
    for extra, packages in wanted.items():
        yield f"extra {extra} ({PURPOSES.get(extra, 'optional')}): {_state(extra, packages)}"


def _state(extra: str, packages: Sequence[str]) -> str:
    """`works`, or which packages are missing and how to get them."""
    by_extra = f"pip install 'medbundles[{extra}]'"
    for names, line in ((packages, by_extra), (BESIDE.get(extra, ()), "pip install --no-deps {}")):
        if missing := [name for name in names if installed(name) is None]:
            return f"missing {', '.join(missing)}: {line.format(' '.join(missing))}"
    return "works"


def _bundles() -> Iterator[str]:
    """Every bundle: whether its weights are there, and the installed versions those that it was made with."""
    for folder in bundle_folders():
        metadata = read_metadata(folder)
        notes = [] if (folder / "models" / "model.pt").is_file() else ["no weights"]
        for name, key in (("monai", "monai_version"), ("torch", "pytorch_version")):
            here, made = (installed(name) or "").split("+")[0], str(metadata.get(key, ""))
            if here.split(".")[:2] != made.split(".")[:2]:
                notes.append(f"made with {name} {made}, here is {here or 'none'}")
        yield f"bundle {folder.name} {metadata.get('version', '?')}: {'; '.join(notes) or 'ready'}"
