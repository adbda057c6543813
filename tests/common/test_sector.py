"""Frames stored in any pose on the network's grid, and predictions back on the stored pixels."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd

from medbundles.sector import StandardiseSectord, grid_to_frame

SIZE = (320, 224)


def upright_frame(spacing: tuple[float, float] = (0.5, 0.5)) -> MetaTensor:
    """A frame with an off-centre bright block, so that no turn or mirror leaves it as it is."""
    pixels = torch.full((1, 200, 120), 0.2)
    pixels[:, 20:60, 10:30] = 1.0
    affine = torch.diag(torch.tensor([-spacing[0], -spacing[1], 1.0, 1.0], dtype=torch.float64))
    return MetaTensor(pixels, affine=affine)


POSES = {
    "as stored": lambda f: f,
    "mirrored": lambda f: (f.flip(1), np.array([[-1, 0, 199], [0, 1, 0], [0, 0, 1]])),
    "upside down": lambda f: (f.flip(2), np.array([[1, 0, 0], [0, -1, 119], [0, 0, 1]])),
    "turned a quarter": lambda f: (f.transpose(1, 2).flip(1), np.array([[0, 1, 0], [-1, 0, 119], [0, 0, 1]])),
    "transposed": lambda f: (f.transpose(1, 2), np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])),
}


def posed(name: str, spacing: tuple[float, float] = (0.5, 0.5)) -> MetaTensor:
    """The upright frame stored in another pose, with the affine that says so."""
    frame = upright_frame(spacing)
    if name == "as stored":
        return frame
    pixels, stored_to_upright = POSES[name](frame.as_tensor())
    full = np.eye(4)
    full[np.ix_([0, 1, 3], [0, 1, 3])] = stored_to_upright
    return MetaTensor(pixels, affine=frame.affine @ torch.as_tensor(full))


@pytest.mark.parametrize("name", POSES)
def test_frame_stored_in_any_pose_looks_the_same_to_the_network(name: str) -> None:
    standardise = StandardiseSectord("image", SIZE)
    expected = standardise({"image": posed("as stored")})["image"]
    found = standardise({"image": posed(name)})["image"]
    assert torch.allclose(found[0], expected[0], atol=1e-4)


@pytest.mark.parametrize("name", POSES)
def test_prediction_returns_to_the_stored_pixels(name: str) -> None:
    frame = posed(name)
    pipeline = Compose([StandardiseSectord("image", SIZE)])
    item = pipeline({"image": frame})
    frame_on_grid = item["image"]
    operations = frame_on_grid.applied_operations
    item["pred"] = MetaTensor(frame_on_grid[:1], meta=frame_on_grid.meta, applied_operations=operations)
    back = Invertd("pred", transform=pipeline, orig_keys="image", nearest_interp=False)(item)["pred"]
    assert back.shape == frame.shape
    assert torch.allclose(back.affine.double(), frame.affine.double(), atol=1e-6)
    assert (back[0] - (frame[0] - 0.2) / 0.8).abs().mean() < 0.02


def test_anisotropic_pixels_become_square() -> None:
    to_frame = grid_to_frame(np.diag([-0.2, -0.4, 1, 1]), (400, 100), SIZE)
    millimetres = np.abs(np.diag(to_frame)[:2]) * (0.2, 0.4)
    assert millimetres[0] == pytest.approx(millimetres[1])
