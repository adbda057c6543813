"""What SECURITY.md promises of the code and of what is installed."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
SOURCES = sorted([*(ROOT / "common").rglob("*.py"), *(ROOT / "bundles").rglob("*.py")])
PIN = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[0-9][\w.+!-]*)")
# Extras for environments of their own, without pins.
FREE = {"bench": "methods of others that ours are compared with"}
# Tools of pip itself, and what torch brings along where there is a GPU: torch pins it exactly.
BROUGHT = re.compile(r"pip|setuptools|wheel|triton|nvidia-.*|cuda-.*")
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {
    "pickle",
    "dill",
    "cloudpickle",
    "shelve",
    "marshal",
    "telnetlib",
    "ftplib",
    "urllib.request",
}
NETWORK = {"requests", "socket", "http.client", "httpx", "aiohttp"}
SPEAKS = {"dicomweb_session.py", "dicomweb_archive.py", "dicomweb_errors.py"}


def constraints() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins() -> dict[str, str]:
    return {canonicalize_name(m["name"]): m["version"] for m in map(PIN.fullmatch, constraints()) if m}


def wanted() -> dict[str, Requirement]:
    """What the distribution and the extras that are installed with the pins ask for directly."""
    lines = [
        *PROJECT["dependencies"],
        *(r for name, more in EXTRAS.items() if name not in FREE for r in more),
    ]
    asked = {canonicalize_name(r.name): r for r in map(Requirement, lines)}
    return {name: r for name, r in asked.items() if name != PROJECT["name"]}  # an extra made of extras


def unpinned(asked: dict[str, Requirement], pinned: dict[str, str]) -> set[str]:
    """What is asked for, directly or by something that is installed here, and has no pin."""
    queue, seen, missing = list(asked.values()), set(), set()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        key = (name, *sorted(requirement.extras))
        if key in seen or BROUGHT.fullmatch(name):
            continue
        seen.add(key)
        if name not in pinned:
            missing.add(name)
        queue += _asked_by(name, requirement.extras)
    return missing


def _asked_by(name: str, extras: set[str]) -> Iterator[Requirement]:
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # of an extra that is not installed here; its own pin was looked at
        return
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def test_every_constraint_is_one_exact_version() -> None:
    assert [line for line in constraints() if not PIN.fullmatch(line)] == []
    assert len(pins()) == len(constraints())


def test_nothing_that_is_installed_is_left_unpinned() -> None:
    assert unpinned(wanted(), pins()) == set()


def test_a_pin_that_is_missing_is_found_whoever_asks_for_it() -> None:
    for name in ("torch", "numpy", "sympy", "certifi"):  # the last two are only asked for by others
        assert unpinned(wanted(), {n: v for n, v in pins().items() if n != name}) == {name}


def test_every_pin_is_a_version_that_pyproject_allows() -> None:
    found = pins()
    outside = [
        str(r) for name, r in wanted().items() if not r.specifier.contains(found[name], prereleases=True)
    ]
    assert outside == []


def test_extras_without_pins_are_those_that_are_said_to_be() -> None:
    assert set(FREE) <= set(EXTRAS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_does_what_the_document_rules_out(path: Path) -> None:
    assert list(forbidden(path.read_text(encoding="utf-8"), path.name)) == []


@pytest.mark.parametrize(
    "text",
    [
        "eval('1')",
        "import pickle",
        "from urllib.request import urlopen",
        "import torch\ntorch.load('w.pt')",
        "import torch\ntorch.load('w.pt', weights_only=False)",
        "import numpy as np\nnp.load('x.npy', allow_pickle=True)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import requests",
        "session.get(url, verify=False)",
    ],
)
def test_each_of_it_would_be_found(text: str) -> None:
    assert len(list(forbidden(text, "reading.py"))) == 1


def forbidden(text: str, name: str) -> Iterator[str]:
    """What a source does that none may do."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            modules = {module} if module else {alias.name for alias in node.names}
            if modules & (FORBIDDEN_MODULES | (NETWORK if name not in SPEAKS else set())):
                yield f"line {node.lineno}: imports {', '.join(sorted(modules))}"
        elif isinstance(node, ast.Call):
            yield from _forbidden_call(node)


def _forbidden_call(node: ast.Call) -> Iterator[str]:
    called = ast.unparse(node.func)
    options = {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg}
    if called in FORBIDDEN_CALLS:
        yield f"line {node.lineno}: {called}"
    if called == "torch.load" and options.get("weights_only") != "True":
        yield f"line {node.lineno}: torch.load without weights_only=True"
    for option, value in {"allow_pickle": "True", "shell": "True", "verify": "False"}.items():
        if options.get(option) == value:
            yield f"line {node.lineno}: {option}={value}"


def test_every_test_that_the_document_names_exists() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) >= 10
    missing = [
        f"{file}::{test}"
        for file, test in named
        if f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert missing == []
