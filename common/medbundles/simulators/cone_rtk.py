"""Cone-beam projection by the Reconstruction Toolkit, an independent check on the one in torch.

It turns about its own y axis, so volumes go to it as (y, z, x) and our angle a is its gantry angle 270 - a.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medbundles.errors import PackageError
from medbundles.simulators.cbct_scanner import Scanner
from medbundles.simulators.cone_torch import Pose
from medbundles.simulators.fields import Grid

VIEWS_AT_ONCE = 20


def toolkit() -> ModuleType:
    """Returns the toolkit.

    Raises:
        PackageError: it is not installed.
    """
    try:
        from itk import RTK
    except ImportError as error:
        raise PackageError(
            "the package itk-rtk, which projects cone beams on the CPU, is not installed",
            expected="itk-rtk 2.7 or later",
            advice="pip install 'medbundles[sim]', or choose the projector 'torch'",
        ) from error
    return RTK


def project(volume: Tensor, grid: Grid, scanner: Scanner, poses: Iterable[Pose]) -> Iterator[Tensor]:
    """Yields amount times mm (material, rows, columns) of each view.

    Args:
        volume: amounts (material, X, Y, Z).
        grid: where its voxels are.
        scanner: the geometry.
        poses: of each view: angle of the source in rad, and how far the volume was moved in mm.
    """
    toolkit()
    # The toolkit ends a volume at the middle of its outer voxels, hence the rim of nothing. Its images show
    # numpy's memory without owning it: this array must outlive them.
    padded = np.pad(volume.cpu().permute(2, 3, 1, 0).numpy(), [(1, 1)] * 3 + [(0, 0)])
    voxels = np.ascontiguousarray(padded, dtype=np.float32)
    poses = iter(poses)
    while chunk := list(islice(poses, VIEWS_AT_ONCE)):
        # A moved volume needs a run of its own.
        moved = len({shift for _, shift in chunk}) > 1
        for part in ([pose] for pose in chunk) if moved else (chunk,):
            yield from torch.from_numpy(_project(voxels, grid, scanner, part))


def _project(voxels: NDArray, grid: Grid, scanner: Scanner, poses: list[Pose]) -> NDArray[np.float32]:
    """Projections (view, material, rows, columns) of poses with one shift."""
    import itk

    rtk = toolkit()
    materials = voxels.shape[-1]
    image = itk.Image[itk.Vector[itk.F, materials], 3]
    shape = (len(poses), scanner.rows, scanner.columns, materials)
    empty = np.zeros(shape, np.float32)
    x, y, z = (start + shift - grid.spacing for start, shift in zip(grid.start, poses[0][1], strict=True))
    pitch = scanner.pitch_mm
    onto = _view(
        image, empty, [pitch, pitch, 1.0], [-(scanner.columns - 1) / 2 * pitch, float(scanner.v[0]), 0.0]
    )
    projector = rtk.JosephForwardProjectionImageFilter[image, image].New()
    projector.SetInput(0, onto)
    projector.SetInput(1, _view(image, voxels, [grid.spacing] * 3, [x, z, y]))
    projector.SetGeometry(_geometry(rtk, scanner, [angle for angle, _ in poses]))
    projector.Update()
    return np.ascontiguousarray(np.moveaxis(itk.array_from_image(projector.GetOutput()), -1, 1))


def _view(image: Any, array: NDArray, spacing: list[float], origin: list[float]) -> Any:
    import itk

    view = itk.image_view_from_array(array, ttype=image)
    view.SetSpacing(spacing)
    view.SetOrigin(origin)
    return view


def _geometry(rtk: ModuleType, scanner: Scanner, angles: list[float]) -> Any:
    geometry = rtk.ThreeDCircularProjectionGeometry.New()
    for angle in angles:
        geometry.AddProjection(
            scanner.source_axis_mm,
            scanner.source_detector_mm,
            (270.0 - math.degrees(angle)) % 360,
            scanner.offset_mm,
            0.0,
        )
    return geometry
