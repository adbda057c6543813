"""Reading scans together with the labels of their teeth, whichever data set they come from."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from numpy.typing import NDArray

from dental_teeth.teeth import FDI_CODES
from medbundles.checks import DatasetError, GridError
from medbundles.datasets import toothfairy
from medbundles.errors import describe_shape
from medbundles.images import Image
from medbundles.io import read_image
from medbundles.saving import Metadata, affine_of
from medbundles.transforms import LoadImageCheckedd

TOOTHFAIRY, CTOOTH, SIMULATED = "toothfairy", "ctooth", "simulated"
SAME_PLACE_MM = 0.05  # headers round; two grids whose corners are nearer than this are one grid


class LoadTeethLabelsd(LoadImageCheckedd):
    """Reads label maps (1, X, Y, Z) of FDI numbers, uint8; what is no permanent tooth is 0.

    The case's `kind` tells how to read them. Those of ToothFairy come with the directions that they
    show themselves: if the header names others, a scan read as the header says is refused (see `LoadScand`).

    Args:
        keys: the label maps.
        image_key: the case's scan; if it has been read already, the labels must lie on its grid.

    Raises:
        GridError: they do not.
        DatasetError: the labels are not those of single teeth.
    """

    def __init__(self, keys: KeysCollection, image_key: str = "image") -> None:
        super().__init__(keys, dtype=np.uint8)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any], reader: Any = None) -> dict[Hashable, Any]:
        """Returns the case with its labels read."""
        case = dict(data)
        for key in self.key_iterator(case):
            source, scan = case[key], case.get(self.image_key)
            if isinstance(source, np.ndarray | torch.Tensor):  # a client has read it
                codes = toothfairy.to_fdi(np.asarray(source))
                image = replace(self._image(source, None), array=codes)
            elif _kind(case) == TOOTHFAIRY:
                image = _toothfairy_labels(Path(source))
            else:
                image = _numbered(read_image(source), _kind(case))
            if isinstance(scan, MetaTensor):
                check_grids(scan.shape[1:], affine_of(scan), image)
            case[key] = self._tensor(image)
        return case


class LoadScand(LoadImageCheckedd):
    """Reads a scan and, where there are any, the labels of its teeth with the same true directions.

    Scans of ToothFairy name other directions than they have, which would swap left and right: their labels
    decide, and both are turned to left, back and up. All other scans are read as `LoadImageCheckedd` does.

    Args:
        keys: the scan.
        metadata: path or content of metadata.json, to check the scan against; None reads without checking.
        label_key: the labels, see `LoadTeethLabelsd`.
    """

    def __init__(
        self, keys: KeysCollection, metadata: Metadata | None = None, *, label_key: str = "label"
    ) -> None:
        super().__init__(keys, metadata)
        self.label_key = label_key
        self._labels = LoadTeethLabelsd(label_key, image_key=self.keys[0])

    def __call__(self, data: Mapping[Hashable, Any], reader: Any = None) -> dict[Hashable, Any]:
        """Returns the case with scan and labels read."""
        case = dict(data)
        key = self.keys[0]
        if self.label_key not in case:
            return super().__call__(case, reader)
        if _kind(case) != TOOTHFAIRY or isinstance(case[key], np.ndarray | torch.Tensor):
            return self._labels(super().__call__(case, reader))
        found = _toothfairy_scan(case[key], case[self.label_key])
        image = _image(found.image, found.affine, case[key])
        if self.spec is not None:
            case["warnings"] = [*case.get("warnings", []), *image.check(self.spec)]
        case[key] = self._tensor(image)
        case[self.label_key] = self._labels._tensor(_image(found.labels, found.affine, case[self.label_key]))
        return case


def check_grids(shape: tuple[int, ...], affine: NDArray, labels: Image) -> None:
    """Raises `GridError` unless labels lie on the grid of a scan, voxel for voxel."""
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    corners[:, :3] *= np.asarray(labels.shape) - 1
    apart = np.abs(corners @ (np.asarray(affine, float) - labels.affine).T).max()
    if tuple(shape) == tuple(labels.shape) and apart <= SAME_PLACE_MM:
        return
    sizes = f"labels of {describe_shape(labels.shape)} voxels for a scan of {describe_shape(shape)}"
    raise GridError(
        sizes if tuple(shape) != tuple(labels.shape) else f"labels {apart:.2f} mm away from their scan",
        expected="scan and labels on one grid",
        source=labels.source,
        advice="read both with LoadScand, or resample the labels onto the grid of the scan",
    )


def _kind(case: Mapping[Hashable, Any]) -> str:
    return str(case.get("kind", SIMULATED))


def _numbered(image: Image, kind: str) -> Image:
    """Labels as FDI numbers; a mask of all teeth together would pass for a jaw without teeth."""
    values = np.unique(image.array)
    if kind == CTOOTH and not np.isin(values, FDI_CODES).any():
        raise DatasetError(
            f"a mask with the values {', '.join(f'{value:g}' for value in values[:8])}",
            expected="FDI numbers 11 to 48: every tooth by itself",
            source=image.source,
            advice="leave this case out: it shows all teeth together",
        )
    return replace(image, array=toothfairy.to_fdi(image.array))


def _toothfairy_scan(image: str | Path, label: str | Path) -> toothfairy.LabelledScan:
    return toothfairy.read_case(
        {"image": str(image), "truth": {"mask": str(label)}, "convention": TOOTHFAIRY}
    )


def _toothfairy_labels(path: Path) -> Image:
    """The labels alone, as stored, with the directions that they themselves show."""
    image = read_image(path)
    affine, _ = toothfairy.true_affine(image.array[0], image.affine)
    return replace(image, array=toothfairy.to_fdi(image.array), affine=affine)


def _image(array: NDArray, affine: NDArray, source: str | Path) -> Image:
    return Image(array[None], affine, True, "the header", "CT", Path(source))
