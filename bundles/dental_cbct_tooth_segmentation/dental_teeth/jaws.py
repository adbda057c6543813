"""Upper and lower jaw of a scan: thresholds, the level of the bite, and which side of it a place is on.

Where a bite block keeps the jaws apart, they are two connected parts of the bone. Where teeth touch, a
surface is looked for that runs through as little hard tissue as it can: a height over every place of the
level plane, found by semi-global matching, so that it may step down in front of the lower incisors
(overbite).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dental_teeth.border import meeting_height, only_jaw, rise, surface, two_parts, valley
from dental_teeth.frame import (
    Array,
    Frame,
    Grid,
    NotDentalError,
    on_frame,
    sample,
    shrunk,
    towards_left_back_up,
    transformed,
    upright,
)
from medbundles.images import spacing_of

logger = logging.getLogger(__name__)

COARSE_MM = 0.8
METAL_HU = 3000.0  # enamel and denser
NO_AIR_HU = -400.0  # a darkest class above this is soft tissue already
MIN_CONTRAST_HU = 250.0  # between soft and hard tissue
MIN_HARD_MM3 = 150.0  # a deciduous incisor has about 200
MAX_PITCH, MAX_ROLL = 28, 24
MIN_VALLEY = 0.12
UPPER, LOWER = "upper", "lower"

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Jaws:
    """Both jaws of a scan, on a coarse grid in the frame of the bite.

    Attributes:
        frame: level with the bite; w is 0 where the jaws meet.
        grid: the coarse grid.
        grey: the scan on it.
        side: about how far above (positive) or below the border between the jaws a place is, in millimetres.
        present: the jaws that are in the field of view.
        method: "components" (two parts of the bone), "valley" (a surface between touching jaws) or "single".
        confidence: 0 to 1; of a valley, how much less hard tissue its surface meets than the teeth beside it.
        bone: the grey value from which on tissue is hard.
        tooth: the grey value that separates dense teeth from most bone.
    """

    frame: Frame
    grid: Grid
    grey: Volume
    side: Volume
    present: tuple[str, ...]
    method: str
    confidence: float
    bone: float
    tooth: float

    def side_at(self, positions: NDArray, *, device: str | torch.device = "cpu") -> torch.Tensor:
        """Returns `side` at positions (..., 3) on the coarse grid, that of the nearest place outside it."""
        return sample(self.side, positions, fill=None, device=device)

    def density(self, jaw: str) -> Volume:
        """Returns how dense one jaw is: 0 up to `bone`, 1 from `tooth` on, 0 in the other jaw."""
        mine = self.side > 0 if jaw == UPPER else self.side <= 0
        return np.where(mine, rise(self.grey, self.bone, self.tooth), np.float32(0))


def split_jaws(volume: NDArray, affine: Array) -> Jaws:
    """Returns the jaws of a scan (X, Y, Z) of any orientation and spacing.

    Raises:
        NotDentalError: there is no hard tissue in it, or too little.
    """
    small, place = shrunk(*towards_left_back_up(volume, affine), COARSE_MM)
    bone, tooth = hard_thresholds(small, spacing_of(place, 3))
    frame = level_frame(small, place, bone, tooth)
    step = max(COARSE_MM, min(spacing_of(place, 3)))  # no finer than the scan
    grey, grid = on_frame(small, place, frame, step)
    grey = ndimage.gaussian_filter(grey, 0.5)
    return _divided(grey, grid, frame, bone, tooth)


def otsu(values: NDArray, classes: int = 3, bins: int = 192) -> tuple[float, ...]:
    """Returns the one or two thresholds that part values into classes of least variance.

    The outermost half percent counts as its limit, and so does metal: neither must spread the histogram.
    """
    low, high = np.percentile(values, (0.5, 99.5))
    high = max(min(high, METAL_HU), low + 1e-6)
    counts, edges = np.histogram(np.clip(values, low, high), bins)
    mass = np.r_[0.0, np.cumsum(counts)]
    moment = np.r_[0.0, np.cumsum(counts * (edges[1:] + edges[:-1]) / 2)]

    def between(first: NDArray, last: NDArray) -> NDArray:
        inside = mass[last] - mass[first]
        return np.where(inside > 0, (moment[last] - moment[first]) ** 2 / np.maximum(inside, 1), -np.inf)

    cut, end, none = np.arange(bins + 1), np.array(bins), np.array(0)
    if classes == 2:
        return (float(edges[np.argmax(between(none, cut) + between(cut, end))]),)
    i, j = np.meshgrid(cut, cut, indexing="ij")
    score = np.where(i < j, between(none, i) + between(i, j) + between(j, end), -np.inf)
    first, last = np.unravel_index(np.argmax(score), score.shape)
    return float(edges[first]), float(edges[last])


def hard_thresholds(small: Volume, spacing: tuple[float, ...]) -> tuple[float, float]:
    """Returns the thresholds of hard tissue and, within it, of teeth.

    Raises:
        NotDentalError: nothing is clearly denser than the rest.
    """
    values = small[np.isfinite(small)]
    lower, bone = otsu(values)
    if not (values < lower).any() or np.median(values[values < lower]) > NO_AIR_HU:
        lower, bone = -np.inf, lower
    soft, hard = values[(values >= lower) & (values < bone)], values[values >= bone]
    contrast = float(np.median(hard) - np.median(soft)) if len(hard) and len(soft) else 0.0
    if contrast < MIN_CONTRAST_HU or len(hard) * np.prod(spacing) < MIN_HARD_MM3:
        raise NotDentalError(
            "no bone or teeth: nothing in this volume is clearly denser than the rest",
            expected="a cone-beam CT of a jaw in HU-like values: water near 0, air near -1000",
            advice="check that the volume shows teeth and that its values were not rescaled to 8 bits",
        )
    return bone, otsu(hard, classes=2)[0]


def level_frame(small: Volume, affine: Array, bone: float, tooth: float) -> Frame:
    """Returns the frame level with the bite, in which the dense crowns lie in the fewest layers.

    Tilts are tried in steps and refined; of equally good ones the smallest is taken.
    """
    frame = upright(affine, small.shape)
    index = np.argwhere(small > tooth)
    weight = np.minimum(small[tuple(index.T)] - tooth, tooth - bone)
    if len(index) > 6000:
        chosen = np.random.default_rng(0).choice(len(index), 6000, replace=False)
        index, weight = index[chosen], weight[chosen]
    points = transformed(index.astype(float), frame.from_voxels(affine))
    best = (0.0, 0.0)
    for step, reach in ((7.0, (MAX_PITCH, MAX_ROLL)), (3.0, (6, 6)), (1.0, (2, 2))):
        spans = [np.arange(b - r, b + r + 0.1, step) for b, r in zip(best, reach, strict=True)]
        tilts = [(float(p), float(r)) for p, r in product(*spans)]
        best = max(tilts, key=lambda tilt: _crowns(points, weight, _turn(*tilt)))
    return Frame(_turn(*best), frame.origin)


def _turn(pitch: float, roll: float) -> Array:
    """Rows: left, back and up of a head tilted by so many degrees about its left and back axes."""
    p, r = np.deg2rad([pitch, roll])
    about_left = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_back = np.array([[np.cos(r), 0, np.sin(r)], [0, 1, 0], [-np.sin(r), 0, np.cos(r)]])
    return about_left @ about_back


def _crowns(points: Array, weight: Array, turn: Array) -> float:
    """How sharply the dense tissue is layered along an axis, a little less for each degree of tilt.

    Seen level, crowns pile up in few heights and the bite between them is empty; a slanted view smears both.
    """
    height = points @ turn[2]
    bins = np.arange(height.min() - 6, height.max() + 7, 1.0)
    profile = ndimage.gaussian_filter1d(np.histogram(height, bins, weights=weight)[0], 1.5)
    tilt = np.degrees(np.arccos(np.clip(turn[2, 2], -1, 1)))
    return float(np.sum((profile / profile.sum()) ** 2)) * (1 - 1e-4 * float(tilt) ** 2)


def _divided(grey: Volume, grid: Grid, frame: Frame, bone: float, tooth: float) -> Jaws:
    dense = rise(grey, tooth, 2 * tooth - bone)
    apart = two_parts(grey > bone, dense, grid.step_mm)
    w = grid.axis(2, grey.shape[2])
    if apart is not None:
        side, share = apart
        level, present, method, confidence = (
            meeting_height(side, dense, w),
            (LOWER, UPPER),
            "components",
            share,
        )
    else:
        level, contrast = valley(dense, w)
        if contrast < MIN_VALLEY:
            is_upper, level = only_jaw(grey > bone, dense, w)
            side = np.broadcast_to((w - level).astype(np.float32), grey.shape)
            present, method, confidence = (UPPER if is_upper else LOWER,), "single", 1 - contrast / MIN_VALLEY
        else:
            side, confidence = surface(rise(grey, bone / 2, tooth), dense, w, level)
            present, method = (LOWER, UPPER), "valley"
    middle = frame.origin + frame.rotation.T @ np.array([0.0, 0.0, level])
    start = grid.start - [0.0, 0.0, level]
    logger.debug("jaws: %s, confidence %.2f", method, confidence)
    return Jaws(
        frame=Frame(frame.rotation, middle),
        grid=Grid(start, grid.step_mm),
        grey=grey,
        side=np.ascontiguousarray(side, np.float32),
        present=present,
        method=method,
        confidence=float(np.clip(confidence, 0, 1)),
        bone=bone,
        tooth=tooth,
    )
