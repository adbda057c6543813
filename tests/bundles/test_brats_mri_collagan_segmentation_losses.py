"""The losses of the imputer and of the segmenter."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "brats_mri_collagan_segmentation"))

from brats_phantoms import brains, spheres

from brats_collagan.judge import CollaJudge
from brats_collagan.losses import ContrastTerm, RegionLoss, SsimTerm, TumourL1Term, mean_ssim
from medbundles.image_quality import ssim


def test_the_similarity_is_that_of_the_brain_alone() -> None:
    target = brains(1, 64)[:, :2]
    image = target + 0.3 * torch.randn(target.shape, generator=torch.Generator().manual_seed(5)) * (
        target != 0
    )
    for n, found in enumerate(mean_ssim(image, target, 5.0)):
        one, other, brain = image[0, n] + 2.5, target[0, n] + 2.5, target[0, n] != 0
        assert float(found) == pytest.approx(ssim(one, other, data_range=5, mask=brain), abs=1e-3)


def test_an_error_in_tumour_counts_as_often_as_asked_for() -> None:
    images = {"made": torch.zeros(1, 1, 2, 2), "true": torch.tensor([[[[3.0, 1.0], [1.0, 1.0]]]])}
    images["regions"] = torch.tensor([[[[0, 0], [0, 0]], [[1, 0], [0, 0]]]], dtype=torch.uint8)
    keys = ("made", "true", "regions")
    assert TumourL1Term(*keys)(images, {}).item() == pytest.approx(6 / 4)
    assert TumourL1Term(*keys, tumour_weight=7)(images, {}).item() == pytest.approx((7 * 3 + 3) / 10)


def test_the_similarity_term_is_zero_for_equals_large_for_opposites_and_zero_for_no_brain() -> None:
    x = torch.randn(2, 4, 32, 32)
    images = {"x": x, "same": x.clone(), "opposite": -x, "nothing": torch.zeros_like(x)}
    assert SsimTerm("same", "x")(images, {}).item() == pytest.approx(0, abs=1e-5)
    assert SsimTerm("opposite", "x")(images, {}).item() > 2
    assert SsimTerm("nothing", "nothing")(images, {}).item() == 0


def test_a_dark_area_is_not_similar_to_a_bright_one() -> None:
    """Without an offset z-scores of opposite sign would have the similarity of equals, twice negative."""
    x = brains(1, 48)
    assert SsimTerm("opposite", "x")({"x": x, "opposite": -x}, {}).item() > 0.3


def test_the_similarity_term_is_stricter_on_a_smaller_range() -> None:
    x = brains(2, 48)
    images = {"x": x, "y": x + 0.2 * torch.randn_like(x)}
    narrow, wide = (SsimTerm("y", "x", data_range=r)(images, {}) for r in (1.0, 20.0))
    assert narrow > 2 * wide > 0


def test_the_contrast_term_is_the_entropy_of_the_class_head() -> None:
    judge = CollaJudge(2).eval()
    images = {"x": torch.randn(4, 1, 32, 32), "which": torch.arange(4)}
    logits = judge(images["x"]).contrast
    expected = -logits.log_softmax(1).diagonal().mean()
    assert ContrastTerm("judge", "x", "which")(images, {"judge": judge}).item() == pytest.approx(
        expected.item()
    )


def test_dice_has_squared_denominators() -> None:
    _, regions = spheres(1)
    logits = torch.linspace(-4, 4, 16).expand(regions.shape)
    p = logits.sigmoid()
    overlap, total = (p * regions).sum((2, 3, 4)), (p**2 + regions**2).sum((2, 3, 4))
    expected = 1 - ((2 * overlap + 1) / (total + 1)).mean()
    assert RegionLoss()(logits, regions).item() == pytest.approx(expected.item(), abs=1e-6)


def test_the_branch_adds_its_losses_with_their_weights() -> None:
    _, regions = spheres(2)
    logits = torch.zeros(regions.shape)
    answer = (logits, torch.tensor([1.0, 3.0]), torch.tensor([10.0, 30.0]))
    alone, all_three = RegionLoss()(logits, regions), RegionLoss(0.1, 0.05)(answer, regions)
    assert (all_three - alone).item() == pytest.approx(0.1 * 2 + 0.05 * 20)
    with_entropy = RegionLoss(0, 0, 2.0)(answer, regions)
    assert (with_entropy - alone).item() == pytest.approx(2 * torch.tensor(2.0).log().item(), abs=1e-5)
