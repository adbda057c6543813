"""What the CT denoising bundle trains on: patches, added lesions, and the cost of losing them."""

import sys
from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "ct_lowdose_cyclegan_denoising"))

from ct_phantom import phantom, tensor

from ct_cyclegan.patches import RandLesionsd, RandPatchesd
from ct_cyclegan.terms import LesionsKeptTerm


def item() -> dict[str, MetaTensor]:
    return {key: tensor(phantom()[..., None] / 400) for key in ("image", "routine")}


def test_patches_show_the_patient_and_each_image_has_its_own_place() -> None:
    cut = RandPatchesd(["image", "routine"], size=24, samples=20).set_random_state(0)
    patches = cut(item())
    assert len(patches) == 20
    assert {p["image"].shape for p in patches} == {(1, 24, 24)}
    assert min(p[key].mean() for p in patches for key in p) > -2.35
    assert any(not torch.equal(p["image"], p["routine"]) for p in patches)


def test_patches_follow_the_seed() -> None:
    runs = [RandPatchesd(["image"], size=24, samples=3).set_random_state(5)(item()) for _ in range(2)]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(*runs, strict=True))


def test_patches_larger_than_the_slice_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        RandPatchesd(["image"], size=97)(item())


def test_lesions_in_soft_tissue_are_faint_and_small() -> None:
    add = RandLesionsd(["image"], prob=1.0, most=1, contrast_hu=(10, 90)).set_random_state(1)
    for _ in range(20):
        change = 400 * add({"image": torch.full((1, 64, 64), 0.1)})["image"] - 40
        assert 0 < change.abs().max() <= 90.01
        assert (change.abs() > 5).float().mean() < 0.1


def test_lesions_in_the_lung_are_dense() -> None:
    add = RandLesionsd(["image"], prob=1.0, most=1).set_random_state(1)
    change = torch.stack([add({"image": torch.full((1, 64, 64), -2.1)})["image"] + 2.1 for _ in range(20)])
    assert change.min() > -1e-4 and 400 * change.max() > 300


def test_no_lesions_are_added_when_none_are_wanted() -> None:
    patch = torch.rand(1, 32, 32)
    assert torch.equal(RandLesionsd(["image"], prob=0.0)({"image": patch})["image"], patch)


def test_the_same_patch_without_lesions_is_kept() -> None:
    patch = torch.rand(1, 48, 48)
    found = RandLesionsd(["image"], prob=1.0).set_random_state(0)({"image": patch})
    assert torch.equal(found["image_bare"], patch) and not torch.equal(found["image"], patch)


def lesions_lost(network: torch.nn.Module) -> float:
    """What the term says of a generator that is given two noisy patches, half of them with a lesion."""
    bare = torch.randn(2, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    image = bare.clone()
    image[0, 0, 8:14, 8:14] += 0.1
    images = {"image": image, "image_bare": bare, "fake": network(image)}
    return float(LesionsKeptTerm("denoise", "image", "image_bare", "fake")(images, {"denoise": network}))


def test_lesions_that_come_out_as_they_went_in_cost_nothing() -> None:
    class Shift(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 3 * torch.sign(torch.arange(24) - 12.0)  # whatever else it does to the slice

    assert lesions_lost(torch.nn.Identity()) == pytest.approx(0, abs=1e-6)
    assert lesions_lost(Shift()) == pytest.approx(0, abs=1e-4)


def test_lesions_that_are_erased_or_smeared_cost() -> None:
    assert lesions_lost(torch.nn.Conv2d(1, 1, 1).requires_grad_(False).apply(_to_zero)) == pytest.approx(0.5)
    assert 0.05 < lesions_lost(torch.nn.AvgPool2d(5, 1, 2)) < 0.5


def test_a_faint_lesion_counts_as_much_as_a_dense_one() -> None:
    class Cap(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.clamp(max=0.15)

    bare = torch.zeros(2, 1, 8, 8)
    image = bare.clone()
    image[0, 0, 3, 3], image[1, 0, 3, 3] = 0.1, 1.5
    term = LesionsKeptTerm("denoise", "image", "bare", "fake")
    lost = term({"image": image, "bare": bare, "fake": Cap()(image)}, {"denoise": Cap()})
    assert lost == pytest.approx((0 + 0.9**2) / 2, rel=1e-5)


def _to_zero(layer: torch.nn.Module) -> None:
    layer.weight.zero_()


def test_a_batch_without_lesions_counts_as_nothing_lost() -> None:
    still = torch.rand(1, 1, 8, 8)
    images = {"image": still, "bare": still, "fake": still}
    term = LesionsKeptTerm("denoise", "image", "bare", "fake")
    assert term(images, {"denoise": torch.nn.Identity()}) == 0
