"""What a bundle answers for one image: its own inference workflow, run as `medbundles predict` runs it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from medbundles.errors import InputError, OverrideError
from medbundles.formats import suffix_of
from medbundles.io import read_image, result_extension
from medbundles.label_app.pictured import case_of
from medbundles.metadata import BundleInfo, bundle_info
from medbundles.reports import read_report
from medbundles.slicer import write_segmentation
from medbundles.terminology import Terminology
from medbundles.zoo.workflows import INFERENCE, read_config, run_workflow

SEGMENTS = (".seg.nrrd", ".nrrd")  # the formats whose header can hold names and colours
EXTENSIONS = (*SEGMENTS, ".nii.gz", ".nii", ".mha", ".png")

_one_at_a_time = Lock()  # a workflow sets the global seed, and two networks at once only slow each other


@dataclass(frozen=True)
class Answer:
    """A bundle's answer for one image.

    Attributes:
        file: a new file, which the caller removes.
        case: the entry of the report.
        info: of the bundle.
    """

    file: Path
    case: Mapping[str, Any]
    info: BundleInfo

    def params(self) -> dict[str, Any]:
        """What a client is told beside the file, as plain values; clients know `label_names`."""
        facts = ("measurements", "warnings", "synthetic_inputs", "seconds", "device", "bundle", "version")
        return {**labels_of(self.info), **{key: self.case[key] for key in facts}}


def answer(
    folder: Path,
    image: str | os.PathLike,
    *,
    extension: str | None = None,
    weights: Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> Answer:
    """Runs a bundle on an image, or on the study that the image belongs to.

    Args:
        folder: of the bundle.
        image: a file, or the folder of a DICOM series or of a study.
        extension: of the result; None takes that which goes with the image.
        weights: other weights than the bundle's own.
        options: knobs of the inference workflow.

    Raises:
        InputError: the bundle cannot use the image; the text is the report's.
        OverrideError: the extension is not one that can be written, or an option does not exist.
    """
    info = bundle_info(folder / "configs" / "metadata.json")
    extension = _known(extension, image)
    config = read_config(folder, INFERENCE)
    with tempfile.TemporaryDirectory() as place, _one_at_a_time:
        overrides = {
            **(options or {}),
            **weights_override(config, weights),
            "dataset#data": [{"image": case_of(config, Path(image))}],
            "output_dir": place,
            "output_ext": _workflow_extension(extension, info),
            "progress": False,
        }
        case = _run(folder, overrides)
        result = Path(place) / _main_output(case, info)
        if _with_segments(extension, info):
            return Answer(_with_header(result, Path(image), extension, Terminology(info)), case, info)
        return Answer(_kept(result), case, info)


def labels_of(info: BundleInfo) -> dict[str, dict[str, Any]]:
    """`label_names`, from name to value, and `label_colors`, from name to red, green and blue of 255."""
    if info.output.get("kind") != "labels":
        return {"label_names": {}, "label_colors": {}}
    terms = Terminology(info).segments.values()
    return {
        "label_names": {term.name: term.value for term in terms},
        "label_colors": {term.name: list(bytes.fromhex(term.colour[1:])) for term in terms},
    }


def weights_override(config: Mapping[str, Any], weights: Path | None) -> dict[str, str]:
    """The override that makes a workflow load other weights than the bundle's own; none without weights.

    Raises:
        OverrideError: the workflow loads no weights.
    """
    if weights is None:
        return {}
    for index, handler in enumerate(config.get("handlers", [])):
        if str(handler.get("_target_", "")).endswith("WeightsLoader"):
            return {f"handlers#{index}#path": str(weights)}
    raise OverrideError("an inference workflow that loads no weights", expected="a handler WeightsLoader")


def _known(extension: str | None, image: str | os.PathLike) -> str:
    extension = (extension or "").lower() or result_extension(image)
    if extension not in EXTENSIONS:
        raise OverrideError(
            f"a result of type {extension}",
            expected=", ".join(EXTENSIONS),
            source="result_extension",
            advice="ask for one of these",
        )
    return extension


def _workflow_extension(extension: str, info: BundleInfo) -> str:
    """What the workflow is to write: a format that keeps the full geometry where the file is made anew."""
    return ".nii.gz" if _with_segments(extension, info) else extension.replace(".seg", "")


def _with_segments(extension: str, info: BundleInfo) -> bool:
    return extension in SEGMENTS and info.output.get("kind") == "labels"


def _run(folder: Path, overrides: dict[str, Any]) -> dict[str, Any]:
    try:
        run_workflow(folder, INFERENCE, overrides, logging_file=False)
    except SystemExit:  # the last step of the workflow: the case failed, and the report says why
        pass
    case = read_report(overrides["output_dir"])["cases"][0]
    if case["status"] == "failed":
        raise InputError(case["error"])
    return case


def _main_output(case: Mapping[str, Any], info: BundleInfo) -> str:
    key = info.output.get("key", "pred")
    if key not in case["outputs"]:
        raise InputError("with these options the bundle gives no " + info.output.get("kind", "result"))
    return case["outputs"][key]


def _with_header(result: Path, image: Path, extension: str, terminology: Terminology) -> Path:
    """The label map where viewers show the image, even if the user stated another size of its pixels."""
    labels = read_image(result)
    if image.is_file() and (shown := read_image(image)).ndim == labels.ndim == 2:
        labels = replace(labels, affine=shown.affine)
    target = _new_file(extension)
    segments = list(terminology.segments.values())
    write_segmentation(labels.array[0].astype(np.uint8), target, affine=labels.affine, segments=segments)
    return target


def _kept(result: Path) -> Path:
    target = _new_file(suffix_of(result))
    shutil.copyfile(result, target)
    return target


def _new_file(suffix: str) -> Path:
    handle, name = tempfile.mkstemp(suffix=suffix)
    os.close(handle)
    return Path(name)
