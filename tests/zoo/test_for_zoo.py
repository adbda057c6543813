"""A folder for MONAI's model zoo passes what the zoo's CI asks, and what would fail there is refused here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medbundles import cli
from medbundles.errors import BundleError
from medbundles.zoo.find import bundle_folders
from medbundles.zoo.for_zoo import NO_SCRIPT, judge, without_script, zoo_files
from medbundles.zoo.new import TEMPLATE
from medbundles.zoo.pack import pack, packed_files
from medbundles.zoo.source import BundleSource
from medbundles.zoo.verify import verify

SPACES = re.compile(rb"[ \t]+\n|\r|\n\n\Z")
Metadata = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("zoo")
    with pytest.raises(SystemExit) as stop:
        cli.main(["pack", str(TEMPLATE), str(home), "--for", "zoo"])
    assert not stop.value.code
    return home / TEMPLATE.name


def test_json_and_text_are_as_the_hooks_of_the_zoo_leave_them(folder: Path) -> None:
    for path in folder.rglob("*.json"):
        text = path.read_text(encoding="ascii")
        assert text == json.dumps(json.loads(text), indent=4) + "\n"
    for path in [*folder.rglob("*.py"), *folder.rglob("*.md"), *folder.rglob("*.txt"), folder / "LICENSE"]:
        content = path.read_bytes()
        assert (not SPACES.search(content) and content.endswith(b"\n")) or not content.strip()


def test_it_holds_what_the_zoo_looks_for_and_what_it_makes_itself_is_left_out(folder: Path) -> None:
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    wanted = {"LICENSE", "configs/metadata.json", "configs/inference.json", "models/model.pt"}
    assert wanted | {"docs/README.md", "docs/data_license.txt"} <= names
    assert not names & {"requirements.txt", "bom.cdx.json", "large_files.yml"}
    assert any("none was added" in line for line in verify(folder))


def test_configs_say_the_same_as_in_the_repository(folder: Path) -> None:
    for path in (TEMPLATE / "configs").glob("*.json"):
        ours, theirs = json.loads(path.read_text()), json.loads((folder / "configs" / path.name).read_text())
        theirs.get("medbundles", {}).pop("packed", None)
        assert ours == theirs


@pytest.mark.parametrize("bundle", bundle_folders(), ids=lambda path: path.name)
def test_every_bundle_of_the_collection_keeps_the_rules_of_the_zoo(bundle: Path) -> None:
    source = BundleSource(bundle)
    assert "configs/metadata.json" in zoo_files(source, packed_files(source))


def drop(key: str) -> Callable[[Metadata], Any]:
    return lambda metadata: metadata.pop(key)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (drop("copyright"), "copyright is missing"),
        (drop("required_packages_version"), "required_packages_version is missing"),
        (lambda m: m.update(version="0.2.0"), r"0\.2\.0 is missing in the changelog"),
        (lambda m: m.update(version="0.10.0", changelog={"0.10.0": "x"}), "one digit"),
        (lambda m: m.update(eval_metrics=[]), "eval_metrics is of the wrong type"),
        (lambda m: m.update(references=[1]), "references"),
        (lambda m: m["network_data_format"].pop("outputs"), "outputs is no object"),
        (lambda m: m["network_data_format"]["inputs"]["image"].pop("dtype"), "dtype is missing"),
        (lambda m: m["network_data_format"]["inputs"]["image"].update(value_range=["a"]), "value_range"),
        (lambda m: m.update(judge_data_format={"inputs": {}}), "judge_data_format.outputs"),
        (lambda m: m["required_packages_version"].pop("pytorch-ignite"), "imports ignite"),
    ],
)
def test_metadata_that_the_zoo_refuses_are_refused_here(
    bundle: Path,
    edit: Callable[[Path, Callable[[Metadata], Any]], None],
    change: Callable[[Metadata], Any],
    found: str,
) -> None:
    files = packed_files(BundleSource(bundle))
    edit(bundle / "configs" / "metadata.json", change)
    with pytest.raises(BundleError, match=found):
        zoo_files(BundleSource(bundle), files)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("models/model.pt", b"x" * 26_000_000, "the limit is 25 MB"),
        ("docs/Preview.PNG", b"x", "one file where case does not matter"),
        ("docs/data_license.txt", b"", "missing or empty"),
        ("docs/key.txt", b"-----BEGIN RSA " + b"PRIVATE KEY-----", "private key"),
        ("disc_phantom/more.py", b"import pandas\n", "imports pandas"),
        ("large_file.yml", b"x", "large files"),
    ],
)
def test_files_that_the_zoo_refuses_are_refused_here(name: str, content: bytes, found: str) -> None:
    source = BundleSource(TEMPLATE)
    with pytest.raises(BundleError, match=found):
        zoo_files(source, packed_files(source) | {name: content})


def test_a_wrong_description_of_the_network_is_found_by_monai_itself(
    folder: Path, tmp_path: Path, edit: Callable[[Path, Callable[[Metadata], Any]], None]
) -> None:
    import shutil

    copy = shutil.copytree(folder, tmp_path / folder.name)
    edit(
        copy / "configs" / "metadata.json",
        lambda m: m["network_data_format"]["outputs"]["pred"].update(num_channels=3),
    )
    with pytest.raises(BundleError, match="verify_net_in_out fails"):
        judge(copy, tmp_path / "model.ts")


def test_a_bundle_without_torchscript_says_so_in_its_card() -> None:
    files = without_script({"docs/README.md": b"# Card\n"})
    assert files["docs/README.md"].decode() == f"# Card\n\n## TorchScript\n\n{NO_SCRIPT}\n"
    assert without_script(files) == files


def test_packed_twice_for_the_zoo_the_second_replaces_the_first(folder: Path) -> None:
    before = (folder / "SHA256SUMS").read_bytes()
    assert pack(TEMPLATE, folder.parent, "zoo").path == folder
    assert (folder / "SHA256SUMS").read_bytes() == before
