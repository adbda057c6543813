"""Average brain anatomy: the ICBM 152 maps of grey and white matter that the package nilearn carries.

The maps are read straight from the installed files; nilearn itself, which is slow to import, is not run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from medbundles.errors import PackageError
from medbundles.simulators.fields import Grid

Floats = NDArray[np.float32]

PACKAGE = "nilearn"
FILE = "nilearn/datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
NAMES = ("wm", "gm", "csf", "ventricle", "depth", "cortex", "interior", "iron", "sinus")
# Template voxels around the brain, and the voxel of its middle in RAS.
_LOW, _HIGH, _MIDDLE = (14, 16, 0), (184, 220, 166), (98.0, 117.0, 78.0)
_ORIGIN = (98.0, 134.0, 72.0)  # the voxel of MNI's own origin
_CSF_T1, _GREY_T1 = 92.0, 148.0  # grey values of the average T1 image in ventricles and at the cortex's edge


@dataclass(frozen=True)
class Template:
    """Maps (channel, X, Y, Z) of the average brain in the order of `NAMES`, and their grid.

    wm, gm, csf and ventricle are fractions; depth is mm inside the brain's surface (negative outside); cortex
    is mm from white matter; interior is 1 where no sulci are (deep nuclei, brain stem, cerebellum); iron is 1
    in the pallidum, sinus in the large veins of the midline.
    """

    maps: Tensor
    grid: Grid

    def to(self, device: torch.device | str) -> Template:
        """The same on a device."""
        return Template(self.maps.to(device), self.grid)


@lru_cache(maxsize=1)
def template() -> Template:
    """Returns the average brain, its derived maps computed once in a process.

    Raises:
        PackageError: nilearn is not installed.
    """
    wm, gm, t1 = (_read(name) for name in ("wm", "gm", "t1"))
    maps = _derive(wm / 255, gm / 255, t1)
    # RAS voxels become x to the left and y to the back.
    volume = np.stack([maps[name] for name in NAMES])[:, ::-1, ::-1]
    start = (_MIDDLE[0] - _HIGH[0] + 1, _MIDDLE[1] - _HIGH[1] + 1, _LOW[2] - _MIDDLE[2])
    grid = Grid(tuple(volume.shape[1:]), 1.0, tuple(float(s) for s in start))
    return Template(torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32)), grid)


def _read(name: str) -> Floats:
    import nibabel

    try:
        path = Path(str(metadata.distribution(PACKAGE).locate_file(FILE.format(name))))
    except metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise PackageError(
            f"the package {PACKAGE}, whose maps of the average brain the simulator deforms, is "
            + ("not installed" if path is None else "installed without them"),
            expected="nilearn 0.14, or another version that carries the ICBM 152 maps",
            advice="pip install 'medbundles[sim]'",
        )
    box = tuple(slice(a, b) for a, b in zip(_LOW, _HIGH, strict=True))
    return np.asarray(nibabel.load(path).dataobj[box], dtype=np.float32)


def _derive(wm: Floats, gm: Floats, t1: Floats) -> dict[str, Floats]:
    hull = ndimage.gaussian_filter((t1 > 0).astype(np.float32), 1.5) > 0.5
    depth = _depth(hull)
    dark = np.clip((_GREY_T1 - t1) / (_GREY_T1 - _CSF_T1), 0, 1)
    csf = np.maximum(np.clip(1 - wm - gm, 0, 1), dark) * hull
    x, y, z = _coordinates(wm.shape)
    # Between the hemispheres is a sulcus, below its fornix a ventricle.
    central = (np.abs(x) < 36) & (y > -58) & (y < 42) & (z > -40) & (z < 36) & (depth > 18)
    central &= (np.abs(x) > 3) | (z < 16)
    pallidum = ((np.abs(x) - 19) / 6) ** 2 + ((y + 4) / 9) ** 2 + (z / 6) ** 2
    return {
        "wm": wm,
        "gm": gm,
        "csf": csf,
        "ventricle": ndimage.gaussian_filter(((csf > 0.5) & central).astype(np.float32), 0.7),
        "depth": depth,
        "cortex": np.minimum(ndimage.distance_transform_edt(wm <= 0.5), 12),
        "interior": ndimage.gaussian_filter(_interior(x, y, z, depth).astype(np.float32), 1.5),
        "iron": ndimage.gaussian_filter((pallidum < 1).astype(np.float32), 1.0),
        "sinus": ndimage.gaussian_filter(_sinus(x, y, z, depth).astype(np.float32), 0.7),
    }


def _interior(x: Floats, y: Floats, z: Floats, depth: Floats) -> NDArray[np.bool_]:
    """Deep nuclei, brain stem and cerebellum: grey matter there is no ribbon."""
    nuclei = (np.abs(x) < 33) & (y > -36) & (y < 26) & (z > -14) & (z < 26) & (depth > 20)
    stem = (np.abs(x) < 20) & (y > -48) & (y < -8) & (z < 0)
    cerebellum = (y < -38) & (z < -16 - 0.25 * np.maximum(-70 - y, 0))
    return nuclei | stem | cerebellum


def _sinus(x: Floats, y: Floats, z: Floats, depth: Floats) -> NDArray[np.bool_]:
    """The superior sagittal sinus, wider towards the back, and the straight sinus that joins it."""
    sagittal = (np.abs(x) < 2 + 2 * np.clip((20 - y) / 100, 0, 1)) & (depth < 3) & (z > 0)
    along = np.clip((-42 - y) / 38, 0, 1)
    straight = (x**2 + (z - (6 - 14 * along)) ** 2 < 2.2**2) & (y < -42) & (y > -80)
    return sagittal | straight


def _depth(hull: NDArray[np.bool_]) -> Floats:
    """Millimetres to the brain's surface, negative outside; measured on every other voxel, for speed."""
    coarse = hull[::2, ::2, ::2]
    signed = ndimage.distance_transform_edt(coarse) - ndimage.distance_transform_edt(~coarse)
    millimetres = (2 * signed - np.sign(signed)).astype(np.float32)
    fine = np.repeat(np.repeat(np.repeat(millimetres, 2, 0), 2, 1), 2, 2)
    fine = fine[tuple(slice(n) for n in hull.shape)]
    return np.clip(ndimage.gaussian_filter(fine, 1.2), -20, 40)


def _coordinates(shape: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
    """MNI coordinates, mm, that broadcast over a cropped map."""
    axes = [np.arange(n) + low - origin for n, low, origin in zip(shape, _LOW, _ORIGIN, strict=True)]
    return tuple(np.meshgrid(*[a.astype(np.float32) for a in axes], indexing="ij", sparse=True))
