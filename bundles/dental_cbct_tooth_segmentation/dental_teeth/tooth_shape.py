"""One tooth of a label map: its length, whether the field of view cuts it, and metal in and near it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dental_teeth.frame import Array
from dental_teeth.panorama import METAL_HU
from medbundles.images import RAS_FROM_LPS, spacing_of

NEAR_MM = 3.0
ABOVE_ENAMEL, MOST_METAL_HU = 1.5, 6500.0
MIN_METAL_MM3 = 0.5  # less is noise
OWN_SHARE = 0.1  # of a piece of metal; of a neighbour's crown less shines into a tooth
CLIPPED_HU = (2900.0, 4100.0)  # scanners of 12 bits end between, and all their metal has the last value
MIN_SECTION_MM2 = 0.3  # of a tooth, at the tips of its crown and root
STOUT = 1.5  # a tooth is stout if its variance along and across differ by less than this factor
INSIDE, NEAR, NONE = "inside", "near", "none"

Mask = NDArray[np.bool_]
Box = tuple[slice, ...]


def largest_piece(mask: Mask) -> Mask:
    """Returns the largest connected part of a mask; touching corners connect."""
    pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
    return mask if count < 2 else pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])


def tooth_length(mask: Mask, affine: Array) -> float:
    """Returns the length of a tooth from the tip of its crown to the end of its longest root.

    That is its extent along its long axis, the principal axis of its voxels; of a stout tooth, as molars
    can be, the steepest of the three. Thinner sections than 0.3 mm2 at both ends do not count.

    Args:
        mask: (X, Y, Z).
        affine: RAS affine; only directions and spacing matter.
    """
    axes = (RAS_FROM_LPS @ np.asarray(affine, float))[:3, :3]
    points = np.argwhere(mask) @ axes.T
    spread = points - points.mean(0)
    variances, directions = np.linalg.eigh(spread.T @ spread)
    stout = variances[2] < STOUT * variances[1]
    along = directions[:, np.abs(directions[2]).argmax()] if stout else directions[:, 2]
    voxel = abs(float(np.linalg.det(axes)))
    step = max(voxel ** (1 / 3), float(np.abs(along @ axes).max()))  # every section meets voxels
    height = spread @ along
    section = np.bincount(((height - height.min()) / step + 1e-6).astype(int)) * voxel / step
    thick = np.flatnonzero(section >= MIN_SECTION_MM2)
    return float((thick[-1] - thick[0] + 1) * step) if len(thick) else float(step)


def is_cut(mask: Mask, box: Box, shape: Sequence[int], outside: tuple[int, Mask] | None) -> bool:
    """Whether a tooth reaches the faces of the volume or what was never scanned.

    Args:
        mask: the tooth's voxels in its box.
        box: where that is in the volume.
        shape: of the volume.
        outside: as of `outside_field`.
    """
    if any(part.start == 0 or part.stop == size for part, size in zip(box, shape, strict=True)):
        return True
    if outside is None:
        return False
    upwards, unseen = outside
    plane = tuple(slice(p.start - 1, p.stop + 1) for axis, p in enumerate(box) if axis != upwards)
    seen = ndimage.binary_dilation(np.pad(mask.any(upwards), 1), np.ones((3, 3)))
    return bool((seen & unseen[plane]).any())


def outside_field(image: NDArray, affine: Array) -> tuple[int, Mask]:
    """Returns the axis of a scan that runs upwards, and in the plane across it what was never scanned.

    Scans of a round field are stored in a box, filled up with one value: columns that hold nothing but the
    value of the first corner.
    """
    upwards = int(np.argmax(np.abs(np.asarray(affine, float)[2, :3])))
    columns = np.moveaxis(image, upwards, -1)
    fill = columns[0, 0, 0]
    if not (columns[0, 0] == fill).all():
        return upwards, np.zeros(columns.shape[:2], bool)
    return upwards, np.stack([(plane == fill).all(-1) for plane in columns])


def metal_threshold(image: NDArray, teeth: Sequence[NDArray], voxel_mm3: float) -> float:
    """Returns the HU from which on there is metal.

    Half as much again as the enamel of this scan, since scanners differ by so much, between 4000 and 6500 HU.
    A scan that ends below that has all its metal at its last value.

    Args:
        image: HU.
        teeth: the HU of the voxels of each tooth.
        voxel_mm3: size of a voxel.
    """
    # Crowns of metal raise this in some teeth, but hardly in three quarters of them.
    enamel = np.percentile([np.percentile(values, 98) for values in teeth], 25) if len(teeth) else 0.0
    limit = float(np.clip(ABOVE_ENAMEL * enamel, METAL_HU, MOST_METAL_HU))
    top = image.max()
    ends = CLIPPED_HU[0] <= top <= min(CLIPPED_HU[1], limit)
    if ends and np.count_nonzero(image == top) * voxel_mm3 >= MIN_METAL_MM3:
        return float(top)
    return limit


def metal_of(mask: Mask, image: NDArray, affine: Array, metal_hu: float) -> str:
    """Returns whether metal is inside a tooth, within 3 mm of it, or neither.

    Args:
        mask: the tooth and at least 3 mm around it.
        image: HU of the same place.
        affine: RAS affine, for the size of the voxels.
        metal_hu: metal is at least so dense.
    """
    metal = image >= metal_hu
    least = MIN_METAL_MM3 / abs(float(np.linalg.det(affine[:3, :3])))
    if metal.sum() < least:
        return NONE
    pieces, count = ndimage.label(metal)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    held = np.bincount(pieces[mask], minlength=count + 1)[1:]
    if ((held >= least) & (held >= OWN_SHARE * sizes)).any():
        return INSIDE
    far = ndimage.distance_transform_edt(~mask, sampling=spacing_of(affine, 3))
    return NEAR if (metal & (far <= NEAR_MM)).sum() >= least else NONE


def grown(box: Box, margin: Sequence[float], shape: Sequence[int]) -> Box:
    """Returns a box with a margin of voxels on all sides, as far as the volume goes."""
    parts = zip(box, np.ceil(margin).astype(int).tolist(), shape, strict=True)
    return tuple(slice(max(0, p.start - m), min(size, p.stop + m)) for p, m, size in parts)
