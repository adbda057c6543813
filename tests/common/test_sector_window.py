"""Windows and veils on standardised frames: what is cut is black, unlabelled and outside the sector."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from medbundles.sector import beam_channels
from medbundles.sector_window import RandVeild, RandWindow, RandWindowd

SHAPE = (96, 64)


@pytest.fixture
def frame() -> Tensor:
    """A frame (4, X, Y) that is bright everywhere."""
    grey = np.random.default_rng(0).uniform(0.3, 0.9, SHAPE).astype(np.float32)
    return torch.from_numpy(np.concatenate([grey[None], beam_channels(grey)]))


def cut(frame: Tensor, seed: int, **settings: float) -> tuple[Tensor, Tensor]:
    """A frame and labels, all 1 before, in the window of a seed."""
    window = RandWindowd(["image", "label"], **{"prob": 1.0, **settings})
    window.set_random_state(seed)
    data = window({"image": frame, "label": torch.ones(1, *SHAPE, dtype=torch.uint8)})
    return data["image"], data["label"]


@pytest.mark.parametrize("seed", range(8))
def test_frame_and_labels_are_cut_alike_and_the_rest_is_as_it_was(frame: Tensor, seed: int) -> None:
    image, label = cut(frame, seed)
    shown = label[0] == 1
    assert torch.equal(image[0], frame[0] * shown)
    assert label.dtype == torch.uint8 and set(label.unique().tolist()) <= {0, 1}


def test_the_beams_are_read_again_from_what_is_left(frame: Tensor) -> None:
    image, label = cut(frame, 5, side_prob=1.0, paint_prob=0.0)
    columns, rows = (np.flatnonzero(label[0].numpy().any(axis=axis)) for axis in (1, 0))
    inside = image[1].numpy() > 0.5
    assert 0 < columns[0] and columns[-1] < SHAPE[0] - 1 and 0 < rows[0] and rows[-1] < SHAPE[1] - 1
    assert np.flatnonzero(inside.any(axis=1))[[0, -1]] == pytest.approx(columns[[0, -1]], abs=2)
    assert np.array_equal(image[1:].numpy(), beam_channels(image[0].numpy()))


def test_windows_are_no_smaller_than_was_said(frame: Tensor) -> None:
    for seed in range(20):
        _, label = cut(frame, seed, cut=0.2, side_prob=1.0, paint_prob=0.0)
        assert 0.6**2 - 0.05 <= label.float().mean() <= 1


def test_corners_are_painted_over_at_the_rim_of_the_window(frame: Tensor) -> None:
    painted = 0
    for seed in range(10):
        _, label = cut(frame, seed, side_prob=0.0, paint_prob=1.0)
        boxes, count = ndimage.label(label[0].numpy() == 0)
        painted += count
        for number in range(1, count + 1):
            x, y = np.nonzero(boxes == number)
            assert {x.min(), SHAPE[0] - 1 - x.max()} & {0} and {y.min(), SHAPE[1] - 1 - y.max()} & {0}
    assert painted >= 20


def test_some_frames_stay_whole_and_a_seed_gives_one_window(frame: Tensor) -> None:
    window = RandWindow(prob=0.5)
    window.set_random_state(0)
    whole = 0
    for _ in range(200):
        window.randomize(SHAPE)
        whole += window.frame(frame) is frame
    assert 75 <= whole <= 125
    assert torch.equal(cut(frame, 5)[0], cut(frame, 5)[0])
    assert not torch.equal(cut(frame, 5)[0], cut(frame, 6)[0])


def test_a_veil_lifts_what_is_dark_in_the_sector_only(frame: Tensor) -> None:
    frame[0, 40:60, 20:40], frame[0, 50, 30] = 0.0, 1.0
    frame[1, :20] = 0.0
    veil = RandVeild("image", prob=1.0, most=0.25)
    lifted = []
    for seed in range(12):
        veil.set_random_state(seed)
        image = veil({"image": frame})["image"]
        assert torch.equal(image[1:], frame[1:]) and torch.equal(image[0, :20], frame[0, :20])
        assert image[0, 50, 30] == 1 and (image[0] >= frame[0]).all() and image[0].max() <= 1
        lifted.append(float(image[0, 40:49, 20:40].mean()))
    assert 0.03 < np.mean(lifted) < 0.25 and np.ptp(lifted) > 0.05
    assert torch.equal(RandVeild("image", prob=0.0)({"image": frame})["image"], frame)
