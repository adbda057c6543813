"""Places on a panorama: of crowns, of teeth that are missing, and of what was not scanned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dental_teeth.jaws import UPPER
from dental_teeth.numbering import LOWER_WIDTHS, UPPER_WIDTHS, row_of
from dental_teeth.teeth import JawReading, Tooth

CROWN = (0.08, 0.36)  # where crowns are, as a share of the tooth from the bite on
NOT_SCANNED_MM = 8.0  # of water along a ray: cheek, alveolar ridge and tongue are twice as much
ABOUT_MM = (2.0, 10.0)  # along the arch to both sides, and from the crown towards the root

Point = tuple[float, float]


def crown_of(tooth: Tooth) -> Point:
    """Returns column and row of the middle of a tooth's crown on the panorama."""
    columns, rows = np.nonzero(tooth.mask)
    depth = (rows - rows.min() + 0.5) / (np.ptp(rows) + 1)
    depth = 1 - depth if tooth.jaw == UPPER else depth
    crown = (depth >= CROWN[0]) & (depth <= CROWN[1])
    crown = crown if crown.any() else np.ones_like(crown)
    return float(columns[crown].mean()), float(rows[crown].mean())


def missing_places(jaw: JawReading) -> dict[int, Point]:
    """Returns column and row where the crown of each missing tooth would be, also outside the picture.

    Between its neighbours, in proportion to the usual widths of teeth; beyond the last tooth at these widths.
    """
    row = row_of(jaw.view.jaw)
    usual = dict(zip(row, _usual_places(jaw.view.jaw) / jaw.view.pitch_mm, strict=True))
    crowns = {tooth.code: crown_of(tooth) for tooth in jaw.teeth}
    known = [code for code in row if code in crowns]
    if not known:
        middle, height = (jaw.view.shape[0] - 1) / 2, (jaw.view.shape[1] - 1) / 2
        return {code: (middle + usual[code], height) for code in jaw.missing}
    at = np.array([usual[code] for code in known])
    columns, rows = np.array([crowns[code] for code in known]).T
    places = {}
    for code in jaw.missing:
        where = float(np.clip(usual[code], at[0], at[-1]))
        column = float(np.interp(where, at, columns)) + usual[code] - where
        places[code] = (column, float(np.interp(where, at, rows)))
    return places


def not_scanned(jaw: JawReading) -> tuple[int, ...]:
    """Returns the missing teeth that say nothing: their places are outside the field of view."""
    pitch = jaw.view.pitch_mm
    side, deep = (round(size / pitch) for size in ABOUT_MM)
    above, below = (deep, 0) if jaw.view.jaw == UPPER else (0, deep)
    found = []
    for code, place in missing_places(jaw).items():
        column, row = round(place[0]), round(place[1])
        about = jaw.picture[
            max(0, column - side) : max(0, column + side + 1), max(0, row - above) : max(0, row + below + 1)
        ]
        if not about.size or about.mean() < NOT_SCANNED_MM:
            found.append(code)
    return tuple(found)


def _usual_places(jaw: str) -> NDArray[np.float64]:
    """Middles in mm from the midline of the sixteen teeth of an average jaw, from right to left."""
    widths = np.array(UPPER_WIDTHS if jaw == UPPER else LOWER_WIDTHS)
    left = np.cumsum(widths) - widths / 2
    return np.concatenate([-left[::-1], left])
