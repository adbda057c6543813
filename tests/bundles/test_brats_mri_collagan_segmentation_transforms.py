"""From an answer back to the grid of the input: imputed contrasts, labels, specks."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Orientationd, Spacingd

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "brats_mri_collagan_segmentation"))

from brats_phantoms import phantom, tensor

from brats_collagan.transforms import (
    CropBraind,
    InvertAlld,
    LabelTumourd,
    RegionsOfAnswerd,
    SpacingPastTextsd,
    WithholdNamedd,
    without_specks,
)
from medbundles.contrasts import CONTRASTS


def test_what_was_cropped_turned_and_resampled_returns_to_the_grid_of_the_input() -> None:
    images, _ = phantom()
    affine = np.array([[0, 4.0, 0, 9], [-4.0, 0, 0, 3], [0, 0, 4.0, 7], [0, 0, 0, 1]])
    pipeline = Compose(
        [
            Orientationd("image", axcodes="LPS"),
            CropBraind("image"),
            SpacingPastTextsd("image", pixdim=2.0, mode="bilinear", scale_extent=True),
        ]
    )
    case = pipeline({"image": tensor(images, affine)})
    image = case["image"]
    answer = torch.cat([torch.zeros_like(image.as_tensor()), image.as_tensor()])
    case["pred"] = MetaTensor(answer, meta=image.meta, applied_operations=image.applied_operations)
    done = InvertAlld("pred", pipeline)(case)
    assert done["pred"].shape == done["image"].shape == images.shape
    np.testing.assert_allclose(done["image"].affine, affine)
    inside = images[0] > 0
    error = np.abs(done["image"].numpy() - images)[:, inside]
    assert np.median(error) < 25  # interpolated there and back
    assert done["synthetic_inputs"] == []


def test_texts_that_clients_put_beside_the_image_stay_and_change_nothing() -> None:
    images, _ = phantom()
    case = {"image": tensor(images), "image_path": "scans/case.nii.gz", "device": "cpu"}
    found = SpacingPastTextsd("image", pixdim=3.0)(case)
    wanted = Spacingd("image", pixdim=3.0)({"image": tensor(images)})
    assert (found["image_path"], found["device"]) == ("scans/case.nii.gz", "cpu")
    np.testing.assert_array_equal(found["image"].numpy(), wanted["image"].numpy())
    assert [o["class"] for o in found["image"].applied_operations] == ["SpatialResample"]


def test_imputed_contrasts_take_their_place_and_are_named() -> None:
    images, _ = phantom()
    images[1] = images[3] = 0
    pipeline = Compose([CropBraind("image")])
    case = pipeline({"image": tensor(images)})
    made = case["image"].as_tensor().clone()
    made[1] = made[0] * 2
    answer = torch.cat([torch.zeros_like(made), made])
    case["pred"] = MetaTensor(
        answer, meta=case["image"].meta, applied_operations=case["image"].applied_operations
    )
    done = InvertAlld("pred", pipeline)(case)
    assert done["synthetic_inputs"] == ["t1gd"]  # FLAIR was not made: it is still empty
    torch.testing.assert_close(done["image"].as_tensor()[1], 2 * torch.from_numpy(images[0]))


def test_specks_and_what_lies_outside_the_brain_are_no_tumour() -> None:
    images, labels = phantom()
    scores = np.stack([(labels == k).astype(np.float32) for k in range(4)])
    scores[3, 15, 30, 13], scores[2, 0, 0, 0] = 5, 5
    case = {"image": tensor(images), "pred": tensor(scores)}
    found = LabelTumourd("pred", smallest_ml=0.1)(case)["pred"]
    assert found.dtype == torch.uint8 and np.array_equal(found.numpy()[0], labels)
    kept = LabelTumourd("pred", smallest_ml=0.0)(case)["pred"].numpy()[0]
    assert kept[15, 30, 13] == 3 and kept[0, 0, 0] == 0


def test_a_tumour_of_exactly_the_smallest_size_is_kept() -> None:
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[1, 1, 1:4], labels[4, 4, 4] = 3, 1
    assert np.array_equal(without_specks(labels, 3) > 0, labels == 3)


def test_small_oedema_is_kept_only_around_a_tumour() -> None:
    labels = np.zeros((12, 6, 6), np.uint8)
    labels[1, 1, 1:5], labels[4, 1, 1:5], labels[7:9, :4, 1] = 2, 2, 2
    labels[4, 2, 4] = 1
    kept = without_specks(labels, 2, smallest_oedema=8)
    assert not kept[1].any() and np.array_equal(kept[3:], labels[3:])


def test_regions_of_an_answer_are_nested() -> None:
    answer = torch.zeros(8, 1, 1, 4)
    answer[[0, 1, 2, 3], 0, 0, [0, 1, 2, 3]] = 1.0  # background, core, oedema, enhancing
    found = RegionsOfAnswerd("pred")({"pred": answer})["pred"]
    assert found[:, 0, 0].tolist() == [[0, 1, 0, 1], [0, 1, 1, 1], [0, 0, 0, 1]]  # TC, WT, ET


@pytest.mark.parametrize("name", [None, "t2"])
def test_a_contrast_is_withheld_for_evaluation(name: str | None) -> None:
    images, _ = phantom()
    done = WithholdNamedd("withheld")({"image": tensor(images), "withheld": name})
    empty = [c for c, image in zip(CONTRASTS, done["image"], strict=True) if not image.any()]
    assert empty == ([] if name is None else [name])
