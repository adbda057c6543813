"""The options of a bundle that a client shows: those that its metadata name, and their way back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medbundles.zoo.find import read_metadata
from medbundles.zoo.knobs import knobs
from medbundles.zoo.workflows import INFERENCE


def label_block(folder: Path) -> Mapping[str, Any]:
    """What a bundle's metadata say to the MONAI Label app."""
    return read_metadata(folder)["medbundles"].get("label_app", {})


def shown_options(folder: Path) -> dict[str, Any]:
    """The options with their defaults; clients know texts, numbers and switches, so an unset one is empty."""
    names = label_block(folder).get("knobs", [])
    defaults = {knob.name: knob.default for knob in knobs(folder, INFERENCE)}
    return {name: "" if defaults[name] is None else defaults[name] for name in names}


def chosen_options(folder: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a request that differ from nothing: what is empty stays at its default."""
    given = {name: request.get(name) for name in shown_options(folder)}
    return {name: _number(value) for name, value in given.items() if value not in (None, "")}


def _number(value: Any) -> Any:
    """Clients send what is typed into an empty field as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
