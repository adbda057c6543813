"""Which files of a folder are the contrasts of one study, and which folders below it are studies."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medbundles.archives import split_archive
from medbundles.cases import existing
from medbundles.contrasts import (
    CONTRASTS,
    TITLES,
    contrast_of,
    is_label_name,
    is_synthetic_name,
    without_contrast,
)
from medbundles.dicom_studies import dicom_folders_below, study_of
from medbundles.errors import EmptyInputError, InputError
from medbundles.formats import METAIMAGE, NIFTI, NRRD, suffix_of

VOLUMES = (*NIFTI, *METAIMAGE, *NRRD)
MAX_DEPTH = 4
LABELS_FIRST = re.compile(r"seg|(?<![a-z])ot(?![a-z])", re.IGNORECASE)

Found = dict[str, list[Path]]


def find_studies(path: str | Path, *, patterns: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Returns the studies at or below a path as `[{"image": ...}, ...]`, for `read_study`.

    A study is a folder of files that are named after their contrasts (or of folders with one such file
    each, as BraTS 2015 has them), a folder of DICOM series, one 4D file, or a zip of these. A folder with
    the files of many cases (`a_t1.nii.gz, a_t2.nii.gz, b_t1.nii.gz, ...`) is a study for each; its `image` is
    a dictionary from contrast to path. Segmentations, masks and synthetic images are passed over.

    Args:
        path: a file, a zip or a folder, which is searched to a depth of four.
        patterns: a pattern per contrast, e.g. `{"t1": "*_T1_bias.nii.gz", ...}`, where names tell too little
            or too much; files that match none are passed over. The text that `*` stands for is the case.

    Raises:
        MissingInputError: there is no such path.
        EmptyInputError: there is no study.
    """
    path = Path(path).expanduser()
    if split_archive(path) is not None or not existing(path).is_dir():
        return [{"image": str(path)}]
    found = list(_studies(path, patterns or {}, MAX_DEPTH))
    if not found:
        raise EmptyInputError(
            "no study here",
            expected="folders with files named t1, t1gd, t2, flair; DICOM studies; or 4D NIfTI files",
            source=path,
            advice="pass the folder of one case, or the folder that holds the cases",
        )
    return [{"image": image} for image in found]


def contrast_files(folder: Path) -> Found:
    """Returns the files of a study's folder by contrast; several of one contrast are all listed."""
    files = volume_files(folder)
    found = _by_contrast(files)
    if not found:
        inner = [volume_files(below) for below in _folders(folder)]
        found = _by_contrast([files[0] for files in inner if len(files) == 1])
    return {name: found[name] for name in CONTRASTS if name in found}


def label_file(folder: Path) -> Path | None:
    """Returns the segmentation in a case's folder, or in a folder of its own below (BraTS 2015)."""
    files = volume_files(folder) or [p for below in _folders(folder) for p in volume_files(below)]
    labels = [path for path in files if is_label_name(_stem(path))]
    named = [path for path in labels if LABELS_FIRST.search(_stem(path))]
    return next(iter(named or labels), None)


def volume_files(folder: Path) -> list[Path]:
    """Returns the visible volumes in a folder, sorted by name."""
    files = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".") and suffix_of(p) in VOLUMES]
    return [path for path in files if path.is_file()]


def shared_name(paths: Sequence[str | os.PathLike]) -> str:
    """Returns the path that stands for files of one study: their folder, and what their names share."""
    paths = [str(path) for path in paths]
    folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    if len({os.path.dirname(path) for path in paths}) > 1:
        return folder
    names = [os.path.basename(path) for path in paths]
    start = names[0][: _shared_words(names)].strip("-_. ")
    return os.path.join(folder, start) if start else folder


def _studies(folder: Path, patterns: Mapping[str, str], depth: int) -> Iterator[Any]:
    if patterns:
        direct: list[Any] = _matched(folder, patterns)
    else:
        direct = _studies_in(folder)
    yield from direct
    if direct and (str(folder) in direct or patterns or any(isinstance(item, dict) for item in direct)):
        return
    for below in _folders(folder) if depth else []:
        yield from _studies(below, patterns, depth - 1)


def _studies_in(folder: Path) -> list[Any]:
    return [str(folder)] if _is_dicom_study(folder) else studies_of_files(folder)


def studies_of_files(folder: Path) -> list[Any]:
    """Studies of the volumes in this very folder: itself, or one per group of files, or one per 4D file."""
    files = [path for path in volume_files(folder) if not _beside(path)]
    if not _by_contrast(files):
        return [str(folder)] if not files and len(contrast_files(folder)) > 1 else [str(p) for p in files]
    groups: dict[str, list[Path]] = defaultdict(list)
    for paths in _by_contrast(files).values():
        for path in paths:
            groups[without_contrast(_stem(path))].append(path)
    if sum(len(_by_contrast(group)) > 1 for group in groups.values()) < 2:
        return [str(folder)]
    return [_simple(_by_contrast(group)) for _, group in sorted(groups.items())]


def _simple(found: Found) -> dict[str, Any]:
    """A path per contrast; several of one contrast stay a list, which `read_study` refuses by name."""
    return {
        name: str(paths[0]) if len(paths) == 1 else [str(path) for path in paths]
        for name, paths in ((name, found[name]) for name in CONTRASTS if name in found)
    }


def _by_contrast(files: Sequence[Path]) -> Found:
    files = [path for path in files if not _beside(path)]
    shared = _shared_words([_stem(path) for path in files])
    found: Found = defaultdict(list)
    for path in files:
        name = contrast_of(_stem(path)[shared:]) or contrast_of(_stem(path))
        if name is not None:
            found[name].append(path)
    return dict(found)


def _shared_words(names: Sequence[str]) -> int:
    """Length of the whole words that all names begin with: a case's name may itself contain `T2`."""
    if len(names) < 2:
        return 0
    letters = zip(*names, strict=False)
    same = next((k for k, column in enumerate(letters) if len(set(column)) > 1), min(map(len, names)))
    while same and (names[0][same - 1].isalnum() or names[0][same - 1] in "+*"):
        same -= 1
    return same


def _beside(path: Path) -> bool:
    return is_label_name(_stem(path)) or is_synthetic_name(_stem(path))


def _stem(path: Path) -> str:
    return path.name[: len(path.name) - len(suffix_of(path))]


def _folders(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith((".", "__MACOSX"))]


def _is_dicom_study(folder: Path) -> bool:
    """Whether the DICOM files at and below a folder are one study, and this is the innermost such folder."""
    places = list(dicom_folders_below(folder))
    if not places:
        return False
    if folder in places:
        return True
    inside = {place.relative_to(folder).parts[0] for place in places}
    if len(inside) == 1 and len(places) > 1:
        return False
    return len({study_of(place) for place in places}) == 1


def _matched(folder: Path, patterns: Mapping[str, str]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, ...], Found] = defaultdict(lambda: defaultdict(list))
    for name, pattern in patterns.items():
        expression = re.compile("(.*)".join(re.escape(part) for part in pattern.split("*")), re.IGNORECASE)
        for path in volume_files(folder):
            if match := expression.fullmatch(path.name):
                groups[match.groups()][contrast_key(name, folder)].append(path)
    return [_simple(found) for _, found in sorted(groups.items())]


def contrast_key(name: str, source: str | Path) -> str:
    """Returns the contrast that a user's key (`t1ce`, `T1w`, `flair`, ...) means.

    Raises:
        InputError: none.
    """
    found = name if name in CONTRASTS else contrast_of(str(name))
    if found is None:
        raise InputError(
            f"a contrast called {name}",
            expected=", ".join(f"{key} ({TITLES[key]})" for key in CONTRASTS),
            source=source,
            advice="name the contrasts t1, t1gd, t2 and flair",
        )
    return found
