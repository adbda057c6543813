"""Measurements on shapes, in millimetres when the image is calibrated and in pixels when it is not.

A measurement is `{"name", "value", "unit", "reason"}`. A value that cannot be had is None, never 0, and
`reason` says why in a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from medbundles.contours import closure, largest_component, outer_contour, touches_border
from medbundles.ellipse import (
    Ellipse,
    EllipseFitError,
    ellipse_from_diameters,
    ellipse_from_moments,
    fit_ellipse,
    fit_ellipse_robust,
)

__all__ = [
    "HADLOCK_1984",
    "Calibration",
    "Ellipse",
    "EllipseFitError",
    "circumference",
    "closure",
    "diameter",
    "ellipse_agreement",
    "ellipse_from_diameters",
    "ellipse_from_moments",
    "fit_ellipse",
    "fit_ellipse_robust",
    "gestational_age",
    "largest_component",
    "measurement",
    "outer_contour",
    "touches_border",
]

Measurement = dict[str, Any]

HADLOCK_1984 = (
    "Hadlock FP, Deter RL, Harrist RB, Park SK. Estimating fetal age: computer-assisted analysis of multiple "
    "fetal growth parameters. Radiology 1984; 152: 497-501."
)
# Menstrual age in weeks as a polynomial of the circumference in cm: constant, linear, square, cubic.
_HADLOCK_COEFFICIENTS = {"AC": (8.14, 0.753, 0.0036, 0.0), "HC": (8.96, 0.540, 0.0, 0.0003)}
# The ages of the 361 fetuses that the regressions come from.
_HADLOCK_WEEKS = (14.0, 42.0)


@dataclass(frozen=True)
class Calibration:
    """The size of a pixel, or that it is not known.

    Args:
        spacing_mm: (x, y) in millimetres; None when the image is not calibrated.
    """

    spacing_mm: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.spacing_mm is None:
            return
        spacing = tuple(float(value) for value in self.spacing_mm)
        if len(spacing) != 2 or not all(math.isfinite(v) and v > 0 for v in spacing):
            raise ValueError(f"A pixel size needs two positive numbers, got {spacing}.")
        object.__setattr__(self, "spacing_mm", spacing)

    @property
    def unit(self) -> str:
        """`mm` when calibrated, otherwise `px`."""
        return "px" if self.spacing_mm is None else "mm"

    def apply(self, ellipse: Ellipse) -> Ellipse:
        """Returns the ellipse in `unit`."""
        return ellipse if self.spacing_mm is None else ellipse.scaled(self.spacing_mm)

    def vector(self, direction: ArrayLike) -> np.ndarray:
        """Returns a direction given in pixels as one in `unit`."""
        return np.asarray(direction, dtype=float) * (1.0 if self.spacing_mm is None else self.spacing_mm)


def measurement(name: str, value: float | None, unit: str, reason: str | None = None) -> Measurement:
    """Returns one entry of a report; a missing value needs its reason."""
    if value is None:
        if not reason:
            raise ValueError(f"The measurement {name} has neither a value nor a reason.")
        return {"name": name, "value": None, "unit": unit, "reason": reason}
    if not math.isfinite(value):
        raise ValueError(f"The measurement {name} is {value}; give None and the reason instead.")
    return {"name": name, "value": float(value), "unit": unit, "reason": reason}


def circumference(name: str, ellipse: Ellipse, calibration: Calibration) -> Measurement:
    """Returns the perimeter of an ellipse given in pixels."""
    return measurement(name, calibration.apply(ellipse).circumference(), calibration.unit)


def diameter(name: str, ellipse: Ellipse, direction: ArrayLike, calibration: Calibration) -> Measurement:
    """Returns the diameter through the centre along `direction`, both given in pixels."""
    scaled = calibration.apply(ellipse)
    along = calibration.vector(direction)
    length = float(np.linalg.norm(along))
    if length == 0:
        return measurement(name, None, calibration.unit, "The direction of this diameter is not known.")
    edge = scaled.radius(np.asarray(scaled.centre) + along / length)
    return measurement(name, 2.0 / float(edge), calibration.unit)


def ellipse_agreement(mask: ArrayLike, ellipse: Ellipse) -> float:
    """Returns the Dice overlap of a mask (x, y) with the ellipse fitted to it."""
    region = np.asarray(mask, dtype=bool)
    filled = ellipse.mask((region.shape[0], region.shape[1]))
    total = int(region.sum()) + int(filled.sum())
    return 2.0 * int((region & filled).sum()) / total if total else 0.0


def gestational_age(
    kind: Literal["AC", "HC"], circumference_mm: float | None, *, name: str | None = None
) -> Measurement:
    """Returns the gestational age in weeks that a circumference stands for, by Hadlock's regressions of 1984.

    It is derived, not measured; its name is `GA from AC` or `GA from HC` unless given. See `HADLOCK_1984`.
    """
    name, unit = name or f"GA from {kind}", "weeks"
    if circumference_mm is None:
        return measurement(name, None, unit, f"The age needs {kind} in millimetres, and there is none.")
    size = circumference_mm / 10
    weeks = sum(factor * size**power for power, factor in enumerate(_HADLOCK_COEFFICIENTS[kind]))
    low, high = _HADLOCK_WEEKS
    if not low <= weeks <= high:
        reason = (
            f"{kind} {circumference_mm:.0f} mm is outside the {low:.0f} to {high:.0f} weeks of Hadlock 1984."
        )
        return measurement(name, None, unit, reason)
    return measurement(name, weeks, unit)
