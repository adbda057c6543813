"""The numbers of teeth from their kinds and places."""

import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "dental_cbct_tooth_segmentation"))

from dental_teeth.numbering import (
    KIND_OF,
    LOWER_WIDTHS,
    NO_TOOTH,
    UPPER_WIDTHS,
    Numbering,
    number,
    row_of,
)

JAWS = ("upper", "lower")


def jaw_of(jaw: str, codes: Collection[int], *, clear: float = 0.94) -> tuple[NDArray, NDArray]:
    """Probabilities of kinds and places in mm of teeth of average size, each where it belongs."""
    row = row_of(jaw)
    widths = np.array(UPPER_WIDTHS if jaw == "upper" else LOWER_WIDTHS)
    left = np.cumsum(widths) - widths / 2
    places = np.concatenate([-left[::-1], left])
    kept = [index for index, code in enumerate(row) if code in codes]
    kinds = np.full((len(kept), 4), (1 - clear) / 3)
    for line, index in enumerate(kept):
        kinds[line, KIND_OF[row[index] % 10 - 1]] = clear
    return kinds, places[kept]


def numbered(jaw: str, codes: Collection[int]) -> Numbering:
    return number(*jaw_of(jaw, codes), jaw)


def test_the_rows_go_from_the_patients_right_to_the_left() -> None:
    assert row_of("upper") == (18, 17, 16, 15, 14, 13, 12, 11, 21, 22, 23, 24, 25, 26, 27, 28)
    assert row_of("lower") == (48, 47, 46, 45, 44, 43, 42, 41, 31, 32, 33, 34, 35, 36, 37, 38)


@pytest.mark.parametrize("jaw", JAWS)
def test_a_whole_jaw_has_its_numbers_with_and_without_wisdom_teeth(jaw: str) -> None:
    row = row_of(jaw)
    assert numbered(jaw, row).codes == row and all(numbered(jaw, row).sure)
    inner = row[1:-1]
    found = numbered(jaw, inner)
    assert found.codes == inner and all(found.sure)
    assert found.missing == (row[0], row[-1])


@pytest.mark.parametrize("jaw", JAWS)
@pytest.mark.parametrize("lost", [1, 2, 3, 4, 5, 6])
def test_a_gap_says_which_tooth_is_missing(jaw: str, lost: int) -> None:
    code = row_of(jaw)[8] // 10 * 10 + lost
    rest = [c for c in row_of(jaw)[1:-1] if c != code]
    found = numbered(jaw, rest)
    assert found.codes == tuple(rest)
    assert code in found.missing


@pytest.mark.parametrize("jaw", JAWS)
def test_a_premolar_without_a_gap_to_tell_which_one_it_is_is_flagged_and_its_neighbours_are_not(
    jaw: str,
) -> None:
    row = row_of(jaw)
    first, second = row[11], row[12]
    kinds, places = jaw_of(jaw, [c for c in row[1:-1] if c != first])
    kinds, places = kinds.copy(), places.copy()
    places[10:] -= 7.0  # the gap has closed: teeth behind have moved on
    found = number(kinds, places, jaw)
    assert found.codes[10] in (first, second) and not found.sure[10]
    assert found.codes[9] == row[10] and found.codes[11:] == row[13:15]
    assert found.sure[9] and all(found.sure[11:])


@pytest.mark.parametrize("jaw", JAWS)
def test_a_mirrored_jaw_has_mirrored_numbers(jaw: str) -> None:
    row = row_of(jaw)
    kinds, places = jaw_of(jaw, [c for c in row if c not in (row[3], row[9], row[15])])
    found = number(kinds, places, jaw)
    mirrored = number(kinds[::-1], -places[::-1], jaw)
    mirror = dict(zip(row, row[::-1], strict=True))
    assert mirrored.codes == tuple(mirror[code] for code in reversed(found.codes))


def test_a_tooth_taken_for_another_kind_is_put_right_by_its_neighbours() -> None:
    row = row_of("upper")
    kinds, places = jaw_of("upper", row[1:-1])
    kinds[9] = (0.02, 0.18, 0.78, 0.02)  # a canine that looks like a premolar
    assert number(kinds, places, "upper").codes == row[1:-1]


@pytest.mark.parametrize("size", [0.8, 1.12])
def test_small_and_large_teeth_are_numbered_alike(size: float) -> None:
    row = row_of("lower")[1:-1]
    kinds, places = jaw_of("lower", row)
    found = number(kinds, size * places, "lower")
    assert found.codes == row
    assert found.scale == pytest.approx(size, abs=0.06)


def test_half_an_arch_and_single_teeth_are_numbered_by_side() -> None:
    assert numbered("lower", [31, 32, 33, 34, 35, 36, 37]).codes == (31, 32, 33, 34, 35, 36, 37)
    assert numbered("upper", [16]).codes == (16,)
    assert numbered("upper", [26]).codes == (26,)


@pytest.mark.parametrize("jaw", JAWS)
@pytest.mark.parametrize("at", [2, 7, 12])
def test_a_second_box_on_a_tooth_is_left_out_and_moves_no_number(jaw: str, at: int) -> None:
    row = row_of(jaw)[1:-1]
    kinds, places = jaw_of(jaw, row)
    twice = np.insert(kinds, at, kinds[at], axis=0), np.insert(places, at, places[at] - 2.0)
    scores = np.insert(np.full(len(row), 0.93), at, 0.55)
    found = number(*twice, jaw, scores)
    assert found.codes[at] == NO_TOOTH and not found.sure[at]
    assert (*found.codes[:at], *found.codes[at + 1 :]) == row
    assert found.missing == (row_of(jaw)[0], row_of(jaw)[-1])


def test_a_sure_tooth_is_not_left_out_for_crowding() -> None:
    row = row_of("lower")[1:-1]
    kinds, places = jaw_of("lower", row)
    places = places.copy()
    places[7] -= 2.0  # a lower incisor nearly behind its neighbour
    assert number(kinds, places, "lower", np.full(len(row), 0.9)).codes == row


def test_more_boxes_than_places_are_numbered_when_they_may_be_left_out() -> None:
    row = row_of("upper")
    kinds, places = jaw_of("upper", row)
    doubled = np.repeat(kinds, 2, axis=0)
    beside = np.stack([places - 0.4, places + 0.4], axis=1).ravel()
    scores = np.tile([0.9, 0.45], len(row))
    assert tuple(code for code in number(doubled, beside, "upper", scores).codes if code) == row
    with pytest.raises(ValueError, match="at most 16"):
        number(doubled, beside, "upper")


def test_a_single_box_that_is_no_tooth_leaves_an_empty_jaw() -> None:
    kinds, places = jaw_of("upper", [16])
    kept, dropped = (number(kinds, places, "upper", np.array([score])) for score in (0.9, 0.1))
    assert kept.codes == (16,)
    assert dropped.codes == (NO_TOOTH,) and dropped.missing == row_of("upper")


def test_no_teeth_have_no_numbers_and_disorder_is_refused() -> None:
    none = number(np.zeros((0, 4)), np.zeros(0), "upper")
    assert none.codes == () and none.missing == row_of("upper")
    with pytest.raises(ValueError, match="order"):
        number(np.full((2, 4), 0.25), np.array([3.0, 1.0]), "upper")
