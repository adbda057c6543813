"""What MONAI's model zoo asks of the files of a bundle, beyond our own contract; nothing is run.

The keys and types are those of its schema of 2024-07-25, the rest is asked by its CI and its hooks.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from medbundles.zoo.rules_code import imported
from medbundles.zoo.source import BundleSource, as_dict

Files = Mapping[str, bytes]
Rule = Callable[[BundleSource, Files], Iterator[str]]

MOST_MB = 25.0
REQUIRED_FILES = (
    "LICENSE",
    "configs/metadata.json",
    "configs/inference.json",
    "models/model.pt",
    "docs/README.md",
    "docs/data_license.txt",
)
TEXTS = (
    *("schema", "version", "monai_version", "pytorch_version", "numpy_version"),
    *("task", "description", "authors", "copyright"),
)
OPTIONAL_TEXTS = (
    "data_source",
    "data_type",
    "image_classes",
    "label_classes",
    "pred_classes",
    "intended_use",
)
OBJECTS = ("required_packages_version", "network_data_format")
OPTIONAL_OBJECTS = ("changelog", "eval_metrics", "supported_apps")
FORMAT = re.compile(r"[_a-zA-Z0-9]+_data_format")
TENSOR = {
    **dict.fromkeys(("type", "format", "dtype"), str),
    **{"num_channels": int, "spatial_shape": list, "value_range": list},
}
OPTIONAL_TENSOR = {"is_patch_data": bool, "channel_def": dict}
PRIVATE_KEY = re.compile(rb"BEGIN (RSA|DSA|EC|OPENSSH|ENCRYPTED|SSH2 ENCRYPTED)? ?PRIVATE KEY")
# By these names other modules are imported than pip installs.
DISTRIBUTIONS = {"PIL": "pillow", "ignite": "pytorch-ignite", "yaml": "pyyaml", "sklearn": "scikit-learn"}
ALWAYS_THERE = {"monai", "torch", "numpy"}


def files_there(bundle: BundleSource, files: Files) -> Iterator[str]:
    """What the zoo looks for is there, and nothing is too large or has a name that breaks a checkout."""
    for name in REQUIRED_FILES:
        if not files.get(name):
            yield f"{name} is missing or empty"
    for name, content in files.items():
        if len(content) > MOST_MB * 1e6:
            yield f"{name} has {len(content) / 1e6:.1f} MB, the limit is {MOST_MB:.0f} MB"
        if PRIVATE_KEY.search(content):
            yield f"{name} holds a private key"
    lowered: dict[str, str] = {}
    for name in files:
        if lowered.setdefault(name.lower(), name) != name:
            yield f"{name} and {lowered[name.lower()]} are one file where case does not matter"
    if any(name.startswith("large_file") for name in files):
        yield "a list of large files: all of them travel in the bundle, delete it"


def versions(bundle: BundleSource, files: Files) -> Iterator[str]:
    """The version has an entry in the changelog, and the zoo's tools can compare it with others."""
    version, changelog = bundle.metadata.get("version"), bundle.metadata.get("changelog")
    if not isinstance(changelog, dict) or version not in changelog:
        yield f"the version {version} is missing in the changelog"
    if not re.fullmatch(r"\d(\.\d)*", str(version)):
        yield f"the version {version}: the zoo sorts versions as texts, so that each number has one digit"


def schema(bundle: BundleSource, files: Files) -> Iterator[str]:
    """The metadata have the keys and types of the schema."""
    metadata = bundle.metadata
    for keys, kind, needed in (
        (TEXTS, str, True),
        (OPTIONAL_TEXTS, str, False),
        (OBJECTS, dict, True),
        (OPTIONAL_OBJECTS, dict, False),
    ):
        yield from _typed("metadata: ", metadata, dict.fromkeys(keys, kind), needed=needed)
    references = metadata.get("references", [])
    if not isinstance(references, list) or not all(isinstance(text, str) for text in references):
        yield "metadata: references is no list of texts"
    for name, described in metadata.items():
        if FORMAT.fullmatch(name):
            yield from _network(name, as_dict(described))


def imports_pinned(bundle: BundleSource, files: Files) -> Iterator[str]:
    """Whatever is imported when a module is loaded is in the bundle, or is installed by its pins.

    The zoo tests a bundle in a fresh environment that has these pins and nothing else.
    """
    for module, name in sorted(unpinned(bundle, files, _at_once).items()):
        yield f"{name} imports {module}, which is not in required_packages_version"
    if any(name.startswith("scripts/") for name in files):
        yield "a package called scripts: two bundles in one process would share it"


def unpinned(bundle: BundleSource, files: Files, imports: Callable[[ast.Module], set[str]]) -> dict[str, str]:
    """Modules that are neither in the bundle nor installed by its pins, with a file that imports them."""
    pins = {name.lower() for name in as_dict(bundle.metadata.get("required_packages_version"))}
    inside = {name.split("/")[0].removesuffix(".py") for name in files if name.endswith(".py")}
    there = inside | ALWAYS_THERE | set(sys.stdlib_module_names)
    return {
        module: name
        for name, tree in read_python(files).items()
        for module in imports(tree) - there
        if DISTRIBUTIONS.get(module, module).lower() not in pins
    }


def read_python(files: Files) -> dict[str, ast.Module]:
    """The syntax trees of the Python files."""
    return {name: ast.parse(content) for name, content in files.items() if name.endswith(".py")}


def _at_once(tree: ast.Module) -> set[str]:
    """What a module imports when it is loaded: not within functions, `if TYPE_CHECKING` or `try`."""
    plain = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return imported(ast.Module(plain, []))


def _network(name: str, described: dict[str, Any]) -> Iterator[str]:
    for side in ("inputs", "outputs"):
        entries = described.get(side)
        if not isinstance(entries, dict):
            yield f"metadata: {name}.{side} is no object"
        for key, entry in as_dict(entries).items():
            where = f"metadata: {name}.{side}.{key}."
            if isinstance(entry, str | int | float):
                continue  # the schema allows plain values, too
            yield from _typed(where, as_dict(entry), TENSOR)
            yield from _typed(where, as_dict(entry), OPTIONAL_TENSOR, needed=False)
            if not all(isinstance(n, str | int) for n in _list(entry, "spatial_shape")):
                yield f"{where}spatial_shape holds something else than numbers and texts"
            if not all(isinstance(n, int | float) for n in _list(entry, "value_range")):
                yield f"{where}value_range holds something else than numbers"


def _list(entry: Any, key: str) -> list[Any]:
    value = as_dict(entry).get(key)
    return value if isinstance(value, list) else []


def _typed(
    where: str, content: dict[str, Any], keys: Mapping[str, type], *, needed: bool = True
) -> Iterator[str]:
    for key, kind in keys.items():
        if key not in content:
            if needed:
                yield f"{where}{key} is missing"
        elif not isinstance(content[key], kind) or (kind is int and isinstance(content[key], bool)):
            yield f"{where}{key} is of the wrong type"


PROBLEMS: tuple[Rule, ...] = (files_there, versions, schema, imports_pinned)
