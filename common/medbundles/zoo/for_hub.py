"""A bundle as a repository of Hugging Face: its own layout, and in front a card whose head the hub reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from medbundles.zoo.card import describe_licence
from medbundles.zoo.figures import EVALUATION
from medbundles.zoo.find import read_json
from medbundles.zoo.source import BundleSource, as_dict

CARD, FRONT = "docs/README.md", "README.md"
TASKS = {"labels": "image-segmentation", "image": "image-to-image"}
LICENCES = {"Apache-2.0": "apache-2.0"}
LINK = re.compile(r"(?P<kind>!?)\[(?P<text>[^\[\]]*)\]\((?!https?:|#|mailto:)(?P<target>[^)\s]+)\)")
FIGURES = ("mean", "median")
# As the hub's own defaults: what changes as a whole is kept out of git's history.
LARGE = ("*.pt", "*.ts", "*.pt2", "*.onnx", "*.png")


def hub_files(bundle: BundleSource, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a packed bundle, with the card and the list of large files that the hub looks for."""
    head = "\n".join(yaml_lines(front_matter(bundle)))
    body = relocated(files[CARD].decode(), files)
    attributes = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LARGE)
    return {
        **files,
        FRONT: f"---\n{head}\n---\n\n{body}{_use(bundle)}".encode(),
        ".gitattributes": attributes.encode(),
    }


def front_matter(bundle: BundleSource) -> dict[str, Any]:
    """What the hub is to know: licence, library, tags, task and figures."""
    block = bundle.block
    task = TASKS.get(str(as_dict(block.get("output")).get("kind")))
    licence = describe_licence(bundle.folder)
    modality = [str(name).lower() for name in as_dict(block.get("input")).get("modality", [])]
    head: dict[str, Any] = {
        "license": LICENCES.get(licence, "other"),
        "library_name": "monai",
        "tags": ["monai", "medical", "monai-bundle", *modality],
    }
    if task:
        head["pipeline_tag"] = task
    if results := list(_results(bundle, task or "other")):
        head["model-index"] = [{"name": bundle.name, "results": results}]
    return head


def relocated(text: str, files: Mapping[str, bytes]) -> str:
    """A card of `docs/` with links that hold one folder further up; links out of the bundle go."""

    def moved(match: re.Match[str]) -> str:
        if f"docs/{match['target'].partition('#')[0]}" not in files:
            return match["text"]
        return f"{match['kind']}[{match['text']}](docs/{match['target']})"

    return LINK.sub(moved, text)


def yaml_lines(value: Any, indent: int = 0) -> Iterator[str]:
    """The lines of a value as YAML; texts are quoted as in JSON, so that none is taken for something else."""
    margin = "  " * indent
    items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for key, item in items:
        start = f"{margin}- " if key is None else f"{margin}{key}:"
        if not isinstance(item, dict | list):
            yield f"{start}{'' if key is None else ' '}{json.dumps(item, ensure_ascii=False)}"
        elif key is None:
            first, *others = yaml_lines(item, indent + 1)
            yield from (start + first.lstrip(), *others)
        else:
            yield start
            yield from yaml_lines(item, indent + 1)


def _results(bundle: BundleSource, task: str) -> Iterator[dict[str, Any]]:
    """The figures of the card, one result per kind of data."""
    for group, metrics in _figures(bundle).items():
        if metrics:
            yield {
                "task": {"type": task},
                "dataset": {"type": _slug(group), "name": group},
                "metrics": metrics,
            }


def _figures(bundle: BundleSource) -> dict[str, list[dict[str, Any]]]:
    path = bundle.folder / EVALUATION
    if not path.is_file():
        flat = as_dict(bundle.metadata.get("eval_metrics"))
        metrics = [_metric(key, value) for key, value in flat.items() if _is_number(value)]
        return {"held-out cases": metrics}
    return {
        group: [
            _metric(f"{name}, {kind}", figures[kind])
            for name, figures in as_dict(scores).items()
            for kind in FIGURES
            if _is_number(as_dict(figures).get(kind))
        ]
        for group, scores in as_dict(read_json(path).get("groups")).items()
    }


def _metric(name: str, value: float) -> dict[str, Any]:
    return {"type": _slug(name), "name": name, "value": float(f"{value:.4g}")}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower().replace("%", " percent ")).strip("_")


def _use(bundle: BundleSource) -> str:
    """How to run it from the hub."""
    return "\n".join(
        (
            "",
            "## Run it from a copy of this repository",
            "",
            "```shell",
            f"hf download OWNER/{bundle.name} --local-dir {bundle.name}",
            f"pip install -r {bundle.name}/requirements.txt",
            f"python -m monai.bundle run --config_file {bundle.name}/configs/inference.json \\",
            f"    --bundle_root {bundle.name} --dataset_dir IMAGES --output_dir RESULTS",
            "```",
            "",
        )
    )
