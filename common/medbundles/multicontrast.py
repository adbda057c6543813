"""Brain studies in a pipeline: reading their contrasts, and label maps as nested regions and back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import DtypeLike, KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from medbundles.contrasts import CONTRASTS, TITLES
from medbundles.datasets.brain_labels import to_our_labels
from medbundles.errors import ChannelError, MissingContrastError, describe_shape
from medbundles.images import Image
from medbundles.regions import REGIONS, merge_regions, region_mask
from medbundles.saving import Metadata
from medbundles.studies import LEAST_CONTRASTS, Study, StudyOptions, read_study, study_name
from medbundles.study_checks import check_copies, doubts
from medbundles.study_files import find_studies
from medbundles.transforms import LoadImageCheckedd, image_in_memory

__all__ = [
    "CONTRASTS",
    "LabelsToRegionsd",
    "LoadContrastsd",
    "MergeRegionsd",
    "OurLabelsd",
    "Study",
    "StudyOptions",
    "WithholdContrastsd",
    "find_studies",
    "read_study",
    "study_name",
]


class LoadContrastsd(LoadImageCheckedd):
    """Reads the contrasts of a study as four channels of float32, in the order of `CONTRASTS`.

    A missing contrast is a channel of zeros. The case gets `present` and `missing`, lists of names, and
    `contrast_files`; the tensor's `meta` has what `LoadImageCheckedd` gives, and these three too. An array
    that a client has read already must have the four channels; those that are zero everywhere are missing.

    Args:
        keys: the items to read, each what `read_study` takes.
        metadata: path or content of metadata.json; None checks only what makes a study.
        resample: `to first`, or a contrast, resamples contrasts of different grids; None refuses them.
        order: the contrasts of a 4D file's channels.
        series: by contrast, a DICOM series where there are several.
        pixel_mm: the size of a voxel in millimetres, instead of what the files say.
        dtype: the tensor's type.
    """

    def __init__(
        self,
        keys: KeysCollection,
        metadata: Metadata | None = None,
        *,
        resample: str | None = None,
        order: Sequence[str] | None = None,
        series: Mapping[str, str | int] | None = None,
        pixel_mm: float | Sequence[float] | None = None,
        dtype: DtypeLike = np.float32,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(
            keys, metadata, pixel_mm=pixel_mm, dtype=dtype, allow_missing_keys=allow_missing_keys
        )
        self.resample, self.order, self.series = resample, order, series

    def __call__(self, data: Mapping[Hashable, Any], reader: Any = None) -> dict[Hashable, Any]:
        """Returns the case with its studies read."""
        case = dict(data)
        for key in self.key_iterator(case):
            study = self._study(case[key])
            if study.warnings:
                case["warnings"] = [*case.get("warnings", []), *study.warnings]
            case[key] = self._study_tensor(study)
            about = {"present": list(study.present), "missing": list(study.missing)}
            about["contrast_files"] = dict(study.files)
            case.update(about)
            case[key].meta.update(about)
            if study.reference:  # the grid of the results, which writers of DICOM look up
                case[key].meta["reference_file"] = study.files[study.reference]
                case[key].meta["reference_series"] = study.image.series
            if not self._loader.image_only:  # older clients ask for the metadata beside the image
                case[f"{key}_meta_dict"] = dict(case[key].meta)
        return case

    def _study(self, item: Any) -> Study:
        if isinstance(item, np.ndarray | torch.Tensor):
            return _study_in_memory(image_in_memory(item, self.pixel_mm), self.spec)
        options = StudyOptions(self.resample, self.order, self.series, self.pixel_mm)
        return read_study(item, spec=self.spec, options=options)

    def _study_tensor(self, study: Study) -> MetaTensor:
        """The tensor's file is that of the first contrast, so that what is drawn or written has a grid."""
        first = next(iter(study.files.values()), str(study.image.source))
        return self._tensor(replace(study.image, source=Path(first)))


class WithholdContrastsd(MapTransform):
    """Takes contrasts away as if they had not been acquired: their channels become zero.

    Args:
        keys: images of four channels, in the order of `CONTRASTS`.
        contrasts: which.
    """

    def __init__(self, keys: KeysCollection, contrasts: Sequence[str] = ()) -> None:
        super().__init__(keys)
        if unknown := set(contrasts) - set(CONTRASTS):
            raise ValueError(f"unknown contrasts {sorted(unknown)}; there are {', '.join(CONTRASTS)}")
        self.contrasts = tuple(contrasts)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the case without these contrasts."""
        case = dict(data)
        for key in self.key_iterator(case):
            image = case[key].clone()
            image[[CONTRASTS.index(name) for name in self.contrasts]] = 0
            gone = {*case.get("missing", ()), *self.contrasts}
            about = {
                "present": [name for name in CONTRASTS if name not in gone],
                "missing": [name for name in CONTRASTS if name in gone],
            }
            if len(about["present"]) < LEAST_CONTRASTS:
                raise _too_few(about["present"], str(getattr(image, "meta", {}).get("filename_or_obj", "")))
            case.update(about)
            if isinstance(image, MetaTensor):
                image.meta.update(about)
            case[key] = image
        return case


class OurLabelsd(MapTransform):
    """Brings label maps of any BraTS or Decathlon convention to 1 core, 2 oedema, 3 enhancing tumour.

    Args:
        keys: label maps, channel-first.
        convention: its name, a key of `medbundles.datasets.brain_labels.CONVENTIONS`; None takes the case's
            own `convention`, and settles by the values what that leaves open.
    """

    def __init__(self, keys: KeysCollection, convention: str | None = None) -> None:
        super().__init__(keys)
        self.convention = convention

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the case with its maps in our convention."""
        case = dict(data)
        for key in self.key_iterator(case):
            name = self.convention or case.get("convention")
            labels = case[key]
            values = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else labels
            mapped = torch.from_numpy(to_our_labels(values, name).astype(np.float32))
            case[key] = (
                MetaTensor(mapped, meta=labels.meta, applied_operations=labels.applied_operations)
                if isinstance(labels, MetaTensor)
                else mapped
            )
        return case


class LabelsToRegionsd(MapTransform):
    """Turns a label map (1, ...) into nested regions (3, ...): TC, WT, ET, as `REGIONS` lists them."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the case with regions instead of labels."""
        case = dict(data)
        for key in self.key_iterator(case):
            labels = case[key]
            case[key] = torch.cat([region_mask(labels, region) for region in REGIONS]).to(torch.float32)
        return case


class MergeRegionsd(MapTransform):
    """Turns nested regions (3, ...) into the label map (1, ...) that they make.

    Args:
        keys: probabilities of TC, WT, ET.
        thresholds: one, or one per region.
    """

    def __init__(self, keys: KeysCollection, thresholds: Sequence[float] | float = 0.5) -> None:
        super().__init__(keys)
        self.thresholds = thresholds

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the case with labels instead of regions."""
        case = dict(data)
        for key in self.key_iterator(case):
            case[key] = merge_regions(case[key], self.thresholds)[None].to(torch.float32)
        return case


def _study_in_memory(image: Image, spec: Mapping[str, Any] | None) -> Study:
    if image.ndim != 3 or image.array.shape[0] != len(CONTRASTS):
        raise ChannelError(
            f"{image.array.shape[0]} channels of {describe_shape(image.shape)}",
            expected=f"four channels of a volume: {', '.join(TITLES.values())}",
            source=image.source,
            advice="fill the channel of a contrast that was not acquired with zeros",
        )
    parts = {name: replace(image, array=image.array[k : k + 1]) for k, name in enumerate(CONTRASTS)}
    parts = {name: part for name, part in parts.items() if np.any(part.array)}
    if len(parts) < LEAST_CONTRASTS:
        raise _too_few(list(parts), str(image.source))
    limits = {"spatial_dims": 3, **(spec or {}), "channels": 1}
    notes = [f"{TITLES[name]}: {note}" for name, part in parts.items() for note in part.check(limits)]
    check_copies(parts, image.source)
    missing = tuple(name for name in CONTRASTS if name not in parts)
    return Study(image, tuple(parts), missing, {}, tuple(dict.fromkeys([*notes, *doubts(parts)])))


def _too_few(present: Sequence[str], source: str) -> MissingContrastError:
    return MissingContrastError(
        f"only {', '.join(TITLES[name] for name in present) or 'none'} of the four contrasts",
        expected=f"at least {LEAST_CONTRASTS} of {', '.join(TITLES.values())}",
        source=source,
        advice="add the files of the others",
    )
