"""Small round lesions of known contrast, put into any slice.

Lengths are mm, positions (x, y) from the middle of the slice: x to the patient's left, y to the back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

# HU that count as a tissue once a slice is smoothed, and how steep it may be there, HU per mm.
TISSUES = {"soft": (20.0, 120.0), "lung": (-970.0, -700.0)}
STEEPEST = {"soft": 12.0, "lung": 40.0}
SMOOTHING_MM = 1.5
CLEARANCE_MM = 3.0  # of tissue around a lesion: there the background is measured


@dataclass(frozen=True)
class Lesion:
    """A disc that adds HU to what lies under it.

    Attributes:
        centre_mm: from the middle of the slice.
        radius_mm: at which half of the contrast is reached.
        contrast_hu: added inside, negative for a dark lesion.
        edge_mm: width over which the contrast falls to nothing; at least one pixel.
    """

    centre_mm: tuple[float, float]
    radius_mm: float
    contrast_hu: float
    edge_mm: float = 0.0

    def coverage(self, shape: tuple[int, ...], pixel_mm: float) -> Floats:
        """Fraction of its contrast that the lesion adds to each pixel of a slice, 0 to 1."""
        x, y = (pixel_mm * (np.arange(n) - (n - 1) / 2) for n in shape)
        distance = np.hypot(x[:, None] - self.centre_mm[0], y - self.centre_mm[1])
        place = (self.radius_mm - distance) / max(self.edge_mm, pixel_mm) + 0.5
        return np.clip(place, 0, 1).astype(np.float32)


@dataclass(frozen=True)
class Insertion:
    """A slice with lesions.

    Attributes:
        hu: the slice (x, y).
        lesions: what was inserted.
        coverage: of each lesion (lesion, x, y), 0 to 1; above 0.5 is the lesion's mask.
    """

    hu: Floats
    lesions: tuple[Lesion, ...]
    coverage: Floats = field(repr=False)

    @property
    def masks(self) -> Mask:
        """Where each lesion is (lesion, x, y)."""
        return self.coverage > 0.5

    def rings(self, pixel_mm: float, width_mm: float = CLEARANCE_MM) -> Mask:
        """The background around each lesion (lesion, x, y): clear of its edge and of every other lesion."""
        touched = (self.coverage > 0).any(axis=0)
        wide = [
            Lesion(one.centre_mm, one.radius_mm + width_mm, 0.0).coverage(self.hu.shape, pixel_mm) > 0.5
            for one in self.lesions
        ]
        return np.array(wide, bool).reshape(self.coverage.shape) & ~touched


def insert(hu: Floats, pixel_mm: float, lesions: Sequence[Lesion]) -> Insertion:
    """Adds lesions to a slice in HU (x, y)."""
    shape = np.shape(hu)
    result = np.array(hu, np.float32)
    coverage = np.zeros((len(lesions), *shape), np.float32)
    for index, lesion in enumerate(lesions):
        coverage[index] = lesion.coverage(shape, pixel_mm)
        result += np.float32(lesion.contrast_hu) * coverage[index]
    return Insertion(result, tuple(lesions), coverage)


def room(hu: Floats, pixel_mm: float, tissue: Literal["soft", "lung"] = "soft") -> Floats:
    """Returns for each pixel (x, y) the distance in mm to where its homogeneous tissue ends, 0 outside it."""
    smooth = gaussian_filter(np.asarray(hu, np.float32), SMOOTHING_MM / pixel_mm)
    low, high = TISSUES[tissue]
    slope = np.hypot(*np.gradient(smooth, pixel_mm))
    fits = (smooth > low) & (smooth < high) & (slope < STEEPEST[tissue])
    # A lesion must not reach the border of the slice either.
    fits = np.pad(fits, 1)
    return (distance_transform_edt(fits) * pixel_mm)[1:-1, 1:-1].astype(np.float32)


def random_lesions(
    hu: Floats,
    pixel_mm: float,
    rng: np.random.Generator,
    n: int,
    *,
    contrast_hu: tuple[float, float] = (-40.0, 60.0),
    radius_mm: tuple[float, float] = (1.5, 5.0),
    tissue: Literal["soft", "lung"] = "soft",
) -> list[Lesion]:
    """Returns lesions at random places of homogeneous tissue, apart from each other.

    Args:
        hu: slice (x, y).
        pixel_mm: size of a pixel.
        rng: source of the choice.
        n: how many to try; fewer come back when the slice has no room.
        contrast_hu: range of the contrast; if it crosses zero, contrasts near zero are left out.
        radius_mm: range of the radius.
        tissue: a key of `TISSUES`.
    """
    free = room(hu, pixel_mm, tissue)
    middle = (np.array(free.shape) - 1) / 2
    found: list[Lesion] = []
    for _ in range(n):
        radius, contrast = float(rng.uniform(*radius_mm)), _contrast(rng, contrast_hu)
        places = np.flatnonzero(free >= radius + CLEARANCE_MM)
        draw = rng.random()
        if not len(places):
            continue
        index = np.array(np.unravel_index(places[int(draw * len(places))], free.shape))
        centre = (index - middle) * pixel_mm
        found.append(Lesion((float(centre[0]), float(centre[1])), radius, contrast))
        _occupy(free, index, radius, pixel_mm)
    return found


def _contrast(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """A contrast within limits; if zero lies between them, not fainter than a quarter of the larger."""
    low, high = limits
    if low >= 0 or high <= 0:
        return float(rng.uniform(low, high))
    faintest = 0.25 * max(-low, high)
    dark, bright = max(-low - faintest, 0.0), max(high - faintest, 0.0)
    draw = float(rng.uniform(-dark, bright))
    return draw + (faintest if draw > 0 else -faintest)


def _occupy(free: Floats, index: NDArray[np.intp], radius: float, pixel_mm: float) -> None:
    """Shrinks the room around a lesion, so that no other lesion nor its clearance touches it."""
    x, y = (pixel_mm * (np.arange(n) - at) for n, at in zip(free.shape, index, strict=True))
    np.minimum(free, np.hypot(x[:, None], y) - radius, out=free)
