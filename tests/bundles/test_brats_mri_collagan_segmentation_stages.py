"""The stages of training, and the imputer's from its configuration."""

import json
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "brats_mri_collagan_segmentation"))

from brats_phantoms import AFFINE, BUNDLE, phantom

from brats_collagan.recipe import complete, losses
from medbundles.checks import OverrideError
from medbundles.contrasts import CONTRASTS
from medbundles.volume_order import DECATHLON_ORDER
from medbundles.zoo.workflows import run_workflow, training_stages


def test_without_a_cycle_no_cycled_image_is_asked_for() -> None:
    plain, whole = losses({"cycle": 0.0, "similarity": 0.0}), losses()
    assert plain["terms"]["fool"].term.image == plain["judgements"]["judged"].term.fake == "imputed"
    assert whole["terms"]["fool"].term.image == whole["judgements"]["judged"].term.fake == "fakes"
    assert whole["terms"]["direct"].weight == 0
    with pytest.raises(OverrideError, match="cylce"):
        complete({"cylce": 1})
    with pytest.raises(OverrideError, match="--direct_epochs 0"):
        losses({"direct": 0.0}, direct_epochs=3)


def test_the_stages_of_training_are_found_and_a_mistyped_one_is_refused() -> None:
    assert training_stages(BUNDLE) == {"": ("train.json",)}
    assert list(training_stages(BUNDLE, "all")) == ["imputer", "segmenter"]
    assert training_stages(BUNDLE, "imputer") == {"imputer": ("train.json", "train_imputer.json")}
    with pytest.raises(OverrideError, match="did you mean imputer"):
        training_stages(BUNDLE, "imputr")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five phantoms as simulated cases, three of them for training."""
    folder = tmp_path_factory.mktemp("data") / "cases"
    images, labels = phantom()
    entries = []
    for number in range(5):
        name = f"simulated_0_{number:04d}"
        entry = {"name": name, "image": f"images/{name}.nii.gz", "label": f"labels/{name}.nii.gz"}
        for part in ("images", "labels"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        shift = np.roll(images, number, axis=2)
        stored = np.stack([shift[CONTRASTS.index(c)] for c in DECATHLON_ORDER], -1)
        nib.save(nib.Nifti1Image(stored, AFFINE), folder / entry["image"])
        nib.save(nib.Nifti1Image(np.roll(labels, number, axis=1), AFFINE), folder / entry["label"])
        entries.append({**entry, "expected": []})
    (folder / "cases.json").write_text(json.dumps({"cases": entries}), encoding="utf-8")
    return folder


def train_imputer(cases: Path, output: Path, **knobs: Any) -> dict[str, Any]:
    options = {"dataset_dir": str(cases), "output_dir": str(output), "weights": str(output / "best.pt")}
    options |= {"device": "cpu", "spacing_mm": 4.0, "slice_px": 32, "slices_per_case": 1, "imputer_width": 2}
    options |= {"direct_epochs": 0, "validation_cases": 1, "val_interval": 1, "segmenter_width": 8}
    run_workflow(BUNDLE, training_stages(BUNDLE, "imputer")["imputer"], options | knobs, logging_file=False)
    return torch.load(output / "checkpoint.pt", weights_only=True)


def test_the_direct_loss_is_alone_at_first_and_the_best_weights_are_chosen_anew(
    cases: Path, tmp_path: Path
) -> None:
    first = train_imputer(cases, tmp_path, epochs=2, direct_epochs=2)
    assert first["objects"]["best"]["best_epoch"] in (1, 2)
    assert not first["objects"]["judge_adam"]["state"]  # the judge has taken no step
    second = train_imputer(cases, tmp_path, epochs=3, direct_epochs=2, resume=True)
    assert second["objects"]["best"]["best_epoch"] == 3
    before, after = (run["objects"]["judge"].items() for run in (first, second))
    assert any(not torch.equal(value, dict(after)[key]) for key, value in before)


def test_the_imputer_trains_and_two_epochs_of_two_equal_one_of_one_and_one(
    cases: Path, tmp_path: Path
) -> None:
    straight = train_imputer(cases, tmp_path / "straight", epochs=2)
    train_imputer(cases, tmp_path / "parts", epochs=1)
    parts = train_imputer(cases, tmp_path / "parts", epochs=2, resume=True)
    for part in ("network", "judge"):
        for key, value in straight["objects"][part].items():
            assert torch.equal(value, parts["objects"][part][key]), key
    saved = torch.load(tmp_path / "straight" / "best.pt", weights_only=True)
    assert {key.split(".")[0] for key in saved} == {"imputer", "segmenter"}
    assert list((tmp_path / "straight").rglob("events.out.tfevents.*"))
