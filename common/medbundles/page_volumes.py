"""Coarser copies of volumes, small enough to travel inside a web page, at the right place in space."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from medbundles.images import spacing_of

HEADER_BYTES = 352
STEPS = 255  # of the grey values
FINER = 1.02  # from one try to the next, while a grid has too many voxels


@dataclass(frozen=True)
class CoarseGrid:
    """A part of a volume with fewer voxels, which cover the same space.

    Attributes:
        start: the first voxel of the part.
        stop: one beyond the last.
        shape: size of the copy.
        affine: 4x4 of the copy, from voxel to the same millimetres as the volume's.
    """

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def part(self) -> tuple[slice, ...]:
        """The part of the volume."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    @property
    def is_coarser(self) -> bool:
        """Whether it has fewer voxels than the part."""
        return any(b - a > n for a, b, n in zip(self.start, self.stop, self.shape, strict=True))


def coarse_grid(
    affine: NDArray, start: Sequence[int], stop: Sequence[int], *, most_voxels: float
) -> CoarseGrid:
    """Returns a grid of at most `most_voxels`, its voxels as near to cubes as the volume allows."""
    spacing, lengths = np.array(spacing_of(affine, 3)), np.subtract(stop, start)
    size = float(spacing.min())
    shape = lengths
    while math.prod(shape.tolist()) > max(most_voxels, 1):
        size *= FINER
        shape = np.maximum(1, np.floor(lengths * np.minimum(1, spacing / size))).astype(int)
    factors = lengths / shape
    coarse = np.array(affine, float)
    coarse[:3, 3] = coarse[:3, :3] @ (np.asarray(start) + (factors - 1) / 2) + coarse[:3, 3]
    coarse[:3, :3] *= factors
    return CoarseGrid(*(tuple(int(n) for n in v) for v in (start, stop, shape)), coarse)


def filled_box(images: Sequence[NDArray]) -> tuple[list[int], list[int]]:
    """Returns first voxel and end of the box in which any image is more than its padding, its least value."""
    start, stop = list(images[0].shape), [0, 0, 0]
    for image in images:
        filled = image > image.min()
        for axis in range(3):
            seen = np.flatnonzero(filled.any(tuple({0, 1, 2} - {axis})))
            if len(seen):
                start[axis] = min(start[axis], int(seen[0]))
                stop[axis] = max(stop[axis], int(seen[-1]) + 1)
    return ([0, 0, 0], list(images[0].shape)) if min(stop) == 0 else (start, stop)


def coarse_image(image: NDArray, grid: CoarseGrid) -> NDArray[np.float32]:
    """Returns the means over the voxels of the copy."""
    part = np.asarray(image[grid.part], np.float32)
    for axis, (length, count) in enumerate(zip(part.shape, grid.shape, strict=True)):
        part = _averaged(part, axis, _weights(length, count)) if length > count else part
    return part


def coarse_labels(labels: NDArray, grid: CoarseGrid) -> NDArray[np.uint8]:
    """Returns the commonest label of each voxel that is at least half labelled; no label gets lost."""
    part = np.ascontiguousarray(labels[grid.part], dtype=np.uint8)
    if not grid.is_coarser:
        return part
    weights = [_weights(length, count) for length, count in zip(part.shape, grid.shape, strict=True)]
    coarse, most, total = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape), np.zeros(grid.shape)
    shares = {}
    for value, box in enumerate(ndimage.find_objects(part), start=1):
        if box is None:
            continue
        share = np.asarray(part[box] == value, np.float32)
        for axis in range(3):
            share = _averaged(share, axis, weights[axis][:, box[axis]])
        near = tuple(_filled(weights[axis][:, box[axis]]) for axis in range(3))
        shares[value] = near, share[near]
        total[near] += share[near]
    for value, (near, share) in shares.items():
        wins = (total[near] >= 0.5) & (share > most[near])
        wins = wins if wins.any() else share == share.max()
        coarse[near][wins], most[near][wins] = value, share[wins]
    return coarse


def quantised(image: NDArray, low: float, high: float) -> tuple[NDArray[np.uint8], float, float]:
    """Returns grey values 0 to 255, and the slope and intercept that lead back; beyond the range is cut."""
    slope = max(high - low, 1e-6) / STEPS
    return np.clip(np.rint((image - low) / slope), 0, STEPS).astype(np.uint8), slope, low


def nifti_bytes(array: NDArray[np.uint8], affine: NDArray, slope: float = 1.0, inter: float = 0.0) -> bytes:
    """Returns a .nii.gz of 8-bit values, the same bytes for the same content."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(array.shape)
    header.set_xyzt_units("mm")
    header.set_sform(affine, code="scanner")
    header.set_qform(affine, code="scanner", strip_shears=True)
    header["scl_slope"], header["scl_inter"] = slope, inter
    header["vox_offset"] = HEADER_BYTES
    content = header.binaryblock.ljust(HEADER_BYTES, b"\0") + array.tobytes(order="F")
    return gzip.compress(content, 6, mtime=0)


def _weights(length: int, count: int) -> sparse.csr_array:
    """What each of `length` voxels in a row gives to each of the `count` that cover them, (count, length)."""
    edges = np.linspace(0, length, count + 1)
    first, last = np.floor(edges[:-1]).astype(int), np.ceil(edges[1:] - 1e-9).astype(int)
    rows = np.repeat(np.arange(count), last - first)
    columns = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
    overlap = np.minimum(columns + 1, edges[rows + 1]) - np.maximum(columns, edges[rows])
    values = (overlap * count / length).astype(np.float32)
    return sparse.csr_array((values, (rows, columns)), shape=(count, length))


def _averaged(array: NDArray[np.float32], axis: int, weights: sparse.csr_array) -> NDArray[np.float32]:
    """The array with one axis shortened."""
    front = np.moveaxis(array, axis, 0)
    short = weights @ front.reshape(len(front), -1)
    return np.moveaxis(short.reshape(-1, *front.shape[1:]), 0, axis)


def _filled(weights: sparse.csr_array) -> slice:
    """The rows that get anything."""
    rows = np.flatnonzero(np.diff(weights.indptr))
    return slice(int(rows[0]), int(rows[-1]) + 1)
