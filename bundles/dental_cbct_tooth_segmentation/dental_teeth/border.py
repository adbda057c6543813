"""The border between upper and lower jaw: of a bone in two parts, or along the valley between touching teeth.

Arrays are on the coarse grid of `dental_teeth.jaws`, w their heights in millimetres; `dense` is 0 to 1.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dental_teeth.frame import Array

BITE_REACH_MM = 7.0  # of the surface, above and below its plane
CROWN_MM = 9.0
MIN_SHARE = 0.8  # of the dense tissue that two parts of the bone must hold
MIN_APART_MM = 6.0

Volume = NDArray[np.float32]


def rise(values: Volume, low: float, high: float) -> Volume:
    """Returns 0 up to `low`, 1 from `high` on, and a straight line between."""
    return np.clip((values - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0, 1)


def two_parts(hard: NDArray[np.bool_], dense: Volume, step: float) -> tuple[Volume, float] | None:
    """Returns how far each place is on the upper side if teeth lie in two parts of the bone, and their share.

    None if they do not, or if the parts do not lie one over the other.
    """
    parts, count = ndimage.label(hard)
    if count < 2:
        return None
    weight = ndimage.sum_labels(dense, parts, np.arange(1, count + 1))
    first, second = np.argsort(-weight)[:2] + 1
    share = (weight[first - 1] + weight[second - 1]) / max(float(dense.sum()), 1e-6)
    if share < MIN_SHARE or weight[second - 1] < 0.2 * weight[first - 1]:
        return None
    centres = {int(part): ndimage.center_of_mass(dense, parts, part) for part in (first, second)}
    upper = max(centres, key=lambda part: centres[part][2])
    lower = int(second if upper == first else first)
    apart = (centres[upper][2] - centres[lower][2]) * step
    if apart < MIN_APART_MM or not _above(parts == upper, parts == lower, dense):
        return None
    far = [ndimage.distance_transform_edt(parts != part) * step for part in (lower, upper)]
    return (np.clip(far[0], 0, 12) - np.clip(far[1], 0, 12)).astype(np.float32) / 2, float(share)


def _above(upper: NDArray[np.bool_], lower: NDArray[np.bool_], dense: Volume) -> bool:
    """Whether the dense tissue of one part lies over that of the other wherever both are seen."""
    heights = np.arange(dense.shape[2])
    top, bottom = lower & (dense > 0.5), upper & (dense > 0.5)
    both = top.any(2) & bottom.any(2)
    if not both.any():
        return False
    gap = np.where(bottom, heights, len(heights)).min(2) - np.where(top, heights, -1).max(2)
    return bool((gap[both] > 0).mean() > 0.9)


def meeting_height(side: Volume, dense: Volume, w: Array) -> float:
    """Returns the height at which least of the teeth is on the other jaw's side."""
    upper = (dense * (side > 0)).sum((0, 1))
    lower = (dense * (side <= 0)).sum((0, 1))
    wrong = np.cumsum(upper) + lower.sum() - np.cumsum(lower)
    return float(w[wrong <= wrong.min() + 1e-3 * dense.sum()].mean())


def valley(dense: Volume, w: Array) -> tuple[float, float]:
    """Returns the height poorest in dense tissue between two rows of crowns, and how deep that valley is."""
    profile = ndimage.gaussian_filter1d(dense.sum((0, 1)), 1.0)
    reach = round(CROWN_MM / (w[1] - w[0]))
    padded = np.pad(profile, reach)
    below = np.stack([padded[k : k + len(profile)] for k in range(reach)]).max(0)
    above = np.stack([padded[k + reach + 1 : k + reach + 1 + len(profile)] for k in range(reach)]).max(0)
    depth = (np.minimum(below, above) - profile) / max(float(profile.max()), 1e-6)
    best = int(np.argmax(depth))
    return float(w[best]), float(depth[best])


def only_jaw(hard: NDArray[np.bool_], dense: Volume, w: Array) -> tuple[bool, float]:
    """Returns whether the only jaw is the upper one, by where bone lies from crowns, and the crowns' edge."""
    crowns, bone = dense.sum((0, 1)), hard.sum((0, 1))
    share = np.cumsum(crowns) / max(float(crowns.sum()), 1e-6)
    lower = np.average(w, weights=bone + 1e-9) < np.average(w, weights=crowns + 1e-9)
    if lower:
        return False, float(w[np.searchsorted(share, 0.995).clip(0, len(w) - 1)] + 1.0)
    return True, float(w[np.searchsorted(share, 0.005).clip(0, len(w) - 1)] - 1.0)


def surface(cost: Volume, dense: Volume, w: Array, level: float) -> tuple[Volume, float]:
    """Returns how far each place is above a surface near a height, and how well that avoids teeth, 0 to 1."""
    near = np.flatnonzero(np.abs(w - level) <= BITE_REACH_MM)
    away = np.abs(w[near] - level).astype(np.float32)
    best = _matched(cost[:, :, near] + 0.015 * away)
    height = w[near][best]
    teeth = dense[:, :, near].max(2) > 0.5
    height = ndimage.gaussian_filter(ndimage.median_filter(height, 3), 0.7)
    met = np.take_along_axis(cost[:, :, near], best[..., None], 2)[..., 0]
    sure = 1 - float(met[teeth].mean()) if teeth.any() else 0.0
    return (w - height[..., None]).astype(np.float32), sure


def _matched(cost: Volume, small_step: float = 0.12, large_step: float = 0.5) -> NDArray[np.intp]:
    """Semi-global matching: the index of least cost along the last axis, with few and small steps."""
    total = np.zeros_like(cost)
    for axis, flip in product((0, 1), (False, True)):
        lines = np.moveaxis(cost, axis, 0)[:: -1 if flip else 1]
        for drift in (-1, 0, 1):
            paths = np.moveaxis(np.empty_like(cost), axis, 0)
            before = lines[0]
            paths[0] = before
            for i in range(1, len(lines)):
                # Diagonal paths come from a neighbour of the previous line; the edge continues itself.
                shifted = (
                    before
                    if drift == 0
                    else before[np.clip(np.arange(len(before)) + drift, 0, len(before) - 1)]
                )
                before = lines[i] + _cheapest(shifted, small_step, large_step)
                paths[i] = before
            total += np.moveaxis(paths[:: -1 if flip else 1], 0, axis)
    return np.argmin(total, axis=2)


def _cheapest(before: Volume, small_step: float, large_step: float) -> Volume:
    least = before.min(1, keepdims=True)
    beside = np.pad(before, ((0, 0), (1, 1)), constant_values=np.inf)
    steps = np.minimum(beside[:, :-2], beside[:, 2:]) + small_step
    return np.minimum(np.minimum(before, steps), least + large_step) - least
