"""Splits by subject that stay as they are when cases are added."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from medbundles.datasets.records import Case

FRACTIONS = {"train": 0.72, "validation": 0.08, "test": 0.2}


def split_of(group: str, *, fractions: Mapping[str, float] = FRACTIONS, seed: int = 0) -> str:
    """Returns the part that a group belongs to; it depends on nothing but group, fractions and seed."""
    total = sum(fractions.values())
    if not math.isclose(total, 1.0, abs_tol=1e-6) or min(fractions.values()) < 0:
        raise ValueError(f"The fractions must be non-negative and add up to 1, got {dict(fractions)}.")
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    place, upper = int.from_bytes(digest[:8]) / 2**64, 0.0
    for name, fraction in fractions.items():
        upper += fraction
        if place < upper:
            return name
    return next(reversed(fractions))


def split_by_group(
    cases: Sequence[Case],
    *,
    key: str = "subject",
    fractions: Mapping[str, float] = FRACTIONS,
    seed: int = 0,
) -> dict[str, list[Case]]:
    """Returns the cases by part; all cases of one group come into the same part.

    The part follows from a hash of the group: the sizes are met on average, not exactly, and a subject never
    changes sides when the data set grows.
    """
    parts: dict[str, list[Case]] = {name: [] for name in fractions}
    for case in cases:
        parts[split_of(str(case[key]), fractions=fractions, seed=seed)].append(case)
    return parts
