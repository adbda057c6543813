"""The one speed knob: `fast`, `balanced` or `exact`, with one meaning in every inferer.

| mode | numbers | windows | mirror images |
| --- | --- | --- | --- |
| `exact` | float32 | all, as MONAI's own inferers lay them | as set |
| `balanced` | bfloat16, where a check finds the same answer | only around what the volume holds | as set |
| `fast` | as balanced | as balanced, with half the overlap | none |
"""

from __future__ import annotations

from medbundles.errors import OverrideError

FAST, BALANCED, EXACT = "fast", "balanced", "exact"
MODES = (FAST, BALANCED, EXACT)


def known_mode(name: str) -> str:
    """Returns the name of a mode.

    Raises:
        OverrideError: there is no such mode.
    """
    if name not in MODES:
        raise OverrideError(
            f"mode '{name}'",
            expected=", ".join(MODES),
            source="option mode",
            advice=f"use --mode {BALANCED}",
        )
    return name
