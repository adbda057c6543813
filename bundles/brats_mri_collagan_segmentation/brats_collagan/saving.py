"""Writes imputed contrasts as files of their own, marked as synthetic wherever a mark can stand."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from numpy.typing import NDArray

from medbundles import io
from medbundles.contrasts import CONTRASTS, TITLES
from medbundles.dicom_results import AS_DICOM, known_format, series_on_grid
from medbundles.dicom_series import Maker, write_derived
from medbundles.result_formats import image_extension
from medbundles.saving import CaseWriter, Metadata, affine_of, array_of

MEAN, SPREAD = 1000.0, 200.0  # of the written grey values over the brain; MR has no unit of its own


class SaveSyntheticd(CaseWriter):
    """Writes `<case>_<contrast>_synthetic.<ext>` for each contrast in the case's `synthetic_inputs`.

    Args:
        keys: the completed, z-scored contrasts (C, X, Y, Z) on the grid of the input.
        output_dir: the folder.
        metadata: path or content of metadata.json.
        output_ext: `auto` takes the input's own format; DICOM gives NIfTI, since a synthetic series must not
            come to lie among measured ones unasked; with `.seg.nrrd` for the labels an image is `.nrrd`.
        output_format: `dicom` writes derived series, in the folders `<case>_<contrast>_synthetic`, on the
            grid of the series that all contrasts were brought to.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike,
        *,
        metadata: Metadata | None = None,
        output_ext: str = "auto",
        output_format: str = "auto",
    ) -> None:
        super().__init__(keys, output_dir, metadata)
        self.output_ext, self.output_format = image_extension(output_ext), known_format(output_format)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the case, with the written files in `outputs` as `<contrast>_synthetic`."""
        case = dict(data)
        for key in self.key_iterator(case):
            images, affine, source = array_of(case[key]), affine_of(case[key]), self._source(case, key)
            extension = io.result_extension(source) if self.output_ext == "auto" else self.output_ext
            name = case.get("case") or io.case_name(source)
            for contrast in case.get("synthetic_inputs", []):
                grey = grey_values(images[CONTRASTS.index(contrast)], (images != 0).any(0))
                path = self.output_dir / f"{name}_{contrast}_synthetic"
                if self.output_format == AS_DICOM:
                    maker = self._maker(contrast, case)
                    series = series_on_grid(case[key])
                    write_derived(grey[None], path, series=series, affine=affine, maker=maker)
                else:
                    path = path.with_name(path.name + extension)
                    text = f"SYNTHETIC {TITLES[contrast]}, imputed; {self.info.name} {self.info.version}"
                    io.write_image(grey[None], path, affine=affine, description=text)
                self._record(case, f"{contrast}_synthetic", path)
        return case

    def _maker(self, contrast: str, case: Mapping[Hashable, Any]) -> Maker:
        given = [TITLES[name] for name in case.get("present", [])]
        return Maker(
            self.info.name,
            self.info.version,
            f"synthetic {TITLES[contrast]}",
            f"imputed from {', '.join(given)}" if given else "imputed",
            synthetic=TITLES[contrast],
            window=(MEAN, 6 * SPREAD),
        )


def grey_values(scores: NDArray[np.floating], brain: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Whole numbers above 0 in the brain for z-scores, 0 around it, as in the public data."""
    grey = np.clip(np.rint(MEAN + SPREAD * scores), 1, 32767)
    return np.where(brain, grey, 0).astype(np.int16)
