"""What the detector of a cone-beam scanner reads: many energies, scatter, few quanta, unequal elements."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from medbundles.simulators.cbct_physics import WaterScale, beam
from medbundles.simulators.cbct_scanner import Scanner
from medbundles.simulators.fields import Draws

Floats = NDArray[np.float32]

FLOOR = 0.6  # quanta below which a corrected reading is set to it: a logarithm needs a positive number
SCATTER_MM = 30.0  # standard deviation of the spread of scattered light at the detector
SCATTER_STEP = 8  # elements; scattered light changes so slowly that a coarse grid holds it
SCATTER_LOGARITHM = 3.0  # of about 15 cm of water, for which `Scanner.scatter` is stated


class Detector:
    """Reads one view after another; the noise depends on the seed and on the order of the views only.

    Args:
        scanner: the protocol.
        basis: names of the materials whose lengths are read.
        seed: of the noise.
    """

    def __init__(self, scanner: Scanner, basis: tuple[str, ...], seed: int) -> None:
        self.scanner = scanner
        spectrum = beam(scanner.kvp, scanner.aluminium_mm, scanner.copper_mm)
        self._share = spectrum.share.astype(np.float32)
        self._attenuation = np.stack([spectrum.attenuation[name] for name in basis], axis=1).astype(
            np.float32
        )
        self._scatter = scanner.scatter / SCATTER_LOGARITHM
        self._scale = WaterScale(spectrum, self._scatter * (1 - scanner.scatter_corrected))
        self._quanta, self._electronic = (Draws(seed, part).rng for part in ("quanta", "electronic"))
        gains = Draws(seed, "gains").rng.standard_normal((scanner.rows, scanner.columns), np.float32)
        self._gain = 1 + np.float32(scanner.rings) * gains

    def primary(self, lengths: Floats) -> Floats:
        """Returns the part of the energy (rows, columns) that passes lengths (material, rows, columns)."""
        shape = lengths.shape[1:]
        logarithm = self._attenuation @ lengths.reshape(len(lengths), -1)
        return (self._share @ np.exp(-logarithm)).reshape(shape)

    def scattered(self, primary: Floats) -> Floats:
        """Returns scattered light (rows, columns): most where tissue is thick but lets light through."""
        source = -primary * np.log(np.maximum(primary, 1e-6))
        small = source[::SCATTER_STEP, ::SCATTER_STEP]
        sigma = SCATTER_MM / (SCATTER_STEP * self.scanner.pitch_mm)
        spread = gaussian_filter(small, sigma, mode="nearest")
        factors = [n / m for n, m in zip(primary.shape, small.shape, strict=True)]
        return np.float32(self._scatter) * zoom(spread, factors, order=1, mode="nearest", grid_mode=True)

    def read(self, lengths: Floats) -> Floats:
        """Returns one view as lengths of water in mm (rows, columns).

        Args:
            lengths: amount times mm (material, rows, columns) of the basis materials.
        """
        s = self.scanner
        light = self.primary(lengths)
        stray = self.scattered(light) if s.scatter else np.zeros_like(light)
        if s.blur_mm:
            light = gaussian_filter(light, s.blur_mm / s.pitch_mm, mode="nearest")
        expected = s.quanta * np.maximum(light + stray, 0) * self._gain
        counts = self._quanta.poisson(expected).astype(np.float32)
        counts += np.float32(s.electronic) * self._electronic.standard_normal(counts.shape, np.float32)
        counts -= np.float32(s.quanta * s.scatter_corrected) * stray
        return self._scale.water_mm(-np.log(np.maximum(counts, FLOOR) / np.float32(s.quanta)))
