"""Which channel of a 4D file is which contrast."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medbundles.contrasts import CONTRASTS, contrast_of
from medbundles.errors import InputError

DECATHLON_ORDER = ("flair", "t1", "t1gd", "t2")
TABLE = "dataset.json"


def order_of(path: Path, order: Sequence[str] | None = None, channels: int = 4) -> tuple[str, ...]:
    """Returns the contrasts of a 4D file's channels.

    Args:
        path: the file; a `dataset.json` in its folder or the one above may say the order.
        order: what the user says; it wins.
        channels: how many there are.

    Raises:
        InputError: the order does not name each contrast once.
    """
    if order is not None:
        names = [contrast_of(str(name)) for name in order]
        if sorted(map(str, names)) != sorted(CONTRASTS):
            raise InputError(
                f"the order {', '.join(map(str, order))}",
                expected=f"each of {', '.join(CONTRASTS)} once",
                source=path,
                advice="write for example order=['flair', 't1', 't1gd', 't2']",
            )
        return tuple(str(name) for name in names)
    for folder in (path.parent, path.parent.parent):
        if (found := channel_names(folder / TABLE)) and len(found) == channels:
            return found
    return DECATHLON_ORDER


def channel_names(table: Path) -> tuple[str, ...] | None:
    """Returns the contrasts that a dataset.json gives for the channels; None unless it gives all four."""
    content = read_table(table)
    names = content.get("modality") or content.get("channel_names") or {}
    if not isinstance(names, dict) or not all(str(key).isdigit() for key in names):
        return None
    found = [contrast_of(str(names[key])) for key in sorted(names, key=int)]
    return tuple(map(str, found)) if sorted(map(str, found)) == sorted(CONTRASTS) else None


def read_table(table: Path) -> dict[str, Any]:
    """Returns the content of a dataset.json; nothing if there is none or it is not one."""
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
