"""What was read from the panoramas of a scan: which teeth there are, where, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dental_teeth.boxes import Box
from dental_teeth.panorama import View

Mask = NDArray[np.bool_]

FDI_CODES = tuple(10 * quadrant + position for quadrant in (1, 2, 3, 4) for position in range(1, 9))
_LABELS = {code: label for label, code in enumerate(FDI_CODES, start=1)}
_CODES = np.array((0, *FDI_CODES), np.uint8)


@dataclass(frozen=True)
class Tooth:
    """A tooth on the panorama of its jaw.

    Attributes:
        code: its FDI number, the likeliest one.
        jaw: "upper" or "lower".
        box: around it.
        mask: its pixels (columns, rows) of the whole panorama.
        score: how sure the detector is of it, 0 to 1.
        margin: log odds of its number against the best other one.
        sure: whether the number is beyond doubt; if not, it is to be flagged.
    """

    code: int
    jaw: str
    box: Box
    mask: Mask
    score: float
    margin: float
    sure: bool


@dataclass(frozen=True)
class JawReading:
    """The panorama of one jaw and what is on it.

    Attributes:
        view: how the panorama was made.
        picture: (columns, rows), millimetres of water along each ray.
        teeth: from the patient's right to the left.
        missing: numbers that no tooth has.
    """

    view: View
    picture: NDArray[np.float32]
    teeth: tuple[Tooth, ...]
    missing: tuple[int, ...]


@dataclass(frozen=True)
class Reading:
    """All that was read from a scan.

    Attributes:
        jaws: readings by jaw, upper first; a jaw outside the field of view is absent.
        split_method: how the jaws were told apart, see `dental_teeth.jaws.Jaws`.
        split_confidence: 0 to 1.
    """

    jaws: Mapping[str, JawReading]
    split_method: str
    split_confidence: float

    @property
    def teeth(self) -> dict[int, Tooth]:
        """All teeth by their FDI number."""
        return {tooth.code: tooth for reading in self.jaws.values() for tooth in reading.teeth}


def label_of(code: int) -> int:
    """The value 1 to 32 of a tooth in our label maps."""
    return _LABELS[code]


def code_of(label: int) -> int:
    """The FDI number of a value in our label maps."""
    return FDI_CODES[label - 1]


def to_labels(codes: NDArray) -> NDArray[np.uint8]:
    """Returns a map of FDI numbers with the values 1 to 32; all that is no permanent tooth is 0."""
    table = np.zeros(256, np.uint8)
    table[list(FDI_CODES)] = range(1, len(FDI_CODES) + 1)
    return table[codes]


def to_codes(labels: NDArray) -> NDArray[np.uint8]:
    """Returns a map of values 1 to 32 with FDI numbers."""
    return _CODES[labels]
