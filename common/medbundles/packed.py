"""Packed bundles bring modules of this package along; two in one process share those of the first."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import medbundles

logger = logging.getLogger(__name__)

SUMS = "SHA256SUMS"


def warn_of_foreign_modules(metadata: str | os.PathLike | Mapping[str, Any]) -> list[str]:
    """Warns if a packed bundle is run with other modules than those it was packed with; returns their names.

    Args:
        metadata: the path of the bundle's metadata.json; content in memory tells nothing of a folder.
    """
    if isinstance(metadata, Mapping):
        return []
    sums = Path(metadata).resolve().parent.parent / SUMS
    if not sums.is_file():
        return []
    loaded = Path(medbundles.__file__).resolve().parent
    differing = [name for name, digest in _listed(sums).items() if _digest(loaded.parent / name) != digest]
    if differing:
        logger.warning(
            "%s was packed with other modules of medbundles than those loaded from %s (%d differ, %s among "
            "them): its results may differ; run it in a process of its own, or pack it anew",
            sums.parent.name,
            loaded,
            len(differing),
            differing[0],
        )
    return differing


def _listed(sums: Path) -> dict[str, str]:
    """The packed modules and their checksums."""
    pairs = [line.split("  ", 1) for line in sums.read_text(encoding="utf-8").splitlines()]
    return {name: digest for digest, name in pairs if name.startswith(f"{medbundles.__name__}/")}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
