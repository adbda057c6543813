"""ToothFairy 1 to 3: cone-beam CT of jaws, from 2 on with FDI codes of teeth; CC BY-SA.

| release | files | labels |
| --- | --- | --- |
| 1 (2023) | `Dataset/P12/{data,gt_alpha,gt_sparse}.npy` | the mandibular canal only |
| 2 (2024) | `imagesTr/ToothFairy2F_001_0000.mha`, `labelsTr/ToothFairy2F_001.mha` | jaws, canals, teeth |
| 3 (2025) | `imagesTr/ToothFairy3S_0001_0000.nii.gz`, `labelsTr/...S_0001.nii.gz` | and pulps: 100 + FDI |

Headers of releases 2 and 3 are said to name other directions than those in which the voxels are stored;
taken at their word they swap left and right teeth. So the labels decide: right teeth lie right of left
ones, upper above lower.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medbundles.checks import DatasetError, DimensionError, GridError, UnreadableFileError
from medbundles.datasets.records import Case, LoadReport, RejectedRow

SCAN = re.compile(r"(ToothFairy([23])([A-Z])_(\d+))_0000\.(?:mha|nii\.gz|nii)")
FIRST_RELEASE = re.compile(r"P(\d+)")
FIRST_SPACING_MM = 0.3
MAX_DEPTH = 4
TEETH = tuple(10 * quadrant + position for quadrant in (1, 2, 3, 4) for position in range(1, 9))
OTHERS = {1: "lower jaw", 2: "upper jaw", 8: "bridge", 9: "crown", 10: "implant"}
OTHERS |= {3: "left canal", 4: "right canal", 5: "left sinus", 6: "right sinus", 7: "pharynx"}
OTHERS |= {103: "left incisive canal", 104: "right incisive canal", 105: "lingual canal"}
PULP = 100

# Where structures lie, in mm to the left, to the back and upwards of the lips; to tell directions by.
_ARCH = ((4, 0), (11, 2), (16, 5), (20, 11), (22, 18), (25, 26), (28, 36), (30, 45))
_PLACES = {1: (0, 30, -22), 2: (0, 25, 16), 3: (25, 35, -22), 4: (-25, 35, -22), 7: (0, 65, 0)}
_PLACES |= {5: (25, 35, 32), 6: (-25, 35, 32)}
for _code in TEETH:
    _x, _y = _ARCH[_code % 10 - 1]
    _PLACES[_code] = (_x if _code // 10 in (2, 3) else -_x, _y, 10 if _code < 30 else -10)
CLEAR = 0.02  # how much better than any other direction the best must fit


@dataclass(frozen=True)
class LabelledScan:
    """A scan as the project keeps it: axes to the patient's left, back and up.

    Attributes:
        image: (X, Y, Z) in the file's own grey values.
        labels: FDI codes on the same grid, uint8, or None.
        affine: 4x4 RAS.
        notes: what was odd and how it was settled.
    """

    image: NDArray
    labels: NDArray[np.uint8] | None
    affine: NDArray[np.float64]
    notes: tuple[str, ...] = ()


def load(root: str | Path) -> tuple[list[Case], LoadReport]:
    """Reads the scans of any release at or below `root`.

    `truth` has the `mask` from release 2 on and the `canal` in release 1; `convention` names the release. The
    same patient of two releases has the same subject. `read_case` reads the pixels.

    Raises:
        DatasetError: there is none.
    """
    root = Path(root)
    report, cases = LoadReport("ToothFairy"), []
    for path in _scans(root, MAX_DEPTH):
        report.rows += 1
        try:
            cases.append(_case(path))
        except RejectedRow as reason:
            report.reject(path.name, str(reason))
            continue
        report.notes["without labels of teeth"] += "mask" not in cases[-1]["truth"]
    report.notes = +report.notes
    report.kept = len(cases)
    if not report.rows:
        raise DatasetError(
            "No scan of ToothFairy was found.",
            expected="imagesTr/ToothFairy2F_001_0000.mha, ...3F_001_0000.nii.gz or Dataset/P12/data.npy",
            source=root,
            advice="Unpack the release and give its folder.",
        )
    return cases, report


def is_root(folder: Path, below: list[str]) -> bool:
    """Whether a folder holds a release: scans in imagesTr, or folders P1, P2 ... with data.npy."""
    if "imagesTr" in below:
        return any(SCAN.fullmatch(path.name) for path in (folder / "imagesTr").iterdir())
    return any(FIRST_RELEASE.fullmatch(name) and (folder / name / "data.npy").is_file() for name in below)


def read_case(case: Case) -> LabelledScan:
    """Reads the scan of a case and its labels as FDI codes, both turned to left, back and up.

    Raises:
        InputError: a file cannot be read, or scan and labels have different sizes.
        DatasetError: the labels are not those of a release.
    """
    image, affine = _volume(case["image"])
    mask = case["truth"].get("mask")
    if mask is None:
        note = "nothing tells its directions: taken as stored" if case["convention"] == "toothfairy1" else ""
        return _turned(LabelledScan(image, None, affine, (note,) if note else ()))
    labels, _ = _volume(mask)
    if labels.shape != image.shape:
        raise GridError(
            f"labels of {labels.shape} voxels for a scan of {image.shape}",
            expected="one grid",
            source=mask,
            advice="unpack the release again",
        )
    affine, note = true_affine(labels, affine)
    return _turned(LabelledScan(image, to_fdi(labels), affine, (note,) if note else ()))


def to_fdi(labels: ArrayLike) -> NDArray[np.uint8]:
    """Returns the FDI codes of a label map; pulps count to their tooth, all that is no tooth is 0.

    Raises:
        DatasetError: it has other values, such as those renumbered without gaps for training.
    """
    labels = np.rint(np.asarray(labels)).astype(np.int16)
    table = np.zeros(256, np.uint8)
    for code in TEETH:
        table[[code, PULP + code]] = code
    known = {0, *OTHERS, *TEETH, *(PULP + code for code in TEETH)}
    strange = sorted({int(value) for value in np.unique(labels)} - known)
    if strange:
        raise DatasetError(
            f"the labels {', '.join(map(str, strange[:8]))}",
            expected="0 to 10, FDI codes 11 to 48, 103 to 105, and pulps 111 to 148",
            advice="give the labels as published, not renumbered for training",
        )
    return table[labels]


def directions(labels: ArrayLike, spacing: ArrayLike = (1, 1, 1)) -> tuple[str, str, str] | None:
    """Returns the direction of each axis of a label map as published, as letters such as ("L", "P", "S").

    The centres of all structures are compared with where they lie in any patient, in all 48 ways.

    Returns:
        None if that leaves several ways, as one row of teeth does.
    """
    labels = np.asarray(labels)[::2, ::2, ::2]
    codes = [int(code) for code in np.unique(labels) if int(code) in _PLACES]
    if len(codes) < 3:
        return None
    found = np.array([np.argwhere(labels == code).mean(0) for code in codes]) * 2 * np.asarray(spacing, float)
    usual = np.array([_PLACES[code] for code in codes], float)
    found, usual = found - found.mean(0), usual - usual.mean(0)
    scale = max(float(np.linalg.norm(found) * np.linalg.norm(usual)), 1e-9)
    scores = {
        (axes, signs): float((found[:, axes] * signs * usual).sum()) / scale
        for axes in permutations(range(3))
        for signs in product((1, -1), repeat=3)
    }
    best, second = sorted(scores, key=lambda way: -scores[way])[:2]
    if scores[best] - scores[second] < CLEAR:
        return None
    letters = ["", "", ""]
    for name, axis, sign in zip(("LR", "PA", "SI"), *best, strict=True):
        letters[axis] = name[0] if sign > 0 else name[1]
    return letters[0], letters[1], letters[2]


def true_affine(labels: ArrayLike, affine: ArrayLike) -> tuple[NDArray[np.float64], str]:
    """Returns the RAS affine that puts the labels where they belong, and a remark if the header's did not."""
    import nibabel

    affine, labels = np.array(affine, float), np.asarray(labels)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    found, said = directions(labels, spacing), tuple(nibabel.aff2axcodes(affine))
    if found is None:
        return affine, "the labels do not tell the directions: those of the header were taken"
    if found == said:
        return affine, ""
    middle = (np.asarray(labels.shape) - 1) / 2
    centre = affine[:3, :3] @ middle + affine[:3, 3]
    axes = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "S": (2, 1), "I": (2, -1)}
    turned = np.eye(4)
    turned[:3, :3] = 0
    for column, letter in enumerate(found):
        row, sign = axes[letter]
        turned[row, column] = sign * spacing[column]
    turned[:3, 3] = centre - turned[:3, :3] @ middle
    return turned, f"the header says {''.join(said)}, the labels {''.join(found)}: the labels were believed"


def _scans(folder: Path, depth: int) -> list[Path]:
    found = [path for path in sorted(folder.glob("*_0000.*")) if SCAN.fullmatch(path.name)]
    if FIRST_RELEASE.fullmatch(folder.name) and (folder / "data.npy").is_file():
        found.append(folder / "data.npy")
    for below in sorted(folder.iterdir()) if depth else []:
        if below.is_dir() and not below.name.startswith((".", "__MACOSX", "labels")):
            found += _scans(below, depth - 1)
    return found


def _case(path: Path) -> Case:
    if match := SCAN.fullmatch(path.name):
        name, release, series, number = match.groups()
        label = _label(path, name)
        if label is None and path.parent.name == "imagesTr":
            raise RejectedRow("its labels are missing")
        truth, spacing = {"mask": str(label)} if label else {}, None
    else:
        name, release, series = path.parent.name, "1", "P"
        number = FIRST_RELEASE.fullmatch(name).group(1)
        canal = path.parent / "gt_alpha.npy"
        truth, spacing = {"canal": str(canal)} if canal.is_file() else {}, (FIRST_SPACING_MM,) * 3
    return {
        "image": str(path),
        "subject": f"ToothFairy-{series}{int(number)}",
        "source": "ToothFairy",
        "kind": "dental cone-beam ct",
        "spacing_mm": spacing,
        "truth": truth,
        "expected": [],
        "name": name,
        "convention": f"toothfairy{release}",
    }


def _label(path: Path, name: str) -> Path | None:
    folder = path.parent.parent / path.parent.name.replace("images", "labels")
    return next((p for end in (".mha", ".nii.gz", ".nii") if (p := folder / f"{name}{end}").is_file()), None)


def _volume(path: str | Path) -> tuple[NDArray, NDArray[np.float64]]:
    """A volume (X, Y, Z) and its affine; arrays of release 1 are stored slice by slice."""
    from medbundles.images import upright_affine
    from medbundles.io import read_image

    if Path(path).suffix != ".npy":
        image = read_image(path)
        if image.ndim != 3:
            raise DimensionError(
                "a plane", expected="a volume", source=path, advice="unpack the release again"
            )
        return image.array[0], image.affine
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UnreadableFileError(
            "an array that cannot be read",
            expected="a .npy file",
            source=path,
            advice="unpack the release again",
        ) from error
    return np.moveaxis(stored, 0, -1).swapaxes(0, 1), upright_affine((FIRST_SPACING_MM,) * 3)


def _turned(scan: LabelledScan) -> LabelledScan:
    from nibabel.orientations import (
        apply_orientation,
        axcodes2ornt,
        inv_ornt_aff,
        io_orientation,
        ornt_transform,
    )

    change = ornt_transform(io_orientation(scan.affine), axcodes2ornt("LPS"))
    labels = None if scan.labels is None else apply_orientation(scan.labels, change)
    affine = scan.affine @ inv_ornt_aff(change, scan.image.shape)
    return LabelledScan(apply_orientation(scan.image, change), labels, affine, scan.notes)
