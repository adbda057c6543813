"""Windows lie where MONAI lays them, and the box around what a volume holds misses none of it."""

from __future__ import annotations

import pytest
import torch
from monai.data.utils import dense_patch_slices

from medbundles.windows import (
    at_least,
    background_of,
    informative_box,
    is_empty,
    padded,
    window_starts,
    windows,
    with_margin,
)


@pytest.mark.parametrize("size", [(40, 33, 64), (16, 100, 17)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.7])
def test_windows_are_monais(size: tuple[int, ...], overlap: float) -> None:
    step = [16 if n == 16 else int(16 * (1 - overlap)) for n in size]
    assert list(windows(size, (16, 16, 16), overlap)) == [
        tuple(w) for w in dense_patch_slices(size, (16,) * 3, step)
    ]


@pytest.mark.parametrize(("size", "expected"), [(10, [0]), (11, [0, 1]), (17, [0, 7]), (18, [0, 7, 8])])
def test_no_more_windows_than_an_axis_needs(size: int, expected: list[int]) -> None:
    assert window_starts(size, 10, 0.25) == expected


def test_the_box_holds_everything_and_nothing_more() -> None:
    volume = torch.full((2, 20, 30, 40), -1000.0)
    volume[0, 4, 7, 9] = 0
    volume[1, 12, 20, 30] = 0
    background = background_of(volume)
    assert background.tolist() == [-1000, -1000]
    assert informative_box(volume, background) == (slice(4, 13), slice(7, 21), slice(9, 31))


def test_a_margin_is_added_where_it_takes_no_further_window() -> None:
    box = (slice(4, 13), slice(7, 21), slice(9, 25))
    found = with_margin(box, 8, (20, 30, 40), (32, 16, 16), 0.25)
    assert found == (slice(0, 20), slice(7, 21), slice(9, 25))  # only the first window is wide enough


def test_a_volume_of_background_is_its_own_box() -> None:
    volume = torch.zeros(1, 4, 5)
    assert informative_box(volume, background_of(volume)) == (slice(0, 4), slice(0, 5))
    assert is_empty(volume, background_of(volume))


def test_a_box_grows_to_a_window_but_not_beyond_the_volume() -> None:
    box = (slice(0, 3), slice(17, 20), slice(2, 9))
    assert at_least(box, (8, 8, 8), (20, 20, 10)) == (slice(0, 8), slice(12, 20), slice(2, 10))
    assert at_least(box, (8, 8, 30), (20, 20, 10))[2] == slice(0, 10)


def test_padding_puts_a_small_volume_in_the_middle_of_a_window() -> None:
    volume = torch.ones(1, 5, 20)
    larger, place = padded(volume, (8, 8))
    assert larger.shape == (1, 8, 20)
    assert larger.sum() == 100
    assert larger[(slice(None), *place)].equal(volume)
