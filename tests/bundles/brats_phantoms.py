"""Phantoms of the brain-tumour bundle: a brain with nested tumour shells, slices and balls to learn from."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from medbundles.contrasts import CONTRASTS

BUNDLE = Path(__file__).parents[2] / "bundles" / "brats_mri_collagan_segmentation"
AFFINE = np.diag([-4.0, -4.0, 4.0, 1.0])
SHAPE = (30, 36, 26)


def phantom() -> tuple[np.ndarray, np.ndarray]:
    """Nested tumour shells in an egg, in four contrasts (4, X, Y, Z), and their labels (X, Y, Z)."""
    axes = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SHAPE], indexing="ij")
    egg = sum((a / (0.42 * n)) ** 2 for a, n in zip(axes, SHAPE, strict=True)) < 1
    depth = np.sqrt((axes[0] - 4) ** 2 + axes[1] ** 2 + axes[2] ** 2)
    labels = np.select([depth < 2, depth < 4, depth < 6], [1, 3, 2], 0).astype(np.uint8) * egg
    grain = np.random.default_rng(0).normal(0, 8, (4, *SHAPE))
    tissue = np.random.default_rng(1).choice([0.0, 60.0], (9, 9, 9)).repeat(4, 0).repeat(4, 1).repeat(4, 2)
    tissue = tissue[tuple(slice(n) for n in SHAPE)]
    level = {"t1": [40, -30, 0], "t1gd": [-40, -30, 200], "t2": [120, 90, 20], "flair": [60, 110, 30]}
    mixing = {"t1": 1.0, "t1gd": 0.8, "t2": -0.9, "flair": 0.3}
    images = []
    for index, name in enumerate(CONTRASTS):
        image = 300 + mixing[name] * tissue + grain[index]
        image += np.select([labels == 1, labels == 2, labels == 3], level[name], 0)
        images.append(np.where(egg, image, 0))
    return np.stack(images).astype(np.float32), labels


def tensor(array: np.ndarray | torch.Tensor, affine: np.ndarray = AFFINE, **meta: Any) -> MetaTensor:
    """An image (C, X, Y, Z) as it comes from a file."""
    pixels = torch.as_tensor(array).float()
    return MetaTensor(
        pixels, affine=torch.from_numpy(affine), meta={"filename_or_obj": "case.nii.gz", **meta}
    )


def brains(count: int = 2, size: int = 40, *, seed: int = 0) -> Tensor:
    """Smooth z-scored contrasts (B, 4, X, Y) in a disc; any two of the four give the others.

    With two hidden tissues u and v they are u, v, u + v and u - v.
    """
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 2, 8, 8, generator=draw)
    tissue = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    u, v = tissue.unbind(1)
    axis = torch.linspace(-1, 1, size)
    disc = axis[:, None] ** 2 + axis[None] ** 2 < 0.8
    return torch.stack([u, v, (u + v) / 2**0.5, (u - v) / 2**0.5], 1) * disc


def spheres(count: int = 2, size: int = 16) -> tuple[Tensor, Tensor]:
    """Volumes (B, 4, X, Y, Z) with three nested balls in noise, and the balls (B, 3, X, Y, Z)."""
    draw = torch.Generator().manual_seed(1)
    axis = torch.arange(size) - size / 2 + 0.5
    distance = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    regions = (
        torch.stack([distance < r * size / 16 for r in (6, 4.5, 3)]).float().expand(count, -1, -1, -1, -1)
    )
    signal = torch.cat([regions, regions.sum(1, keepdim=True)], 1)
    return signal + 0.3 * torch.randn(count, 4, size, size, size, generator=draw), regions
