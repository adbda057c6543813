"""CollaGAN's step: which contrast is imputed from which, and the cycles back."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "brats_mri_collagan_segmentation"))

from brats_phantoms import brains

from brats_collagan.translation import CollaTranslation, complete
from medbundles.checks import BundleError


class Named(nn.Module):
    """A generator that says what it was asked: target + 10 * (a number for each contrast that it saw)."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: Tensor, target: Tensor, present: Tensor | None = None) -> Tensor:
        self.calls += 1
        shown = torch.ones(images.shape[:2]).bool() if present is None else present.clone()
        shown[torch.arange(len(images)), target] = False
        seen = (images.amax((2, 3)) * shown).sum(1)
        return (target + 10 * seen)[:, None, None, None].expand(-1, 1, *images.shape[2:]).float()


def constant(values: list[float], size: int = 8) -> Tensor:
    """One image whose contrasts are constants."""
    return torch.tensor(values)[None, :, None, None].expand(1, -1, size, size).clone()


def test_the_multiple_cycle_leaves_out_each_other_contrast_beside_the_imputed_one() -> None:
    step = CollaTranslation(targets=[1])
    images = step.images({"image": constant([1.0, 2.0, 4.0, 8.0])}, {"imputer": Named()})
    imputed = 1 + 10 * (1 + 4 + 8)
    assert images["original"].unique().item() == 2
    assert images["imputed"].unique().item() == imputed
    assert images["others"].tolist() == [[0, 2, 3]]
    assert images["rest"][0, :, 0, 0].tolist() == [1, 4, 8]
    cycled = [0 + 10 * (imputed + 4 + 8), 2 + 10 * (imputed + 1 + 8), 3 + 10 * (imputed + 1 + 4)]
    assert images["cycled"][0, :, 0, 0].tolist() == cycled
    assert images["fakes"].shape == images["reals"].shape == (4, 1, 8, 8)
    assert images["fakes"][:, 0, 0, 0].tolist() == [imputed, *cycled]
    assert images["judged_contrasts"].tolist() == [1, 0, 2, 3]
    assert images["reals"][:, 0, 0, 0].tolist() == [2, 1, 4, 8]


def test_a_cycle_through_one_drawn_contrast_goes_through_each_as_often() -> None:
    torch.manual_seed(0)
    step = CollaTranslation(cycles=1)
    images = step.images(
        {"image": constant([1.0, 2.0, 4.0, 8.0]).expand(3000, -1, -1, -1)}, {"imputer": Named()}
    )
    target, others = images["target"], images["others"]
    assert others.shape == (3000, 1) and not (others[:, 0] == target).any()
    pairs = torch.bincount(4 * target + others[:, 0], minlength=16).view(4, 4)
    assert pairs[~torch.eye(4).bool()].tolist() == pytest.approx([250] * 12, abs=60)
    assert images["cycled"].shape == images["rest"].shape == (3000, 1, 8, 8)
    values = torch.tensor([1.0, 2.0, 4.0, 8.0])
    imputed = target + 10 * (15 - values[target])
    seen = imputed + 15 - values[target] - values[others[:, 0]]
    torch.testing.assert_close(images["cycled"][:, 0, 0, 0], others[:, 0] + 10 * seen)
    assert images["fakes"].shape == (6000, 1, 8, 8)
    assert images["judged_contrasts"][:2].tolist() == [target[0], others[0, 0]]
    torch.testing.assert_close(images["reals"][:, 0, 0, 0], values[images["judged_contrasts"]])


def test_only_what_is_read_is_computed() -> None:
    network = Named()
    images = CollaTranslation().images({"image": brains(2)}, {"imputer": network})
    assert network.calls == 0
    assert images["imputed"].shape == (2, 1, 40, 40)
    assert network.calls == 1
    assert images["fakes"].shape == (8, 1, 40, 40)
    assert network.calls == 2  # all cycles in one batch


def test_targets_and_further_missing_contrasts_are_drawn_as_often_as_asked() -> None:
    torch.manual_seed(0)
    step = CollaTranslation(dropout=0.25)
    images = step.images({"image": torch.zeros(4000, 4, 1, 1)}, {"imputer": Named()})
    target, present = images["target"], images["present"]
    assert torch.bincount(target).tolist() == pytest.approx([1000] * 4, abs=100)
    assert not present[torch.arange(4000), target].any()
    shown = present.sum(1)
    assert shown.unique().tolist() == [2, 3]
    assert (shown == 2).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (~present).sum(0).tolist() == pytest.approx([1250] * 4, abs=120)


def test_the_generators_first_answer_lacks_what_was_dropped() -> None:
    step = CollaTranslation(targets=[0], dropout=1.0)
    images = step.images({"image": constant([1.0, 2.0, 4.0, 8.0])}, {"imputer": Named()})
    dropped = {1: 2.0, 2: 4.0, 3: 8.0}[int((~images["present"][0, 1:]).nonzero()) + 1]
    assert images["imputed"].unique().item() == 10 * (14 - dropped)
    assert images["cycled"].isfinite().all()


def test_an_imputed_slice_stands_for_its_neighbours_too() -> None:
    images = torch.arange(12.0)[None, :, None, None].expand(2, -1, 3, 3)
    made = complete(images, torch.tensor([0, 3]), torch.full((2, 1, 3, 3), 99.0), slices=3)
    assert made[0, :, 0, 0].tolist() == [99, 99, 99, *range(3, 12)]
    assert made[1, :, 0, 0].tolist() == [*range(9), 99, 99, 99]


def test_a_step_without_its_generator_says_so() -> None:
    with pytest.raises(BundleError, match="'imputer'"):
        CollaTranslation().images({"image": brains()}, {"imptuer": Named()})
