"""Brings the contrasts of a study to one grid: without loss where the axes are only stored otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from medbundles.contrasts import TITLES
from medbundles.errors import GridError
from medbundles.images import Image
from medbundles.study_checks import foreground, same_grid

LEAST_COVERED = 0.5  # of the first contrast's tissue; less is another place
WELL_COVERED = 0.98


def reoriented(image: Image, target: Image) -> Image:
    """Returns an image with its axes in the order and directions of another's, without interpolation."""
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform

    change = ornt_transform(io_orientation(image.affine), io_orientation(target.affine))
    if np.array_equal(change, [[0, 1], [1, 1], [2, 1]]):
        return image
    pixels = np.stack([apply_orientation(channel, change) for channel in image.array])
    affine = image.affine @ inv_ornt_aff(change, image.shape)
    return replace(image, array=np.ascontiguousarray(pixels), affine=affine)


def resampled(images: Mapping[str, Image], first: str) -> tuple[dict[str, Image], list[str]]:
    """Returns all contrasts on the grid of `first`, by the positions in their headers, and warnings.

    Raises:
        GridError: a contrast covers less than half of what `first` shows.
    """
    target, found, notes = images[first], {}, []
    for name, image in images.items():
        if same_grid(target, image):
            found[name] = image
            continue
        covered = _covered(image, target)
        if covered < LEAST_COVERED:
            raise GridError(
                f"{TITLES[name]} covers only {100 * covered:.0f} % of what {TITLES[first]} shows",
                expected="contrasts of the same part of the head",
                source=image.source,
                advice="check the headers, or register the images first",
            )
        found[name] = replace(image, array=_interpolated(image, target)[None], affine=target.affine.copy())
        notes.append(
            f"{TITLES[name]} was resampled to the grid of {TITLES[first]}, by the headers' positions"
        )
        if covered < WELL_COVERED:
            notes.append(f"{TITLES[name]} covers only {100 * covered:.0f} % of what {TITLES[first]} shows")
    return found, notes


def _to_voxels(image: Image, target: Image) -> np.ndarray:
    """The matrix from voxels of the target to voxels of the image."""
    return np.linalg.inv(image.affine) @ target.affine


def _covered(image: Image, target: Image) -> float:
    """Share of the target's tissue that lies within the image."""
    inside = np.argwhere(foreground(target.array[0, ::4, ::4, ::4].astype(np.float32))) * 4
    if not len(inside):
        return 0.0
    matrix = _to_voxels(image, target)
    place = inside @ matrix[:3, :3].T + matrix[:3, 3]
    within = (place >= -0.5) & (place <= np.array(image.shape) - 0.5)
    return float(np.mean(within.all(axis=1)))


def _interpolated(image: Image, target: Image) -> np.ndarray:
    """Linear interpolation, after smoothing along axes that the target samples more coarsely."""
    from scipy import ndimage

    matrix = _to_voxels(image, target)
    pixels = image.array[0].astype(np.float32)
    steps = np.abs(matrix[:3, :3]).max(axis=1)  # voxels of the image per voxel of the target
    sigmas = np.sqrt(np.maximum(steps**2 - 1, 0)) / 2.355
    if sigmas.any():
        pixels = ndimage.gaussian_filter(pixels, sigmas, mode="nearest")
    return ndimage.affine_transform(
        pixels, matrix[:3, :3], matrix[:3, 3], output_shape=target.shape, order=1, cval=float(pixels.min())
    )
