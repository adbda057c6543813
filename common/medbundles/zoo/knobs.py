"""The options of a workflow that are meant for its user: name, default and meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbundles.zoo.find import read_json, read_metadata
from medbundles.zoo.source import as_dict
from medbundles.zoo.workflows import read_config

MEANINGS = {
    "bundle_root": "the bundle's folder",
    "dataset_dir": "what to work on: a file or a folder of images; for training the folder of the data sets",
    "output_dir": "where results go",
    "device": "auto (cuda, else mps, else cpu), or cpu, cuda, cuda:1, mps",
    "amp": "bfloat16 where the device can: faster, nearly the same result",
    "mode": "fast, balanced or exact: speed against fidelity; see the card for what each costs",
    "memory_limit": "GB that the process may hold; what would exceed it lies on disk; not set: no limit",
    "seed": "every random number follows from it",
    "overwrite": "compute again what is already there",
    "progress": "show a bar over the cases, on a terminal",
    "profile": "time every part of the work: a table at the end, and profile.json for trace viewers",
    "output_ext": "file type of results (.nii.gz, .png, .nrrd, .mha, .seg.nrrd); auto follows the input",
    "output_format": "dicom adds a DICOM segmentation, report and key image to results of DICOM; auto: files",
    "pixel_mm": "size of a pixel in mm, for images without calibration; one number or [x, y]",
    "epochs": "passes over the training data, those of a resumed run included",
    "schedule_epochs": "epochs over which the learning rate falls",
    "batch_size": "cases per training step",
    "learning_rate": "learning rate at the start",
    "weight_decay": "weight decay",
    "val_interval": "epochs from one validation to the next",
    "num_workers": "processes that read and augment; 0 for none",
    "cache_rate": "share of the training cases kept in memory, 0 to 1",
    "initial_weights": "weights file to start from, for fine-tuning; null starts from random weights",
    "patience": "epochs without better weights after which training ends; not set: it goes on to the last",
    "resume": "continue the run whose checkpoint is in output_dir",
    "weights": "weights file: training writes the best to it",
    "metadata": "the bundle's metadata, against which inputs are checked",
    "split": "which cases are evaluated: train, validation, test or all",
}


@dataclass(frozen=True)
class Knob:
    """One option: `--name default`."""

    name: str
    default: Any
    meaning: str

    @property
    def shown_default(self) -> str:
        """The default as a user would type it."""
        default = self.default
        if isinstance(default, dict):  # a component, such as the choice of a device
            default = next((v for k, v in default.items() if not k.startswith("_")), "")
        if isinstance(default, str):
            return default.removeprefix("$").replace("@bundle_root + '/", "<bundle>/").rstrip("'")
        return (
            str(default).lower()
            if isinstance(default, bool)
            else "not set"
            if default is None
            else str(default)
        )


def knobs(folder: Path, names: Sequence[str]) -> list[Knob]:
    """The knobs of a workflow in their order: what stands above the first component of each of its files."""
    config = read_config(folder, names)
    own = as_dict(as_dict(read_metadata(folder).get("medbundles")).get("knobs"))
    found = dict.fromkeys(key for name in names for key in _first_keys(read_json(folder / "configs" / name)))
    return [Knob(key, config[key], str(own.get(key) or MEANINGS.get(key, ""))) for key in found]


def _first_keys(config: Mapping[str, Any]) -> list[str]:
    """The keys of plain values that a file begins with; one that changes the inside of a base is none."""
    found = []
    for key, default in config.items():
        if "#" in key or (isinstance(default, dict) and key != "device"):
            break
        if not key.startswith("_") and key != "imports":
            found.append(key)
    return found


def knob_table(folder: Path, names: Sequence[str]) -> list[str]:
    """The knobs as the lines of a Markdown table."""
    rows = [f"| `{k.name}` | `{k.shown_default}` | {k.meaning} |" for k in knobs(folder, names)]
    return ["| option | default | meaning |", "| --- | --- | --- |", *rows]
