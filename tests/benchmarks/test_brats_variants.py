"""The variants of the brain-tumour bundle that the benchmark of missing contrasts trains."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from brats_contrasts import VARIANTS
from brats_variants import BUNDLE, DirectUNets, overrides, stage_of, variants

from medbundles.config_keys import checked
from medbundles.zoo.workflows import read_config


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_overrides_what_its_configs_have(name: str, tmp_path: Path) -> None:
    config = read_config(BUNDLE, stage_of(name))
    found = overrides(name, 3, tmp_path, {"epochs": 2, "patch": [32, 32, 32]})
    checked(config, found, source="train.json")
    assert (found["seed"], found["epochs"], found["schedule_epochs"]) == (3, 2, 2)


def test_variants_differ_in_one_thing() -> None:
    found = variants()
    assert found["full"] == {}
    assert found["no_ssim"] == {"loss_weights#similarity": 0.0}
    assert found["no_cycle"] == {"loss_weights#cycle": 0.0, "loss_weights#similarity": 0.0}
    assert found["no_attention"] == {"network_def#imputer#attention": False}
    assert "loss_weights#direct" not in found["unet"]  # all that is left of its losses


def test_seeds_share_their_patients_and_nothing_else(tmp_path: Path) -> None:
    one, other = (overrides("full", seed, tmp_path, {"patch": [32, 32, 32]}) for seed in (0, 1))
    differing = {key for key in one if one[key] != other[key]}
    assert differing == {"seed", "output_dir", "weights"}


def test_a_shorter_training_has_the_same_share_of_epochs_with_the_direct_loss_alone(tmp_path: Path) -> None:
    assert overrides("full", 0, tmp_path, {"epochs": 17})["direct_epochs"] == 14
    assert overrides("full", 0, tmp_path, {"epochs": 17, "direct_epochs": 3})["direct_epochs"] == 3
    assert overrides("no_direct", 0, tmp_path, {"epochs": 17})["direct_epochs"] == 0
    assert "direct_epochs" not in overrides("segmenter", 0, tmp_path, {"epochs": 17})


def test_a_knob_of_the_imputer_is_not_given_to_the_segmenter(tmp_path: Path) -> None:
    knobs = {"slice_px": 32}
    assert "slice_px" in overrides("full", 0, tmp_path, knobs)
    assert "slice_px" not in overrides("dropout", 0, tmp_path, knobs)


@pytest.mark.parametrize("fold", [1, 2])
def test_a_direct_unet_looks_at_the_other_contrasts_of_its_own_image_only(fold: int) -> None:
    torch.manual_seed(0)
    network = DirectUNets(4, slices=3, fold=fold).eval()
    x = torch.randn(3, 12, 32, 35)
    x[..., :4] = 0
    with torch.no_grad():
        together = network(x, torch.tensor([2, 0, 2]))
        alone = torch.cat([network(x[i : i + 1], target) for i, target in enumerate([2, 0, 2])])
        changed = x.clone()
        changed[:, 6:9] = 7.0
        blind = network(changed, 2)
        torch.testing.assert_close(blind[..., 4:], network(x, 2)[..., 4:])
    assert together.shape == (3, 1, 32, 35) and (together[..., :4] == 0).all()
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(together[:1], network(x[:1], 0))
