"""CTooth and CTooth+: cone-beam CT with a mask of all teeth together, no codes; CC BY 4.0.

It is passed on in several packings: volumes in a folder of images with masks of the same name in a folder
of labels beside it, or one folder per patient with both. Names tell which is which; a volume without a mask
is a case without truth (CTooth+ has 146 of them).
"""

from __future__ import annotations

import re
from pathlib import Path

from medbundles.checks import DatasetError
from medbundles.datasets.records import Case, LoadReport

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
MASK_WORD = re.compile(
    r"(?:^|[_\- .])(?:labels?|masks?|gt|seg(?:mentation)?s?|annotations?)(?=$|[_\- .\d]|tr|ts)", re.I
)
IMAGE_WORD = re.compile(r"(?:^|[_\- .])(?:images?|imgs?|data|volumes?|cbct|raw)(?=$|[_\- .\d]|tr|ts)", re.I)
MAX_DEPTH = 4


def load(root: str | Path) -> tuple[list[Case], LoadReport]:
    """Reads the volumes at or below `root`; `truth` has a `mask` of teeth where there is one.

    Raises:
        DatasetError: there is none.
    """
    root = Path(root)
    report, cases = LoadReport("CTooth"), []
    volumes = _volumes(root, MAX_DEPTH)
    masks = [path for path in volumes if is_mask(path.relative_to(root))]
    by_name: dict[str, list[Path]] = {}
    for path in masks:
        by_name.setdefault(_key(path.relative_to(root)), []).append(path)
    for path in (path for path in volumes if path not in set(masks)):
        report.rows += 1
        fitting = by_name.pop(_key(path.relative_to(root)), [])
        if len(fitting) > 1:
            report.reject(path.name, "several masks of the same name")
            continue
        report.notes["without a mask"] += not fitting
        cases.append(_case(path, root, fitting))
    report.notes["masks without a volume"] += sum(map(len, by_name.values()))
    report.notes = +report.notes
    report.kept = len(cases)
    if not report.rows:
        raise DatasetError(
            "No volume of CTooth was found.",
            expected=f"volumes ({', '.join(ENDINGS)}) and masks in folders such as images and labels",
            source=root,
            advice="Unpack the archives and give the folder that holds them.",
        )
    return cases, report


def is_mask(path: Path) -> bool:
    """Whether a file is a mask: its own name, or that of the nearest folder that tells, calls it one."""
    for name in (_stem(path), *(folder.name for folder in path.parents)):
        if MASK_WORD.search(name):
            return True
        if IMAGE_WORD.search(name):
            return False
    return False


def _volumes(folder: Path, depth: int) -> list[Path]:
    found = [
        path for path in sorted(folder.iterdir()) if path.is_file() and path.name.lower().endswith(ENDINGS)
    ]
    for below in sorted(folder.iterdir()) if depth else []:
        if below.is_dir() and not below.name.startswith((".", "__MACOSX")):
            found += _volumes(below, depth - 1)
    return found


def _stem(path: Path) -> str:
    ending = next((end for end in ENDINGS if path.name.lower().endswith(end)), "")
    return path.name[: len(path.name) - len(ending)]


def _key(path: Path) -> str:
    """What image and mask of a patient have in common: place and name without the words for either."""
    parts = [_bare(part) for part in (*path.parent.parts, _stem(path))]
    return "/".join(part for part in parts if part) or "volume"


def _bare(name: str) -> str:
    return re.sub(r"(?:tr|ts)$", "", IMAGE_WORD.sub("", MASK_WORD.sub("", name))).strip("_- .").lower()


def _case(path: Path, root: Path, masks: list[Path]) -> Case:
    name = re.sub(r"[^A-Za-z0-9]+", "_", _key(path.relative_to(root))).strip("_")
    return {
        "image": str(path),
        "subject": f"CTooth-{name}",
        "source": "CTooth",
        "kind": "dental cone-beam ct",
        "spacing_mm": None,
        "truth": {"mask": str(masks[0])} if masks else {},
        "expected": [],
        "name": name,
        "convention": "teeth",
    }
