"""Parallel-beam projection and filtered backprojection by the Fourier slice theorem.

The one-dimensional transform of a projection is the image's transform along a line through the origin, so a
non-uniform FFT between the pixels and those lines does all views at once. Images are (x, y), sinograms
(view, bin); views cover half a turn, view angle 0 sees x along the detector. The pixels are taken as samples
of an image without detail beyond their own Nyquist frequency.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

PRECISION = 1e-5  # relative error that the non-uniform FFT may make
PADDING = 1.5  # length of the radial FFT over the detector, against wrap-around
ROLL_OFF = 0.85  # of the pixels' Nyquist frequency, from which a reconstruction fades out against ringing


@dataclass(frozen=True)
class Rays:
    """Parallel rays over half a turn.

    Attributes:
        views: over the half turn.
        bins, bin_mm: number and pitch of the samples of a projection, centred on the axis of rotation.
        aperture_mm: width of the detector elements, 0 for point samples.
    """

    views: int
    bins: int
    bin_mm: float
    aperture_mm: float = 0.0


class ParallelBeam:
    """One parallel geometry on one pixel grid.

    Args:
        shape: pixels along x and y.
        pixel_mm: their size.
        rays: the geometry.
        response: transfer function of the reconstruction kernel over frequency in 1/mm, beside the ramp.
        threads: CPU threads; with more than one the last digits of a reconstruction vary between runs.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        pixel_mm: float,
        rays: Rays,
        *,
        response: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
        threads: int = 2,
    ) -> None:
        self.shape, self.pixel_mm, self.rays = shape, pixel_mm, rays
        bins, bin_mm = rays.bins, rays.bin_mm
        self._length = 2 ** math.ceil(math.log2(PADDING * bins))
        frequency = np.fft.rfftfreq(self._length, bin_mm)
        nyquist = 0.5 / pixel_mm
        seen = frequency <= nyquist
        to_middle = np.exp(-1j * np.pi * frequency[seen] * (bins - 1) * bin_mm)
        # Samples of a projection are 1/bin_mm times its integral over a bin.
        self._project = _Lines(self, frequency[seen], 2, threads)
        self._detect = (
            to_middle * np.sinc(frequency[seen] * rays.aperture_mm) * (pixel_mm**2 / bin_mm)
        ).astype(np.complex64)
        window = _fade_out(frequency, nyquist)
        if response is not None:
            window = window * response(frequency)
        kept = frequency <= frequency[np.flatnonzero(np.abs(window) > 1e-6)[-1]]
        self._back = _Lines(self, frequency[kept], 1, threads)
        # Twice, because a real image needs only half of each line; the sum over k and angle is an integral.
        weight = _ramp(self._length, bin_mm)[kept] * window[kept] * np.where(frequency[kept] > 0, 2, 1)
        scale = np.pi / rays.views / self._length
        middle = np.exp(1j * np.pi * frequency[kept] * (bins - 1) * bin_mm)
        self._filter = (weight * scale * middle).astype(np.complex64)

    def project(self, image: Floats) -> Floats:
        """Returns the line integrals (views, bins) of an image (x, y), in its unit times mm."""
        spectrum = np.zeros((self.rays.views, self._length // 2 + 1), np.complex64)
        lines = self._project.to_lines(image)
        np.multiply(lines, self._detect, out=spectrum[:, : lines.shape[1]])
        return np.fft.irfft(spectrum, n=self._length, axis=1)[:, : self.rays.bins].astype(np.float32)

    def reconstruct(self, sinogram: Floats) -> Floats:
        """Returns the filtered backprojection (x, y) of line integrals (views, bins)."""
        count = len(self._filter)
        spectrum = np.fft.rfft(sinogram.astype(np.float32, copy=False), n=self._length, axis=1)[:, :count]
        return self._back.to_pixels(spectrum * self._filter)


class _Lines:
    """Non-uniform FFT between the pixels of a beam's image and radial lines in the frequency plane."""

    def __init__(self, beam: ParallelBeam, frequency: NDArray[np.float64], kind: int, threads: int) -> None:
        import finufft

        angle = np.pi * np.arange(beam.rays.views)[:, None] / beam.rays.views
        along = [frequency * np.cos(angle), frequency * np.sin(angle)]
        self._lines = along[0].shape
        self._shape = beam.shape
        self._plan = finufft.Plan(
            kind,
            beam.shape,
            eps=PRECISION,
            isign=-1 if kind == 2 else 1,
            dtype="complex64",
            nthreads=min(threads, _usable_cores()),
            showwarn=0,
        )
        step = 2 * np.pi * beam.pixel_mm
        self._plan.setpts(*(np.ascontiguousarray((step * k).ravel(), np.float32) for k in along))
        # The library counts pixels from size // 2, the axis of rotation is in the middle of the image.
        off = [(size // 2 - (size - 1) / 2) * beam.pixel_mm for size in beam.shape]
        phase = -2 * np.pi * (along[0] * off[0] + along[1] * off[1])
        self._to_centre = np.exp(1j * phase).astype(np.complex64)

    def to_lines(self, image: Floats) -> NDArray[np.complex64]:
        values = self._plan.execute(np.ascontiguousarray(image, np.complex64))
        return values.reshape(self._lines) * self._to_centre

    def to_pixels(self, spectrum: NDArray[np.complex64]) -> Floats:
        values = (spectrum * self._to_centre.conj()).astype(np.complex64, copy=False)
        return np.ascontiguousarray(self._plan.execute(values.ravel()).real)


def _usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ramp(length: int, bin_mm: float) -> NDArray[np.float64]:
    """Transfer function |k| of the ramp, from its band-limited kernel in space, which gets the mean right."""
    index = np.fft.fftfreq(length, 1 / length)
    kernel = np.zeros(length)
    kernel[0] = 0.25
    odd = np.abs(index) % 2 == 1
    kernel[odd] = -1 / (np.pi * index[odd]) ** 2
    return np.fft.rfft(kernel).real / bin_mm


def _fade_out(frequency: NDArray[np.float64], nyquist: float) -> NDArray[np.float64]:
    """1 below the roll-off, falling to 0 at the pixels' Nyquist frequency."""
    place = np.clip((frequency / nyquist - ROLL_OFF) / (1 - ROLL_OFF), 0, 1)
    return 0.5 + 0.5 * np.cos(np.pi * place)
