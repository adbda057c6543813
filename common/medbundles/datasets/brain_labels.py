"""What the labels of brain-tumour data mean, and ours: 1 core without enhancement, 2 oedema, 3 enhancing.

The same number stands for different tissues. Enhancing tumour is 4 in BraTS 2012 to 2021 and 3 from 2023 on,
where 4 (since 2024) is the resection cavity; label 3 of BraTS 2015 is core without enhancement. In the
Decathlon 1 is oedema, and its own description and a widespread tutorial disagree on which of 2 and 3
enhances: only the images can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medbundles.checks import DatasetError
from medbundles.regions import CORE, ENHANCING, OEDEMA

CONVENTIONS: dict[str, dict[int, int]] = {
    "brats2015": {1: CORE, 2: OEDEMA, 3: CORE, 4: ENHANCING},
    "brats2018": {1: CORE, 2: OEDEMA, 4: ENHANCING},
    "brats2023": {1: CORE, 2: OEDEMA, 3: ENHANCING},
    "brats2024": {1: CORE, 2: OEDEMA, 3: ENHANCING, 4: 0},
    "msd": {1: OEDEMA, 2: CORE, 3: ENHANCING},
    "msd_swapped": {1: OEDEMA, 2: ENHANCING, 3: CORE},
}
OURS = "brats2023"
MIN_VOXELS = 20  # a mean over fewer says nothing
CLEAR_GAIN = 0.25  # standard deviations of the brain


def label_convention(
    values: Iterable[int], *, layout: str | None = None, gain: Mapping[int, float] | None = None
) -> str:
    """Returns which of `CONVENTIONS` a label map follows.

    Args:
        values: the values that occur; any label may be absent.
        layout: the convention that the file's place and name suggest; values that it does not have overrule
            it.
        gain: mean of T1Gd - T1 per label, see `enhancement`. It decides where the numbers leave two
            readings: the one whose enhancing label gained most.

    Raises:
        DatasetError: no convention has these values.
    """
    found = {int(value) for value in values} - {0}
    fitting = [name for name, meaning in CONVENTIONS.items() if found <= set(meaning)]
    if not fitting:
        raise DatasetError(
            f"labels {sorted(found)}",
            expected="0, 1, 2, 4 (BraTS to 2021) or 0, 1, 2, 3 (from 2023 and Decathlon)",
            advice="give the segmentation of a brain tumour as published",
        )
    family = [name for name in fitting if _family(name) == _family(layout)] if layout else []
    family = family or [name for name in fitting if not layout and _family(name) == "brats"] or fitting
    if gain and (likely := _by_gain(family, gain, found)):
        return str(layout) if layout in likely else likely[0]
    return str(layout) if layout in family else _usual(family, found)


def enhancement(t1: ArrayLike, t1gd: ArrayLike, labels: ArrayLike) -> dict[int, float]:
    """Returns the mean of T1Gd - T1 over the voxels of each label, both standardised inside the brain."""
    native, enhanced, labels = (np.asarray(item) for item in (t1, t1gd, labels))
    brain = (native != 0) & (enhanced != 0)
    normal = brain & (labels == 0) if np.count_nonzero(brain & (labels == 0)) >= MIN_VOXELS else brain
    difference = _standardised(enhanced, normal) - _standardised(native, normal)
    found = {}
    for value in np.unique(labels[labels > 0]).astype(int):
        inside = brain & (labels == value)
        if np.count_nonzero(inside) >= MIN_VOXELS:
            found[int(value)] = float(difference[inside].mean())
    return found


def to_our_labels(labels: ArrayLike, convention: str | None = None) -> NDArray[np.uint8]:
    """Returns a label map in our convention; values that the named one does not have overrule it.

    Raises:
        DatasetError: no convention has these values.
    """
    labels = np.rint(np.asarray(labels)).astype(np.int64)
    if labels.size and labels.min() < 0:
        raise DatasetError(
            f"the label {labels.min()}", expected="labels from 0 to 4", advice="give the map as published"
        )
    found = np.flatnonzero(np.bincount(labels.ravel()))  # np.unique would sort ten million voxels
    meaning = CONVENTIONS[label_convention(found, layout=convention)]
    table = np.zeros(max([int(labels.max(initial=0)), *meaning]) + 1, np.uint8)
    for value, ours in meaning.items():
        table[value] = ours
    return table[labels]


def _family(name: str | None) -> str:
    return "msd" if name in ("msd", "msd_swapped") else "brats"


def _enhancing(name: str) -> int:
    return next(value for value, ours in CONVENTIONS[name].items() if ours == ENHANCING)


def _by_gain(names: list[str], gain: Mapping[int, float], found: set[int]) -> list[str]:
    """Returns the conventions whose enhancing label gained most; none if they do not differ in it."""
    candidates = {_enhancing(name) for name in names} & found & set(gain)
    if len({_enhancing(name) for name in names}) < 2 or not candidates:
        return []
    most, *others = sorted(gain, key=lambda value: -gain[value])
    if others and gain[most] - gain[others[0]] < CLEAR_GAIN:
        return []
    return [name for name in names if _enhancing(name) == most]


def _usual(names: list[str], found: set[int]) -> str:
    """Without other evidence: 3 and 4 are BraTS 2015, 4 alone its successors, else the newest numbers."""
    if {3, 4} <= found:
        wanted = ("brats2015", "brats2024")
    elif 4 in found:
        wanted = ("brats2018", "brats2024", "brats2015")
    else:
        wanted = ("brats2023", "msd")
    return next((name for name in wanted if name in names), names[0])


def _standardised(values: NDArray, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    inside = values[mask].astype(np.float64)
    return (values - inside.mean()) / (inside.std() or 1.0)
