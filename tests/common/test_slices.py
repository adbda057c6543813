"""Frames and volumes in any orientation as slices in standard view, and back."""

from itertools import permutations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd

from medbundles.slices import AsSlicesd, slice_axis

SHAPE, SPACING = (9, 7, 4), (0.5, 0.5, 3.0)
FLIPS = [(x, y, z) for x in (1, -1) for y in (1, -1) for z in (1, -1)]


def volume(order: tuple[int, ...] = (0, 1, 2), signs: tuple[int, ...] = (1, 1, 1)) -> MetaTensor:
    """One anatomy, numbered voxel by voxel from right, front and feet, with its axes stored in any order."""
    numbers = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    affine[:3, 3] = (12.0, -7.0, 30.0)
    step = np.zeros((4, 4))
    step[3, 3] = 1
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        step[old, new], step[old, 3] = sign, 0 if sign > 0 else SHAPE[old] - 1
    stored = numbers.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    return MetaTensor(torch.tensor(stored[None].copy()), affine=torch.tensor(affine @ step))


@pytest.mark.parametrize("order", permutations(range(3)))
@pytest.mark.parametrize("signs", FLIPS)
def test_a_volume_looks_the_same_however_it_is_stored(order: tuple, signs: tuple) -> None:
    slices = AsSlicesd("image")({"image": volume(order, signs)})["image"]
    assert torch.equal(slices.as_tensor(), volume().as_tensor())
    np.testing.assert_allclose(slices.affine, volume().affine, atol=1e-9)


@pytest.mark.parametrize("order", permutations(range(3)))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_a_prediction_returns_to_the_grid_of_the_file(order: tuple, signs: tuple) -> None:
    image = volume(order, signs)
    pipeline = Compose([AsSlicesd("image")])
    case = pipeline({"image": image})
    case["pred"] = MetaTensor(
        torch.cat([case["image"].as_tensor()] * 2),  # the answer may have other channels
        meta=case["image"].meta,
        applied_operations=case["image"].applied_operations,
    )
    pred = Invertd("pred", pipeline, orig_keys="image")(case)["pred"]
    assert torch.equal(pred.as_tensor()[:1], image.as_tensor())
    np.testing.assert_allclose(pred.affine, image.affine, atol=1e-9)


def test_a_frame_is_a_volume_of_one_slice_and_returns_as_a_frame() -> None:
    frame = MetaTensor(torch.arange(30.0).view(1, 6, 5), affine=torch.diag(torch.tensor([0.7, -0.7, 1, 1.0])))
    pipeline = Compose([AsSlicesd("image")])
    case = pipeline({"image": frame})
    assert case["image"].shape == (1, 6, 5, 1)
    assert torch.equal(case["image"][..., 0].as_tensor(), frame.as_tensor().flip(1))  # x ran to the right
    back = Invertd("image", pipeline)(case)["image"]
    assert torch.equal(back.as_tensor(), frame.as_tensor())
    np.testing.assert_allclose(back.affine, frame.affine)


def test_slices_lie_across_the_coarsest_axis_even_if_that_is_not_head_to_feet() -> None:
    assert slice_axis(np.diag([-0.7, -3.0, 0.7, 1]), (100, 20, 90)) == 1  # coronal slices


def test_slices_of_an_isotropic_volume_are_axial() -> None:
    affine = np.array([[0, 0, -1.0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    assert slice_axis(affine, (50, 40, 30)) == 1


def test_an_axis_of_one_voxel_is_the_slice_axis() -> None:
    assert slice_axis(np.eye(4), (1, 40, 30)) == 0


def test_a_coronal_slice_is_seen_with_the_head_up() -> None:
    affine = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # second axis to the head
    frame = MetaTensor(torch.arange(30.0).view(1, 6, 5), affine=torch.tensor(affine))
    slices = AsSlicesd("image")({"image": frame})["image"]
    assert torch.equal(slices[..., 0].as_tensor(), frame.as_tensor().flip(2))
