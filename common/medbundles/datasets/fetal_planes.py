"""FETAL_PLANES_DB (Zenodo 3904280) and the multi-centre landmarks of two diameters that were clicked on it.

Landmark layouts that are read: `<root>/Abdomen_Train.csv` with `<root>/images/`; and the published
`<root>/annotations/Abdomen*.csv` with `<root>/data/Abdomen/`, where `<root>` is the folder FP or UCL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medbundles.checks import DatasetError
from medbundles.datasets.records import Case, LoadReport, RejectedRow, number, read_rows, require_columns
from medbundles.ellipse import Ellipse, EllipseFitError, ellipse_from_diameters

# Limits of what can be a pair of diameters. Clicked ones cross near the middle and nearly at right angles.
CROSSING = (0.25, 0.75)
MIN_ANGLE_DEG = 65.0
MIN_DIAMETER_PX = 30.0
MIN_RATIO = 0.6

# The rows marked `AlokaFit` take their scale from the ruler ticks at the edge of the frame as 5 mm each. They
# are 10 mm: read as 5 mm, the sector's radius to its far edge is 62 to 108 mm where every other machine of
# the set has 116 to 237, and a quarter of these abdomens measure 73 to 98 mm (13 to 15 weeks; the set begins
# at 18). Found by us, not stated by the authors: docs/explanation/beam-geometry-and-partial-labels.md.
ALOKA = "AlokaFit"
ALOKA_CORRECTION = 2.0

PLANE_COLUMNS = ("Image_name", "Patient_num", "Plane", "Brain_plane", "Operator", "US_Machine", "Train")


@dataclass(frozen=True)
class Anatomy:
    """Which columns hold the two diameters of one anatomy, and what they measure."""

    kind: str
    table: str
    first: str
    second: str
    measure: str


ABDOMEN = Anatomy("abdomen", "Abdomen", "tad", "apad", "AC")
HEAD = Anatomy("head", "Head", "ofd", "bpd", "HC")


def load(
    root: str | Path, *, anatomy: Anatomy = ABDOMEN, aloka_correction: float = ALOKA_CORRECTION
) -> tuple[list[Case], LoadReport]:
    """Reads the landmark rows of one folder as cases whose truth is the ellipse in pixels.

    Args:
        root: a folder in one of the layouts of this module.
        anatomy: `ABDOMEN` (TAD and APAD) or `HEAD` (OFD and BPD).
        aloka_correction: factor on the scale of rows marked `AlokaFit`; 1 keeps the published value.
    """
    root = Path(root)
    tables = _tables(root, anatomy)
    source = root.name if tables[0].parent.name == "annotations" else "FP"
    report, cases, seen = LoadReport(f"{source} {anatomy.kind} landmarks"), [], set()
    for table in tables:
        for index, row in enumerate(read_rows(table)):
            if index == 0:
                require_columns(table, row, ("image_name", "px_to_mm_rate", *_columns(anatomy)))
            report.rows += 1
            try:
                case = _case(row, root, anatomy, source, seen)
            except RejectedRow as reason:
                report.reject(row.get("image_name", ""), str(reason))
                continue
            _calibrate(case, row, anatomy, aloka_correction, report)
            cases.append(case)
    report.kept = len(cases)
    return cases, report


def load_planes(root: str | Path) -> tuple[list[Case], LoadReport]:
    """Reads FETAL_PLANES_DB itself: `kind` is the plane, there is no outline and no calibration."""
    root = Path(root)
    table = root / "FETAL_PLANES_DB_data.csv"
    if not table.is_file():
        raise DatasetError(
            "FETAL_PLANES_DB_data.csv is missing.",
            expected="FETAL_PLANES_DB_data.csv beside the folder Images",
            source=root,
            advice="Unpack FETAL_PLANES_ZENODO.zip of Zenodo record 3904280 and give that folder.",
        )
    report, cases = LoadReport("FETAL_PLANES_DB planes"), []
    # The published table is separated by semicolons and its last header ends in a blank.
    for index, row in enumerate(read_rows(table, delimiter=";")):
        if index == 0:
            require_columns(table, row, PLANE_COLUMNS)
        report.rows += 1
        image = root / "Images" / f"{row['Image_name']}.png"
        if not image.is_file():
            report.reject(row["Image_name"], "the image file is missing")
            continue
        cases.append(_plane(row, image))
    report.kept = len(cases)
    return cases, report


def subject_of(row: dict[str, str], source: str) -> str:
    """Returns the subject as `<source>-<number>`, from the column or, where blank, from the image's name."""
    given = row.get("SubjectID") or row.get("Patient_num") or ""
    name = row.get("image_name") or row.get("Image_name") or ""
    found = re.search(r"(\d+)", given) or re.match(r"(?:Patient)?(\d+)", name)
    return f"{source}-{int(found.group(1)):05d}" if found else f"{source}-{given or Path(name).stem}"


def _tables(root: Path, anatomy: Anatomy) -> list[Path]:
    """Returns the annotation tables; the table of all rows where it exists, otherwise its parts."""
    for folder in (root / "annotations", root):
        whole = folder / f"{anatomy.table}.csv"
        if whole.is_file():
            return [whole]
        parts = [folder / f"{anatomy.table}_{part}.csv" for part in ("Train", "Test")]
        if any(part.is_file() for part in parts):
            return [part for part in parts if part.is_file()]
    raise DatasetError(
        f"There is no table of {anatomy.kind} landmarks.",
        expected=f"{anatomy.table}_Train.csv, or annotations/{anatomy.table}.csv",
        source=root,
        advice="Give the folder FP or UCL of the landmark set, or one with the table and the folder images.",
    )


def _columns(anatomy: Anatomy) -> tuple[str, ...]:
    names = (anatomy.first, anatomy.second)
    return tuple(f"{name}_{end}_{axis}" for name in names for end in (1, 2) for axis in "xy")


def _case(row: dict[str, str], root: Path, anatomy: Anatomy, source: str, seen: set[str]) -> Case:
    name = row["image_name"]
    if name in seen:
        raise RejectedRow("the image is listed twice")
    seen.add(name)
    image = _find_image(root, anatomy, name)
    corners = np.array([number(row, column) for column in _columns(anatomy)]).reshape(4, 2)
    ellipse = diameters_to_ellipse(corners, _size(image))
    return {
        "image": str(image),
        "subject": subject_of(row, source),
        "source": source,
        "kind": anatomy.kind,
        "truth": {"ellipse": ellipse},
        "landmarks": corners.tolist(),
        "official_split": row.get("Split", ""),
    }


def diameters_to_ellipse(ends: NDArray[np.float64], size: tuple[int, int]) -> Ellipse:
    """Returns the ellipse through the ends (4, 2) of two diameters, or rejects them with the reason."""
    if np.any(ends < 0) or np.any(ends > np.asarray(size)):
        raise RejectedRow("a landmark lies outside the image")
    first, second = ends[1] - ends[0], ends[3] - ends[2]
    lengths = np.linalg.norm(first), np.linalg.norm(second)
    if min(lengths) < MIN_DIAMETER_PX or min(lengths) / max(lengths) < MIN_RATIO:
        raise RejectedRow("the diameters are too short or too unlike")
    angle = np.degrees(np.arccos(min(1.0, abs(first @ second) / (lengths[0] * lengths[1]))))
    if angle < MIN_ANGLE_DEG:
        raise RejectedRow(f"the diameters are less than {MIN_ANGLE_DEG:.0f} degrees apart")
    crossing = np.linalg.solve(np.stack([first, -second], axis=1), ends[2] - ends[0])
    if np.any(crossing < CROSSING[0]) or np.any(crossing > CROSSING[1]):
        raise RejectedRow("the diameters do not cross in their middle halves")
    try:
        return ellipse_from_diameters(*ends)
    except EllipseFitError as error:
        raise RejectedRow("the diameters span no ellipse") from error


def _calibrate(
    case: Case, row: dict[str, str], anatomy: Anatomy, aloka_correction: float, report: LoadReport
) -> None:
    """Sets the spacing and the circumference; without a scale the outline is still good for training."""
    try:
        spacing = number(row, "px_to_mm_rate")
    except RejectedRow:
        spacing = 0.0
    if row.get("Algo") == ALOKA and aloka_correction != 1.0:
        spacing *= aloka_correction
        report.notes[f"scale of an AlokaFit row multiplied by {aloka_correction:g}"] += 1
    case["expected"] = []
    case["spacing_mm"] = (spacing, spacing) if spacing > 0 else None
    if spacing <= 0:
        report.notes["no scale, outline kept"] += 1
        return
    value = case["truth"]["ellipse"].scaled(spacing).circumference()
    case["expected"] = [{"name": anatomy.measure, "value": value, "unit": "mm"}]


def _find_image(root: Path, anatomy: Anatomy, name: str) -> Path:
    for folder in (root / "images", root / "data" / anatomy.table, root / "data", root / "Images"):
        if (folder / name).is_file():
            return folder / name
    raise RejectedRow("the image file is missing")


def _size(image: Path) -> tuple[int, int]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(image) as picture:
            return picture.size
    except (OSError, UnidentifiedImageError):
        raise RejectedRow("the image file cannot be read") from None


def _plane(row: dict[str, str], image: Path) -> Case:
    return {
        "image": str(image),
        "subject": subject_of(row, "FP"),
        "source": "FETAL_PLANES_DB",
        "kind": row["Plane"].lower().replace(" ", "_"),
        "brain_plane": row["Brain_plane"],
        "machine": row["US_Machine"],
        "official_split": "Train" if row["Train"] == "1" else "Test",
        "spacing_mm": None,
        "truth": {},
        "expected": [],
    }
