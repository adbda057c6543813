"""Which tooth is which: kinds and places along the arch, read as one row of sixteen.

Jang et al. number by order: four incisors lie about the midline, then come a canine, two premolars, the
molars. A tooth that is missing breaks such a count, and the teeth behind it slip by one without anybody being
told. Here the same order is a chain: the likeliest way to put the teeth that were found into the sixteen
places of a jaw, in their order, given how well each kind fits and how far apart neighbours lie. The cost of
the best other place says how sure each number is.

Shapes: N teeth that were found, from the patient's right to the left; K kinds; S = 16 places, from the right
wisdom tooth to the left one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dental_teeth.jaws import UPPER

KINDS = ("incisor", "canine", "premolar", "molar")
KIND_OF = (0, 0, 1, 2, 2, 3, 3, 3)  # of the teeth 1 to 8
# Mesiodistal widths of the teeth 1 to 8 in mm, as in textbooks of dental anatomy.
UPPER_WIDTHS = (8.5, 6.5, 7.5, 7.0, 7.0, 10.0, 9.0, 8.5)
LOWER_WIDTHS = (5.0, 5.5, 7.0, 7.0, 7.0, 11.0, 10.5, 10.0)
SCALES = tuple(np.linspace(0.75, 1.15, 9))  # of a jaw against these widths
SCALE_SPREAD = 0.12
NEIGHBOUR_MM = 1.3  # how much the distance of two neighbours varies
DRIFT_MM = 2.5  # how much of each gap between them may have closed, or opened
MIDDLE_MM = 6.0  # how far the middle of the teeth is from that of the arch
LEAST_PROBABILITY = 0.01  # a kind is never impossible
SURE = 2.0  # log odds against the best other place

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Numbering:
    """The teeth of one jaw.

    Attributes:
        codes: FDI code of each tooth that was found.
        margins: log odds of each code against the best other one for the same tooth.
        scale: size of the teeth against the average.
        missing: codes of the jaw that no tooth has.
    """

    codes: tuple[int, ...]
    margins: tuple[float, ...]
    scale: float
    missing: tuple[int, ...]

    @property
    def sure(self) -> tuple[bool, ...]:
        """For each tooth, whether its code is beyond doubt."""
        return tuple(margin >= SURE for margin in self.margins)


def row_of(jaw: str) -> tuple[int, ...]:
    """The FDI codes (S) of a jaw from the patient's right to the left."""
    right, left = (1, 2) if jaw == UPPER else (4, 3)
    return (*(10 * right + tooth for tooth in range(8, 0, -1)), *(10 * left + tooth for tooth in range(1, 9)))


def number(kinds: NDArray, places_mm: NDArray, jaw: str) -> Numbering:
    """Returns the codes of teeth of one jaw.

    Args:
        kinds: probabilities (N, K) of the kinds.
        places_mm: way of each tooth's middle along the arch (N), rising to the patient's left, 0 in front.
        jaw: "upper" or "lower".

    Raises:
        ValueError: the places do not rise, or more teeth than a jaw has places.
    """
    kinds, places = np.asarray(kinds, float).reshape(-1, len(KINDS)), np.asarray(places_mm, float)
    row = row_of(jaw)
    if len(kinds) != len(places) or len(places) > len(row) or (np.diff(places) <= 0).any():
        raise ValueError(f"Teeth are numbered in their order, at most {len(row)} of a jaw.")
    if not len(places):
        return Numbering((), (), 1.0, row)
    costs = [(_best_of(kinds, places, jaw, scale), scale) for scale in SCALES]
    (_, found, margins), scale = min(costs, key=lambda item: item[0][0])
    codes = tuple(row[state] for state in found)
    return Numbering(codes, tuple(margins.tolist()), float(scale), tuple(c for c in row if c not in codes))


def _best_of(kinds: Array, places: Array, jaw: str, scale: float) -> tuple[float, list[int], Array]:
    """Least cost, the place in the row of each tooth, and margins, for teeth of one scale."""
    centres = scale * _centres(UPPER_WIDTHS if jaw == UPPER else LOWER_WIDTHS)
    single = _single_costs(kinds, places, centres)
    steps = [_step_costs(after - before, centres) for before, after in pairwise(places)]
    forward, backward = [single[0]], [np.zeros(len(centres))]
    for own, step in zip(single[1:], steps, strict=True):
        forward.append(own + (forward[-1][:, None] + step).min(0))
    for own, step in zip(single[:0:-1], steps[::-1], strict=True):
        backward.insert(0, (step + own + backward[0]).min(1))
    totals = np.stack(forward) + np.stack(backward)  # the least cost with each tooth in each place
    found = totals.argmin(1)
    others = np.where(np.arange(len(centres)) == found[:, None], np.inf, totals).min(1)
    size = 0.5 * ((scale - 1) / SCALE_SPREAD) ** 2
    return float(totals[0].min()) + size, found.tolist(), others - totals.min(1)


def _centres(widths: tuple[float, ...]) -> Array:
    """Middles of the places (S), in mm from the midline."""
    left = np.cumsum(widths) - np.array(widths) / 2
    return np.concatenate([-left[::-1], left])


def _single_costs(kinds: Array, places: Array, centres: Array) -> Array:
    """Costs (N, S) of each tooth in each place."""
    wanted = np.array([*KIND_OF[::-1], *KIND_OF])
    shares = np.maximum(kinds, LEAST_PROBABILITY)
    kind_costs = -np.log(shares / shares.sum(1, keepdims=True))[:, wanted]
    away = (places[:, None] - centres) / MIDDLE_MM
    return kind_costs + 0.5 * away**2 / len(places)  # all teeth are off together, so this counts once


def _step_costs(distance: float, centres: Array) -> Array:
    """Costs (S, S) of a distance between a tooth in one place and the next one that was found in another."""
    skipped = np.arange(len(centres)) - np.arange(len(centres))[:, None] - 1
    variance = NEIGHBOUR_MM**2 + DRIFT_MM**2 * np.maximum(skipped, 0)
    misfit = (distance - (centres - centres[:, None])) ** 2 / variance
    costs = 0.5 * (misfit + np.log(variance / NEIGHBOUR_MM**2))
    return np.where(skipped >= 0, costs, np.inf)
