"""Classical filters for slices (x, y) in HU: Gaussian, non-local means, total variation, BM3D.

A filter is called with an image, the standard deviation of its noise in HU, and its parameter. The last three
count in units of the noise, which the benchmark knows and a user would have to guess.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

Slice = NDArray[np.float32]

PATCH, SEARCH = 5, 6  # side of a patch and radius of the search of non-local means, pixels
TV_STEPS = 80
TV_STEP = 0.125  # one over the largest eigenvalue of the divergence times its adjoint


def gaussian(image: Slice, noise: float, sigma: float) -> Slice:
    """Convolution with a Gaussian of `sigma` pixels."""
    return gaussian_filter(image, sigma, mode="nearest")


def non_local_means(image: Slice, noise: float, strength: float) -> Slice:
    """The mean over pixels with similar patches nearby; a difference of `strength` * noise fades to 1/e.

    Buades, Coll, Morel: A non-local algorithm for image denoising, CVPR 2005. What the noise alone adds to
    the distance of two patches, twice its variance, is taken off.
    """
    variance, fade = 2 * noise**2, max((strength * noise) ** 2, np.finfo(np.float32).tiny)
    image = np.asarray(image, np.float32)
    padded = np.pad(image, SEARCH, mode="reflect")
    total, weights = np.zeros_like(image), np.zeros_like(image)
    for dx in range(2 * SEARCH + 1):
        for dy in range(2 * SEARCH + 1):
            other = padded[dx : dx + image.shape[0], dy : dy + image.shape[1]]
            distance = uniform_filter(np.square(image - other), PATCH)
            weight = np.exp(-np.maximum(distance - variance, 0) / np.float32(fade))
            total += weight * other
            weights += weight
    return total / weights


def total_variation(image: Slice, noise: float, strength: float) -> Slice:
    """The least of half the squared distance to the image plus `strength` * noise times the total variation.

    Solved by accelerated projected gradients on the dual problem (Beck and Teboulle 2009).
    """
    weight = np.float32(strength * noise)
    if not weight > 0:
        return np.array(image, np.float32)
    image = np.asarray(image, np.float32)
    dual = ahead = np.zeros((2, *image.shape), np.float32)
    pace = 1.0
    for _ in range(TV_STEPS):
        step = ahead + np.float32(TV_STEP) / weight * _gradient(image + weight * _divergence(ahead))
        step /= np.maximum(1, np.hypot(step[0], step[1]))
        faster = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        ahead = step + np.float32((pace - 1) / faster) * (step - dual)
        dual, pace = step, faster
    return image + weight * _divergence(dual)


def bm3d(image: Slice, noise: float, strength: float) -> Slice:
    """BM3D for white noise of `strength` * noise (Dabov et al. 2007), by its authors' package."""
    try:
        from bm3d import BM3DProfile
        from bm3d import bm3d as run
    except ImportError as error:
        raise SystemExit(
            "BM3D needs a package of its own (free for non-commercial use): "
            'pip install -e ".[bench]", or leave it out with --filters gaussian,nlm,tv'
        ) from error
    profile = BM3DProfile()
    profile.num_threads = 1  # slices run beside each other
    return np.asarray(run(np.asarray(image, np.float32), strength * noise, profile), np.float32)


@dataclass(frozen=True)
class Filter:
    """A filter with the values of its parameter that are tried.

    Attributes:
        title: how tables call it.
        apply: called with image, noise and parameter.
        sweep: the values, from gentle to strong.
        usual: the value of `sweep` at which all figures are measured.
        unit: what the parameter is.
    """

    title: str
    apply: Callable[[Slice, float, float], Slice]
    sweep: tuple[float, ...]
    usual: float
    unit: str


FILTERS = {
    "gaussian": Filter("Gaussian", gaussian, (0.5, 0.7, 0.9, 1.2, 1.6), 0.9, "sigma in pixels"),
    "nlm": Filter("NLM", non_local_means, (0.4, 0.6, 0.8, 1.0, 1.4), 0.8, "h in units of the noise"),
    "tv": Filter("TV", total_variation, (0.15, 0.3, 0.5, 0.8, 1.2), 0.5, "weight in units of the noise"),
    "bm3d": Filter("BM3D", bm3d, (0.6, 1.0, 1.5), 1.0, "sigma in units of the noise"),
}


def _gradient(image: Slice) -> Slice:
    """Forward differences (2, x, y), zero across the far borders."""
    result = np.zeros((2, *image.shape), np.float32)
    result[0, :-1] = image[1:] - image[:-1]
    result[1, :, :-1] = image[:, 1:] - image[:, :-1]
    return result


def _divergence(field: Slice) -> Slice:
    """The negative adjoint of `_gradient`."""
    result = np.zeros(field.shape[1:], np.float32)
    result[:-1] += field[0, :-1]
    result[1:] -= field[0, :-1]
    result[:, :-1] += field[1, :, :-1]
    result[:, 1:] -= field[1, :, :-1]
    return result
