"""The border between upper and lower jaw.

Arrays are on one coarse grid; those of teeth are probabilities.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MIN_SHARE = 0.8  # of the teeth that two parts of the bone must hold
MIN_APART_MM = 6.0
REACH_MM = 12.0  # distances beyond this are all alike

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]


def between_parts(hard: Mask, teeth: Volume, step: float) -> tuple[Volume, float] | None:
    """Returns how far each place is on the upper side if teeth lie in two parts of the bone, and their share.

    None if they do not, or if the parts do not lie one over the other.

    Args:
        hard: bone and teeth.
        teeth: of both jaws.
        step: size of the voxels in millimetres.
    """
    parts, count = ndimage.label(hard)
    if count < 2:
        return None
    weight = ndimage.sum_labels(teeth, parts, np.arange(1, count + 1))
    first, second = np.argsort(-weight)[:2] + 1
    share = (weight[first - 1] + weight[second - 1]) / max(float(teeth.sum()), 1e-6)
    if share < MIN_SHARE or weight[second - 1] < 0.2 * weight[first - 1]:
        return None
    centres = {int(part): ndimage.center_of_mass(teeth, parts, part) for part in (first, second)}
    upper = max(centres, key=lambda part: centres[part][2])
    lower = int(second if upper == first else first)
    apart = (centres[upper][2] - centres[lower][2]) * step
    if apart < MIN_APART_MM or not _above(parts == upper, parts == lower, teeth):
        return None
    return between(parts == upper, parts == lower, step), float(share)


def between(upper: Mask, lower: Mask, step: float) -> Volume:
    """Returns how far each place is on the side of the upper of two things, in millimetres."""
    far = [ndimage.distance_transform_edt(~part) * step for part in (lower, upper)]
    return (np.clip(far[0], 0, REACH_MM) - np.clip(far[1], 0, REACH_MM)).astype(np.float32) / 2


def _above(upper: Mask, lower: Mask, teeth: Volume) -> bool:
    """Whether the teeth of one part lie over those of the other wherever both are seen."""
    heights = np.arange(teeth.shape[2])
    top, bottom = lower & (teeth > 0.5), upper & (teeth > 0.5)
    both = top.any(2) & bottom.any(2)
    if not both.any():
        return False
    gap = np.where(bottom, heights, len(heights)).min(2) - np.where(top, heights, -1).max(2)
    return bool((gap[both] > 0).mean() > 0.9)
