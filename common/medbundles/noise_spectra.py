"""Spectra of the noise of filtered back-projection, and what Gaussian filters take from it and leave.

White noise in the projections becomes a ramp in the image, times the squared apodisation of the kernel. Here
the apodisation is Hann's, and where it ends stands for the kernel. Frequencies are cycles per pixel, widths
pixels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Where the kernel may end.
CUTOFFS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.4, 2.0, 4.0)
_SIZE = 128


def removed(cutoff: float, width: float) -> float:
    """Returns which part of the noise's sd is in what a Gaussian filter removes."""
    return float(np.interp(cutoff, CUTOFFS, _parts_removed(width)))


def left(cutoff: float, width: float) -> float:
    """Returns which part of the noise's sd a Gaussian filter leaves."""
    return float(np.interp(cutoff, CUTOFFS, _spread(_transfer(width))))


def slope(cutoff: float, width: float) -> float:
    """Returns the sd per pixel of the slope along one axis of noise of sd 1 after a Gaussian filter."""
    along = 2 * np.pi * np.fft.fftfreq(_SIZE)[:, None] * _transfer(width)
    return float(np.interp(cutoff, CUTOFFS, _spread(along)))


def cutoff_of(ratio: float, fine: float, coarse: float) -> float:
    """Returns where the kernel ends, from the ratio of the sd of what two Gaussian filters remove.

    Args:
        ratio: of the sd that the filter of width `fine` removes to that which `coarse` removes.
        fine: the smaller width.
        coarse: the larger width.
    """
    return float(np.interp(ratio, _parts_removed(fine) / _parts_removed(coarse), CUTOFFS))


@lru_cache(maxsize=1)
def _spectra() -> Array:
    """Returns the noise spectrum of each kernel (cutoff, x, y), in the order of the FFT, of variance 1."""
    axis = np.fft.fftfreq(_SIZE)
    radius = np.hypot(axis[:, None], axis[None])
    ends = np.array(CUTOFFS)[:, None, None]
    apodisation = np.where(radius < ends, 0.5 + 0.5 * np.cos(np.pi * radius / ends), 0)
    power = radius * apodisation**2
    return power / power.sum(axis=(1, 2), keepdims=True)


@lru_cache(maxsize=16)
def _transfer(width: float) -> Array:
    """Returns the transfer function (x, y) of a Gaussian filter as it is applied to pixels."""
    from scipy import ndimage

    impulse = np.zeros((_SIZE, _SIZE))
    impulse[0, 0] = 1
    return np.fft.fft2(ndimage.gaussian_filter(impulse, width, mode="wrap")).real


@lru_cache(maxsize=16)
def _parts_removed(width: float) -> Array:
    return _spread(1 - _transfer(width))


def _spread(transfer: Array) -> Array:
    """Returns for each kernel the sd of noise of sd 1 after a filter."""
    return np.sqrt(np.sum(_spectra() * transfer**2, axis=(1, 2)))
