"""Coarser copies: the same place, the same means, no label lost, within the budget."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from medbundles.page_volumes import (
    coarse_grid,
    coarse_image,
    coarse_labels,
    filled_box,
    nifti_bytes,
    quantised,
)

OBLIQUE = np.array([[0.4, -0.1, 0, -20.0], [0.1, 0.4, 0, 7.0], [0, 0, 1.0, 3.0], [0, 0, 0, 1]])


def world(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Millimetres along x, y and z of every voxel, (3, X, Y, Z)."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    return np.einsum("ij,jxyz->ixyz", affine[:3, :3], index) + affine[:3, 3, None, None, None]


@pytest.mark.parametrize("most", [3000, 777, 40])
def test_a_copy_of_a_linear_image_is_linear_at_the_same_place(most: int) -> None:
    places = world((24, 20, 10), OBLIQUE)
    grid = coarse_grid(OBLIQUE, (2, 0, 1), (24, 19, 10), most_voxels=most)
    assert np.prod(grid.shape) <= most
    for axis in range(3):
        copy = coarse_image(places[axis], grid)
        # A voxel that two share counts as a whole at its middle, which is off by a few percent of a voxel.
        np.testing.assert_allclose(copy, world(grid.shape, grid.affine)[axis], atol=0.05)


def test_voxels_of_a_copy_become_cubes() -> None:
    grid = coarse_grid(np.diag([0.5, 0.5, 2.0, 1.0]), (0, 0, 0), (80, 80, 20), most_voxels=20_000)
    assert grid.shape[2] == 20 and abs(grid.shape[0] - 31) <= 1 and grid.shape[0] == grid.shape[1]


def test_without_need_nothing_is_coarser() -> None:
    grid = coarse_grid(OBLIQUE, (0, 0, 0), (8, 7, 6), most_voxels=1e6)
    assert not grid.is_coarser
    np.testing.assert_allclose(grid.affine, OBLIQUE)


def test_labels_keep_their_volume_and_small_ones_stay() -> None:
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[5:25, 6:26, 7:27] = 3
    labels[25:35, 6:26, 7:27] = 7
    labels[38, 38, 38] = 32
    grid = coarse_grid(np.eye(4), (0, 0, 0), (40, 40, 40), most_voxels=20**3 - 1)
    copy = coarse_labels(labels, grid)
    voxel = abs(np.linalg.det(grid.affine[:3, :3]))
    assert set(np.unique(copy)) == {0, 3, 7, 32}
    assert (copy == 3).sum() * voxel == pytest.approx(8000, rel=0.1)
    assert (copy == 7).sum() * voxel == pytest.approx(4000, rel=0.1)


def test_the_box_leaves_out_what_is_padding_in_every_image() -> None:
    one, other = np.full((9, 9, 9), -1000.0), np.zeros((9, 9, 9))
    one[2:4, 3, 5], other[6, 4:8, 5] = 40, 1
    assert filled_box([one, other]) == ([2, 3, 5], [7, 8, 6])
    assert filled_box([np.zeros((3, 4, 5))]) == ([0, 0, 0], [3, 4, 5])


def test_a_file_gives_values_and_affine_back_and_is_the_same_every_time() -> None:
    image = np.linspace(-160, 240, 60).reshape(3, 4, 5)
    grey, slope, inter = quantised(image, -160, 240)
    content = nifti_bytes(grey, OBLIQUE, slope, inter)
    read = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    np.testing.assert_allclose(read.get_fdata(), image, atol=slope / 2 + 1e-3)
    np.testing.assert_allclose(read.affine, OBLIQUE, atol=1e-5)
    assert content == nifti_bytes(grey, OBLIQUE, slope, inter)
