from pathlib import Path

import pytest

from medbundles.errors import BundleError
from medbundles.zoo.find import (
    PATH_VARIABLE,
    bundle_folders,
    find_bundle,
    load_object,
    read_json,
    read_metadata,
)


def test_folders_of_the_variable_are_found_beside_the_collection(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bundle_folders()
    monkeypatch.setenv(PATH_VARIABLE, str(bundle.parent))
    assert set(bundle_folders()) == {*before, bundle.resolve()}


def test_a_bundle_is_found_by_name_and_by_path(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_bundle(bundle) == bundle.resolve()
    monkeypatch.setenv(PATH_VARIABLE, str(bundle.parent))
    assert find_bundle(bundle.name) == bundle.resolve()


def test_a_wrong_name_gets_the_nearest_one(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH_VARIABLE, str(bundle.parent))
    with pytest.raises(BundleError, match=f"did you mean {bundle.name}"):
        find_bundle("disk_phantom_segmentatoin")


def test_the_metadata_are_those_of_the_bundle(bundle: Path) -> None:
    assert read_metadata(bundle)["medbundles"]["package"] == "disc_phantom"


@pytest.mark.parametrize("text", ["", "{", "[1, 2]"])
def test_a_broken_json_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=r"broken\.json"):
        read_json(path)


def test_an_object_of_the_bundle_is_loaded(bundle: Path) -> None:
    assert callable(load_object(bundle, "disc_phantom.simulator.write_cases"))


@pytest.mark.parametrize("dotted", ["disc_phantom.simulator.nothing", "disc_phantom.nothing.at_all", "word"])
def test_an_object_that_is_not_there_is_refused(bundle: Path, dotted: str) -> None:
    with pytest.raises(BundleError, match=dotted):
        load_object(bundle, dotted)
