"""Where the bundles are, and what their metadata say."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import medbundles
from medbundles.errors import BundleError

PATH_VARIABLE = "MEDBUNDLES_PATH"


def bundle_folders() -> list[Path]:
    """The folders of all bundles, by name: the collection's own, then those of $MEDBUNDLES_PATH.

    The collection is the folder `bundles/` of a checkout, or the installed package `medbundles_bundles`.
    The variable names folders that hold further bundles, separated as in $PATH.
    """
    extra = [Path(p) for p in os.environ.get(PATH_VARIABLE, "").split(os.pathsep) if p]
    found: dict[str, Path] = {}
    for home in [*_collection(), *extra]:
        for folder in sorted(home.iterdir()) if home.is_dir() else []:
            if is_bundle(folder):
                found.setdefault(folder.name, folder.resolve())
    return [found[name] for name in sorted(found)]


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle."""
    return (folder / "configs" / "metadata.json").is_file()


def find_bundle(name: str | Path) -> Path:
    """The folder of a bundle, given its name or the path of its folder.

    Raises:
        BundleError: there is no such bundle; names the nearest one.
    """
    known = {folder.name: folder for folder in bundle_folders()}
    if str(name) in known:
        return known[str(name)]
    if is_bundle(Path(name)):
        return Path(name).resolve()
    near = [] if Path(name).name != str(name) else get_close_matches(str(name), known, n=1, cutoff=0.4)
    raise BundleError(
        f"no bundle '{name}'" + (f": did you mean {near[0]}?" if near else ""),
        expected="one of " + ", ".join(known)
        if known
        else "the folder of a bundle (with configs/metadata.json)",
        advice=f"see `medbundles list`; folders with bundles of your own go into ${PATH_VARIABLE}",
    )


def read_metadata(folder: Path) -> dict[str, Any]:
    """The content of a bundle's `configs/metadata.json`."""
    return read_json(folder / "configs" / "metadata.json")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a bundle.

    Raises:
        BundleError: the file is missing or is not JSON.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(
            f"the file cannot be read: {error}", expected="a JSON object", source=path
        ) from error
    if not isinstance(content, dict):
        raise BundleError("the file holds no JSON object", expected='{"key": value, ...}', source=path)
    return content


def add_to_path(folder: Path) -> None:
    """Makes the bundle's own package importable, as MONAI does before `run`."""
    if str(folder) not in sys.path:
        sys.path.insert(1, str(folder))


def load_object(folder: Path, dotted: str) -> Any:
    """The function or class `package.module.name` of a bundle.

    Raises:
        BundleError: the bundle has no such object.
    """
    add_to_path(folder)
    module, _, name = dotted.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BundleError(
            f"'{dotted}' cannot be imported: {error}",
            expected="package.module.name of an object in the bundle's package",
            source=folder / "configs" / "metadata.json",
        ) from error


def _collection() -> list[Path]:
    checkout = Path(medbundles.__file__).resolve().parents[2] / "bundles"
    if checkout.is_dir():
        return [checkout]
    spec = importlib.util.find_spec("medbundles_bundles")
    return [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
