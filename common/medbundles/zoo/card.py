"""The model card: its factual half is written from metadata, configs and weights, the rest by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medbundles.checks import allowed_dims
from medbundles.zoo.figures import EVALUATION, WEIGHTS, weights_sum
from medbundles.zoo.find import read_json, read_metadata
from medbundles.zoo.knobs import knob_table
from medbundles.zoo.source import as_dict
from medbundles.zoo.workflows import INFERENCE, TRAIN

BEGIN = "<!-- facts: written by `medbundles card`, do not edit -->"
END = "<!-- end of facts -->"


def write_card(folder: Path) -> Path:
    """Brings docs/README.md up to date and returns its path; what was written by hand stays."""
    path = folder / "docs" / "README.md"
    text = updated_card(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def updated_card(folder: Path) -> str:
    """The card with its facts as they are now."""
    path = folder / "docs" / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else _skeleton(folder)
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        before, after = text.rstrip() + "\n\n", "\n"
    return f"{before}{BEGIN}\n\n" + "\n".join(facts(folder)) + f"\n\n{END}{after}"


def facts(folder: Path) -> Iterator[str]:
    """The lines of the generated half."""
    metadata = read_metadata(folder)
    yield from ("## Facts", "", "| | |", "| --- | --- |")
    for name, value in summary(folder).items():
        yield f"| {name} | {value} |"
    if labels := label_names(metadata):
        yield from ("", "| label | structure |", "| --- | --- |")
        yield from (f"| {value} | {name} |" for value, name in labels.items())
    if rows := list(measured(folder)):
        yield from ("", "## Measured", "", "| data | quantity | figures |", "| --- | --- | --- |")
        yield from (f"| {group} | {name} | {figures} |" for group, name, figures in rows)
    yield from ("", "## Use", "", "```shell", *_commands(folder), "```", "", "### Options of inference", "")
    yield from knob_table(folder, INFERENCE)
    yield from ("", "### Options of training", "")
    yield from knob_table(folder, TRAIN)


def summary(folder: Path) -> dict[str, str]:
    """What there is to know about a bundle at a glance, by name."""
    metadata = read_metadata(folder)
    block = as_dict(metadata.get("medbundles"))
    pins = {"monai": metadata.get("monai_version"), "torch": metadata.get("pytorch_version")}
    return {
        "bundle": f"{folder.name} {metadata.get('version', '')}",
        "task": str(metadata.get("task", "")),
        "input": describe_input(as_dict(block.get("input"))),
        "output": str(metadata.get("pred_classes", "")),
        "weights": describe_weights(folder),
        "licence": describe_licence(folder),
        "data": str(metadata.get("data_source", "")),
        "made with": ", ".join(f"{name} {version}" for name, version in pins.items() if version),
        "use": str(metadata.get("intended_use", "")),
    }


def describe_input(spec: dict[str, Any]) -> str:
    """The input in words, from the metadata's `medbundles.input`."""
    kind = " or ".join(spec.get("modality") or ["any modality"])
    dims = " or ".join(f"{n}D" for n in allowed_dims(spec)) or "?D"
    parts = [f"{dims} {kind}, {_count(spec.get('channels', 1), 'channel')}"]
    if size := spec.get("size_px"):
        parts.append(f"{size[0]} to {size[1]} pixels a side")
    if spacing := spec.get("spacing_mm"):
        parts.append(f"{spacing[0]:g} to {spacing[1]:g} mm a pixel")
    if values := spec.get("value_range"):
        parts.append(f"values {values[0]:g} to {values[1]:g}")
    parts.append(
        "calibration required" if spec.get("calibration") == "required" else "without calibration: pixels"
    )
    return ", ".join(parts)


def describe_weights(folder: Path) -> str:
    """Size and sha256 of the weights."""
    path = folder / WEIGHTS
    if not path.is_file():
        return "none yet"
    length = path.stat().st_size
    size = f"{length / 1e6:.1f} MB" if length >= 1e6 else f"{length / 1e3:.0f} kB"
    return f"{WEIGHTS}, {size}, sha256 {weights_sum(path)}"


def describe_licence(folder: Path) -> str:
    """The name of the licence in LICENSE."""
    path = folder / "LICENSE"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if "Apache License" in text and "Version 2.0" in text:
        return "Apache-2.0"
    return next((line.strip() for line in text.splitlines() if line.strip()), "none")


def label_names(metadata: dict[str, Any]) -> dict[int, str]:
    """Label value to name without the background; {} if the output is not labels."""
    if as_dict(as_dict(metadata.get("medbundles")).get("output")).get("kind") != "labels":
        return {}
    from medbundles.metadata import BundleInfo

    return BundleInfo("", metadata).label_names


def measured(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Data, quantity and figures of docs/evaluation.json, else of the metadata's eval_metrics."""
    path = folder / EVALUATION
    if not path.is_file():
        for name, value in as_dict(read_metadata(folder).get("eval_metrics")).items():
            yield "held-out cases", str(name), _figure(value)
        return
    for group, scores in as_dict(read_json(path).get("groups")).items():
        for name, figures in as_dict(scores).items():
            shown = ", ".join(f"{key} {_figure(value)}" for key, value in as_dict(figures).items())
            yield group, name, shown


def _figure(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return json.dumps(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _commands(folder: Path) -> list[str]:
    name = folder.name
    return [
        f"medbundles demo {name}",
        f"medbundles predict {name} INPUT OUTPUT",
        f"medbundles simulate {name} CASES --n 20 --seed 0",
        f"medbundles train {name} --dataset_dir CASES --output_dir RUN",
        f"medbundles evaluate {name} --dataset_dir CASES",
        "",
        "# the same as predict, through MONAI, in the bundle's folder",
        "python -m monai.bundle run --config_file configs/inference.json"
        " --dataset_dir INPUT --output_dir OUTPUT",
    ]


def _skeleton(folder: Path) -> str:
    metadata = read_metadata(folder)
    title = as_dict(metadata.get("medbundles")).get("title", folder.name)
    sections = {
        "Intended use": metadata.get("intended_use", ""),
        "Training data": metadata.get("data_source", ""),
        "Results": "No figures yet: `medbundles evaluate` writes them.",
        "Limits": "Not examined yet.",
    }
    parts = [f"# {title}", str(metadata.get("description", ""))]
    parts += [f"## {name}\n\n{text}" for name, text in sections.items()]
    return "\n\n".join(parts) + "\n"
