"""Weights given as name=path,name=path on the command line."""

from collections.abc import Sequence
from pathlib import Path

SHIPPED = "shipped"


def named_weights(text: str | Sequence[str], bundle: Path) -> dict[str, Path]:
    """The entries name=path of a list with commas, which fire may have split.

    `shipped` alone stands for the bundle's own.
    """
    entries = text.split(",") if isinstance(text, str) else text
    pairs = [entry.strip().partition("=") for entry in entries]
    found = {name: Path(path) for name, _, path in pairs if path}
    if any(name == SHIPPED and not path for name, _, path in pairs):
        found[SHIPPED] = bundle / "models" / "model.pt"
    if len(found) < len(pairs):
        raise SystemExit(f"--weights takes name=path,name=path with different names, not '{text}'")
    return found
