import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medbundles.errors import BundleError
from medbundles.zoo.check import check_bundle
from medbundles.zoo.find import PATH_VARIABLE, read_metadata
from medbundles.zoo.new import new_bundle

NAME = "knee_mr_cartilage_segmentation"
CONTRACT = Path(__file__).parents[1] / "bundles" / "test_contract.py"


def test_a_new_bundle_keeps_the_whole_contract_at_once(tmp_path: Path) -> None:
    folder = new_bundle(NAME, tmp_path / "home")
    environment = {**os.environ, PATH_VARIABLE: str(folder.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", str(CONTRACT), "-k", NAME, "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=280, cwd=CONTRACT.parents[2]
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout and "failed" not in done.stdout and "skipped" not in done.stdout


def test_a_copy_of_a_bundle_has_its_own_names_and_no_history(bundle: Path, tmp_path: Path) -> None:
    folder = new_bundle(NAME, tmp_path / "home", like=bundle)
    assert [str(problem) for problem in check_bundle(folder)] == []
    text = "".join(p.read_text(encoding="utf-8") for p in folder.rglob("*.py"))
    assert "disc_phantom" not in text and "knee_mr_cartilage" in text
    metadata = read_metadata(folder)
    assert metadata["version"] == "0.1.0" and list(metadata["changelog"]) == ["0.1.0"]
    assert metadata["eval_metrics"] == {} and "not trained" in metadata["medbundles"]["title"]


def test_a_copy_does_not_claim_the_weights_of_its_model(bundle: Path, tmp_path: Path) -> None:
    folder = new_bundle(NAME, tmp_path / "home", like=bundle)
    old, new = (torch.load(f / "models" / "model.pt", weights_only=True) for f in (bundle, folder))
    assert old.keys() == new.keys()
    assert any(not torch.equal(old[key], new[key]) for key in old)
    assert "has not been trained" in (folder / "docs" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["Knee", "knee_segmentation", "knee_vr_segmentation", "spleen_ct_segmentation"]
)
def test_a_bad_name_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError):
        new_bundle(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(BundleError, match="exists already"):
        new_bundle(NAME, tmp_path)
    assert list((tmp_path / NAME).iterdir()) == []


def test_half_a_bundle_is_taken_away_again(bundle: Path, tmp_path: Path) -> None:
    (bundle / "disc_phantom" / "simulator.py").write_text("raise RuntimeError('broken')\n", encoding="utf-8")
    with pytest.raises(RuntimeError):
        new_bundle("hip_ct_bone_segmentation", tmp_path / "home", like=bundle)
    assert list((tmp_path / "home").iterdir()) == []
