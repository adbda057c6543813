"""The networks of a bundle in another format, each compared with the original before it is handed out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from medbundles import __version__
from medbundles.errors import BundleError, ExportError, InputError, OverrideError, PackageError
from medbundles.io import atomic_folder
from medbundles.zoo.export_formats import FORMATS, OUTPUT, Format
from medbundles.zoo.export_networks import LEAST, WHOLE, Exportable, exportables
from medbundles.zoo.find import read_json, read_metadata
from medbundles.zoo.format_json import format_text
from medbundles.zoo.source import one_line

RECORD = "export.json"
TOLERANCE = 1e-4  # of the largest value of an answer, or of 1


@dataclass(frozen=True)
class Exported:
    """What became of one network.

    Attributes:
        name: of the network; `network` is the whole one.
        file: in the folder, empty if there is none.
        how: compiled, traced or exported.
        inputs: names of what it takes.
        size: `any`, or the only size of images that it takes.
        multiples: what the sides must be multiples of, and at least LEAST times, if the size is any.
        shapes: of the images that it was compared on.
        difference: the largest, as a share of the largest value.
        sha256: of the file.
        reason: why there is no file, or why it takes one size only.
        int8: for a network in int8, how it was judged, see `medbundles.zoo.export_int8`.
    """

    name: str
    file: str = ""
    how: str = ""
    inputs: Sequence[str] = ()
    size: str | Sequence[int] = ""
    multiples: Sequence[int] = ()
    shapes: Sequence[Sequence[int]] = ()
    difference: float | None = None
    sha256: str = ""
    reason: str = ""
    int8: Mapping[str, Any] | None = None

    def line(self) -> str:
        """What to tell a user."""
        if not self.file:
            return f"{self.name}: not exported: {self.reason}"
        sizes = "images of any size" if self.size == "any" else f"images of {_by(self.size)} only"
        if self.size == "any" and max(self.multiples) > 1:
            sizes = f"images whose sides are multiples of {_by(self.multiples)}, from {LEAST} times that"
        compared = (
            f"differs by {self.difference or 0:.1e} at most from the original on {len(self.shapes)} shapes"
        )
        if self.int8:
            scores = (
                f"{row['score']} {row['int8']:.4f}, in float32 {row['float32']:.4f}"
                for row in self.int8["scores"]
            )
            compared = "; ".join(scores)
        return f"{self.name}: {self.file} ({self.how}), {sizes}; {compared}"


def export(folder: Path, to: str, output: Path, *, int8: bool = False) -> tuple[Path, list[Exported]]:
    """Writes `<bundle>_<format>/` with a file for each network and `export.json`, which tells of all of them.

    Args:
        folder: the bundle.
        to: the format.
        output: where the folder goes.
        int8: quantise, into `<bundle>_<format>_int8/`, see `medbundles.zoo.export_int8`.

    Returns:
        The folder, and what became of each network.

    Raises:
        OverrideError: there is no such format.
        PackageError: a package for it is not installed.
        ExportError: no network could be written in this format.
    """
    if to not in FORMATS:
        near = get_close_matches(to, FORMATS, n=1, cutoff=0.4)
        hint = f": did you mean {near[0]}?" if near else ""
        raise OverrideError(f"no format '{to}'{hint}", expected=", ".join(FORMATS), source="option --to")
    if int8 and to != "onnx":
        raise OverrideError(f"int8 in the format {to}", expected="--to onnx", source="option --int8")
    metadata = read_metadata(folder)
    written_as = f"{to}_int8" if int8 else to
    path = output / f"{folder.name}_{written_as}"
    if path.exists() and not (path / RECORD).is_file():
        advice = "choose another output folder"
        raise BundleError("the folder is there already, and is no export", source=path, advice=advice)
    with atomic_folder(path) as place:
        results = _all(folder, to, metadata, place, int8=int8)
        if not any(result.file for result in results):
            reason = next((result.reason for result in results if result.inputs), results[0].reason)
            found = f"no network of {folder.name} can be written as {to}: {reason}"
            expected = "one of " + ", ".join(FORMATS) if not int8 else "scores that stay within the tolerance"
            raise ExportError(found, expected=expected, source=folder)
        record = {
            **{"bundle": folder.name, "version": metadata["version"], "format": written_as},
            **{"medbundles": __version__, "torch": torch.__version__, "output": OUTPUT},
            "networks": [asdict(result) for result in results],
        }
        (place / RECORD).write_text(format_text(json.dumps(record)), encoding="utf-8")
    return path, results


def _all(folder: Path, to: str, metadata: Mapping[str, Any], place: Path, *, int8: bool) -> list[Exported]:
    items = list(exportables(folder))
    if not int8:
        return [one(item, folder, metadata, FORMATS[to], place) for item in items]
    from medbundles.zoo.export_int8 import export_int8

    return export_int8(folder, items, metadata, place)


def one(item: Exportable, folder: Path, metadata: Mapping[str, Any], form: Format, place: Path) -> Exported:
    """Writes a network for images of any size or, where that fails, of the size that is described."""
    if item.network is None:
        return Exported(item.name, reason=item.reason)
    notes: dict[str, Any] = {"metadata": metadata}
    if item.name == WHOLE:  # a part alone is not what the config describes
        notes["inference"] = read_json(folder / "configs" / "inference.json")
    path, reasons = place / f"{item.file_stem}{form.suffix}", []
    for free in (True, False) if item.steps else (False,):
        sizes = item.sizes() if free else [item.fixed_size()]
        try:
            how = form.write(item, sizes[0], free, path, notes)
            shapes, difference = _compared(item, form, path, sizes, free=free)
        except PackageError:
            raise
        except Exception as error:  # exporters raise whatever they like; the reason goes into the record
            path.unlink(missing_ok=True)
            reasons.append(reason_of(error))
            continue
        return Exported(
            item.name,
            file=path.name,
            how=how,
            inputs=item.names,
            size="any" if free else sizes[0],
            multiples=(item.steps or ()) if free else (),
            shapes=shapes,
            difference=difference,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            reason="" if free else f"other sizes: {reasons[0] if reasons else 'the network takes none'}",
        )
    return Exported(item.name, reason=reasons[-1])


def _compared(
    item: Exportable, form: Format, path: Path, sizes: Sequence[tuple[int, ...]], *, free: bool
) -> tuple[list[tuple[int, ...]], float]:
    """The shapes that what was written was compared on, and by how much it differs from the original.

    Raises:
        ExportError: it differs, or gives another shape.
    """
    run, shapes, worst = form.read(path), [], 0.0
    for seed, size in enumerate(sizes, start=1):
        inputs = item.inputs(1 + seed % 2 if free else 1, size, seed)
        with torch.no_grad():
            wanted, found = item.network(*inputs), run(*inputs)
        if found.shape != wanted.shape:
            raise ExportError(f"an answer of {_by(found.shape)} instead of {_by(wanted.shape)}")
        scale = max(1.0, float(wanted.abs().max()))
        worst = max(worst, float((found - wanted).abs().max()) / scale)
        if not worst <= TOLERANCE:
            raise ExportError(f"answers for {_by(size)} differ by {worst:.1e} from the original")
        shapes.append(tuple(inputs[0].shape))
    return shapes, worst


def reason_of(error: BaseException) -> str:
    """What went wrong, in one line."""
    text = error.found if isinstance(error, InputError) else f"{type(error).__name__}: {one_line(error)}"
    return text[:300]


def _by(size: Sequence[int] | str) -> str:
    return " x ".join(str(side) for side in size)
