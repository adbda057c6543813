"""MONAI transforms that write a case's results: whole files, on the input's own grid."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import DtypeLike, KeysCollection
from monai.transforms import MapTransform, SaveImaged

from medbundles import io
from medbundles.archives import split_archive
from medbundles.dicom_series import Maker, Series, no_series, series_of, write_derived
from medbundles.errors import DicomOutputError
from medbundles.metadata import bundle_info
from medbundles.preview_files import save_preview
from medbundles.result_formats import SEGMENTATION, known_extension
from medbundles.slicer import write_segmentation
from medbundles.terminology import SegmentTerms, Terminology

Metadata = str | os.PathLike | Mapping[str, Any]


class CaseWriter(SaveImaged):
    """What the writers of a case's files share; clients that strip `SaveImaged` strip them too."""

    def __init__(
        self, keys: KeysCollection, output_dir: str | os.PathLike, metadata: Metadata | None
    ) -> None:
        MapTransform.__init__(self, keys)
        self.output_dir = Path(output_dir)
        self.info = bundle_info(metadata)

    def _source(self, case: Mapping[Hashable, Any], key: Hashable) -> str:
        return str(case[key].meta.get("filename_or_obj", "image"))

    def _path(self, case: Mapping[Hashable, Any], key: Hashable, ending: str) -> Path:
        """Returns `<case>_<ending>`; a result that rests on synthetic inputs says so in its name."""
        name = case.get("case") or io.case_name(self._source(case, key))
        mark = "_synthetic_input" if case.get("synthetic_inputs") else ""
        return self.output_dir / f"{name}{mark}_{ending}"

    def _record(self, case: dict[Hashable, Any], role: Hashable, path: Path) -> None:
        case.setdefault("outputs", {})[role] = str(path)  # one dictionary per case, shared by its copies


class PreviewWriter(CaseWriter):
    """Writes `<case>_preview.png`; what it shows is `_draw` of a subclass.

    Args:
        keys: the result on the input's grid; further keys are not used.
        output_dir: the folder.
        metadata: path or content of metadata.json.
        image_key: the input on the same grid.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike,
        *,
        metadata: Metadata,
        image_key: str = "image",
    ) -> None:
        super().__init__(keys, output_dir, metadata)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the case, with the picture in `outputs` as `preview`."""
        case = dict(data)
        path = self._path(case, self.keys[0], "preview.png")
        with io.atomic_path(path) as temporary:
            save_preview(self._draw(case), temporary)
        self._record(case, "preview", path)
        return case

    def _draw(self, case: Mapping[Hashable, Any]) -> Any:
        """Returns the picture, a PIL image."""
        raise NotImplementedError


class SaveImageWholed(CaseWriter):
    """Writes results on the input's grid, whole or not at all; 2D stays 2D. Records the path in `outputs`.

    The image that a bundle of kind `image` gives for DICOM becomes a derived DICOM series: the folder
    `<case>_<postfix>`, or one file `<case>_<postfix>.dcm` for one slice. Label maps and side products do not.
    A label map may have other values than the metadata: the case's `label_values` has them by the latter.

    Args:
        keys: channel-first results, already inverted to the input's grid.
        output_dir: the folder; files lie flat in it as `<case>_<postfix><extension>`.
        metadata: path or content of metadata.json, for the header's description.
        output_postfix: what follows the case's name.
        output_ext: `auto` takes the input's own format where it can hold the result; `.dcm` insists on DICOM;
            `.seg.nrrd` is a segmentation of 3D Slicer.
        output_dtype: the type of the values in the file. Integers are rounded; an image's values beyond the
            type are set to its limits, with a warning, and a label map's are refused.

    Raises:
        OverrideError: there is no such type of file, or it cannot hold what the bundle gives.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike,
        *,
        metadata: Metadata | None = None,
        output_postfix: str = "seg",
        output_ext: str = "auto",
        output_dtype: DtypeLike = np.uint8,
    ) -> None:
        super().__init__(keys, output_dir, metadata)
        self.output_postfix, self.output_dtype = output_postfix, np.dtype(output_dtype)
        self.output_ext = known_extension(output_ext, self.info, self.output_dtype)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the case, with the written files in `outputs`."""
        case = dict(data)
        for key in self.key_iterator(case):
            array, affine = self._values(case, key), affine_of(case[key])
            series = self._series(case, key)
            if series is None:
                path = self._path(case, key, self.output_postfix + self._extension(case, key))
                self._write(array, path, affine, case)
            else:
                path = self._path(case, key, self.output_postfix + (".dcm" if series.shape[2] == 1 else ""))
                write_derived(array, path, series=series, affine=affine, maker=self._maker(case))
            self._record(case, key, path)
        return case

    def _write(self, array: np.ndarray, path: Path, affine: np.ndarray, case: Mapping[Hashable, Any]) -> None:
        text = self._description(case)
        if self.output_ext != SEGMENTATION:
            io.write_image(array, path, affine=affine, description=text)
            return
        segments = self._segments(case)
        with io.atomic_path(path) as temporary:
            write_segmentation(array[0], temporary, affine=affine, segments=segments, description=text)

    def _segments(self, case: Mapping[Hashable, Any]) -> list[SegmentTerms]:
        """What the values of the written label map stand for."""
        values = case.get("label_values", {})
        terms = Terminology(self.info).segments
        return [replace(term, value=values.get(value, value)) for value, term in terms.items()]

    def _is_image(self, key: Hashable) -> bool:
        return self._of_images() and key == self.info.output.get("key", "pred")

    def _of_images(self) -> bool:
        return self.info.output.get("kind") == "image"

    def _values(self, case: dict[Hashable, Any], key: Hashable) -> np.ndarray:
        array = array_of(case[key])
        if self._is_image(key):
            array, beyond = _within(array, self.output_dtype)
            if beyond:
                _warn(case, f"{beyond} values beyond the limits of {self.output_dtype} were set to them")
        return _rounded(array, self.output_dtype)

    def _series(self, case: dict[Hashable, Any], key: Hashable) -> Series | None:
        """Returns the series that the result is to be derived from; None for any other format."""
        if self.output_ext not in ("auto", ".dcm") or not self._is_image(key):
            return None
        try:
            series = self._source_series(case, key)
        except DicomOutputError as reason:
            if self.output_ext == ".dcm":
                raise
            _warn(case, f"the result is not written as DICOM: {reason.found}")
            return None
        if series is None and self.output_ext == ".dcm":
            raise no_series("an input that is not DICOM", self._source(case, key))
        return series

    def _source_series(self, case: Mapping[Hashable, Any], key: Hashable) -> Series | None:
        source, affine = self._source(case, key), affine_of(case[key])
        if not Path(source).exists() and split_archive(source) is None:
            return None  # a client's image in memory
        series = series_of(source)
        if series is None:
            return None
        if not np.issubdtype(self.output_dtype, np.integer):
            raise no_series(f"a result of type {self.output_dtype}", source)
        if not series.has_grid(affine, case[key].shape[1:]):
            raise no_series("a result on another grid than the input's (a pixel size of the user's?)", source)
        return series

    def _maker(self, case: Mapping[Hashable, Any]) -> Maker:
        synthetic = case.get("synthetic_inputs")
        remark = f"synthetic input: {', '.join(synthetic)}" if synthetic else ""
        return Maker(self.info.name, self.info.version, self.output_postfix, remark)

    def _extension(self, case: Mapping[Hashable, Any], key: Hashable) -> str:
        if self.output_ext not in ("auto", ".dcm") or (self.output_ext == ".dcm" and not self._of_images()):
            return self.output_ext
        extension = io.result_extension(self._source(case, key))
        return ".nii.gz" if extension == ".png" and self.output_dtype != np.uint8 else extension

    def _description(self, case: Mapping[Hashable, Any]) -> str:
        synthetic = case.get("synthetic_inputs")
        mark = f"; synthetic input: {', '.join(synthetic)}" if synthetic else ""
        return f"{self.info.name} {self.info.version}{mark}"


def array_of(tensor: torch.Tensor | np.ndarray) -> np.ndarray:
    """Returns the values of a tensor or array."""
    return tensor.detach().cpu().numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)


def affine_of(tensor: Any) -> np.ndarray:
    """Returns the affine of a tensor, an upright one if it has none."""
    return np.asarray(getattr(tensor, "affine", np.diag([-1.0, -1.0, 1.0, 1.0])), float)


def reference_of(tensor: Any) -> tuple[str, str | None]:
    """Returns the path whose grid a result is on, and which series of it if it is the folder of a study."""
    meta = getattr(tensor, "meta", {})
    path = meta.get("reference_file") or meta.get("filename_or_obj") or "image in memory"
    return str(path), meta.get("reference_series") or None


def _warn(case: dict[Hashable, Any], warning: str) -> None:
    case["warnings"] = [*case.get("warnings", []), warning]


def _within(array: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, int]:
    """Returns the array with its values cut to the type's limits, and how many were beyond them."""
    if not np.issubdtype(dtype, np.integer):
        return array, 0
    limits = np.iinfo(dtype)
    beyond = int(np.count_nonzero((np.rint(array) < limits.min) | (np.rint(array) > limits.max)))
    return (np.clip(array, limits.min, limits.max) if beyond else array), beyond


def _rounded(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Converts to the type of the file; whole numbers are rounded and refused where they do not fit."""
    if not np.issubdtype(dtype, np.integer):
        return array.astype(dtype)
    if not np.isfinite(array).all():
        raise ValueError("the result holds values that are not numbers")
    array = np.rint(array)
    limits = np.iinfo(dtype)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise ValueError(f"values {array.min():g} to {array.max():g} do not fit into {dtype}")
    return array.astype(dtype)
