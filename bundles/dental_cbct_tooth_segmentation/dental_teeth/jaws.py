"""Upper and lower jaw of a scan: where their teeth are, how each is levelled, and what belongs to which.

A network marks the teeth of either jaw on a coarse copy of the scan (in training the labels say it). Each
jaw then has a frame of its own, level with its row of teeth: jaws that are held open do not lie parallel.
Where a bite block keeps them apart, the border runs between two parts of the bone, else midway between upper
and lower teeth.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dental_teeth.border import Volume, between, between_parts
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
MIN_TEETH_MM3 = 100.0  # of a jaw: less than any tooth
TOOTH_MM3 = 400.0  # about one tooth
TYPICAL_TILT, TYPICAL_HEIGHT_MM = 0.25, 6.0  # slopes of heads, and how teeth spread about their level
BEYOND_MM = 2.5  # how far a tooth may stand out of its row
UPPER, LOWER = "upper", "lower"

Finder = Callable[[Volume, Array], Volume]  # probabilities (2, X, Y, Z) of upper and lower teeth


@dataclass(frozen=True)
class Jaw:
    """One jaw on a coarse grid of its own.

    Attributes:
        frame: level with its teeth; w is 0 at the edge of the crowns, and grows upwards in both jaws.
        grid: the coarse grid along the frame.
        teeth: probability that a place is a tooth of this jaw.
        own: about how far inside (positive) or outside of what belongs to this jaw a place is, millimetres.
    """

    frame: Frame
    grid: Grid
    teeth: Volume
    own: Volume

    def own_at(self, positions: NDArray, *, device: str | torch.device = "cpu") -> torch.Tensor:
        """Returns `own` at positions (..., 3) on the coarse grid, that of the nearest place outside it."""
        return sample(self.own, positions, fill=None, device=device)


@dataclass(frozen=True)
class Jaws:
    """The jaws of a scan that have teeth.

    Attributes:
        jaws: by name, upper first.
        method: how they were told apart: "components" (two parts of the bone), "teeth" or "single".
        confidence: 0 to 1, how clearly teeth were seen as such.
    """

    jaws: Mapping[str, Jaw]
    method: str
    confidence: float

    @property
    def present(self) -> tuple[str, ...]:
        """The names of the jaws that have teeth."""
        return tuple(self.jaws)


def split_jaws(volume: NDArray, affine: Array, find: Finder) -> Jaws:
    """Returns the jaws of a scan (X, Y, Z) of any orientation and spacing.

    Args:
        volume: HU-like values.
        affine: RAS affine.
        find: marks the teeth of both jaws on a coarse volume with its affine.

    Raises:
        NotDentalError: there is no hard tissue in it, or no tooth.
    """
    small, place = shrunk(*towards_left_back_up(volume, affine), COARSE_MM)
    spacing = spacing_of(place, 3)
    bone = hard_threshold(small, spacing)
    teeth = dict(zip((UPPER, LOWER), find(small, place), strict=True))
    voxel = float(np.prod(spacing))
    seen = {name: one for name, one in teeth.items() if (one > 0.5).sum() * voxel >= MIN_TEETH_MM3}
    if not seen:
        raise NotDentalError(
            "no teeth were found in this volume",
            expected="a cone-beam CT of a jaw with teeth in HU-like values: water near 0, air near -1000",
            advice="check that the volume shows teeth, and which way is up in its header",
        )
    step = min(spacing)
    parts = between_parts(small > bone, np.maximum(*teeth.values()), step) if len(seen) == 2 else None
    if parts is not None:
        side, method = parts[0], "components"
    elif len(seen) == 2:
        side, method = between(teeth[UPPER] > 0.5, teeth[LOWER] > 0.5, step), "teeth"
    else:
        side, method = None, "single"
    sure = float(np.mean([one[one > 0.5].mean() for one in seen.values()]))
    logger.info("jaws with teeth: %s (told apart by: %s)", ", ".join(seen), method)
    return Jaws({name: _levelled(name, one, side, place) for name, one in seen.items()}, method, sure)


def otsu(values: NDArray, classes: int = 3, bins: int = 192) -> tuple[float, ...]:
    """Returns the one or two thresholds that part values into classes of least variance.

    The outermost half percent counts as its limit, and so does metal: neither must spread the histogram.
    """
    low, high = np.percentile(values, (0.5, 99.5))
    high = max(min(high, METAL_HU), low + 1e-6)
    counts, edges = np.histogram(np.clip(values, low, high), bins)
    mass = np.r_[0.0, np.cumsum(counts)]
    moment = np.r_[0.0, np.cumsum(counts * (edges[1:] + edges[:-1]) / 2)]

    def between_cuts(first: NDArray, last: NDArray) -> NDArray:
        inside = mass[last] - mass[first]
        return np.where(inside > 0, (moment[last] - moment[first]) ** 2 / np.maximum(inside, 1), -np.inf)

    cut, end, none = np.arange(bins + 1), np.array(bins), np.array(0)
    if classes == 2:
        return (float(edges[np.argmax(between_cuts(none, cut) + between_cuts(cut, end))]),)
    i, j = np.meshgrid(cut, cut, indexing="ij")
    score = between_cuts(none, i) + between_cuts(i, j) + between_cuts(j, end)
    first, last = np.unravel_index(np.argmax(np.where(i < j, score, -np.inf)), score.shape)
    return float(edges[first]), float(edges[last])


def hard_threshold(small: Volume, spacing: tuple[float, ...]) -> float:
    """Returns the value from which on tissue is hard.

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
    return bone


def _levelled(name: str, teeth: Volume, side: Volume | None, affine: Array) -> Jaw:
    """A jaw in its own frame; without a `side` all that is not beyond its crowns belongs to it."""
    frame = level_frame(teeth, affine)
    points = transformed(np.argwhere(teeth > 0.5).astype(float), frame.from_voxels(affine))
    edge = float(np.percentile(points[:, 2], 2 if name == UPPER else 98))
    frame = Frame(frame.rotation, frame.origin + edge * frame.rotation[2])
    step = max(COARSE_MM, min(spacing_of(affine, 3)))  # no finer than the scan
    there, grid = on_frame(teeth, affine, frame, step, fill=0.0)
    sign = 1 if name == UPPER else -1
    if side is None:
        w = grid.axis(2, there.shape[2])
        own = np.broadcast_to((sign * w + BEYOND_MM).astype(np.float32), there.shape)
    else:
        own = sign * on_frame(side, affine, frame, step, fill=None)[0]
    return Jaw(frame, grid, there, np.ascontiguousarray(own, np.float32))


def level_frame(teeth: Volume, affine: Array) -> Frame:
    """Returns the frame in which the teeth of a jaw lie at one height.

    A plane through the teeth, fitted in two steps: slopes that few teeth say little about stay small.
    """
    frame = upright(affine, teeth.shape)
    index = np.argwhere(teeth > 0.5).astype(float)
    count = len(index) * float(np.prod(spacing_of(affine, 3))) / TOOTH_MM3
    prior = (TYPICAL_HEIGHT_MM / TYPICAL_TILT) ** 2 * np.eye(2)
    for _ in range(3):
        points = transformed(index, frame.from_voxels(affine))
        spread = np.atleast_2d(np.cov(points.T)) if len(points) > 1 else np.zeros((3, 3))
        slope = np.linalg.solve(count * spread[:2, :2] + prior, count * spread[:2, 2])
        frame = Frame(_tilted(frame.rotation, slope), frame.origin)
    return frame


def _tilted(rotation: Array, slope: Array) -> Array:
    """Axes whose third is at right angles to a plane that rises by so much per millimetre left and back."""
    up = np.array([-slope[0], -slope[1], 1.0]) @ rotation
    up /= np.linalg.norm(up)
    back = rotation[1] - (rotation[1] @ up) * up
    back /= np.linalg.norm(back)
    return np.stack([np.cross(back, up), back, up])
