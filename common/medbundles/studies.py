"""Reads the contrasts of a brain study, from whatever form they come in, into one image of four channels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medbundles import io
from medbundles.archives import split_archive, unpacked
from medbundles.cases import existing
from medbundles.contrasts import CONTRASTS, TITLES
from medbundles.dicom import read_series
from medbundles.dicom_studies import choose_series, dicom_folders_below, series_below
from medbundles.errors import (
    ChannelError,
    DimensionError,
    GridError,
    InputError,
    MissingContrastError,
    describe_shape,
)
from medbundles.images import Image
from medbundles.study_checks import check_copies, check_grids, doubts
from medbundles.study_files import VOLUMES, contrast_files, contrast_key, shared_name, volume_files
from medbundles.study_grids import reoriented, resampled
from medbundles.volume_order import order_of

LEAST_CONTRASTS = 2

Item = str | os.PathLike | Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """The contrasts of one examination on one grid.

    Attributes:
        image: four channels of float32 in the order of `CONTRASTS`; a missing contrast is all zero.
        present: the contrasts that were read.
        missing: the others.
        files: where each contrast comes from.
        warnings: what is odd but usable.
        reference: the contrast whose grid all are on.
    """

    image: Image
    present: tuple[str, ...]
    missing: tuple[str, ...]
    files: dict[str, str]
    warnings: tuple[str, ...] = ()
    reference: str = ""


@dataclass(frozen=True)
class StudyOptions:
    """How a study is read.

    Attributes:
        resample: None refuses contrasts of different grids; `to first` resamples them to the first contrast
            in the order of `CONTRASTS`, the name of a contrast to that one.
        order: the contrasts of the channels of a 4D file; None takes them from the dataset.json of a
            Medical Segmentation Decathlon folder, or their order there: FLAIR, T1, T1Gd, T2.
        series: by contrast, the number of a DICOM series or the end of its UID, where there are several.
        pixel_mm: the size of a voxel in millimetres, instead of what the headers say.
    """

    resample: str | None = None
    order: Sequence[str] | None = None
    series: Mapping[str, str | int] | None = None
    pixel_mm: float | Sequence[float] | None = None


def read_study(
    item: Item, *, spec: Mapping[str, Any] | None = None, options: StudyOptions | None = None
) -> Study:
    """Reads a study and checks each contrast, and that they belong together.

    Args:
        item: a dictionary from contrast to path; the folder of the study, of named files or of DICOM
            series; a 4D file; or a zip of one of these.
        spec: the `input` block of a bundle's metadata; None checks only what makes a study.
        options: how to read; the default refuses what is not clear.

    Raises:
        MissingContrastError: fewer than two contrasts, or none that a name tells.
        GridError: the contrasts have different grids.
        ChannelError: a 4D file without four channels.
        InputError: two images of one contrast, two contrasts with one image, and all that `read_image` and
            `check_image` raise.
    """
    options = options or StudyOptions()
    images, source = _images(item, options)
    _check_number(images, source)
    warnings = [note for name, image in images.items() for note in _checked(name, image, spec)]
    reference = _reference(images, options.resample, source)
    images, notes = _on_one_grid(images, reference, options.resample, source)
    check_grids(images, source)
    check_copies(images, source)
    return _study(images, reference, source, [*warnings, *notes, *doubts(images)])


def study_name(item: Item) -> str:
    """Returns the path that stands for a study: its folder, its file, or what its files share."""
    if not isinstance(item, Mapping):
        return str(item)
    paths = [p for value in item.values() for p in (value if isinstance(value, list | tuple) else [value])]
    return shared_name([path for path in paths if path is not None]) if any(paths) else "an empty study"


def _images(item: Item, options: StudyOptions) -> tuple[dict[str, Image], Path]:
    source = Path(study_name(item))
    if isinstance(item, Mapping):
        return _from_mapping(item, source, options), source
    path = Path(item).expanduser()
    if (inside := split_archive(path)) is not None:
        with unpacked(*inside) as target:
            found = _from_path(_only_folder(target), path, options)
            return {name: replace(i, array=np.array(i.array)) for name, i in found.items()}, path
    return _from_path(existing(path), path, options), path


def _only_folder(path: Path) -> Path:
    """Archives often hold one folder that holds the rest."""
    while (
        path.is_dir()
        and len(inside := [p for p in path.iterdir() if not p.name.startswith((".", "__"))]) == 1
    ):
        path = inside[0]
    return path


def _from_path(path: Path, source: Path, options: StudyOptions) -> dict[str, Image]:
    if path.is_file():
        return _from_4d(path, source, options)
    if any(True for _ in dicom_folders_below(path)):
        return _from_dicom(path, source, options)
    found = contrast_files(path)
    if not found and len(files := volume_files(path)) == 1:
        return _from_4d(files[0], source, options)
    if not found:
        raise _unnamed([p.name for p in volume_files(path)], source)
    return _from_mapping(found, source, options)


def _from_mapping(item: Mapping[str, Any], source: Path, options: StudyOptions) -> dict[str, Image]:
    paths: dict[str, list[Any]] = {}
    for key, value in item.items():
        values = value if isinstance(value, list | tuple) else [value]
        paths.setdefault(contrast_key(key, source), []).extend(v for v in values if v is not None)
    for name, files in paths.items():
        if len(files) > 1:
            raise _repeated(name, [Path(file).name for file in files], source)
    chosen = {name: paths[name][0] for name in CONTRASTS if paths.get(name)}
    return {name: _single(io.read_image(p, pixel_mm=options.pixel_mm), name) for name, p in chosen.items()}


def _from_4d(path: Path, source: Path, options: StudyOptions) -> dict[str, Image]:
    image = io.read_image(path, pixel_mm=options.pixel_mm)
    channels = image.array.shape[0]
    if image.ndim != 3 or channels == 1:
        raise MissingContrastError(
            f"one single image of {describe_shape(image.shape)}",
            expected="at least two contrasts: a folder with one file each, or a 4D file with four channels",
            source=source,
            advice="pass the folder that holds the files of this case",
        )
    order = order_of(path, options.order, channels)
    if channels != len(CONTRASTS):
        raise ChannelError(
            f"a 4D image with {channels} channels",
            expected="four: " + ", ".join(TITLES[name] for name in order),
            source=source,
            advice="store each contrast in a file of its own, named after it; then some may be missing",
        )
    parts = {name: replace(image, array=image.array[index : index + 1]) for index, name in enumerate(order)}
    return {name: parts[name] for name in CONTRASTS if np.any(parts[name].array)}


def _from_dicom(path: Path, source: Path, options: StudyOptions) -> dict[str, Image]:
    wanted = {contrast_key(key, source): value for key, value in (options.series or {}).items()}
    series = series_below(path, source)
    chosen = choose_series(series, source, wanted)
    if not chosen:
        raise _unnamed([f"series {item.number}" for item in series], source)
    if len({item.frame for item in chosen.values() if item.frame}) > 1 and options.resample:
        raise GridError(
            "series whose positions refer to different origins (FrameOfReferenceUID)",
            expected="series of one examination",
            source=source,
            advice="register them to each other first",
        )
    images = {}
    for name, item in chosen.items():
        image = read_series(item.folder, source, series=item.uid)
        image = replace(io.with_pixel_size(image, options.pixel_mm), series=item.uid)
        images[name] = _single(image, name)
    return images


def _single(image: Image, name: str) -> Image:
    if image.ndim == 3 and image.array.shape[0] == 1:
        return image
    kind = (
        f"{image.ndim}D image" if image.array.shape[0] == 1 else f"image of {image.array.shape[0]} channels"
    )
    raise DimensionError(
        f"for {TITLES[name]} a {kind}, {describe_shape(image.shape)}",
        expected="one volume per contrast",
        source=image.source,
        advice="pass a 3D volume of one channel; or pass a 4D file of all four contrasts by itself",
    )


def _checked(name: str, image: Image, spec: Mapping[str, Any] | None) -> list[str]:
    limits = {"spatial_dims": 3, **(spec or {}), "channels": 1}
    return [f"{TITLES[name]}: {note}" for note in image.check(limits)]


def _check_number(images: Mapping[str, Image], source: Path) -> None:
    if len(images) >= LEAST_CONTRASTS:
        return
    found = ", ".join(TITLES[name] for name in images) or "none"
    raise MissingContrastError(
        f"only {found} of the contrasts {', '.join(TITLES.values())}",
        expected=f"at least {LEAST_CONTRASTS} of them",
        source=source,
        advice="add the files of the others, named t1, t1gd, t2, flair",
    )


def _reference(images: Mapping[str, Image], resample: str | None, source: Path) -> str:
    """Returns the contrast whose grid all are brought to."""
    return next(iter(images)) if resample in (None, "to first") else contrast_key(resample, source)


def _on_one_grid(
    images: dict[str, Image], first: str, resample: str | None, source: Path
) -> tuple[dict[str, Image], list[str]]:
    """Axes that are only stored in another order are put right without loss; more takes the user's word."""
    if first not in images:
        raise MissingContrastError(
            f"{TITLES[first]} is not there to resample to",
            expected=", ".join(TITLES[name] for name in images),
            source=source,
            advice='use resample="to first"',
        )
    target = images[first]
    images = {name: reoriented(image, target) for name, image in images.items()}
    return (images, []) if resample is None else resampled(images, first)


def _study(images: dict[str, Image], reference: str, source: Path, warnings: list[str]) -> Study:
    first = images[reference]
    pixels = np.zeros((len(CONTRASTS), *first.shape), np.float32)
    for name, image in images.items():
        pixels[CONTRASTS.index(name)] = image.array[0]
    return Study(
        image=replace(first, array=pixels, source=source, warnings=()),
        present=tuple(images),
        missing=tuple(name for name in CONTRASTS if name not in images),
        files={name: str(image.source) for name, image in images.items()},
        warnings=tuple(dict.fromkeys(warnings)),
        reference=reference,
    )


def _repeated(name: str, files: Sequence[str], source: Path) -> InputError:
    return InputError(
        f"{len(files)} images of the contrast {TITLES[name]}: {', '.join(files[:4])}",
        expected="one image per contrast",
        source=source,
        advice="rename or remove the ones that are not meant; is one of them another contrast?",
    )


def _unnamed(names: Sequence[str], source: Path) -> MissingContrastError:
    listed = ", ".join(list(names)[:6]) or "no volumes"
    return MissingContrastError(
        f"nothing here is called after a contrast: {listed}",
        expected="names that tell t1, t1gd (t1ce, t1c), t2 and flair, in files of type "
        + ", ".join(s.lstrip(".") for s in VOLUMES),
        source=source,
        advice="rename the files, for example case_t1.nii.gz, case_t1gd.nii.gz, case_t2.nii.gz",
    )
