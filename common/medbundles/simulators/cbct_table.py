"""Makes cbct_table.json: X-ray attenuation of the materials of a jaw, and spectra of dental tubes.

Run as `python -m medbundles.simulators.cbct_table`; this needs the packages spekpy and xraydb, which nothing
else here uses.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np

logger = logging.getLogger(__name__)

TABLE = Path(__file__).with_name("cbct_table.json")
ENERGIES = np.arange(16.5, 120)  # keV; nothing softer leaves the tube's window and inherent filter
TUBE_VOLTAGES = (70, 80, 90, 100, 110, 120)
ANODE_DEG, INHERENT_ALUMINIUM_MM = 12.0, 1.5

# Density in g/cm3 and mass fractions. Bone mineral is per g/cm3; metals are common alloys of their class.
COMPOSITIONS: dict[str, tuple[float, dict[str, float]]] = {
    "soft": (1.0, {"H": 0.1119, "O": 0.8881}),
    "mineral": (1.0, {"Ca": 0.3989, "P": 0.1850, "O": 0.4141, "H": 0.0020}),
    "titanium": (4.43, {"Ti": 0.90, "Al": 0.06, "V": 0.04}),
    "steel": (7.9, {"Fe": 0.70, "Cr": 0.19, "Ni": 0.11}),
    "cobalt_chrome": (8.4, {"Co": 0.62, "Cr": 0.30, "Mo": 0.06, "Si": 0.02}),
    "amalgam": (11.3, {"Hg": 0.45, "Ag": 0.32, "Sn": 0.15, "Cu": 0.08}),
    "gold": (15.5, {"Au": 0.75, "Ag": 0.12, "Cu": 0.08, "Pd": 0.03, "Zn": 0.02}),
    "zirconia": (6.05, {"Zr": 0.70, "O": 0.26, "Y": 0.04}),
    "composite": (2.1, {"O": 0.45, "Si": 0.29, "C": 0.17, "Zr": 0.06, "H": 0.03}),
    "gutta_percha": (2.6, {"Zn": 0.56, "O": 0.17, "C": 0.177, "Ba": 0.06, "H": 0.02, "S": 0.013}),
    "aluminium": (2.70, {"Al": 1.0}),
    "copper": (8.96, {"Cu": 1.0}),
    # The scintillator is a layer of needles: a fifth of it is empty.
    "caesium_iodide": (0.8 * 4.51, {"Cs": 0.5115, "I": 0.4885}),
}


def _attenuation(density: float, fractions: dict[str, float]) -> list[float]:
    """Linear attenuation in 1/mm at `ENERGIES`."""
    import xraydb

    mass = sum(share * xraydb.mu_elam(element, 1e3 * ENERGIES) for element, share in fractions.items())
    return [float(f"{value:.4g}") for value in density * mass / 10]


def _spectrum(kvp: int) -> list[float]:
    """Share of the quanta of a lightly filtered tube at `ENERGIES`."""
    import spekpy

    tube = spekpy.Spek(kvp=kvp, th=ANODE_DEG, dk=1.0).filter("Al", INHERENT_ALUMINIUM_MM)
    energy, fluence = tube.get_spectrum(edges=False)
    share = np.interp(ENERGIES, energy, fluence, right=0.0) * (kvp > ENERGIES)
    return [float(f"{value:.4g}") for value in share / share.sum()]


def main() -> None:
    """Writes the table beside this file."""
    parts = {
        "energy_keV": ENERGIES.tolist(),
        "attenuation_per_mm": {name: _attenuation(*parts) for name, parts in COMPOSITIONS.items()},
        "quanta_behind_1.5_mm_aluminium": {str(kvp): _spectrum(kvp) for kvp in TUBE_VOLTAGES},
    }
    note = "python -m medbundles.simulators.cbct_table, with spekpy 2.5.4 and xraydb 4.5.8"
    # One line for each list, so that a change can be read.
    lines = [f'  "made_with": {json.dumps(note)}']
    for name, part in parts.items():
        if isinstance(part, list):
            lines.append(f'  "{name}": {json.dumps(part)}')
            continue
        inner = ",\n".join(f'    "{key}": {json.dumps(values)}' for key, values in part.items())
        lines.append(f'  "{name}": {{\n{inner}\n  }}')
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    logger.info("wrote %s", TABLE)


if __name__ == "__main__":
    main()
