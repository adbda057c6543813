"""A fan-beam detector read from, and rebinned to, parallel projections.

A fan ray of source angle b and fan angle g is the parallel ray of angle b + g at distance R sin g from the
axis. Scanners measure the fan and rebin it, which correlates the noise of neighbouring samples.
Views cover a full turn, so each line is measured twice, from either end.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from medbundles.simulators.ct_fourier import Rays

Floats = NDArray[np.float32]

MARGIN = 3  # samples added on each side, so that interpolation does not see an end


class FanRays:
    """Interpolation tables between one fan geometry and one parallel one.

    Args:
        views: of the fan over a full turn, even.
        bins, bin_mm: number of detector elements and their pitch, measured at the axis.
        source_mm: distance of the source from the axis.
        fine: the parallel rays that `sample` reads.
    """

    def __init__(
        self,
        views: int,
        bins: int,
        *,
        bin_mm: float,
        source_mm: float,
        fine: Rays,
    ) -> None:
        if views % 2:
            raise ValueError(f"A fan needs an even number of views over the full turn, got {views}.")
        self.views, self.bins = views, bins
        pitch = bin_mm / source_mm
        fan = pitch * (np.arange(bins) - (bins - 1) / 2)
        source = 2 * np.pi * np.arange(views) / views
        self._read = np.array(
            np.broadcast_arrays(
                (source[:, None] + fan) % (2 * np.pi) * fine.views / np.pi + MARGIN,
                source_mm * np.sin(fan) / fine.bin_mm + (fine.bins - 1) / 2,
            ),
            np.float32,
        )
        # The parallel samples keep the pitch of the detector at the axis.
        distance = bin_mm * (np.arange(bins) - (bins - 1) / 2)
        fan = np.arcsin(np.clip(distance / source_mm, -1, 1))
        self._rebin = np.array(
            np.broadcast_arrays(
                (source[:, None] - fan) % (2 * np.pi) * views / (2 * np.pi) + MARGIN,
                np.clip(fan / pitch + (bins - 1) / 2, 0, bins - 1),
            ),
            np.float32,
        )

    def sample(self, parallel: Floats) -> Floats:
        """Returns the fan's line integrals (views, bins) from a parallel sinogram of half a turn."""
        turn = np.concatenate([parallel, parallel[:, ::-1]])
        return _interpolate(turn, self._read)

    def to_parallel(self, fan: Floats) -> Floats:
        """Returns the parallel sinogram (views / 2, bins): the mean of each ray and its reverse."""
        turn = _interpolate(fan, self._rebin)
        half = self.views // 2
        return 0.5 * (turn[:half] + turn[half:, ::-1])


def _interpolate(turn: Floats, where: Floats) -> Floats:
    """Cubic interpolation in a sinogram of a full turn, whose first axis wraps around."""
    padded = np.concatenate([turn[-MARGIN:], turn, turn[:MARGIN]])
    return map_coordinates(padded, where, output=np.float32, order=3, mode="nearest")
