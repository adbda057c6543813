"""How noisy a CT slice is, seen from the slice alone, and which changes noise does not explain.

Anatomy hides noise at coarse scales, so noise is read at fine ones in the evenest blocks of the slice. How
much coarser noise goes with it follows from the physics of reconstruction: its spectrum is a ramp times the
squared apodisation of the kernel, and where the kernel ends shows in the ratio of two fine bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medbundles import noise_spectra
from medbundles.ct_regions import body_mask

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Widths in pixels of the Gaussians whose removal leaves the three bands.
_FINEST, _FINE, _MIDDLE = 0.7, 1.0, 2.5
# The percentile of the blocks that shows the ratio of the bands in noise, and what undoes its luck.
_EVENEST, _EVENEST_EXCESS = 85, 0.95
# Blocks in which the bands are measured, and their distance, in pixels.
_BLOCK, _STRIDE = 24, 8
# The part of the pixels of the fullest block that a block must have.
_LEAST_FILLED = 0.3
# Edges are looked for after smoothing by this many pixels, and are this many times steeper than noise.
_SLOPE, _STEEP = 1.5, 3.0
# A block counts fully if the ratio of its bands is that of noise; half at this part less.
_TOLERANCE = 0.12
# Noise changes slowly over a slice: what a block tells about its neighbours, and a little about all others.
_NEAR, _FAR, _FAR_WEIGHT = 3.0, 12.0, 0.02
_MAD = 1.4826
# Coarse noise of real spectra against the ramp's: electronic noise and starved rays add some.
_COARSEST = 2.2
# The Gaussians that changes are smoothed with; lesions of about 5 and 12 mm fill them best.
_CHANGE_MM = (2.0, 5.0)
_LEAST_NOISE_HU = 1.0


def noise_map(hu: ArrayLike, *, mask: ArrayLike | None = None) -> NDArray[np.float32]:
    """Returns the local standard deviation of the noise, in HU, of a slice (x, y) or each slice of a volume.

    Args:
        hu: the image; 32 pixels or more along x and y.
        mask: where to look, the body when None. Outside it the map is continued.
    """
    values = np.asarray(hu, dtype=np.float64)
    if values.ndim == 3:
        masks = [None] * values.shape[2] if mask is None else np.moveaxis(np.asarray(mask), -1, 0)
        slices = np.moveaxis(values, -1, 0)
        return np.stack([noise_map(one, mask=m) for one, m in zip(slices, masks, strict=True)], axis=-1)
    if values.ndim != 2 or min(values.shape) < 32 or not np.isfinite(values).all():
        raise ValueError(f"Noise is read from finite slices of 32 pixels or more, got {values.shape}.")
    where = body_mask(values) if mask is None else np.asarray(mask, dtype=bool)
    return _measured(values, where if where.any() else np.ones_like(where))[0].astype(np.float32)


def noise_level(hu: ArrayLike, *, mask: ArrayLike | None = None) -> float:
    """Returns the median over the body, or a mask, of the noise map: one figure in HU for the image."""
    values = np.asarray(hu)
    where = body_mask(values) if mask is None else np.asarray(mask, dtype=bool)
    return float(np.median(noise_map(values, mask=where)[where if where.any() else ...]))


def unexplained(
    before: ArrayLike,
    after: ArrayLike,
    noise: ArrayLike,
    *,
    threshold: float = 5.0,
    pixel_mm: float = 0.7,
    mask: ArrayLike | None = None,
) -> Mask:
    """Returns where an image was changed by more than its noise explains.

    At the default threshold an image from which all noise and nothing else was taken is flagged in less than
    one pixel of a thousand of the body, unless rays are starved. A blob of 8 mm and 60 HU that was invented
    or erased at a tenth of the routine dose is found.

    Args:
        before: the image in HU, (x, y) or (x, y, z).
        after: what became of it.
        noise: its `noise_map`.
        threshold: in standard deviations of the smoothed noise.
        pixel_mm: the size of a pixel in x and y.
        mask: where to look, the body when None.
    """
    return change_score(before, after, noise, pixel_mm=pixel_mm, mask=mask) > threshold


def change_score(
    before: ArrayLike,
    after: ArrayLike,
    noise: ArrayLike,
    *,
    pixel_mm: float = 0.7,
    mask: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """Returns how large a change is against what noise alone would change, in sd, the greater of two scales.

    The change is smoothed, so that a lesion stands out against noise of many times its contrast, and divided
    by the sd that the noise would have after the same smoothing. Outside the mask the score is 0.
    """
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if not first.shape == second.shape == np.shape(noise):
        raise ValueError(f"The shapes differ: {first.shape}, {second.shape}, noise {np.shape(noise)}.")
    change = second - first
    if not np.isfinite(change).all():
        raise ValueError("The images hold values that are not finite.")
    where = body_mask(first) if mask is None else np.asarray(mask, dtype=bool)
    level = np.maximum(np.asarray(noise, dtype=np.float64), _LEAST_NOISE_HU)
    if first.ndim == 3:
        parts = [
            _score_of_slice(first[..., z], change[..., z], level[..., z], pixel_mm, where[..., z])
            for z in range(first.shape[2])
        ]
        return np.stack(parts, axis=-1)
    return _score_of_slice(first, change, level, pixel_mm, where)


def _score_of_slice(
    before: Array, change: Array, noise: Array, pixel_mm: float, where: Mask
) -> NDArray[np.float32]:
    from scipy import ndimage

    score = np.zeros(before.shape)
    if not where.any():
        return score.astype(np.float32)
    _, cutoff = _measured(before, where)
    finest = min(_CHANGE_MM)
    for scale in _CHANGE_MM:
        # Beyond the image there is no change; mirrored noise would add up there.
        smooth = np.abs(ndimage.gaussian_filter(change, scale / pixel_mm, mode="constant")) / noise
        # Below the frequencies that the finest scale sees the spectrum is taken as flat.
        expected = noise_spectra.left(cutoff, finest / pixel_mm) * finest / scale
        # White noise leaves more of itself; the change as a whole shows how much more.
        expected = np.clip(_MAD * np.median(smooth[where]), expected, _COARSEST * expected)
        score = np.maximum(score, smooth / expected)
    return np.where(where, score, 0).astype(np.float32)


def _measured(values: Array, where: Mask) -> tuple[Array, float]:
    """Returns the map of the noise's sd and the cutoff of its spectrum."""
    blocks = _blocks(values, where)
    cutoff = blocks.cutoff()
    level = _level(blocks, cutoff, values.shape)
    # With a first idea of the noise the edges that rise above it can be left out.
    blocks = _blocks(values, where & ~_edges(values, level, cutoff))
    if not blocks.inside.any():
        return level, cutoff
    cutoff = blocks.cutoff()
    return _level(blocks, cutoff, values.shape), cutoff


def _level(blocks: _Blocks, cutoff: float, shape: tuple[int, int]) -> Array:
    """Returns the noise's sd at every pixel from the sd of the fine band in the blocks."""
    from scipy import ndimage

    if not blocks.inside.any():
        return np.zeros(shape)
    log_level = np.log(np.where(blocks.inside, blocks.fine, 1.0))
    weight = blocks.evenness(cutoff)
    top = bottom = 0.0
    for width, share in ((_NEAR, 1.0), (_FAR, _FAR_WEIGHT)):
        top = top + share * ndimage.gaussian_filter(weight * log_level, width, truncate=8)
        bottom = bottom + share * ndimage.gaussian_filter(weight, width, truncate=8)
    level = np.exp(top / np.maximum(bottom, 1e-300))
    # Anatomy only adds to what a block shows, so its own figure is a limit.
    level = np.where(blocks.inside, np.minimum(level, blocks.fine), level)
    return _spread(ndimage.gaussian_filter(level, 1.0) / noise_spectra.removed(cutoff, _FINE), shape)


def _edges(values: Array, level: Array, cutoff: float) -> Mask:
    """Returns where the smoothed slice is steeper than its noise makes it."""
    from scipy import ndimage

    slope = ndimage.gaussian_gradient_magnitude(values, _SLOPE)
    return slope > _STEEP * noise_spectra.slope(cutoff, _SLOPE) * level


@dataclass(frozen=True)
class _Blocks:
    """The sd of three bands in overlapping blocks (x, y) of a slice, and which blocks are of use."""

    finest: Array
    fine: Array
    middle: Array
    inside: Mask

    def cutoff(self) -> float:
        """Returns where the kernel ends, in cycles per pixel; the evenest blocks tell, anatomy is coarser."""
        if not self.inside.any():
            return noise_spectra.CUTOFFS[-1]
        ratio = np.percentile(self.finest[self.inside] / self.fine[self.inside], _EVENEST)
        return noise_spectra.cutoff_of(_EVENEST_EXCESS * ratio, _FINEST, _FINE)

    def evenness(self, cutoff: float) -> Array:
        """Returns the weight of each block: 1 where the bands are as in noise, less where anatomy is."""
        noise = noise_spectra.removed(cutoff, _FINE) / noise_spectra.removed(cutoff, _MIDDLE)
        lack = 1 - np.divide(self.fine, noise * self.middle, where=self.inside, out=np.ones_like(self.fine))
        return np.where(self.inside, np.exp(-np.log(2) * (np.maximum(lack, 0) / _TOLERANCE) ** 2), 0)


def _blocks(values: Array, where: Mask) -> _Blocks:
    from scipy import ndimage

    use = _cut(where)
    count = use.sum(axis=-1)
    full = count.max(initial=0) * _LEAST_FILLED
    bands = [values - ndimage.gaussian_filter(values, width) for width in (_FINEST, _FINE, _MIDDLE)]
    finest, fine, middle = (_median(np.where(use, _cut(np.abs(band)), np.inf), count) for band in bands)
    # A constant block holds padding or clipped air, and no noise to read.
    return _Blocks(finest, fine, middle, (count > 0) & (count >= full) & (fine > 0))


def _cut(array: NDArray) -> NDArray:
    """Returns every second pixel of every block (x, y, pixel); noise is too smooth for more to tell more."""
    windows = np.lib.stride_tricks.sliding_window_view(array, (_BLOCK, _BLOCK))
    windows = windows[::_STRIDE, ::_STRIDE, ::2, ::2]
    return windows.reshape(*windows.shape[:2], -1)


def _median(values: Array, count: NDArray[np.int_]) -> Array:
    """Returns the sd that the median of the first `count` values in size of each block stands for."""
    middle = np.maximum(count - 1, 0) // 2
    return _MAD * np.where(count > 0, np.take_along_axis(np.sort(values), middle[..., None], -1)[..., 0], 0)


def _spread(grid: Array, shape: tuple[int, int]) -> Array:
    """Returns the values of the blocks at every pixel, continued beyond the outermost centres."""
    from scipy import ndimage

    places = [
        np.clip((np.arange(n) - (_BLOCK - 1) / 2) / _STRIDE, 0, size - 1)
        for n, size in zip(shape, grid.shape, strict=True)
    ]
    return ndimage.map_coordinates(grid, np.meshgrid(*places, indexing="ij"), order=1)
