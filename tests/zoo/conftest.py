"""A copy of the smallest complete bundle, for tests to break."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medbundles.zoo.new import TEMPLATE


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle that keeps the contract, in an empty folder."""
    return shutil.copytree(
        TEMPLATE, tmp_path / "bundles" / TEMPLATE.name, ignore=shutil.ignore_patterns("__pycache__")
    )


@pytest.fixture
def edit() -> Callable[[Path, Callable[[dict[str, Any]], Any]], None]:
    """Changes the content of a JSON file, keeping its layout."""
    from medbundles.zoo.format_json import format_text

    def change(path: Path, function: Callable[[dict[str, Any]], Any]) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        function(content)
        path.write_text(format_text(json.dumps(content, ensure_ascii=False)), encoding="utf-8")

    return change
