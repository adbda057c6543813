"""A bundle's identity comes from its folder and its metadata."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medbundles.checks import BundleError
from medbundles.metadata import bundle_info

METADATA = {
    "version": "0.2.0",
    "network_data_format": {"outputs": {"pred": {"channel_def": {"0": "background", "2": "vein"}}}},
    "medbundles": {"title": "Veins", "input": {"spatial_dims": 2}},
}


def test_a_bundle_is_called_as_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "vein_us_segmentation" / "configs" / "metadata.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(METADATA))
    info = bundle_info(path)
    assert (info.name, info.version, info.title) == ("vein_us_segmentation", "0.2.0", "Veins")
    assert info.input == {"spatial_dims": 2}
    assert info.label_names == {2: "vein"}


def test_missing_metadata_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="metadata"):
        bundle_info(tmp_path / "metadata.json")


def test_empty_metadata_has_defaults() -> None:
    info = bundle_info({})
    assert info.label_names == {}
    assert info.version == "0.0.0"
