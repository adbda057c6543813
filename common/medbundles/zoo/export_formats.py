"""Networks in other formats: how one is written, and how what was written is run again."""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from medbundles.errors import PackageError
from medbundles.zoo.export_networks import Exportable

if TYPE_CHECKING:
    from collections.abc import Iterator

Run = Callable[..., Tensor]
Notes = Mapping[str, Mapping[str, Any]]  # JSON that travels in the file, by name
OUTPUT = "pred"
AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        suffix: of its files.
        write: network, batch and size to export with, whether sizes may differ later, path, and what travels
            along; returns how it was done.
        read: returns the function that a file holds.
    """

    suffix: str
    write: Callable[[Exportable, Sequence[int], bool, Path, Notes], str]
    read: Callable[[Path], Run]


def write_torchscript(item: Exportable, size: Sequence[int], free: bool, path: Path, notes: Notes) -> str:
    """Writes TorchScript as MONAI's ckpt_export does, compiled or, where Python is in the way, traced.

    The file must have its final name: inside, clients look for configs in a folder of that name.
    """
    from monai.data import save_net_with_metadata

    network = item.network
    with quiet(), torch.no_grad():
        try:
            module, how = torch.jit.script(network), "compiled"
        except Exception:  # whatever the compiler does not know has an error class of its own
            module, how = torch.jit.trace(network, item.inputs(2, size), check_trace=False), "traced"
        notes = dict(notes)
        metadata = notes.pop("metadata", {})
        files = {f"{name}.json": json.dumps(content).encode() for name, content in notes.items()}
        save_net_with_metadata(
            module, str(path), include_config_vals=False, meta_values=metadata, more_extra_files=files
        )
    return how


def read_torchscript(path: Path) -> Run:
    """Returns the module in a file."""
    with quiet():
        return torch.jit.load(str(path), map_location="cpu").eval()


def write_pt2(item: Exportable, size: Sequence[int], free: bool, path: Path, notes: Notes) -> str:
    """Writes an exported program of torch."""
    program = exported(item, size, free)
    files = {f"{name}.json": json.dumps(content) for name, content in notes.items()}
    torch.export.save(program, str(path), extra_files=files)
    return "exported"


def read_pt2(path: Path) -> Run:
    """Returns the module in a file."""
    return torch.export.load(str(path)).module()


def write_onnx(item: Exportable, size: Sequence[int], free: bool, path: Path, notes: Notes) -> str:
    """Writes ONNX, with the weights in the same file.

    Raises:
        PackageError: a package for it is not installed.
    """
    need("onnx", "onnxscript", "onnxruntime")
    program = exported(item, size, free)
    with quiet():
        written = torch.onnx.export(
            program, input_names=item.names, output_names=[OUTPUT], dynamo=True, verbose=False
        )
    written.model.metadata_props.update({name: json.dumps(content) for name, content in notes.items()})
    written.save(str(path), external_data=False)
    return "exported"


def read_onnx(path: Path) -> Run:
    """Returns the model in a file, run by ONNX Runtime."""
    runtime = need("onnxruntime")[0]
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensor:
        fed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run([OUTPUT], fed)[0])

    return run


def exported(item: Exportable, size: Sequence[int], free: bool) -> torch.export.ExportedProgram:
    """The network as torch.export sees it, for any batch and size or for this one."""
    from torch.export import Dim

    inputs = item.inputs(2 if free else 1, size)
    shapes: tuple[dict[int, Any], ...] | None = None
    if free:
        batch = Dim("batch")
        sides: dict[int, Any] = {0: batch}
        for axis, (name, step) in enumerate(zip(AXES, item.steps or (), strict=False), start=2):
            sides[axis] = step * Dim(name) if step > 1 else Dim.DYNAMIC
        shapes = (sides, *({0: batch} for _ in item.others))
    with quiet(), torch.no_grad():
        return torch.export.export(item.network, inputs, dynamic_shapes=shapes)


def need(*names: str) -> list[Any]:
    """Returns modules that only an export needs.

    Raises:
        PackageError: one of them is not installed.
    """
    try:
        return [importlib.import_module(name) for name in names]
    except ImportError as error:
        raise PackageError(
            f"the package {error.name or names[0]}, which ONNX needs, is not installed",
            expected=", ".join(names),
            advice="pip install 'medbundles[onnx]'",
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Hides what exporters say of themselves; what goes wrong is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(before)


FORMATS = {
    "torchscript": Format(".ts", write_torchscript, read_torchscript),
    "onnx": Format(".onnx", write_onnx, read_onnx),
    "pt2": Format(".pt2", write_pt2, read_pt2),
}
