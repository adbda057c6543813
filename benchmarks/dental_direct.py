"""Teeth without a panorama: one network names the tooth of every voxel of a whole scan at once.

Shapes: B batch, K = 33 classes (background and 32 teeth), X, Y and Z the axes of a volume.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import dental_bundle  # noqa: F401  with it the bundle's package is found
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from dental_teeth.frame import Array, nearest, on_frame, sample, shrunk, transformed, upright
from dental_teeth.inferer import largest_part
from dental_teeth.patches import density
from dental_teeth.reading import Answer, plainly
from dental_teeth.samples import _Samples
from dental_teeth.teeth import FDI_CODES, label_of, to_labels
from medbundles.folding import FoldedSegResNet
from medbundles.saving import affine_of, array_of

CLASSES = len(FDI_CODES) + 1
SPACING_MM, SIZE = 0.8, (112, 104, 80)
SLAB = 8  # planes of a scan that answers are brought back to at a time
# The label of the tooth on the other side.
MIRRORED = np.array([0, *(label_of(code + (10 if code // 10 % 2 else -10)) for code in FDI_CODES)], np.uint8)


class DirectNetwork(FoldedSegResNet):
    """Logits (B, K, X, Y, Z) of whole scans (B, 1, X, Y, Z), axes to left, back and up.

    Args:
        width: channels of the first level, a multiple of 8.
        spacing_mm: of the voxels; kept among the weights, which are good for no other.
        size: voxels of what it is trained on; kept, too, since norms depend on how much air is around a scan.
        fold: voxels a side that are taken together.
    """

    def __init__(
        self, width: int = 32, spacing_mm: float = SPACING_MM, size: Sequence[int] = SIZE, fold: int = 2
    ) -> None:
        super().__init__(1, CLASSES, width, blocks=(1, 1, 1), fold=fold)
        self.register_buffer("micrometres", torch.tensor(round(1000 * spacing_mm)))
        self.register_buffer("voxels", torch.tensor([int(count) for count in size]))

    @property
    def spacing_mm(self) -> float:
        """Size of a voxel."""
        return int(self.micrometres) / 1000

    @property
    def size(self) -> tuple[int, ...]:
        """Voxels of what it is trained on."""
        return tuple(self.voxels.tolist())


class DirectLoss(nn.Module):
    """Cross entropy, plus one less the mean Dice of the teeth that are there.

    Half of the cross entropy's weight is on teeth, which are a twentieth of a scan, and teeth that no scan of
    the batch has are left to it: otherwise training rests for long where everything is background.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (B, K, X, Y, Z) against labels (B, 1, X, Y, Z)."""
        logits, labels = logits.float(), target[:, 0].long()
        entropy = functional.cross_entropy(logits, labels, reduction="none")
        teeth = labels > 0
        parts = [entropy[part].mean() for part in (teeth, ~teeth) if part.any()]
        there = torch.unique(labels[teeth])
        found = logits.softmax(1)[:, there]
        wanted = (labels[:, None] == there.view(1, -1, 1, 1, 1)).float()
        both, sizes = (found * wanted).sum((0, 2, 3, 4)), (found + wanted).sum((0, 2, 3, 4))
        dice = (2 * both / sizes).mean() if len(there) else logits.new_tensor(1.0)
        return torch.stack(parts).mean() + 1 - dice


class RandWhole(_Samples):
    """Whole scans (1, X, Y, Z) with the label of every voxel (1, X, Y, Z): turned, shifted, scaled, mirrored.

    Args:
        views: how often a case is shown.
        size: points of the grid; a scan that is larger is shown in part.
        spacing_mm: their distance.
        vary: strength of all random changes.
    """

    def __init__(
        self,
        views: int = 2,
        size: Sequence[int] = SIZE,
        spacing_mm: float = SPACING_MM,
        vary: float = 1.0,
    ) -> None:
        super().__init__(vary)
        self.views, self.size, self.spacing_mm = int(views), tuple(size), float(spacing_mm)

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[str, Tensor]]:
        scan, codes = (array_of(data[key])[0] for key in ("image", "label"))
        affine = affine_of(data["image"])
        labels, small = to_labels(codes.astype(np.uint8)), shrunk(scan, affine, self.spacing_mm)
        return [self._shown(*small, labels, affine) for _ in range(self.views)]

    def _shown(self, small: NDArray, place: Array, labels: NDArray, affine: Array) -> dict[str, Tensor]:
        frame = upright(place, small.shape)
        index = np.stack(np.meshgrid(*map(np.arange, self.size), indexing="ij"), -1).astype(float)
        extent = np.abs(frame.from_voxels(place)[:3, :3]) @ small.shape
        matrix = self._placed(extent)
        points = transformed(index, matrix)
        grey = density(sample(small, transformed(points, frame.to_voxels(place))))
        seen = nearest(labels, transformed(points, frame.to_voxels(affine)))
        seen = MIRRORED[seen] if np.linalg.det(matrix[:3, :3]) < 0 else seen
        shown = self._contrast(grey, noise=0.05).clamp_min(0)
        return {"image": shown[None], "label": torch.from_numpy(seen)[None].float()}

    def _placed(self, extent: Array) -> Array:
        """The 4x4 matrix from positions on the grid to millimetres about the middle of a scan."""
        matrix, middle = np.eye(4), (np.array(self.size) - 1) / 2
        scale, beyond = self.spacing_mm, np.maximum(extent - self.spacing_mm * np.array(self.size), 0) / 2
        turn, shift = np.eye(3), np.zeros(3)
        if self.vary:
            scale *= 1 + 0.08 * self.vary * self.R.uniform(-1, 1)
            turn = _turned(np.deg2rad(8) * self.vary * self.R.uniform(-1, 1, 3))
            shift = (beyond + 4 * self.vary) * self.R.uniform(-1, 1, 3)
            if self.R.rand() < 0.5:
                turn = turn @ np.diag([-1.0, 1.0, 1.0])
        matrix[:3, :3] = scale * turn
        matrix[:3, 3] = shift - matrix[:3, :3] @ middle
        return matrix


def _turned(angles: Array) -> Array:
    """The rotation by small angles about the three axes in turn."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one, (i, j) = np.eye(3), [k for k in range(3) if k != axis]
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ one
    return turn


@torch.no_grad()
def direct_labels(
    volume: Tensor, affine: Array, network: DirectNetwork, *, answer: Answer = plainly
) -> NDArray[np.uint8]:
    """Returns the label map (X, Y, Z) of a scan on its own grid; of each tooth its largest part.

    Args:
        volume: HU-like values, on the network's device.
        affine: RAS affine of the scan.
        network: what names the voxels.
        answer: how to ask it.
    """
    small, place = shrunk(volume.cpu().numpy(), affine, network.spacing_mm)
    frame = upright(place, small.shape)
    grey, grid = on_frame(small, place, frame, network.spacing_mm)
    lacking = [max(0, wanted - there) for wanted, there in zip(network.size, grey.shape, strict=True)]
    before = [count // 2 for count in lacking]
    around = [end for a, all_of in zip(before[::-1], lacking[::-1], strict=True) for end in (a, all_of - a)]
    shown = functional.pad(density(torch.from_numpy(grey)), around)  # air, as in training
    logits = answer(network, shown[None, None].to(volume.device))[0]
    moved = np.eye(4)
    moved[:3, 3] = before
    labels = brought_back(logits, moved @ grid.to_index() @ frame.from_voxels(affine), volume.shape)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            mine = labels[box] == label
            labels[box][mine & ~largest_part(mine)] = 0
    return labels


def brought_back(logits: Tensor, matrix: Array, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Returns the likeliest class of every voxel of a scan, the logits interpolated between theirs.

    Args:
        logits: (K, U, V, W).
        matrix: 4x4, from voxels of the scan to positions among the logits.
        shape: of the scan.
    """
    found = np.empty(tuple(shape), np.uint8)
    scale = 2 / np.maximum(np.array(logits.shape[1:]) - 1, 1)
    for first in range(0, shape[0], SLAB):
        axes = (np.arange(first, min(first + SLAB, shape[0])), *map(np.arange, shape[1:]))
        places = transformed(np.stack(np.meshgrid(*axes, indexing="ij"), -1).astype(float), matrix)
        # grid_sample counts -1 to 1 from the first to the last point, the last axis first.
        grid = torch.from_numpy((places * scale - 1)[..., ::-1].astype(np.float32)).to(logits.device)
        part = functional.grid_sample(logits[None], grid[None], align_corners=True, padding_mode="border")
        found[first : first + SLAB] = part[0].argmax(0).cpu().numpy()
    return found
