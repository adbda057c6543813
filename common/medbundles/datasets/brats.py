"""BraTS of all years, and folders like it: one folder per case with a file per contrast.

| year | folder | files |
| --- | --- | --- |
| 2015 | `HGG/brats_2013_pat0001_1/` | a folder per file: `VSD.Brain.XX.O.MR_T1c.54514.mha`, `...OT...` |
| 2017 to 2019 | `HGG/Brats18_2013_2_1/` | `Brats18_2013_2_1_{t1,t1ce,t2,flair,seg}.nii.gz` |
| 2020 | `BraTS20_Training_001/` | `..._{t1,t1ce,t2,flair,seg}.nii`; case 355 has `W39_1998.09.19_Segm.nii` |
| 2021 | `BraTS2021_00000/` | `..._{t1,t1ce,t2,flair,seg}.nii.gz` |
| 2023 on | `BraTS-GLI-00000-000/` | `...-{t1n,t1c,t2w,t2f,seg}.nii.gz` |

A subject is a patient: number or suffix of a time point is left out of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from medbundles.checks import DatasetError
from medbundles.contrasts import CONTRASTS, TITLES
from medbundles.datasets.records import Case, LoadReport, RejectedRow
from medbundles.study_files import contrast_files, label_file

MAX_DEPTH = 4
# Name of a case's folder, the part of it that is the patient, and what its labels mean.
LAYOUTS = (
    (re.compile(r"(BraTS-[A-Z]+-\d+)-\d+", re.IGNORECASE), "brats2024"),
    (re.compile(r"(BraTS2021_\d+)", re.IGNORECASE), "brats2018"),
    (re.compile(r"(BraTS20_(?:Training|Validation)_\d+)", re.IGNORECASE), "brats2018"),
    (re.compile(r"(Brats1[6-9]_\w+_\w+)_\d+", re.IGNORECASE), "brats2018"),
    (re.compile(r"(brats_(?:2013|tcia)_pat\d+)_\d+", re.IGNORECASE), "brats2015"),
    (re.compile(r"(TCGA-\w\w-\w{4}).*|(UCSF-PDGM-\d+).*|(UPENN-GBM-\d+)_\d+", re.IGNORECASE), ""),
)
GRADES = ("HGG", "LGG")


def load(root: str | Path, *, complete: bool = True) -> tuple[list[Case], LoadReport]:
    """Reads the case folders at or below `root`.

    `image` of a case is a dictionary from contrast to path, for `medbundles.studies.read_study`; `truth` has
    the `mask` where there is one; `convention` says what its labels mean, None to go by their values, for
    `medbundles.datasets.brain_labels`.

    Args:
        root: the folder of a release, of a part of it, or of one case.
        complete: leave out cases that lack a contrast.
    """
    root = Path(root)
    report, cases = LoadReport("BraTS"), []
    for folder in _case_folders(root, MAX_DEPTH):
        report.rows += 1
        try:
            case = _case(folder, complete)
        except RejectedRow as reason:
            report.reject(folder.name, str(reason))
            continue
        cases.append(case)
        if not case["truth"]:
            report.notes["without a segmentation"] += 1
    report.kept = len(cases)
    if not report.rows:
        raise DatasetError(
            "No case of BraTS was found.",
            expected="folders such as BraTS-GLI-00000-000 with files -t1n, -t1c, -t2w, -t2f, -seg",
            source=root,
            advice="Unpack the release and give the folder that holds the cases.",
        )
    return cases, report


def is_root(folder: Path, below: list[str]) -> bool:
    """Whether the folders below one are called like cases."""
    return any(_known(name) for name in below)


def is_case_name(name: str) -> bool:
    """Whether a folder is called like a case of BraTS."""
    return _known(name) is not None


def subject_of(name: str) -> str:
    """Returns the patient of a case: `BraTS-GLI-00001` of both `BraTS-GLI-00001-000` and `-001`."""
    known = _known(name)
    return known[0] if known else name


def convention_of(name: str) -> str | None:
    """Returns what the labels of a case of this name mean; None if the name does not say.

    Names of 2023 and 2024 are alike, and the labels of 2024 have one more.
    """
    known = _known(name)
    return (known[1] or None) if known else None


def _known(name: str) -> tuple[str, str] | None:
    for pattern, convention in LAYOUTS:
        if match := pattern.fullmatch(name):
            return next(part for part in match.groups() if part), convention
    return None


def _case_folders(folder: Path, depth: int) -> Iterator[Path]:
    """Folders called like cases, or with at least two contrasts; the latter need no known name."""
    if is_case_name(folder.name) or len(contrast_files(folder)) > 1:
        yield folder
        return
    for below in sorted(folder.iterdir()) if depth else []:
        if below.is_dir() and not below.name.startswith((".", "__MACOSX")):
            yield from _case_folders(below, depth - 1)


def _case(folder: Path, complete: bool) -> Case:
    found = contrast_files(folder)
    if repeated := [name for name, paths in found.items() if len(paths) > 1]:
        raise RejectedRow(f"several files of {TITLES[repeated[0]]}")
    missing = [TITLES[name] for name in CONTRASTS if name not in found]
    if len(found) < 2 or (complete and missing):
        raise RejectedRow(f"without {', '.join(missing)}")
    label = label_file(folder)
    case = {
        "image": {name: str(paths[0]) for name, paths in found.items()},
        "subject": subject_of(folder.name),
        "source": "BraTS",
        "kind": "brain tumour",
        "spacing_mm": None,
        "truth": {"mask": str(label)} if label else {},
        "expected": [],
        "name": folder.name,
        "convention": convention_of(folder.name),
    }
    grade = next((part for part in reversed(folder.parts) if part.upper() in GRADES), None)
    return case | ({"grade": grade.upper()} if grade else {})
