"""Noise power spectra: how the variance of noise is spread over spatial frequencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class NoisePower:
    """A noise power spectrum; for an image in HU and millimetres its unit is HU² mm².

    Args:
        spectrum: the two-dimensional spectrum (fx, fy), frequency zero first as the FFT gives it.
        pixel_mm: the size (x, y) of a pixel.
    """

    spectrum: Array
    pixel_mm: tuple[float, float]

    @property
    def variance(self) -> float:
        """The integral of the spectrum: the variance of the noise."""
        cell = np.prod([1 / (n * size) for n, size in zip(self.spectrum.shape, self.pixel_mm, strict=True)])
        return float(self.spectrum.sum() * cell)

    @property
    def frequency(self) -> Array:
        """The frequencies of `power` in cycles per mm, up to the lower of the two Nyquist frequencies."""
        return self._radial[0]

    @property
    def power(self) -> Array:
        """The spectrum averaged over directions."""
        return self._radial[1]

    @property
    def peak(self) -> float:
        """The frequency of the greatest radial power, from three neighbouring bins."""
        smooth = np.convolve(np.pad(self.power, 1, mode="edge"), np.ones(3) / 3, mode="valid")
        return float(self.frequency[np.argmax(smooth)])

    @property
    def mean(self) -> float:
        """The mean frequency, weighted with the radial power."""
        total = self.power.sum()
        if total == 0:
            raise ValueError("There is no noise, so it has no mean frequency.")
        return float((self.frequency * self.power).sum() / total)

    @cached_property
    def _radial(self) -> tuple[Array, Array]:
        axes = [np.fft.fftfreq(n, size) for n, size in zip(self.spectrum.shape, self.pixel_mm, strict=True)]
        radius = np.hypot(axes[0][:, None], axes[1][None])
        width = max(axes[0][1], axes[1][1])
        nyquist = min(0.5 / size for size in self.pixel_mm)
        bins = np.rint(radius / width).astype(int)
        # Frequency zero holds only what the detrending left of it.
        wanted = (bins > 0) & (radius <= nyquist)
        count = np.bincount(bins[wanted])
        filled = np.flatnonzero(count)
        frequency = np.bincount(bins[wanted], radius[wanted])[filled] / count[filled]
        return frequency, np.bincount(bins[wanted], self.spectrum[wanted])[filled] / count[filled]


def noise_power_spectrum(
    rois: ArrayLike, pixel_mm: float | Sequence[float], *, detrend: int = 0
) -> NoisePower:
    """Returns the noise power spectrum of equal patches of noise.

    Args:
        rois: patches (n, x, y) of noise; differences of two images, or even tissue.
        pixel_mm: the size of a pixel, one number or (x, y).
        detrend: the order of the polynomial taken from each patch: 0 its mean, 1 a plane, 2 a quadric. Noise
            below about one period per patch goes with it, more so at higher orders.
    """
    patches = np.asarray(rois, dtype=np.float64)
    if patches.ndim != 3 or min(patches.shape[1:]) < 8 or not len(patches):
        raise ValueError(f"Noise power needs patches (n, x, y) of 8 pixels or more, got {patches.shape}.")
    if not np.isfinite(patches).all():
        raise ValueError("The patches hold values that are not finite.")
    size = np.broadcast_to(np.asarray(pixel_mm, dtype=np.float64), (2,))
    residual = patches - _trend(patches, detrend)
    power = np.mean(np.abs(np.fft.fft2(residual)) ** 2, axis=0)
    return NoisePower(power * np.prod(size) / power.size, (float(size[0]), float(size[1])))


def _trend(patches: Array, order: int) -> Array:
    if order not in (0, 1, 2):
        raise ValueError(f"The order of the trend is 0, 1 or 2, got {order}.")
    x, y = (np.linspace(-1, 1, n) for n in patches.shape[1:])
    powers = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    basis = np.stack([np.outer(x**i, y**j).ravel() for i, j in powers], axis=1)
    flat = patches.reshape(len(patches), -1).T
    return (basis @ np.linalg.lstsq(basis, flat, rcond=None)[0]).T.reshape(patches.shape)
