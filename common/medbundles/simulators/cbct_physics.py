"""What X-rays of a dental tube do in the materials of a jaw: attenuation and detected energy by spectrum.

Every metal is written as the mixture of four basis materials that attenuates most alike over the spectrum, so
that no more than four volumes are projected, whatever a mouth holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from medbundles.errors import InputError

Floats = NDArray[np.float32]

SCINTILLATOR_MM = 0.6
BASIS = ("soft", "mineral", "cobalt_chrome", "amalgam")
FILTERS = ("aluminium", "copper", "caesium_iodide")  # in the table, but in no mouth
BINS = 16  # of the spectrum; each detects the same share of the energy of the open beam
LONGEST_WATER_MM = 400.0


@lru_cache(maxsize=1)
def table() -> dict[str, dict]:
    """Returns attenuation and spectra as arrays over energy, as `cbct_table` wrote them."""
    content = json.loads(Path(__file__).with_name("cbct_table.json").read_text())
    return {
        "energy": {"keV": np.array(content["energy_keV"])},
        "attenuation": {name: np.array(values) for name, values in content["attenuation_per_mm"].items()},
        "quanta": {
            int(kvp): np.array(values) for kvp, values in content["quanta_behind_1.5_mm_aluminium"].items()
        },
    }


def material_names() -> tuple[str, ...]:
    """The materials that a scanned volume may hold."""
    return tuple(name for name in table()["attenuation"] if name not in FILTERS)


@dataclass(frozen=True)
class Beam:
    """A spectrum as an energy-integrating detector sees it, in a few bins.

    Attributes:
        energy: mean energy of each bin, keV.
        share: part of the detected energy of the open beam in each bin; the sum is 1.
        attenuation: of each material in each bin, 1/mm at fraction 1 (mineral: at 1 g/cm3).
    """

    energy: NDArray[np.float64]
    share: NDArray[np.float64]
    attenuation: Mapping[str, NDArray[np.float64]]

    def mixtures(self, names: Iterable[str]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Returns the basis materials that materials need, and the parts of each (material, basis)."""
        basis = np.stack([self.attenuation[name] for name in BASIS], axis=1)
        parts = [self._part(name, basis) for name in names]
        used = [k for k in range(len(BASIS)) if any(part[k] > 0 for part in parts)]
        return tuple(BASIS[k] for k in used), np.array(parts)[:, used]

    def _part(self, name: str, basis: NDArray[np.float64]) -> NDArray[np.float64]:
        """Amounts of the basis materials that attenuate like a material; its relative error is the least."""
        if name in BASIS:
            return np.eye(len(BASIS))[BASIS.index(name)]
        weight = np.sqrt(self.share)
        return nnls(basis * (weight / self.attenuation[name])[:, None], weight)[0]

    def transmission(self, name: str, length_mm: NDArray) -> NDArray[np.float64]:
        """The part of the detected energy that passes lengths of a material."""
        return np.exp(-np.multiply.outer(length_mm, self.attenuation[name])) @ self.share


@lru_cache(maxsize=8)
def beam(kvp: int, aluminium_mm: float, copper_mm: float) -> Beam:
    """Returns the beam of a tube behind its filters.

    Args:
        kvp: tube voltage; one of those in the table.
        aluminium_mm: filtration in all, at least the 1.5 mm of the tube itself.
        copper_mm: copper beside it.

    Raises:
        InputError: the table has no such tube.
    """
    data = table()
    if kvp not in data["quanta"] or aluminium_mm < 1.5 or copper_mm < 0:
        raise InputError(
            f"a tube of {kvp} kVp with {aluminium_mm} mm of aluminium and {copper_mm} mm of copper",
            expected=f"one of {', '.join(map(str, data['quanta']))} kVp and at least 1.5 mm of aluminium",
            advice="choose one of these",
        )
    energy, mu = data["energy"]["keV"], data["attenuation"]
    passed = np.exp(-mu["aluminium"] * (aluminium_mm - 1.5) - mu["copper"] * copper_mm)
    absorbed = 1 - np.exp(-mu["caesium_iodide"] * SCINTILLATOR_MM)
    detected = data["quanta"][kvp] * passed * absorbed * energy
    detected = detected / detected.sum()
    group = np.minimum((BINS * (np.cumsum(detected) - detected / 2)).astype(int), BINS - 1)
    share = np.bincount(group, detected, minlength=BINS)
    kept = share > 0

    def mean(values: NDArray) -> NDArray[np.float64]:
        return (np.bincount(group, detected * values, minlength=BINS)[kept]) / share[kept]

    return Beam(mean(energy), share[kept], {name: mean(mu[name]) for name in material_names()})


class WaterScale:
    """Beam-hardening correction as a scanner is calibrated with water: logarithms to lengths of water in mm.

    Args:
        spectrum: the beam.
        residual_scatter: scattered light left after correction, relative to the primary, per unit of the
            logarithm; the calibration with water contains it as every later scan does.
    """

    def __init__(self, spectrum: Beam, residual_scatter: float = 0.0) -> None:
        self.length = np.linspace(0, LONGEST_WATER_MM, 801)
        primary = spectrum.transmission("soft", self.length)
        self.logarithm = -np.log(primary * (1 - residual_scatter * np.log(primary)))

    def water_mm(self, logarithm: NDArray) -> Floats:
        """Lengths of water that give logarithms; beyond the table in proportion, negative ones too."""
        start = self.length[1] / self.logarithm[1]
        end = (self.length[-1] - self.length[-2]) / (self.logarithm[-1] - self.logarithm[-2])
        inside = np.interp(logarithm, self.logarithm, self.length)
        low, high = np.minimum(logarithm, 0), np.maximum(logarithm - self.logarithm[-1], 0)
        return (inside + start * low + end * high).astype(np.float32)
