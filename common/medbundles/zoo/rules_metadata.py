"""Rules for metadata.json: MONAI's schema of 2024-07-25, and the block that our own tools read."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from medbundles.checks import allowed_dims
from medbundles.zoo.rules_code import imported
from medbundles.zoo.source import BundleSource, Problem, as_dict

FILE = "configs/metadata.json"
SCHEMA = "meta_schema_20240725.json"
REQUIRED = {
    **dict.fromkeys(("schema", "version", "monai_version", "pytorch_version", "numpy_version"), str),
    **dict.fromkeys(("task", "description", "authors", "copyright", "name", "intended_use"), str),
    **dict.fromkeys(("data_source", "data_type", "image_classes", "pred_classes"), str),
    **dict.fromkeys(("required_packages_version", "network_data_format", "changelog"), dict),
    **dict.fromkeys(("supported_apps", "eval_metrics", "medbundles"), dict),
    "references": list,
}
TENSOR = {
    **dict.fromkeys(("type", "format", "dtype"), str),
    **{"num_channels": int, "spatial_shape": list, "value_range": list},
}
BLOCK = {
    **dict.fromkeys(("package", "title", "simulator"), str),
    **dict.fromkeys(("input", "output", "demo"), dict),
}
INPUT = {
    **{"spatial_dims": (int, list), "channels": int, "modality": list, "calibration": str},
    **{"spacing_mm": list, "size_px": list, "value_range": (list, type(None)), "colour": str},
}
OUTPUT = dict.fromkeys(("key", "suffix", "kind"), str)
DEMO = {"seed": int, "tolerance": (int, float)}
CHOICES = {"calibration": ("optional", "required"), "colour": ("grey_only", "refuse")}
KINDS = ("labels", "image")
EXACT_VERSION = re.compile(r"\d+(\.\d+)*([a-z]+\d+)?")
DIMENSION = re.compile(r"\d+\*n")
NAMES = {list: "a list", dict: "an object", str: "a text", int: "a whole number"}


def _typed(bundle: BundleSource, where: str, content: Any, keys: dict[str, Any]) -> Iterator[Problem]:
    """Every key is there and of its type."""
    content = as_dict(content)
    for key, kind in keys.items():
        if key not in content:
            yield bundle.problem(FILE, f"{where}{key} is missing", f"add it: {NAMES.get(kind, 'a value')}")
        elif not isinstance(content[key], kind) or isinstance(content[key], bool):
            yield bundle.problem(
                FILE, f"{where}{key} has the wrong type", f"make it {NAMES.get(kind, 'a number')}"
            )
        elif kind is str and not content[key].strip():
            yield bundle.problem(FILE, f"{where}{key} is empty", "fill it in")


def metadata_keys(bundle: BundleSource) -> Iterator[Problem]:
    """The keys that MONAI's schema, its zoo and our model card need, with their types."""
    yield from _typed(bundle, "", bundle.metadata, REQUIRED)
    schema = str(bundle.metadata.get("schema", ""))
    if not schema.endswith("/" + SCHEMA):
        yield bundle.problem(FILE, f"the schema is '{schema}'", f"use the address that ends in {SCHEMA}")
    if "optional_packages_version" in bundle.metadata:
        advice = "rename it to required_packages_version"
        yield bundle.problem(FILE, "optional_packages_version is of an older schema", advice)
    references = bundle.metadata.get("references")
    if isinstance(references, list) and not all(isinstance(r, str) for r in references):
        yield bundle.problem(
            FILE, "references holds something that is not text", "write one text per reference"
        )


def changelog_current(bundle: BundleSource) -> Iterator[Problem]:
    """The changelog says what is new in this version."""
    version = bundle.metadata.get("version")
    if not as_dict(bundle.metadata.get("changelog")).get(version):
        yield bundle.problem(FILE, f"the changelog has no entry for {version}", "say what is new in it")


def packages_pinned(bundle: BundleSource) -> Iterator[Problem]:
    """Every package has one exact version, and every package that the bundle's code imports is listed."""
    pins = as_dict(bundle.metadata.get("required_packages_version"))
    for name, version in pins.items():
        if not EXACT_VERSION.fullmatch(str(version)):
            yield bundle.problem(
                FILE, f"the version of {name} is '{version}'", "give one exact version, as 1.2.3"
            )
    listed = {name.lower().replace("_", "-") for name in pins} | {"monai", "torch", "numpy", "medbundles"}
    for module in sorted(set().union(*map(imported, bundle.modules.values()))):
        packages = _distributions(module)
        if packages and not packages & listed:
            package = sorted(packages)[0]
            yield bundle.problem(
                FILE, f"{module} is imported but not pinned", f"list {package} in required_packages_version"
            )


def _distributions(module: str) -> set[str]:
    """The names of the installed packages that a module may come from."""
    if module in sys.stdlib_module_names:
        return set()
    return {name.lower().replace("_", "-") for name in _all_distributions().get(module, ())}


@cache
def _all_distributions() -> Mapping[str, list[str]]:
    from importlib.metadata import packages_distributions

    return packages_distributions()


def data_formats(bundle: BundleSource) -> Iterator[Problem]:
    """Inputs and outputs of every network are described completely; `image` and `pred` come first."""
    formats = {k: v for k, v in bundle.metadata.items() if k.endswith("_data_format")}
    for name, described in formats.items():
        for side in ("inputs", "outputs"):
            entries = as_dict(as_dict(described).get(side))
            if not entries:
                yield bundle.problem(FILE, f"{name}.{side} is missing or empty", "describe the tensors")
            for key, entry in entries.items():
                yield from _tensor(bundle, f"{name}.{side}.{key}", entry)
    main = as_dict(bundle.metadata.get("network_data_format"))
    for side, key in (("inputs", "image"), ("outputs", "pred")):
        first = next(iter(as_dict(main.get(side))), None)
        if first not in (None, key):
            yield bundle.problem(
                FILE, f"the first of {side} is '{first}'", f"call it '{key}': clients look for it"
            )


def _tensor(bundle: BundleSource, where: str, entry: Any) -> Iterator[Problem]:
    if not isinstance(entry, dict):
        return
    yield from _typed(bundle, where + ".", entry, TENSOR)
    shape = entry.get("spatial_shape")
    for size in shape if isinstance(shape, list) else []:
        if not isinstance(size, int) and not DIMENSION.fullmatch(str(size)):
            yield bundle.problem(
                FILE, f"{where}.spatial_shape has '{size}'", "give a number, or a multiple as 16*n"
            )
    channels, names = entry.get("num_channels"), as_dict(entry.get("channel_def"))
    if names and channels != len(names):
        yield bundle.problem(FILE, f"{where}: {channels} channels but {len(names)} names", "make them agree")


def label_names(bundle: BundleSource) -> Iterator[Problem]:
    """Labels are 0, 1, 2 ... without gaps, each with a name of its own: Slicer loses all others."""
    if as_dict(bundle.block.get("output")).get("kind") != "labels":
        return
    outputs = as_dict(as_dict(bundle.metadata.get("network_data_format")).get("outputs"))
    names = as_dict(as_dict(next(iter(outputs.values()), {})).get("channel_def"))
    if sorted(names) != sorted(str(i) for i in range(len(names))) or len(names) < 2:
        yield bundle.problem(
            FILE, f"the labels are {', '.join(names)}", 'number them "0", "1", "2" ... in channel_def'
        )
    if names.get("0") != "background":
        yield bundle.problem(FILE, f"label 0 is '{names.get('0')}'", "call it 'background'")
    if len({str(n).strip().lower() for n in names.values()} - {""}) < len(names):
        yield bundle.problem(FILE, "a label name is empty or used twice", "give each label its own name")


def own_block(bundle: BundleSource) -> Iterator[Problem]:
    """The block `medbundles` tells the tools what they must know."""
    yield from _typed(bundle, "medbundles.", bundle.block, BLOCK)
    for part, keys in (("input", INPUT), ("output", OUTPUT), ("demo", DEMO)):
        yield from _typed(bundle, f"medbundles.{part}.", bundle.block.get(part), keys)
    spec, output = as_dict(bundle.block.get("input")), as_dict(bundle.block.get("output"))
    for key, allowed in CHOICES.items():
        if key in spec and spec[key] not in allowed:
            yield bundle.problem(
                FILE, f"medbundles.input.{key} is '{spec[key]}'", f"use {' or '.join(allowed)}"
            )
    if output.get("kind") not in KINDS:
        yield bundle.problem(
            FILE, f"medbundles.output.kind is '{output.get('kind')}'", f"use {' or '.join(KINDS)}"
        )
    if output.get("key") != "pred":
        yield bundle.problem(FILE, f"medbundles.output.key is '{output.get('key')}'", "use pred")
    inputs = as_dict(as_dict(bundle.metadata.get("network_data_format")).get("inputs"))
    shape = as_dict(inputs.get("image")).get("spatial_shape")
    if isinstance(shape, list) and len(shape) not in allowed_dims(spec):
        yield bundle.problem(
            FILE, "medbundles.input.spatial_dims and spatial_shape disagree", "make them agree"
        )


def simulator_exists(bundle: BundleSource) -> Iterator[Problem]:
    """The simulator is a function of the bundle: write_cases(folder, n, seed)."""
    dotted = str(bundle.block.get("simulator", ""))
    module, _, name = dotted.rpartition(".")
    path = bundle.folder / (module.replace(".", "/") + ".py")
    functions = (
        {n.name: n for n in ast.walk(bundle.modules[path]) if isinstance(n, ast.FunctionDef)}
        if path in bundle.modules
        else {}
    )
    if name not in functions:
        yield bundle.problem(
            FILE, f"the simulator '{dotted}' does not exist", "name a function of the bundle's package"
        )
    elif [a.arg for a in functions[name].args.args][:3] != ["folder", "n", "seed"]:
        yield bundle.problem(path, f"{name} takes other arguments", "let them be (folder, n, seed)")


def stages_exist(bundle: BundleSource) -> Iterator[Problem]:
    """Every stage of a training is a list of the bundle's configs, train.json first."""
    for name, files in as_dict(bundle.block.get("stages")).items():
        listed = files if isinstance(files, list) else []
        if listed[:1] != ["train.json"] or not set(map(str, listed)) <= set(bundle.configs):
            advice = "list train.json and the overlays that lie in configs/"
            yield bundle.problem(FILE, f"medbundles.stages.{name} names no training", advice)


RULES = (
    metadata_keys,
    changelog_current,
    packages_pinned,
    data_formats,
    label_names,
    own_block,
    simulator_exists,
    stages_exist,
)
