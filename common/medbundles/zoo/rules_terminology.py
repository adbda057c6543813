"""Rules for `medbundles.terminology`: codes of segments and measurements, complete, as DICOM takes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from medbundles.terminology import ANY, LONG_TEXT, SHORT_TEXT
from medbundles.zoo.rules_metadata import FILE
from medbundles.zoo.source import BundleSource, Problem, as_dict

WHERE = "medbundles.terminology"
SEGMENT = {"category": True, "type": True, "modifier": False, "region": False}
MEASUREMENT = {"concept": True, "finding": False, "method": False}
COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")


def terminology_complete(bundle: BundleSource) -> Iterator[Problem]:
    """Every label has a category, a type and a colour; every code is [value, scheme, meaning]."""
    table = as_dict(bundle.block.get("terminology"))
    if not table:
        yield bundle.problem(
            FILE, f"{WHERE} is missing", "name procedure, segments and measurements by codes"
        )
        return
    yield from _codes(bundle, WHERE, table, {"procedure": True})
    yield from _segments(bundle, as_dict(table.get("segments")))
    for name, entry in as_dict(table.get("measurements")).items():
        where = f"{WHERE}.measurements.{name}"
        yield from _codes(bundle, where, as_dict(entry), MEASUREMENT)
        yield from _place(bundle, where, name, as_dict(entry).get("segment"))


def _segments(bundle: BundleSource, segments: dict[str, Any]) -> Iterator[Problem]:
    labels = _labels(bundle)
    if sorted(segments) != sorted(labels):
        text = f"{WHERE}.segments has {_listed(segments)}, the labels are {_listed(labels)}"
        yield bundle.problem(FILE, text, "describe every label, and nothing else")
    for value, entry in segments.items():
        where = f"{WHERE}.segments.{value}"
        yield from _codes(bundle, where, as_dict(entry), SEGMENT)
        colour = as_dict(entry).get("colour")
        if not COLOUR.fullmatch(str(colour)):
            yield bundle.problem(FILE, f"{where}.colour is '{colour}'", "give it as #RRGGBB")


def _labels(bundle: BundleSource) -> list[str]:
    """The values of the labels, as text; a bundle that gives an image has none."""
    if as_dict(bundle.block.get("output")).get("kind") != "labels":
        return []
    outputs = as_dict(as_dict(bundle.metadata.get("network_data_format")).get("outputs"))
    names = as_dict(as_dict(next(iter(outputs.values()), {})).get("channel_def"))
    return [value for value in names if value != "0"]


def _listed(values: Any) -> str:
    return ", ".join(sorted(values, key=lambda v: (len(v), v))) or "none"


def _codes(
    bundle: BundleSource, where: str, entry: dict[str, Any], wanted: dict[str, bool]
) -> Iterator[Problem]:
    for key, required in wanted.items():
        code = entry.get(key)
        if code is None and required:
            yield bundle.problem(FILE, f"{where}.{key} is missing", "give [value, scheme, meaning]")
        elif code is not None and not _is_code(code):
            advice = (
                f"give [value, scheme, meaning], at most {SHORT_TEXT}, {SHORT_TEXT}, {LONG_TEXT} characters"
            )
            yield bundle.problem(FILE, f"{where}.{key} is {code}", advice)


def _is_code(code: Any) -> bool:
    limits = (SHORT_TEXT, SHORT_TEXT, LONG_TEXT)
    if not isinstance(code, list) or len(code) != len(limits):
        return False
    return all(
        isinstance(part, str) and 0 < len(part.strip()) and len(part) <= limit
        for part, limit in zip(code, limits, strict=True)
    )


def _place(bundle: BundleSource, where: str, name: str, segment: Any) -> Iterator[Problem]:
    """A row belongs to a label, or by `*` to the label whose name begins with what `*` stands for."""
    if segment is None or (str(segment) in _labels(bundle) and isinstance(segment, int)):
        return
    if segment == ANY and name.count(ANY) == 1:
        return
    advice = f'give the value of a label, or "{ANY}" with one {ANY} in the name of the measurement'
    yield bundle.problem(FILE, f"{where}.segment is '{segment}'", advice)


RULES = (terminology_complete,)
