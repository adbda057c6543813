"""What a detector counts: Poisson quanta, electronic noise, and the logarithm of too few of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FLOOR = 0.8  # quanta below which a reading is set to it: a logarithm needs a positive number
FILTER_RADIUS_MM = 220.0  # distance from the axis at which a bowtie filter is thickest
REFERENCE = 5.8  # line integral of 30 cm of water: a view through this much gets the nominal tube current
TUBE_LIMITS = (0.25, 4.0)  # of the tube current, relative to the nominal one
LONGEST = 0.98  # quantile of a view that stands for its longest path, so that one dense spot does not rule it


def bowtie(distance_mm: Floats | NDArray[np.float64], strength: float, water: float) -> NDArray[np.float64]:
    """Returns the fraction of quanta that the bowtie filter lets through, 1 on the axis.

    The filter complements a water cylinder: it adds `strength` times the water path that the cylinder loses
    towards its rim.

    Args:
        distance_mm: of the ray from the axis.
        strength: 0 for no filter, 1 for one that makes the cylinder look flat.
        water: attenuation of water, 1/mm.
    """
    inside = np.sqrt(np.clip(FILTER_RADIUS_MM**2 - np.square(distance_mm), 0, None))
    return np.exp(-strength * water * 2 * (FILTER_RADIUS_MM - inside))


def tube_current(integrals: Floats, strength: float) -> NDArray[np.float64]:
    """Returns the relative tube current of each view (views, 1) under automatic exposure control.

    Args:
        integrals: noise-free line integrals (view, bin).
        strength: 0 for a constant current, 1 for one that makes up for all attenuation of the view.
    """
    longest = np.quantile(integrals, LONGEST, axis=1, keepdims=True)
    return np.clip(np.exp(strength * (longest - REFERENCE)), *TUBE_LIMITS)


def measure(
    integrals: Floats, incident: NDArray[np.float64], electronic: float, rng: np.random.Generator
) -> Floats:
    """Returns line integrals as measured with counting and electronic noise.

    Args:
        integrals: true line integrals (view, bin).
        incident: quanta per reading without an object, (view or 1, bin).
        electronic: standard deviation of the electronic noise, quanta.
        rng: source of the noise.
    """
    quanta = rng.poisson(incident * np.exp(-integrals)).astype(np.float32)
    quanta += np.float32(electronic) * rng.standard_normal(integrals.shape, dtype=np.float32)
    np.maximum(quanta, np.float32(FLOOR), out=quanta)
    return (np.log(incident) - np.log(quanta)).astype(np.float32)
