"""A bundle's files as the static check sees them: read once, never run."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

WORKFLOWS = ("inference.json", "train.json")
IGNORED_FOLDERS = {"__pycache__", "eval", "runs", "data", ".git"}
REFERENCE = re.compile(r"[@%](?P<id>\w+(?:(?:#|::)\w+)*)")


@dataclass(frozen=True)
class Problem:
    """One broken rule, where it is broken, and what to do about it."""

    bundle: str
    file: str
    text: str
    advice: str

    def __str__(self) -> str:
        return f"{self.bundle}: {self.file}: {self.text} -> {self.advice}"


@dataclass(frozen=True)
class BundleSource:
    """The files of one bundle.

    Attributes:
        folder: the bundle's folder, whose name is the bundle's name.
        neighbours: name to package of the other bundles of the collection.
    """

    folder: Path
    neighbours: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self.folder.name

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The content of metadata.json, {} if it cannot be read."""
        return self.read(self.folder / "configs" / "metadata.json")

    @property
    def block(self) -> dict[str, Any]:
        """The metadata's own `medbundles` block."""
        return as_dict(self.metadata.get("medbundles"))

    @property
    def package(self) -> str:
        """The name of the bundle's package, empty if the metadata do not say."""
        return str(self.block.get("package", ""))

    @cached_property
    def configs(self) -> dict[str, dict[str, Any]]:
        """File name to content of the configs that can be read, metadata left out."""
        files = [p for p in self.json_files() if p.parent.name == "configs" and p.name != "metadata.json"]
        return {p.name: content for p in files if (content := self.read(p))}

    @property
    def workflows(self) -> dict[str, dict[str, Any]]:
        """The configs that are complete by themselves."""
        return {name: c for name, c in self.configs.items() if name in WORKFLOWS}

    @property
    def overlays(self) -> dict[str, dict[str, Any]]:
        """The configs that change train.json or inference.json."""
        return {name: c for name, c in self.configs.items() if name not in WORKFLOWS}

    def base_of(self, overlay: str) -> str:
        """The config that an overlay changes: inference.json for `inference_<word>.json`, else train.json."""
        return WORKFLOWS[0] if overlay.startswith("inference") else WORKFLOWS[1]

    def files(self) -> Iterator[Path]:
        """All files of the bundle, those that runs leave behind left out."""
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and not IGNORED_FOLDERS & set(path.relative_to(self.folder).parts[:-1]):
                yield path

    def json_files(self) -> list[Path]:
        """All JSON files of the bundle."""
        return [path for path in self.files() if path.suffix == ".json"]

    @cached_property
    def modules(self) -> dict[Path, ast.Module]:
        """The parsed Python files of the bundle; one with a syntax error is left to its own rule."""
        parsed = {}
        for path in self.files():
            if path.suffix == ".py" and (tree := parse(path)) is not None:
                parsed[path] = tree
        return parsed

    def read(self, path: Path) -> dict[str, Any]:
        """The object in a JSON file, {} if it cannot be read."""
        try:
            return as_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def problem(self, file: Path | str, text: str, advice: str) -> Problem:
        """A broken rule in one of the files."""
        path = Path(file)
        shown = path.relative_to(self.folder).as_posix() if path.is_absolute() else path.as_posix()
        return Problem(self.name, shown, text, advice)


def parse(path: Path) -> ast.Module | None:
    """The syntax tree of a Python file, None if it has none."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def as_dict(value: Any) -> dict[str, Any]:
    """The value if it is a dictionary, else {}."""
    return value if isinstance(value, dict) else {}


def walk(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a config with its id (`train#trainer#max_epochs`), the containers included."""
    if where:
        yield where, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from walk(value, f"{where}#{key}" if where else str(key))


def strings(node: Any) -> Iterator[tuple[str, str]]:
    """Every text value of a config with its id."""
    return ((where, value) for where, value in walk(node) if isinstance(value, str))


def references(node: Any) -> set[str]:
    """The ids that a piece of config refers to by `@id` or `%id`."""
    found = set()
    for _, text in [("", node), *strings(node)] if isinstance(node, str) else strings(node):
        if text.startswith(("$", "@", "%")):
            found |= {match["id"].replace("::", "#") for match in REFERENCE.finditer(text)}
    return found


def lookup(config: Any, dotted: str) -> Any:
    """The value with an id; macros on the way are followed.

    Raises:
        KeyError: there is no such value.
    """
    node: Any = config
    for name in dotted.split("#"):
        if isinstance(node, str) and node.startswith("%"):
            node = lookup(config, node[1:].replace("::", "#"))
        if isinstance(node, list) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, dict) and name in node:
            node = node[name]
        else:
            raise KeyError(dotted)
    return node


def merged(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """A config with an overlay's `a#b` keys laid over it, as MONAI does with a list of configs."""
    result = json.loads(json.dumps(base))
    for key, value in overlay.items():
        *parents, name = key.lstrip("+").replace("::", "#").split("#")
        node = lookup(result, "#".join(parents)) if parents else result
        if not isinstance(node, dict | list):
            raise KeyError(key)  # a value, or a macro: MONAI cannot change a part of it
        node[int(name) if isinstance(node, list) else name] = value
    return result


def complete_overlays(bundle: BundleSource) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each overlay's file name with its base as it changes it; one that does not fit is left out."""
    for name, overlay in bundle.overlays.items():
        try:
            yield name, merged(bundle.configs.get(bundle.base_of(name), {}), overlay)
        except (KeyError, ValueError):
            continue  # the rule `overlays_apply` reports it
