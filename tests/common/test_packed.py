"""A packed bundle that meets other modules than its own says so."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

import pytest

from medbundles.packed import SUMS, warn_of_foreign_modules
from medbundles.zoo.new import TEMPLATE
from medbundles.zoo.pack import pack


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    with zipfile.ZipFile(pack(TEMPLATE, tmp_path).path) as archive:
        archive.extractall(tmp_path)
    return tmp_path / TEMPLATE.name / "configs" / "metadata.json"


def test_modules_of_the_same_version_are_no_news(packed: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert warn_of_foreign_modules(packed) == []
    assert not caplog.records


def test_another_version_is_named_with_what_to_do(packed: Path, caplog: pytest.LogCaptureFixture) -> None:
    sums = packed.parent.parent / SUMS
    lines = sums.read_text().splitlines()
    changed = [f"{'0' * 64}  {line[66:]}" if line.endswith("medbundles/io.py") else line for line in lines]
    sums.write_text("\n".join(changed) + "\n")
    with caplog.at_level(logging.WARNING):
        assert warn_of_foreign_modules(packed) == ["medbundles/io.py"]
    assert "pack it anew" in caplog.text


def test_bundles_that_are_not_packed_and_metadata_in_memory_tell_nothing() -> None:
    assert warn_of_foreign_modules(TEMPLATE / "configs" / "metadata.json") == []
    assert warn_of_foreign_modules({"name": "x"}) == []
