"""How close an image is to its truth: errors in the image's unit, contrast that is kept, bias in tissues.

Slices are (x, y), volumes (x, y, z); Hounsfield units where a name says `hu`. Regions, noise power and edges
have files of their own and are offered here as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medbundles.ct_regions import body_mask, tissue_regions
from medbundles.edges import EdgeResponse, edge_response
from medbundles.noise_power import NoisePower, noise_power_spectrum

__all__ = [
    "EdgeResponse",
    "NoisePower",
    "body_mask",
    "contrast",
    "contrast_recovery",
    "edge_response",
    "hu_bias",
    "lesion_response",
    "noise_power_spectrum",
    "psnr",
    "rmse",
    "ssim",
    "ssim_map",
    "tissue_regions",
]

Mask = NDArray[np.bool_]

# The window of Wang et al. 2004: eleven pixels, sd 1.5, and the constants of their equation 13.
_SSIM_RADIUS, _SSIM_SD = 5, 1.5
_SSIM_K1, _SSIM_K2 = 0.01, 0.03


def rmse(image: ArrayLike, truth: ArrayLike, *, mask: ArrayLike | None = None) -> float:
    """Returns the root mean square error in the image's unit, over a mask if there is one."""
    difference = _difference(image, truth)
    return float(np.sqrt(np.mean(np.square(difference[_region(mask, difference.shape)]))))


def psnr(image: ArrayLike, truth: ArrayLike, *, data_range: float, mask: ArrayLike | None = None) -> float:
    """Returns the peak signal-to-noise ratio in dB; infinite when the images are equal.

    Args:
        image: the image to judge.
        truth: what it should be.
        data_range: the peak in the image's unit; the same for all images whose figures are compared.
        mask: where to compare; everywhere when None.
    """
    if not data_range > 0:
        raise ValueError(f"The data range must be positive, got {data_range}.")
    error = rmse(image, truth, mask=mask)
    return 20 * math.log10(data_range / error) if error else math.inf


def ssim(image: ArrayLike, truth: ArrayLike, *, data_range: float, mask: ArrayLike | None = None) -> float:
    """Returns the mean structural similarity over the windows whose centre is in the mask.

    Windows that reach over the edge of the image do not count. A volume is compared slice by slice.
    """
    similarity = ssim_map(image, truth, data_range=data_range)
    region = _region(mask, similarity.shape) & np.isfinite(similarity)
    if not region.any():
        raise ValueError("No window of the structural similarity lies in both image and mask.")
    return float(similarity[region].mean())


def ssim_map(image: ArrayLike, truth: ArrayLike, *, data_range: float) -> NDArray[np.float64]:
    """Returns the structural similarity of the window around each pixel, NaN where it leaves the image."""
    _difference(image, truth)
    first, second = np.asarray(image, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    mean_1, mean_2 = _window_mean(first), _window_mean(second)
    variance_1 = _window_mean(first * first) - mean_1 * mean_1
    variance_2 = _window_mean(second * second) - mean_2 * mean_2
    covariance = _window_mean(first * second) - mean_1 * mean_2
    c1, c2 = (_SSIM_K1 * data_range) ** 2, (_SSIM_K2 * data_range) ** 2
    luminance = (2 * mean_1 * mean_2 + c1) / (mean_1**2 + mean_2**2 + c1)
    similarity = luminance * (2 * covariance + c2) / (variance_1 + variance_2 + c2)
    inside = np.zeros(similarity.shape, dtype=bool)
    inside[_SSIM_RADIUS:-_SSIM_RADIUS, _SSIM_RADIUS:-_SSIM_RADIUS] = True
    return np.where(inside, similarity, np.nan)


def contrast(image: ArrayLike, lesion: ArrayLike, background: ArrayLike) -> float:
    """Returns the mean over the lesion less the mean over the background, in the image's unit."""
    values = np.asarray(image, dtype=np.float64)
    inside, outside = _region(lesion, values.shape), _region(background, values.shape)
    return float(values[inside].mean() - values[outside].mean())


def contrast_recovery(image: ArrayLike, truth: ArrayLike, lesion: ArrayLike, background: ArrayLike) -> float:
    """Returns the contrast of a lesion in the image as a fraction of the true one; 1 is kept, 0 is erased.

    The noise of the image is in it: average many lesions, or use `lesion_response`.
    """
    true = contrast(truth, lesion, background)
    if true == 0:
        raise ValueError("The lesion has no contrast in the truth, so none can be recovered.")
    return contrast(image, lesion, background) / true


def lesion_response(present: ArrayLike, absent: ArrayLike, lesion: ArrayLike) -> float:
    """Returns how much of an inserted lesion is left: the part of `present - absent` along the lesion.

    Both images come from the same noise, one with the lesion and one without, so that neither noise nor
    anatomy enters. 1 means kept as it was, 0 erased.

    Args:
        present: the processed image with the lesion.
        absent: the same processing of the same noise without it.
        lesion: the lesion as it would show without noise (HU above its surroundings).
    """
    signal = np.asarray(lesion, dtype=np.float64)
    difference = _difference(present, absent)
    energy = float(np.sum(signal * signal))
    if energy == 0:
        raise ValueError("The lesion is empty.")
    return float(np.sum(signal * difference)) / energy


def hu_bias(image: ArrayLike, truth: ArrayLike, regions: Mapping[str, ArrayLike]) -> dict[str, float | None]:
    """Returns the mean of image - truth in each region, by name; None for a region without pixels."""
    difference = _difference(image, truth)
    masks = {name: np.asarray(mask, dtype=bool) for name, mask in regions.items()}
    return {name: float(difference[mask].mean()) if mask.any() else None for name, mask in masks.items()}


def _window_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy import ndimage

    offsets = np.arange(-_SSIM_RADIUS, _SSIM_RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / _SSIM_SD) ** 2)
    weights /= weights.sum()
    along_x = ndimage.correlate1d(values, weights, axis=0)
    return ndimage.correlate1d(along_x, weights, axis=1)


def _difference(image: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    first, second = np.asarray(image, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"The images have different shapes, {first.shape} and {second.shape}.")
    difference = first - second
    if not np.isfinite(difference).all():
        raise ValueError("The images hold values that are not finite.")
    return difference


def _region(mask: ArrayLike | None, shape: tuple[int, ...]) -> Any:
    region = np.ones(shape, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if region.shape != shape:
        raise ValueError(f"The mask has the shape {region.shape}, the image {shape}.")
    if not region.any():
        raise ValueError("The mask is empty.")
    return region
