"""Closed surfaces of single teeth, as STL files for viewers and printers.

A surface has a point in every cell of eight neighbouring voxels that it passes through, and a square across
every pair of neighbours of which one is inside (surface nets). Where no two voxels meet in an edge or a
corner alone, such a surface is closed and each of its edges belongs to two triangles.

Shapes: P points, T triangles.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from numpy.typing import NDArray
from scipy import ndimage

from dental_teeth.teeth import FDI_CODES, Reading, code_of
from medbundles import io
from medbundles.images import RAS_FROM_LPS, spacing_of
from medbundles.saving import CaseWriter, Metadata, affine_of, array_of

SMOOTH_VOXELS = 0.8  # takes off the staircase of the voxels, and no more
HEADER_BYTES = 80
_RECORD = np.dtype([("normal", "<f4", 3), ("points", "<f4", (3, 3)), ("attribute", "<u2")])

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]
Triangles = NDArray[np.int64]


class SaveSurfacesd(CaseWriter):
    """Writes `<case>_tooth_16.stl` for every tooth of a label map, in millimetres to the left, back and up.

    Args:
        keys: the label map (1, X, Y, Z), values 1 to 32, on the grid of the input.
        output_dir: the folder.
        metadata: path or content of metadata.json.
        enabled: whether surfaces are wanted; if not, nothing happens.
        findings_key: what was read from the panoramas; it says which numbers are uncertain.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike,
        *,
        metadata: Metadata | None = None,
        enabled: bool = False,
        findings_key: str = "findings",
    ) -> None:
        super().__init__(keys, output_dir, metadata)
        self.enabled = bool(enabled)
        self.findings_key = findings_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the case, with the written files in `outputs` as `surface_16` and so on."""
        case = dict(data)
        for key in self.key_iterator(case) if self.enabled else ():
            labels = np.asarray(array_of(case[key])[0], np.uint8)
            for value, box in enumerate(ndimage.find_objects(labels, max_label=len(FDI_CODES)), start=1):
                if box is not None:
                    self._write(case, key, code_of(value), labels[box] == value, box)
        return case

    def _write(
        self, case: dict[Hashable, Any], key: Hashable, code: int, mask: Mask, box: tuple[slice, ...]
    ) -> None:
        shift = np.eye(4)
        shift[:3, 3] = [part.start for part in box]
        points, triangles = surface(mask, affine_of(case[key]) @ shift)
        findings: Reading | None = case.get(self.findings_key)
        tooth = findings.teeth.get(code) if findings else None
        doubt = "" if tooth is None or tooth.sure else " (number uncertain)"
        path = self._path(case, key, f"tooth_{code}.stl")
        with io.atomic_path(path) as temporary:
            text = f"SPACE=LPS mm, tooth {code}{doubt}, {self.info.name} {self.info.version}"
            write_stl(temporary, points, triangles, text)
        self._record(case, f"surface_{code}", path)


def surface(mask: Mask, affine: NDArray[np.float64]) -> tuple[Points, Triangles]:
    """Returns points (P, 3) in LPS millimetres and triangles (T, 3) of the closed surface of a mask.

    The surface encloses the volume of the voxels; triangles are counter-clockwise seen from outside.

    Args:
        mask: (X, Y, Z); what touches its faces is closed there.
        affine: RAS affine of the mask.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("An empty mask has no surface.")
    level, field = _smoothed(np.pad(mask, 3), spacing_of(affine, 3))
    inside = without_loose_contacts(field > level)
    # A voxel that was filled in lies below the level; its crossings are then kept near its middle.
    points, triangles = _net(inside, np.where(inside, np.maximum(field - level, 1e-3), field - level))
    to_lps = RAS_FROM_LPS @ np.asarray(affine, float)
    if np.linalg.det(to_lps[:3, :3]) < 0:
        triangles = triangles[:, ::-1]
    return (points - 3) @ to_lps[:3, :3].T + to_lps[:3, 3], triangles


def _smoothed(mask: Mask, spacing: tuple[float, ...]) -> tuple[float, NDArray[np.float32]]:
    """A smooth field of a mask, and the level above which there are as many voxels as the mask has."""
    sigma = [SMOOTH_VOXELS * min(spacing) / size for size in spacing]  # round in space, not in voxels
    field = ndimage.gaussian_filter(mask.astype(np.float32), sigma)
    count = int(mask.sum())
    below, above = np.partition(field.ravel(), (-count - 1, -count))[[-count - 1, -count]]
    return float(below + above) / 2, field


def without_loose_contacts(mask: Mask) -> Mask:
    """Returns a mask with voxels added until none touch in an edge or a corner alone, in or outside."""
    mask = mask.copy()
    while (added := _edge_contacts(mask) | _corner_contacts(mask)).any():
        mask |= added
    return mask


def _edge_contacts(mask: Mask) -> Mask:
    """Voxels outside that lie beside two diagonal ones inside, in a square of four."""
    added = np.zeros_like(mask)
    for axis in range(3):
        a, b, c, d = (_corner(axis, i, j) for i, j in product((0, 1), repeat=2))
        rising = mask[a] & mask[d] & ~mask[b] & ~mask[c]
        falling = mask[b] & mask[c] & ~mask[a] & ~mask[d]
        added[b] |= rising  # one of the two is enough
        added[a] |= falling
    return added


def _corner_contacts(mask: Mask) -> Mask:
    """Voxels outside in a cube of eight of which two opposite corners alone are inside, or alone outside."""
    added = np.zeros_like(mask)
    cubes = {corner: tuple(slice(i, i - 1 or None) for i in corner) for corner in product((0, 1), repeat=3)}
    count = sum(mask[cube].astype(np.uint8) for cube in cubes.values())
    for corner in list(cubes)[:4]:
        first, other = cubes[corner], cubes[tuple(1 - i for i in corner)]
        neighbour = cubes[(1 - corner[0], *corner[1:])]
        added[neighbour] |= (count == 2) & mask[first] & mask[other]
        added[first] |= (count == 6) & ~mask[first] & ~mask[other]
    return added & ~mask


def _corner(axis: int, i: int, j: int) -> tuple[slice, ...]:
    """The voxels at one corner of all squares at right angles to an axis."""
    parts = [slice(i, i - 1 or None), slice(j, j - 1 or None)]
    parts.insert(axis, slice(None))
    return tuple(parts)


def _net(inside: Mask, field: NDArray[np.float32]) -> tuple[Points, Triangles]:
    """Points in voxels, and triangles between voxels inside and outside; the field is 0 between both."""
    cells = np.array(inside.shape) - 1
    squares, crossings = [], []
    for axis in range(3):
        step = np.eye(3, dtype=int)[axis]
        here = tuple(slice(None, -1) if i == axis else slice(1, -1) for i in range(3))
        there = tuple(slice(1, None) if i == axis else slice(1, -1) for i in range(3))
        low = np.argwhere(inside[here] != inside[there]) + (1 - step)
        first, second = field[tuple(low.T)], field[tuple((low + step).T)]
        crossings.append(low + step * (first / (first - second))[:, None])
        # The four cells around this edge, in the order of a turn about it.
        u, v = np.eye(3, dtype=int)[(axis + 1) % 3], np.eye(3, dtype=int)[(axis + 2) % 3]
        square = np.stack([np.ravel_multi_index((low - s).T, cells) for s in (u + v, v, 0 * u, u)], 1)
        square[second > first] = square[second > first][:, ::-1]
        squares.append(square)
    _, square = np.unique(np.concatenate(squares), return_inverse=True)
    where, crossing = square.ravel(), np.concatenate(crossings).repeat(4, axis=0)
    totals = np.stack([np.bincount(where, crossing[:, axis]) for axis in range(3)], 1)
    points = totals / np.bincount(where)[:, None]
    square = square.reshape(-1, 4)
    return points, np.concatenate([square[:, [0, 1, 2]], square[:, [0, 2, 3]]])


def write_stl(path: str | os.PathLike, points: Points, triangles: Triangles, text: str) -> None:
    """Writes a binary STL file; its header holds the first 80 characters of a text.

    Raises:
        ValueError: the text begins with `solid`, by which readers know the other kind of STL file.
    """
    if text.lower().startswith("solid"):
        raise ValueError("The header of a binary STL file does not begin with 'solid'.")
    corners = points[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    records = np.zeros(len(triangles), _RECORD)
    records["normal"] = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    records["points"] = corners
    header = text.encode("ascii", "replace")[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0")
    Path(path).write_bytes(header + np.uint32(len(triangles)).tobytes() + records.tobytes())
