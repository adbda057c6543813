"""Rules for Python code: imports go one way, and the shared package names no bundle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from medbundles.zoo.source import BundleSource, Problem, parse

MAX_LINES = 300


def code_parses(bundle: BundleSource) -> Iterator[Problem]:
    """Every Python file of the bundle can be read."""
    for path in bundle.files():
        if path.suffix == ".py" and path not in bundle.modules:
            yield bundle.problem(path, "a syntax error", "correct it")


def files_readable(bundle: BundleSource) -> Iterator[Problem]:
    """No module is longer than 300 lines."""
    for path in bundle.modules:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_LINES:
            yield bundle.problem(path, f"{lines} lines, the limit is {MAX_LINES}", "split it by what it does")


def imports_absolute(bundle: BundleSource) -> Iterator[Problem]:
    """Imports are absolute and name what they take."""
    for path, tree in bundle.modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.level or any(a.name == "*" for a in node.names)):
                where = f"line {node.lineno} has a relative or star import"
                yield bundle.problem(path, where, f"import from {bundle.package or 'the package'} by name")


def imports_one_way(bundle: BundleSource) -> Iterator[Problem]:
    """No bundle imports another."""
    owners = {package: name for name, package in bundle.neighbours.items()}
    for path, tree in bundle.modules.items():
        for module in sorted(imported(tree) & set(owners)):
            advice = "move what both need into medbundles"
            yield bundle.problem(path, f"imports the bundle {owners[module]}", advice)


def no_print(bundle: BundleSource) -> Iterator[Problem]:
    """Code logs, so that a run can be quiet."""
    for path, tree in bundle.modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                yield bundle.problem(path, f"line {node.lineno} prints", "use logging.getLogger(__name__)")


def imported(tree: ast.Module) -> set[str]:
    """The first parts of all modules that a file imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def shared_code_names_no_bundle(package: Path, bundles: dict[str, str]) -> Iterator[Problem]:
    """The shared package mentions neither a bundle nor its package; metadata say what it must know.

    Args:
        package: the folder of `medbundles`.
        bundles: name to package of all bundles.
    """
    words = {word for pair in bundles.items() for word in pair if word}
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, sorted(words)))})\b") if words else None
    for path in sorted(package.rglob("*.py")) if pattern else []:
        match = pattern.search(path.read_text(encoding="utf-8"))
        tree = parse(path)
        if match or (tree and imported(tree) & words):
            text = f"names the bundle '{match[0]}'" if match else "imports a bundle"
            advice = "put what the tool must know into the bundle's metadata"
            yield Problem("medbundles", path.relative_to(package).as_posix(), text, advice)


RULES = (code_parses, files_readable, imports_absolute, imports_one_way, no_print)
