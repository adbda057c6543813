"""Geometry and protocol of a cone-beam scanner for jaws.

Coordinates are mm about the axis of rotation: x to the patient's left, y to the back, z up. At angle a the
source is at -source_axis_mm (cos a, sin a, 0); the detector's columns run along (-sin a, cos a, 0), its rows
along z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medbundles.errors import InputError
from medbundles.simulators.cbct_surroundings import HEAD, Ellipsoid


@dataclass(frozen=True)
class Scanner:
    """A scanner and its protocol.

    Attributes:
        views: over the arc.
        columns, rows: elements of the detector.
        pitch_mm: size of an element, at the detector.
        source_axis_mm, source_detector_mm: distances of the source from the axis and from the detector.
        offset_mm: shift of the detector along its columns, which widens the field of a full turn.
        arc_deg: 360, or less for a short scan, which needs half a turn and the fan.
        kvp, aluminium_mm, copper_mm: the tube and its filters, see `cbct_physics.beam`.
        quanta: per element and view without an object.
        electronic: standard deviation of the electronic noise, quanta.
        scatter: scattered light relative to the primary behind about 15 cm of water; 0 for none.
        scatter_corrected: part of the scattered light that the scanner subtracts; its noise stays.
        blur_mm: standard deviation of the blur of scintillator and focal spot, at the detector.
        rings: standard deviation of the elements' gain errors, which become rings.
        motion_mm: how far the head sways during the scan; 0 for a still patient.
        hann: where the Hann window of the reconstruction ends, as part of the Nyquist frequency.
        padding: how far cut-off projections are continued, as part of the detector's width.
        surroundings: the head outside the volume; () for a volume in air.
    """

    views: int = 300
    columns: int = 240
    rows: int = 150
    pitch_mm: float = 0.65
    source_axis_mm: float = 480.0
    source_detector_mm: float = 680.0
    offset_mm: float = 0.0
    arc_deg: float = 360.0
    kvp: int = 90
    aluminium_mm: float = 3.0
    copper_mm: float = 0.0
    quanta: float = 6e4
    electronic: float = 8.0
    scatter: float = 0.25
    scatter_corrected: float = 0.8
    blur_mm: float = 0.2
    rings: float = 0.0
    motion_mm: float = 0.0
    hann: float = 0.9
    padding: float = 0.75
    surroundings: tuple[Ellipsoid, ...] = HEAD

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise InputError(f"a scanner {problem}", advice="correct the scanner's description")

    def _problem(self) -> str:
        """What is wrong with the description, or nothing."""
        sizes = (
            self.views,
            self.columns,
            self.rows,
            self.pitch_mm,
            self.source_axis_mm,
            self.quanta,
            self.hann,
        )
        if min(sizes) <= 0 or self.rows < 2 or self.source_detector_mm <= self.source_axis_mm:
            return "with a size that is not positive, or a detector that is not behind the axis"
        if abs(self.offset_mm) >= self.columns * self.pitch_mm / 2:
            return f"whose detector, shifted by {self.offset_mm} mm, does not see the axis"
        if self.arc_deg > 360 or (self.arc_deg < 360 and self.offset_mm):
            return f"that turns by {self.arc_deg} degrees; an offset detector needs exactly 360"
        if self.arc_deg < self.shortest_arc_deg:
            return f"that turns by {self.arc_deg} degrees; its fan needs at least {self.shortest_arc_deg:.0f}"
        return ""

    @property
    def shortest_arc_deg(self) -> float:
        """Half a turn and the angle of the fan."""
        return 180 + 2 * math.degrees(math.atan(np.abs(self.u).max() / self.source_detector_mm))

    @property
    def u(self) -> NDArray[np.float64]:
        """Places of the columns on the detector, mm."""
        return self.pitch_mm * (np.arange(self.columns) - (self.columns - 1) / 2) + self.offset_mm

    @property
    def v(self) -> NDArray[np.float64]:
        """Places of the rows on the detector, mm."""
        return self.pitch_mm * (np.arange(self.rows) - (self.rows - 1) / 2)

    @property
    def angles(self) -> NDArray[np.float64]:
        """Angles of the views, rad."""
        return np.deg2rad(self.arc_deg) * np.arange(self.views) / self.views

    @property
    def missing_columns(self) -> int:
        """Columns that an offset detector lacks on its shorter side."""
        return math.ceil(2 * abs(self.offset_mm) / self.pitch_mm)

    @property
    def widened_offset_mm(self) -> float:
        """Where the middle of the detector would be with the missing columns; nearly on the axis."""
        return self.offset_mm - math.copysign(self.missing_columns * self.pitch_mm / 2, self.offset_mm)

    @property
    def field_mm(self) -> float:
        """Radius of the cylinder that every pair of opposite views sees."""
        widest = self.columns * self.pitch_mm / 2 + abs(self.offset_mm)
        return self.source_axis_mm * math.sin(math.atan(widest / self.source_detector_mm))


# The scanner that training data are made with, and one that differs in all that shapes the pictures.
TRAINED = Scanner()
OTHER = Scanner(
    views=400,
    columns=220,
    rows=170,
    pitch_mm=0.6,
    source_axis_mm=420.0,
    source_detector_mm=610.0,
    offset_mm=22.0,
    kvp=110,
    copper_mm=0.1,
    quanta=4e4,
    electronic=12.0,
    scatter=0.4,
    scatter_corrected=0.7,
    rings=0.002,
    hann=1.0,
)
