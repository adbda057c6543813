"""What the brain-tumour bundle trains on: patches, slices, appearances, and the choice of cases."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "brats_mri_collagan_segmentation"))

from brats_phantoms import phantom

from brats_collagan.augment import RandAppearanced, RandPatchesd, RandSlicesd, cut_or_pad, full_slices
from brats_collagan.cases import evaluation_cases, evenly, find_cases
from medbundles.checks import DatasetError
from medbundles.contrasts import CONTRASTS


def test_patches_are_of_one_size_and_most_lie_on_tumour() -> None:
    images, labels = phantom()
    item = {"image": torch.from_numpy(images), "label": torch.from_numpy(labels[None])}
    cut = RandPatchesd(["image", "label"], (16, 16, 32), 40, tumour_share=0.75).set_random_state(0)
    patches = cut(item)
    assert {p["image"].shape for p in patches} == {(4, 16, 16, 32)}  # padded along the last axis
    assert sum(bool(p["label"][0, 8, 8, 16] > 0) for p in patches) > 15
    for patch in patches:
        assert (patch["image"][:, patch["label"][0] > 0] != 0).all()  # cut and mirrored alike


def test_slices_have_their_neighbours_and_show_brain() -> None:
    volume = torch.zeros(2, 20, 20, 12)
    volume[0, 4:16, 4:16, 2:10] = torch.arange(1.0, 9.0)
    volume[1] = 100 * volume[0]
    cut = RandSlicesd(["image", "label"], size=16, samples=30, slices=3).set_random_state(0)
    for item in cut({"image": volume, "label": torch.zeros(3, 20, 20, 12)}):
        assert item["label"].shape == (3, 16, 16)
        x = item["image"]
        assert x.shape == (6, 16, 16)
        below, middle, above = x[:3].amax((1, 2)).tolist()
        assert 1 <= middle <= 8
        assert below == (middle - 1) and above == ((middle + 1) if middle < 8 else 0)
        assert torch.equal(x[3:], 100 * x[:3])


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_so_many_slices_are_drawn_from_the_tumour(share: float) -> None:
    volume, regions = torch.zeros(1, 8, 8, 40), torch.zeros(3, 8, 8, 40)
    volume[:] = torch.arange(1.0, 41.0)
    regions[1, 4, 4, 30:34] = 1
    volume[0, 4, 4, 30:34] += 100
    cut = RandSlicesd(["image", "label"], size=8, samples=200, tumour_share=share).set_random_state(0)
    items = cut({"image": volume, "label": regions})
    for item in items:  # cut and mirrored alike
        assert torch.equal(item["image"][0] > 100, item["label"].any(0))
    places = [int(item["image"].min()) - 1 for item in items]
    on_tumour = sum(30 <= place < 34 for place in places) / len(places)
    assert abs(on_tumour - (share + 0.1 * (1 - share))) < 0.07  # by chance every tenth is


def test_slices_without_brain_are_not_chosen() -> None:
    volume = torch.zeros(1, 10, 10, 8)
    volume[..., 3:6], volume[:, 0, 0, 6] = 1.0, 1.0
    assert full_slices(volume) == [3, 4, 5]
    assert full_slices(torch.zeros(1, 10, 10, 8)) == [4]


@pytest.mark.parametrize("corner", [(0.0, 0.0), (0.999, 0.999)])
def test_cutting_and_padding_keep_the_middle_or_the_chosen_corner(corner: tuple[float, float]) -> None:
    image = torch.arange(12.0).view(1, 3, 4)
    assert cut_or_pad(image, 5, corner)[0, 1:4, 0:4].tolist() == image[0].tolist()
    first = 0 if corner[0] == 0 else 5
    assert cut_or_pad(image, 2, corner)[0, 0, 0] == (first if first == 0 else 6)


def test_another_appearance_keeps_the_background_and_what_is_bright() -> None:
    images = torch.randn(4, 12, 12, 12)
    images[:, :, :, :4] = 0
    change = RandAppearanced("image", prob=1.0).set_random_state(0)
    changed = change({"image": images})["image"]
    assert (changed[:, :, :, :4] == 0).all() and torch.isfinite(changed).all()
    assert not torch.allclose(changed, images)
    unchanged = RandAppearanced("image", prob=0.0)({"image": images})["image"]
    assert torch.equal(unchanged, images)


def test_cases_are_spread_evenly_and_each_is_evaluated_with_each_contrast_withheld(tmp_path: Path) -> None:
    assert evenly(list(range(10)), 3) == [0, 3, 6]
    assert evenly([1, 2], 5) == [1, 2]
    for number in range(3):
        folder = tmp_path / f"BraTS-GLI-{number:05d}-000"
        folder.mkdir()
        for ending in ("t1n", "t1c", "t2w", "t2f", "seg"):
            (folder / f"{folder.name}-{ending}.nii.gz").write_bytes(b"x")
    cases = evaluation_cases(str(tmp_path), split="all", withheld=[None, "t1"])
    assert [case["withheld"] for case in cases] == [None, "t1"] * 3
    assert set(cases[0]["image"]) == set(CONTRASTS) and cases[0]["label"].endswith("-seg.nii.gz")


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        find_cases(str(tmp_path), "train")
