"""The results of a case as DICOM objects for an archive: segmentation, report and key image."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection

from medbundles import io
from medbundles.archives import members, split_archive
from medbundles.dicom_capture import key_image
from medbundles.dicom_objects import Origin, highdicom, origin_of, save
from medbundles.dicom_pixels import MAGIC, is_dicom
from medbundles.dicom_report import report
from medbundles.dicom_seg import segmentation
from medbundles.dicom_series import Series, acquired, no_series, series_of
from medbundles.dicom_studies import dicom_folders_below
from medbundles.errors import DicomOutputError, OverrideError
from medbundles.formats import DICOM, suffix_of
from medbundles.saving import CaseWriter, Metadata, affine_of, array_of, reference_of
from medbundles.terminology import Terminology

FILES, AS_DICOM = "auto", "dicom"
FORMATS = (FILES, AS_DICOM)


class SaveDicomd(CaseWriter):
    """Writes the folder `<case>_dicom`, whole or not at all, if `output_format` is `dicom`.

    In it lie `segmentation.dcm` (of a label map), `measurements.dcm` (rows and warnings of the report) and,
    for a 2D bundle, `key_image.dcm` (the preview). A bundle of kind `image` has its series written by
    `SaveImageWholed`; here that must have been DICOM.

    Args:
        keys: the result on the input's grid, label values as in the metadata; further keys are not used.
        output_dir: the folder.
        metadata: path or content of metadata.json.
        output_format: `auto` writes nothing here.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike,
        *,
        metadata: Metadata,
        output_format: str = FILES,
    ) -> None:
        super().__init__(keys, output_dir, metadata)
        self.output_format = known_format(output_format)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the case, with the folder in `outputs` as `dicom`."""
        case = dict(data)
        if self.output_format != AS_DICOM:
            return case
        key = self.keys[0]
        source, _ = reference_of(case[key])
        origin = self._origin(case, key)
        path = self._path(case, key, "dicom")
        with io.atomic_folder(path) as folder:
            self._write(folder, case, key, origin, Path(source))
        self._record(case, "dicom", path)
        return case

    def _write(
        self, folder: Path, case: Mapping[Hashable, Any], key: Hashable, origin: Origin, source: Path
    ) -> None:
        terms, remark, outlined = Terminology(self.info), _synthetic(case), None
        if self._of_labels():
            labels = array_of(case[key])[0]
            outlined = segmentation(labels, origin, terms, source=source, remark=remark)
            save(outlined, folder / "segmentation.dcm")
        remarks = [*case.get("warnings", []), *([remark] if remark else [])]
        rows = case.get("measurements", [])
        save(report(rows, remarks, origin, terms, outlined), folder / "measurements.dcm")
        if origin.flat and self.info.input.get("spatial_dims") == 2 and "preview" in case.get("outputs", {}):
            picture = key_image(Path(case["outputs"]["preview"]), origin, remark)
            save(picture, folder / "key_image.dcm")

    def _of_labels(self) -> bool:
        return self.info.output.get("kind") == "labels"

    def _origin(self, case: Mapping[Hashable, Any], key: Hashable) -> Origin:
        source, uid = reference_of(case[key])
        require_dicom(source)
        series = acquired(source, uid)
        if series is None:
            raise not_dicom(source)
        _check_grid(series, case, key, source)
        written = str(case.get("outputs", {}).get(key, ""))
        if not self._of_labels() and not (Path(written).is_dir() or suffix_of(written) in DICOM):
            raise no_series(
                "a result that was not written as DICOM (output_ext, or a file of several frames)", source
            )
        name, version = self.info.name, self.info.version
        return origin_of(series, Path(source), name=name, version=version, digest=_digest(case, key))


def series_on_grid(tensor: Any) -> Series:
    """Returns the acquired series whose grid a result is on, to derive another from it.

    Raises:
        DicomOutputError: it is not DICOM, of a kind that nothing can be derived from, or on another grid.
    """
    source, uid = reference_of(tensor)
    require_dicom(source)
    series = series_of(source, uid)
    if series is None:
        raise not_dicom(source)
    if not series.has_grid(affine_of(tensor), tensor.shape[1:]):
        raise other_grid(source)
    return series


def other_grid(source: str) -> DicomOutputError:
    """Returns the error for a result that no frames of the input show."""
    return no_series("a result on another grid than the input's (a pixel size of the user's?)", source)


def _check_grid(series: Series, case: Mapping[Hashable, Any], key: Hashable, source: str) -> None:
    """A frame is the input's pixel for pixel, whatever the user says of their size."""
    shape = tuple(case[key].shape[1:])
    flat = series.shape[2] == 1 and (*shape, 1)[:3] == series.shape
    if not flat and not series.has_grid(affine_of(case[key]), shape):
        raise other_grid(source)


def _digest(case: Mapping[Hashable, Any], key: Hashable) -> str:
    """Follows from the values, the rows and the warnings."""
    values = np.ascontiguousarray(array_of(case[key]))
    told = [case.get("measurements", []), case.get("warnings", []), case.get("synthetic_inputs", [])]
    text = json.dumps(told, sort_keys=True, default=str)
    return hashlib.sha256(values.tobytes() + text.encode()).hexdigest()


def _synthetic(case: Mapping[Hashable, Any]) -> str:
    names = case.get("synthetic_inputs")
    return f"rests on synthetic input: {', '.join(names)}" if names else ""


def known_format(name: str) -> str:
    """Returns the name of a form of output.

    Raises:
        OverrideError: there is no such form.
    """
    if name not in FORMATS:
        raise OverrideError(
            f"output_format '{name}'",
            expected=", ".join(FORMATS),
            source="option output_format",
            advice="use --output_format dicom; file types are chosen by --output_ext",
        )
    return name


def check_format(output_format: str, image: Any) -> None:
    """Refuses, before anything is computed, an input that cannot have its results in this form.

    Raises:
        OverrideError: there is no such form.
        DicomOutputError: DICOM is asked for, and the input is not.
        PackageError: DICOM is asked for, and what writes it is not installed.
    """
    if known_format(output_format) == AS_DICOM:
        highdicom()
        for part in _parts(image):
            require_dicom(part)


def _parts(image: Any) -> list[Any]:
    values = list(image.values()) if isinstance(image, Mapping) else [image]
    return [p for v in values for p in (v if isinstance(v, list | tuple) else [v]) if p is not None]


def require_dicom(source: Any) -> None:
    """Raises DicomOutputError for an input that is not DICOM; what is not there at all is said elsewhere."""
    if not isinstance(source, str | os.PathLike):
        raise not_dicom("image in memory")
    path = Path(source).expanduser()
    inside = split_archive(path)
    if inside is not None:
        found = any(
            name.startswith(inside[1].strip("/")) and head.endswith(MAGIC)
            for name, head in members(inside[0]).items()
        )
    elif path.is_dir():
        found = any(True for _ in dicom_folders_below(path))
    else:
        found = not path.exists() or suffix_of(path) in DICOM or is_dicom(path)
    if not found:
        raise not_dicom(path)


def not_dicom(source: str | Path) -> DicomOutputError:
    """Returns the error for an input whose results cannot join a study in an archive."""
    return DicomOutputError(
        "an input that is not DICOM, with results asked for as DICOM",
        expected="DICOM: patient, study and images of the results are those of the input",
        source=source,
        advice="pass the DICOM files that this image was made from, or leave out --output_format",
    )
