"""A folder for Hugging Face is read by its own library and by MONAI, without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medbundles.errors import BundleError, OverrideError
from medbundles.zoo.find import find_bundle
from medbundles.zoo.for_hub import relocated
from medbundles.zoo.new import TEMPLATE
from medbundles.zoo.pack import pack
from medbundles.zoo.verify import verify
from medbundles.zoo.workflows import build_network

CT = "ct_lowdose_cyclegan_denoising"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OFFLINE = {**os.environ, "HF_HUB_OFFLINE": "1"}
LOAD = """
import sys, torch, monai.bundle
name, home, out = sys.argv[1:]
sys.path.insert(0, home + "/" + name)
network = monai.bundle.load(name=name, bundle_dir=home, source="huggingface_hub").eval()
import medbundles
assert medbundles.__file__.startswith(home), medbundles.__file__
torch.manual_seed(0)
with torch.no_grad():
    torch.save(network(torch.randn(1, 1, 64, 48)), out)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(find_bundle(CT), tmp_path_factory.mktemp("hub"), "hf").path


@pytest.fixture
def cache(folder: Path, tmp_path: Path) -> Path:
    """The folder as the library keeps it after a download: a commit by name, and `main` that points to it."""
    home = tmp_path / f"models--somebody--{CT}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(COMMIT)
    shutil.copytree(folder, home / "snapshots" / COMMIT)
    return tmp_path


def test_the_head_of_the_card_is_what_the_hub_reads(folder: Path) -> None:
    from huggingface_hub import ModelCard

    data = ModelCard.load(folder / "README.md").data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "monai", "image-to-image")
    assert {"monai", "medical", "ct"} <= set(data.tags)
    groups = json.loads((find_bundle(CT) / "docs" / "evaluation.json").read_text())["groups"]
    read = {(r.dataset_name, r.metric_name): r.metric_value for r in data.eval_results}
    group, scores = next(iter(groups.items()))
    for name, figures in scores.items():
        if "mean" in figures:
            assert read[group, f"{name}, mean"] == pytest.approx(figures["mean"], rel=1e-3)
    assert {dataset for dataset, _ in read} <= set(groups)


def test_links_of_the_card_lead_to_files_of_the_folder(folder: Path) -> None:
    from medbundles.zoo.rules_docs import LINK

    targets = LINK.findall((folder / "README.md").read_text())
    assert "docs/preview.png" in targets
    assert all((folder / target).is_file() for target in targets)


def test_links_out_of_the_bundle_become_words() -> None:
    files = {"docs/preview.png": b"", "docs/notes.md": b""}
    text = "![A](preview.png) [b](notes.md#part) [c](../../../docs/d.md) [e](https://f.org) [0, 1]"
    wanted = "![A](docs/preview.png) [b](docs/notes.md#part) c [e](https://f.org) [0, 1]"
    assert relocated(text, files) == wanted


def test_the_library_finds_it_in_its_cache_without_a_network(cache: Path) -> None:
    code = (
        "import sys; from huggingface_hub import snapshot_download\n"
        "print(snapshot_download(sys.argv[1], cache_dir=sys.argv[2]))"
    )
    words = [sys.executable, "-c", code, f"somebody/{CT}", str(cache)]
    done = subprocess.run(words, capture_output=True, text=True, env=OFFLINE)
    assert done.returncode == 0, done.stderr[-1000:]
    found = Path(done.stdout.strip())
    assert found.name == COMMIT
    assert any("none was added" in line for line in verify(found))


def test_monai_loads_it_from_there_and_it_answers_as_ours(cache: Path, tmp_path: Path) -> None:
    home = cache / f"models--somebody--{CT}" / "snapshots"
    out = tmp_path / "answer.pt"
    words = [sys.executable, "-c", LOAD, COMMIT, str(home), str(out)]
    done = subprocess.run(words, capture_output=True, text=True, env=OFFLINE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-1000:]
    network = build_network(find_bundle(CT)).eval()
    network.load_state_dict(torch.load(find_bundle(CT) / "models" / "model.pt", weights_only=True))
    torch.manual_seed(0)
    with torch.no_grad():
        wanted = network(torch.randn(1, 1, 64, 48))
    assert torch.equal(torch.load(out, weights_only=True), wanted)


def test_a_folder_of_something_else_is_left_alone_and_an_unknown_place_refused(tmp_path: Path) -> None:
    (tmp_path / TEMPLATE.name).mkdir()
    (tmp_path / TEMPLATE.name / "mine.txt").write_text("mine")
    with pytest.raises(BundleError, match="no packed bundle"):
        pack(TEMPLATE, tmp_path, "hf")
    assert (tmp_path / TEMPLATE.name / "mine.txt").read_text() == "mine"
    with pytest.raises(OverrideError, match="no place 'moon'"):
        pack(TEMPLATE, tmp_path, "moon")
