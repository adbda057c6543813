"""Sharpness across a circular edge: edge profile, its 10-90 % width, modulation transfer function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Bins per pixel of the oversampled profile.
_OVERSAMPLING = 4
# How far from the edge its two levels begin, as a part of the margin.
_PLATEAU = 0.6
# What is fitted around a crossing, to each side, as a part of the width.
_REACH = 0.3


@dataclass(frozen=True)
class EdgeResponse:
    """The profile across an edge and what follows from it.

    Args:
        distance: mm from the edge, positive outside the disc.
        profile: the mean of the image at each distance.
        inside: the level of the disc.
        outside: the level around it.
        width: the distance in mm between 10 and 90 % of the way from one level to the other.
        frequency: cycles per mm.
        mtf: the modulation transfer at each frequency, 1 at zero.
    """

    distance: Array
    profile: Array
    inside: float
    outside: float
    width: float
    frequency: Array
    mtf: Array

    @property
    def contrast(self) -> float:
        """The disc's level less that around it."""
        return self.inside - self.outside

    def frequency_at(self, level: float) -> float | None:
        """Returns the first frequency at which the MTF falls to `level`; None when it stays above."""
        below = np.flatnonzero(self.mtf <= level)
        if not len(below) or below[0] == 0:
            return None
        pair = slice(below[0] - 1, below[0] + 1)
        return float(np.interp(level, self.mtf[pair][::-1], self.frequency[pair][::-1]))


def edge_response(
    image: ArrayLike,
    centre: Sequence[float],
    radius: float,
    pixel_mm: float,
    *,
    margin_mm: float | None = None,
) -> EdgeResponse:
    """Returns the response to the edge of a disc, averaged all around it.

    Args:
        image: a slice (x, y). Averages of several, or differences with and without the disc, lessen noise and
            anatomy.
        centre: the disc's centre (x, y) in pixels.
        radius: the disc's radius in mm.
        pixel_mm: the size of a pixel.
        margin_mm: how far to each side of the edge to look; three quarters of the radius when None.

    Raises:
        ValueError: the band leaves the image, the disc has no contrast, or its edge fills the margin.
    """
    margin = 0.75 * radius if margin_mm is None else margin_mm
    if not 0 < margin < radius:
        raise ValueError(f"The margin must lie between 0 and the radius {radius} mm, got {margin}.")
    distance, profile = _profile(np.asarray(image, dtype=np.float64), centre, radius, pixel_mm, margin)
    inside = float(profile[distance < -_PLATEAU * margin].mean())
    outside = float(profile[distance > _PLATEAU * margin].mean())
    if inside == outside:
        raise ValueError("The disc has the level of its surroundings, so there is no edge.")
    width = _rise(distance, (profile - inside) / (outside - inside))
    frequency, mtf = _transfer(distance, profile, pixel_mm)
    return EdgeResponse(distance, profile, inside, outside, width, frequency, mtf)


def _profile(
    image: Array, centre: Sequence[float], radius: float, pixel_mm: float, margin: float
) -> tuple[Array, Array]:
    """Returns distances from the edge and the mean of the image at each."""
    if image.ndim != 2 or not np.isfinite(image).all():
        raise ValueError(f"An edge is looked for in a finite slice (x, y), got the shape {image.shape}.")
    reach = (radius + margin) / pixel_mm
    if any(c - reach < 0 or c + reach > n - 1 for c, n in zip(centre, image.shape, strict=True)):
        raise ValueError("The band around the edge of the disc leaves the image.")
    x, y = (np.arange(n) - c for n, c in zip(image.shape, centre, strict=True))
    distance = np.hypot(x[:, None], y[None]) * pixel_mm - radius
    band = np.abs(distance) <= margin
    step = pixel_mm / _OVERSAMPLING
    index = np.floor((distance[band] + margin) / step).astype(int)
    count = np.bincount(index)
    filled = np.flatnonzero(count)
    where = np.bincount(index, distance[band])[filled] / count[filled]
    level = np.bincount(index, image[band])[filled] / count[filled]
    grid = np.arange(-margin + step, margin - step / 2, step)
    return grid, np.interp(grid, where, level)


def _rise(distance: Array, share: Array) -> float:
    """Returns the distance between 10 and 90 % of a rising profile."""
    from scipy.optimize import isotonic_regression

    # Made monotone the profile passes each level once, however noisy it is.
    rising = isotonic_regression(share).x
    low, high = (_first_above(distance, rising, level) for level in (0.1, 0.9))
    # Beyond this its levels are taken, so they would not be levels.
    if max(-low, high) > _PLATEAU * distance[-1]:
        raise ValueError("The edge is too wide for the margin in which it is looked for.")
    reach = _REACH * (high - low)
    return _refined(distance, share, high, 0.9, reach) - _refined(distance, share, low, 0.1, reach)


def _first_above(distance: Array, rising: Array, level: float) -> float:
    after = max(int(np.argmax(rising >= level)), 1)
    first, second = rising[after - 1 : after + 1]
    part = (level - first) / (second - first) if second > first else 0.5
    return float(distance[after - 1] + part * (distance[after] - distance[after - 1]))


def _refined(distance: Array, share: Array, start: float, level: float, reach: float) -> float:
    """Returns where a parabola through the points near `start` passes the level.

    The monotone profile alone would make noisy edges wider than they are.
    """
    near = np.abs(distance - start) <= reach
    if near.sum() < 4:
        return start
    roots = np.roots(np.polyfit(distance[near] - start, share[near] - level, 2))
    real = roots[np.isreal(roots)].real
    if not len(real):
        return start
    return start + float(np.clip(real[np.argmin(np.abs(real))], -reach, reach))


def _transfer(distance: Array, profile: Array, pixel_mm: float) -> tuple[Array, Array]:
    """Returns frequencies up to Nyquist and the MTF; without the profile's own bins."""
    step = distance[1] - distance[0]
    spread = np.diff(profile)
    # The far ends hold only noise; a window that is flat in the middle lets the edge pass unchanged.
    place = np.abs(np.linspace(-1, 1, len(spread)))
    window = np.where(place < 0.5, 1.0, np.cos(np.pi * (place - 0.5)) ** 2)
    n = 4 * len(spread)
    frequency = np.fft.rfftfreq(n, step)
    transfer = np.abs(np.fft.rfft(spread * window, n))
    wanted = frequency <= 0.5 / pixel_mm
    aperture = np.sinc(frequency * step) ** 2
    return frequency[wanted], (transfer / transfer[0] / aperture)[wanted]
