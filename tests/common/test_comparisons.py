"""Pictures of before, after and difference: which slice, in which grey values, the right way up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medbundles.comparisons import SaveComparisond, chosen_slice, comparison_panels, windowed
from medbundles.io import read_image

AXIAL = np.diag([-0.7, -0.7, 3.0, 1.0])
WINDOW = {"window": (40, 400), "difference": 100}


def test_the_window_is_black_at_its_lower_and_white_at_its_upper_end() -> None:
    assert windowed(np.array([-500, -160, 40, 240, 3000]), 40, 400).tolist() == [0, 0, 128, 255, 255]


def test_no_difference_is_grey_and_the_named_one_is_white_or_black() -> None:
    before = np.zeros((30, 20))
    after = before.copy()
    after[3, 4], after[5, 6] = 100, -100
    panels, _ = comparison_panels(before, after, AXIAL, **WINDOW)
    difference = panels[2].image
    assert (difference[0, 0], difference[3, 4], difference[5, 6]) == (128, 255, 0)


def test_the_slice_with_most_marks_is_shown_else_the_middle_one() -> None:
    marks = np.zeros((8, 8, 7))
    assert chosen_slice(marks) == 3
    marks[2:5, 2:5, 5], marks[0, 0, 1] = 1, 1
    assert chosen_slice(marks) == 5
    panels, which = comparison_panels(np.zeros((8, 8, 7)), np.ones((8, 8, 7)), AXIAL, marks=marks, **WINDOW)
    assert which == "slice 6 of 7"
    assert panels[0].labels is None and panels[1].labels.sum() == panels[2].labels.sum() == 9


@pytest.mark.parametrize(
    "affine, letters, step",
    [
        (AXIAL, "RLAP", (1, 1)),
        (np.diag([0.7, 0.7, 3.0, 1.0]), "RLAP", (-1, -1)),
        (np.array([[-1.0, 0, 0, 0], [0, 0, 4, 0], [0, 1, 0, 0], [0, 0, 0, 1]]), "RLSI", (1, -1)),
        (np.array([[0.0, 0, 4, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]), "APSI", (1, -1)),
    ],
    ids=["axial", "turned by 180 degrees", "coronal", "sagittal"],
)
def test_slices_are_seen_as_radiologists_see_them(affine: np.ndarray, letters: str, step: tuple) -> None:
    before = np.linspace(-160, 240, 30 * 20 * 3).reshape(30, 20, 3)
    panels, _ = comparison_panels(before, before, affine, **WINDOW)
    assert panels[0].letters == letters
    assert np.array_equal(panels[0].image, windowed(before[:: step[0], :: step[1], 1], 40, 400))


def test_without_a_known_orientation_no_side_is_named() -> None:
    panels, _ = comparison_panels(np.zeros((9, 9)), np.zeros((9, 9)), AXIAL, oriented=False, **WINDOW)
    assert {panel.letters for panel in panels} == {""}


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3)])
def test_the_picture_is_written_and_listed_among_the_outputs(shape: tuple[int, ...], tmp_path: Path) -> None:
    image = torch.rand(1, *shape) * 400
    meta = {"filename_or_obj": "scan.nii.gz", "calibrated": True}
    case = {
        "image": MetaTensor(image, affine=torch.tensor(AXIAL), meta=meta),
        "pred": MetaTensor(image * 0.9, affine=torch.tensor(AXIAL), meta=meta),
        "marks": (image > 390).to(torch.uint8),
        "measurements": [{"name": "noise before", "value": 33.0, "unit": "HU", "reason": None}],
    }
    metadata = {"name": "denoising", "version": "0.1.0"}
    save = SaveComparisond("pred", tmp_path, metadata=metadata, mark_names=["unexplained change"])
    path = Path(save(case)["outputs"]["preview"])
    assert path == tmp_path / "scan_preview.png"
    picture = read_image(path).array
    assert picture.shape[1] > 2 * picture.shape[2] * 0.9  # three planes side by side
