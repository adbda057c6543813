"""What segments and measurements are called in standard vocabularies, read from a bundle's metadata.

`medbundles.terminology` of metadata.json is one table for every writer of coded results. A code is a list of
value, scheme and meaning; what has no entry gets a code of our own, which carries its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from medbundles.drawing import label_colour
from medbundles.metadata import BundleInfo

PRIVATE_SCHEME = "99MEDBUNDLES"
SHORT_TEXT, LONG_TEXT = 16, 64  # limits of a code's value and scheme, and of its meaning, in DICOM
ANY = "*"


@dataclass(frozen=True)
class Code:
    """A concept of a vocabulary, such as 91720002, SCT, Body Substance."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class SegmentTerms:
    """What one label of a label map stands for.

    Attributes:
        value: the label's number.
        name: as in `channel_def`.
        category: what kind of thing it is.
        type: what it is.
        modifier: what `type` leaves open.
        region: where in the body it is.
        colour: as `#RRGGBB`.
    """

    value: int
    name: str
    category: Code
    type: Code
    modifier: Code | None
    region: Code | None
    colour: str


@dataclass(frozen=True)
class MeasurementTerms:
    """What one row of a report stands for.

    Attributes:
        concept: what is measured.
        segment: the label that it was measured on; None for the image.
        finding: what was measured, where that is no segment.
        method: by which rule it was derived.
    """

    concept: Code
    segment: int | None = None
    finding: Code | None = None
    method: Code | None = None


ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
IMAGING = Code("363679005", "SCT", "Imaging procedure")


def private_code(name: str) -> Code:
    """Returns a code of our own for a name; the same name gives the same code in every bundle."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:12].upper()
    return Code(f"MB{digest}", PRIVATE_SCHEME, name[:LONG_TEXT])


@dataclass(frozen=True)
class Terminology:
    """The table of one bundle."""

    info: BundleInfo

    @cached_property
    def _table(self) -> Mapping[str, Any]:
        return self.info.terminology

    @property
    def procedure(self) -> Code:
        """The imaging procedure whose images the bundle works on."""
        return _code(self._table.get("procedure")) or IMAGING

    @cached_property
    def segments(self) -> dict[int, SegmentTerms]:
        """The terms of each label, in the order of their numbers."""
        return {value: self._segment(value, name) for value, name in sorted(self.info.label_names.items())}

    def _segment(self, value: int, name: str) -> SegmentTerms:
        entry = self._table.get("segments", {}).get(str(value), {})
        return SegmentTerms(
            value=value,
            name=name,
            category=_code(entry.get("category")) or ANATOMY,
            type=_code(entry.get("type")) or private_code(name),
            modifier=_code(entry.get("modifier")),
            region=_code(entry.get("region")),
            colour=entry.get("colour") or label_colour(value),
        )

    def measurement(self, name: str) -> MeasurementTerms:
        """Returns the terms of a report's row; a `*` in the table stands for any text.

        With `"segment": "*"` the row belongs to the label whose name begins with that text.
        """
        for pattern, entry in self._table.get("measurements", {}).items():
            if fnmatchcase(name, pattern):
                return MeasurementTerms(
                    concept=_code(entry.get("concept")) or private_code(name),
                    segment=self._place(entry.get("segment"), pattern, name),
                    finding=_code(entry.get("finding")),
                    method=_code(entry.get("method")),
                )
        return MeasurementTerms(private_code(name))

    def _place(self, segment: int | str | None, pattern: str, name: str) -> int | None:
        if segment != ANY:
            return segment
        before, _, after = pattern.partition(ANY)
        word = name[len(before) : len(name) - len(after)]
        found = (value for value, terms in self.segments.items() if terms.name.split(" ")[0] == word)
        return next(found, None)


def _code(entry: Any) -> Code | None:
    return Code(*(str(part) for part in entry)) if entry else None
