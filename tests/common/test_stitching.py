"""Windows become the volume that they were cut from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medbundles.memory import MemoryBudget, own_bytes
from medbundles.stitching import Stitcher
from medbundles.windows import importance, windows

SIZE, WINDOW = (23, 17, 14), (8, 9, 14)


def stitched(volume: Tensor, overlap: float, **options: object) -> Tensor:
    stitcher = Stitcher(SIZE, WINDOW, importance(WINDOW, "gaussian", torch.device("cpu")), **options)
    for place in windows(SIZE, WINDOW, overlap):
        stitcher.add(place, volume[(slice(None), *place)])
    return stitcher.finish().tensor


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8])
def test_windows_that_agree_give_the_volume(overlap: float) -> None:
    volume = torch.rand(3, *SIZE)
    torch.testing.assert_close(stitched(volume, overlap), volume)


def test_on_disk_it_is_the_same() -> None:
    volume = torch.rand(3, *SIZE)
    budget = MemoryBudget((own_bytes() + 1000) / 1e9)
    torch.testing.assert_close(stitched(volume, 0.5, budget=budget), volume)


def test_what_is_kept_is_reduced_part_by_part() -> None:
    volume = torch.rand(3, *SIZE)
    labels = stitched(volume, 0.5, reduce=lambda answer: answer.argmax(0, keepdim=True).to(torch.uint8))
    assert torch.equal(labels, volume.argmax(0, keepdim=True).to(torch.uint8))


def test_a_box_lands_in_its_place_in_a_larger_volume() -> None:
    volume = torch.rand(2, *SIZE)
    box = (slice(2, 25), slice(1, 18), slice(0, 14))
    whole = stitched(volume, 0.25, amid=((30, 20, 16), box))
    assert whole.shape == (2, 30, 20, 16)
    torch.testing.assert_close(whole[(slice(None), *box)], volume)
