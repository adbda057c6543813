"""Which modules of the shared package a bundle reaches: imports and configs are read, nothing is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import medbundles
from medbundles.zoo.source import BundleSource, parse

SHARED = medbundles.__name__
ROOT = Path(medbundles.__file__).parent
DOTTED = re.compile(rf"\b{SHARED}(?:\.\w+)+")
DATA = (".json", ".csv", ".html", ".css")  # files that modules read, beside them


def reached_files(bundle: BundleSource) -> list[Path]:
    """The files of the shared package that a bundle needs, sorted: modules, and the data beside them."""
    waiting = {name for text in _config_texts(bundle) for name in DOTTED.findall(text)}
    waiting |= {name for tree in bundle.modules.values() for name in _named(tree)}
    found: set[Path] = set()
    while waiting:
        path = module_file(waiting.pop())
        if path is None or path in found:
            continue
        found.add(path)
        tree = parse(path)
        waiting |= set(_named(tree)) if tree else set()
    packages = {parent for path in found for parent in path.parents if ROOT in (parent, *parent.parents)}
    found |= {package / "__init__.py" for package in packages}
    data = {file for path in found for file in _data_of(path)}
    return sorted(found | data)


def module_file(dotted: str) -> Path | None:
    """The file of a module, or of the module that has a function or class of that name."""
    parts = dotted.split(".")[1:]
    while parts:
        path = ROOT.joinpath(*parts)
        if path.with_suffix(".py").is_file():
            return path.with_suffix(".py")
        if (path / "__init__.py").is_file():
            return path / "__init__.py"
        parts.pop()
    return ROOT / "__init__.py"


def _config_texts(bundle: BundleSource) -> Iterator[str]:
    for path in bundle.json_files():
        yield path.read_text(encoding="utf-8")


def _named(tree: ast.Module) -> Iterator[str]:
    """The modules of the shared package that a file imports anywhere, or names in a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == SHARED)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == SHARED:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if DOTTED.fullmatch(node.value):
                yield node.value


def _data_of(module: Path) -> Iterator[Path]:
    """Files beside a module that its text names."""
    text = module.read_text(encoding="utf-8")
    for path in module.parent.iterdir():
        if path.suffix in DATA and path.name in text:
            yield path
