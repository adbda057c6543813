"""Which tooth is which: kinds and places along the arch, read as one row of sixteen.

Jang et al. number by order: four incisors lie about the midline, then come a canine, two premolars, the
molars. A tooth that is missing breaks such a count, and the teeth behind it slip by one without anybody being
told. Here the same order is a chain: the likeliest way to put the teeth that were found into the sixteen
places of a jaw, in their order, given how well each kind fits and how far apart neighbours lie. The cost of
the best other place says how sure each number is. What fits nowhere, such as a second box on one tooth, may
be left out, at a cost that grows with how sure the detector was of it.

Shapes: N teeth that were found, from the patient's right to the left; K kinds; S = 16 places, from the right
wisdom tooth to the left one.
"""

from __future__ import annotations

from dataclasses import dataclass

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
LEFT_OUT = 2.0  # cost of leaving out a tooth of an even score; a surer one costs its log odds more
NO_TOOTH = 0  # the code of one that was left out
TIE = 1e-9  # costs that differ by less are the same

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Numbering:
    """The teeth of one jaw.

    Attributes:
        codes: FDI code of each tooth that was found; 0 for what is taken for no tooth.
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


def number(kinds: NDArray, places_mm: NDArray, jaw: str, scores: NDArray | None = None) -> Numbering:
    """Returns the codes of teeth of one jaw.

    Args:
        kinds: probabilities (N, K) of the kinds.
        places_mm: way of each tooth's middle along the arch (N), rising to the patient's left, 0 in front.
        jaw: "upper" or "lower".
        scores: how sure it is that each is a tooth (N); None where that is beyond doubt.

    Raises:
        ValueError: the places do not rise, or more teeth beyond doubt than a jaw has places.
    """
    kinds, places = np.asarray(kinds, float).reshape(-1, len(KINDS)), np.asarray(places_mm, float)
    row = row_of(jaw)
    many = scores is None and len(places) > len(row)
    if len(kinds) != len(places) or many or (np.diff(places) <= 0).any():
        raise ValueError(f"Teeth are numbered in their order, at most {len(row)} of a jaw.")
    if not len(places):
        return Numbering((), (), 1.0, row)
    dropping = _dropping_costs(scores, len(places))
    costs = [(_best_of(kinds, places, jaw, scale, dropping), scale) for scale in SCALES]
    (_, found, margins), scale = min(costs, key=lambda item: item[0][0])
    codes = tuple(NO_TOOTH if state is None else row[state] for state in found)
    return Numbering(codes, tuple(margins), float(scale), tuple(c for c in row if c not in codes))


def _dropping_costs(scores: NDArray | None, count: int) -> Array:
    """Costs (N) of taking each for no tooth."""
    if scores is None:
        return np.full(count, np.inf)
    chance = np.clip(np.asarray(scores, float), 0.02, 0.98)
    return np.maximum(LEFT_OUT + np.log(chance / (1 - chance)), 0.0)


def _best_of(
    kinds: Array, places: Array, jaw: str, scale: float, dropping: Array
) -> tuple[float, list[int | None], list[float]]:
    """Least cost, the place in the row of each tooth or None, and margins, for teeth of one scale."""
    centres = scale * _centres(UPPER_WIDTHS if jaw == UPPER else LOWER_WIDTHS)
    single = _single_costs(kinds, places, centres)
    count = len(places)
    # reach[i, s]: tooth i in place s, and the best of what came before; leave[i, s]: of what follows.
    reach, leave, steps = single.copy(), np.zeros_like(single), {}
    for i in range(count):
        ways = [dropping[:i].sum() + np.zeros(len(centres))]
        for j in range(i):
            between = dropping[j + 1 : i].sum()
            if np.isfinite(between):
                steps[j, i] = between + _step_costs(places[i] - places[j], centres)
                ways.append((reach[j][:, None] + steps[j, i]).min(0))
        reach[i] += np.min(ways, axis=0)
    for i in reversed(range(count)):
        ways = [dropping[i + 1 :].sum() + np.zeros(len(centres))]
        ways += [(steps[i, j] + single[j] + leave[j]).min(1) for j in range(i + 1, count) if (i, j) in steps]
        leave[i] = np.min(ways, axis=0)
    totals = reach + leave  # the least cost with each tooth in each place
    least = min(float(totals.min()), float(dropping.sum()))  # the latter leaves all of them out
    size = 0.5 * ((scale - 1) / SCALE_SPREAD) ** 2
    return least + size, *_placed(totals, least)


def _placed(totals: Array, least: float) -> tuple[list[int | None], list[float]]:
    """The place of each tooth, None if the best way leaves it out, and its margin against the best other."""
    found: list[int | None] = []
    margins = []
    for costs in totals:
        best = int(costs.argmin())
        kept = costs[best] <= least + TIE and best not in found
        found.append(best if kept else None)
        margins.append(float(np.delete(costs, best).min() - costs[best]) if kept else 0.0)
    return found, margins


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
