"""From a scan to its label map: panoramas first, then every tooth in a patch of its own.

The scan may be of any size: panoramas and patches are sampled from it, and only the label map and how sure
each of its voxels is are as large as the scan. Shapes: B batch, X, Y and Z the axes of a volume.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from dental_teeth.detector import LEAST_SCORE
from dental_teeth.frame import Array, NotDentalError, sample, transformed
from dental_teeth.numbering import row_of
from dental_teeth.patches import BOTH, SIZE, STEP_MM, Patch, channels, cut, hu_of, known_regions, patch_at
from dental_teeth.reading import read
from dental_teeth.teeth import Reading, Tooth, label_of
from medbundles.engines import FINDINGS
from medbundles.inferers import AutocastInferer
from medbundles.modes import BALANCED, FAST
from medbundles.weights import unwrapped

logger = logging.getLogger(__name__)

NOTHING = -10.0  # logit outside a patch
LEAST_HU = 1300.0  # dentine and enamel; cortical bone has about 1200
METAL_HU = 3500.0
COARSER = 4 / 3  # times the distance of points, in the mode `fast`
MULTIPLE = 8  # of which a side of a patch is one
LEAST_MM3 = 40.0  # less is no tooth, or the rim of one that the field of view cuts


class TeethInferer(Inferer):
    """Labels every tooth of a scan.

    Args:
        patch: points of a tooth's patch along the arch, outwards and along the tooth.
        patch_mm: their distance.
        least_score: how sure the detector must be of a tooth.
        batch_teeth: teeth in one pass; fewer need less memory.
        amp: bfloat16 for the networks, where the device can.
        regions: what the segmenter is shown of a patch, see `channels`.
        least_hu: mean grey value from which on an outline is one of a tooth; bone is less dense. It is not
            asked of teeth near metal, whose shadows may be as dark. 0 believes every outline.
        mode: `exact` computes in float32; `fast` takes patches of about the same extent with fewer points.
    """

    def __init__(
        self,
        patch: Sequence[int] = SIZE,
        patch_mm: float = STEP_MM,
        least_score: float = LEAST_SCORE,
        batch_teeth: int = 2,
        amp: bool = True,
        regions: str = BOTH,
        least_hu: float = LEAST_HU,
        mode: str = BALANCED,
    ) -> None:
        super().__init__()
        self.least_hu = float(least_hu)
        self.patch, self.patch_mm = tuple(int(n) for n in patch), float(patch_mm)
        if mode == FAST:
            self.patch, self.patch_mm = coarser(self.patch), self.patch_mm * COARSER
        self.least_score, self.batch_teeth = float(least_score), max(1, int(batch_teeth))
        self.regions, self.autocast = known_regions(regions), AutocastInferer(amp=amp, mode=mode)

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Returns label maps (B, 1, X, Y, Z), uint8; that of a `MetaTensor` holds each `Reading`."""
        volumes = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        answers = [
            self.label(volume[0], _affine(inputs, index), unwrapped(network))
            for index, volume in enumerate(volumes)
        ]
        labels = torch.stack([labels for labels, _ in answers])[:, None]
        if not isinstance(inputs, MetaTensor):
            return labels
        labels = MetaTensor(labels).copy_meta_from(inputs)
        labels.meta[FINDINGS] = [reading for _, reading in answers]
        return labels

    def label(self, volume: Tensor, affine: Array, networks: nn.Module) -> tuple[Tensor, Reading]:
        """Returns the label map (X, Y, Z) of one scan, and what was read on its panoramas.

        Raises:
            NotDentalError: there is no tooth in it.
        """
        device = volume.device
        scan = volume.cpu().numpy()
        with torch.no_grad():
            reading = read(scan, affine, networks, answer=self._ask, least=self.least_score, device=device)
            logger.info("%d teeth on the panoramas", len(reading.teeth))
            merged, no_teeth = Merged(scan.shape, affine), set()
            teeth = [(view.view, tooth) for view in reading.jaws.values() for tooth in view.teeth]
            for first in range(0, len(teeth), self.batch_teeth):
                batch = teeth[first : first + self.batch_teeth]
                patches = [
                    patch_at(view, tooth.box, size=self.patch, step_mm=self.patch_mm) for view, tooth in batch
                ]
                greys = [cut(scan, affine, patch, device=device) for patch in patches]
                answers = self._logits(greys, patches, batch, networks)
                for (_, tooth), patch, grey, logits in zip(batch, patches, greys, answers, strict=True):
                    if self._is_tooth(grey.cpu().numpy(), logits > 0):
                        merged.add(label_of(tooth.code), patch, logits)
                    else:
                        no_teeth.add(tooth.code)
                logger.debug("%d of %d teeth segmented", min(first + len(batch), len(teeth)), len(teeth))
        return torch.from_numpy(merged.labels).to(device), without(reading, no_teeth)

    def _is_tooth(self, grey: NDArray[np.float32], inside: NDArray[np.bool_]) -> bool:
        """Whether what was outlined is a tooth's size and as dense, or so near metal that nobody can tell."""
        if inside.sum() * self.patch_mm**3 < LEAST_MM3:
            return False
        return bool(hu_of(grey[inside].mean()) >= self.least_hu or hu_of(grey.max()) >= METAL_HU)

    def _logits(
        self,
        greys: list[Tensor],
        patches: list[Patch],
        batch: list[tuple[Any, Tooth]],
        networks: nn.Module,
    ) -> list[NDArray[np.float32]]:
        seen = [
            channels(grey, patch, tooth.mask, self.regions)
            for grey, patch, (_, tooth) in zip(greys, patches, batch, strict=True)
        ]
        return list(self._ask(networks.segmenter, torch.stack(seen))[:, 0].cpu().numpy())

    def _ask(self, network: nn.Module, x: Tensor) -> Tensor:
        return self.autocast(x, network)


def coarser(patch: Sequence[int]) -> tuple[int, ...]:
    """Points a side of a patch of at least the same extent, when they lie `COARSER` times as far apart."""
    return tuple(math.ceil(n / COARSER / MULTIPLE) * MULTIPLE for n in patch)


def without(reading: Reading, codes: Collection[int]) -> Reading:
    """A reading without teeth that turned out to be none.

    Raises:
        NotDentalError: no tooth is left.
    """
    jaws = {
        name: replace(
            jaw,
            teeth=tuple(tooth for tooth in jaw.teeth if tooth.code not in codes),
            missing=tuple(c for c in row_of(name) if c in codes or c in jaw.missing),
        )
        for name, jaw in reading.jaws.items()
    }
    left = replace(reading, jaws=jaws)
    if not left.teeth:
        raise NotDentalError(
            "no teeth were found in this volume",
            expected="a cone-beam CT of a jaw with teeth in HU-like values: water near 0, air near -1000",
            advice="check that the volume shows teeth; if they are darker than 1300 HU, lower --least_hu",
        )
    return left


class Merged:
    """A label map that grows tooth by tooth: where two claim a voxel, the one that is surer has it.

    Args:
        shape: of the scan.
        affine: its RAS affine.
    """

    def __init__(self, shape: Sequence[int], affine: Array) -> None:
        self.affine = affine
        self.labels = np.zeros(shape, np.uint8)
        self._best = np.zeros(shape, np.float16)

    def add(self, label: int, patch: Patch, logits: NDArray[np.float32]) -> None:
        """Adds a tooth from logits (X, Y, Z) on its patch."""
        tooth = largest_part(logits > 0)
        if not tooth.any():
            return
        logits = np.where(tooth | (logits <= 0), logits, -np.abs(logits))  # other parts belong to others
        box = _around(tooth, patch.to_voxels(self.affine), self.labels.shape)
        if box is None:
            return
        index = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in box], indexing="ij"), -1)
        places = transformed(index.astype(float), np.linalg.inv(patch.to_voxels(self.affine)))
        surer = sample(logits, places, fill=NOTHING).numpy().astype(np.float16)
        mine = surer > self._best[box]
        self.labels[box][mine] = label
        self._best[box][mine] = surer[mine]


def largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns the largest connected part of a mask."""
    parts, count = ndimage.label(mask)
    if count <= 1:
        return mask
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])


def _around(tooth: NDArray[np.bool_], matrix: Array, shape: Sequence[int]) -> tuple[slice, ...] | None:
    """The voxels around a tooth on a patch, or None if they are all outside the scan."""
    (found,) = ndimage.find_objects(tooth.astype(np.uint8))
    ends = [(part.start - 1, part.stop) for part in found]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, 3)
    voxels = transformed(corners.astype(float), matrix)
    low = np.clip(np.floor(voxels.min(0)).astype(int), 0, shape)
    high = np.clip(np.ceil(voxels.max(0)).astype(int) + 1, 0, shape)
    if (high <= low).any():
        return None
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _affine(inputs: Tensor, index: int) -> Array:
    """The RAS affine of one scan of a batch; without any, voxels of 1 mm with axes to left, back and up."""
    if not isinstance(inputs, MetaTensor):
        return np.diag([-1.0, -1.0, 1.0, 1.0])
    affine = np.asarray(inputs.affine, float)
    return affine[index] if affine.ndim == 3 else affine
