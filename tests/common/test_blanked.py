"""Boxes that were painted over frames are found; dark fluid and the black around a sector are none."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from medbundles.blanked import BOXES, blanked, blanked_boxes
from medbundles.sector import StandardiseSectord
from medbundles.simulators.ultrasound_fluid import quadrants

BOX = (120, 90, 180, 112)


def speckle() -> NDArray[np.uint8]:
    """A frame (X, Y) that is bright everywhere."""
    return np.random.default_rng(0).integers(20, 200, (200, 150)).astype(np.uint8)


def covered(frame: NDArray[np.uint8], box: tuple[int, int, int, int] = BOX) -> NDArray[np.uint8]:
    x0, y0, x1, y1 = box
    frame = frame.copy()
    frame[x0:x1, y0:y1] = 0
    return frame


def test_a_box_is_found_to_the_pixel() -> None:
    assert blanked_boxes(covered(speckle())) == [BOX]


@pytest.mark.parametrize("box", [(120, 90, 200, 150), (0, 0, 60, 20), (150, 0, 200, 30)])
def test_a_box_in_a_corner_is_found(box: tuple[int, int, int, int]) -> None:
    assert blanked_boxes(covered(speckle(), box)) == [box]


def test_a_box_that_reaches_into_the_black_beside_the_picture_covers_what_it_hides() -> None:
    frame = covered(speckle())
    frame[170:] = 0
    mask = np.zeros(frame.shape, bool)
    for x0, y0, x1, y1 in blanked_boxes(frame):
        mask[x0:x1, y0:y1] = True
    assert mask[120:170, 90:112].all() and not mask[:120].any()


def test_a_black_pocket_of_fluid_is_no_box() -> None:
    x, y = np.indices((200, 150))
    frame = np.where((x - 90) ** 2 / 60**2 + (y - 80) ** 2 / 30**2 < 1, 0, speckle())
    assert blanked_boxes(frame.astype(np.uint8)) == []


def test_simulated_fluid_is_in_no_box() -> None:
    for frame in quadrants([0, 7]):
        mask = np.zeros(frame.label.shape, bool)
        for x0, y0, x1, y1 in blanked_boxes(frame.image):
            mask[x0:x1, y0:y1] = True
        assert not (mask & np.isin(frame.label, (1, 3))).any()


def test_boxes_travel_with_the_frame_through_the_network_and_back() -> None:
    frame = MetaTensor(torch.from_numpy(covered(speckle())[None].astype(np.float32)), affine=torch.eye(4))
    standardise = StandardiseSectord("image", size=(64, 48))
    shown = standardise({"image": frame})["image"]
    assert isinstance(shown.meta[BOXES], str)
    back = standardise.inverse({"image": shown})["image"]
    hidden = blanked(back.shape[1:], back.meta)
    assert np.array_equal(np.argwhere(hidden)[[0, -1]], [[120, 90], [179, 111]])
    assert not blanked((4, 4), {}).any()
