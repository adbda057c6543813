"""HC18 (Zenodo 1327317): fetal heads with an elliptical outline drawn as a thin contour."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from medbundles.checks import DatasetError
from medbundles.datasets.records import Case, LoadReport, RejectedRow, number, read_rows, require_columns
from medbundles.ellipse import Ellipse, EllipseFitError, fit_ellipse

TABLE = "training_set_pixel_size_and_HC.csv"
SIZE, CIRCUMFERENCE = "pixel size(mm)", "head circumference (mm)"


def load(root: str | Path) -> tuple[list[Case], LoadReport]:
    """Reads the training set as cases whose truth is the ellipse of the annotation, in pixels.

    Args:
        root: the folder with the published table and the unpacked `training_set/`.
    """
    root = Path(root)
    table = root / TABLE
    if not table.is_file():
        raise DatasetError(
            f"{TABLE} is missing.",
            expected=f"{TABLE} beside the unpacked folder training_set",
            source=root,
            advice="Take both from Zenodo record 1327317, unpack training_set.zip, give their folder.",
        )
    report, cases = LoadReport("HC18 heads"), []
    for index, row in enumerate(read_rows(table)):
        if index == 0:
            require_columns(table, row, ("filename", SIZE, CIRCUMFERENCE))
        report.rows += 1
        try:
            cases.append(_case(row, root))
        except RejectedRow as reason:
            report.reject(row["filename"], str(reason))
    report.kept = len(cases)
    return cases, report


def subject_of(filename: str) -> str:
    """Returns the patient of `010_HC.png` and of its repeats `010_2HC.png`, which are the same one."""
    found = re.match(r"(\d+)_\d*HC", filename)
    return f"HC18-{found.group(1) if found else Path(filename).stem}"


def annotation_ellipse(path: Path) -> Ellipse:
    """Returns the ellipse that the thin contour of an annotation picture draws."""
    pixels = read_grey(path)
    try:
        return fit_ellipse(np.argwhere(pixels > pixels.max() / 2))
    except EllipseFitError as error:
        raise RejectedRow("the annotation holds no ellipse") from error


def read_grey(path: Path) -> np.ndarray:
    """Returns a picture as grey values (x, y), or rejects the row."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L")).T
    except (OSError, UnidentifiedImageError):
        raise RejectedRow("the image or annotation file is missing or cannot be read") from None


def _case(row: dict[str, str], root: Path) -> Case:
    name = row["filename"]
    folder = root / "training_set"
    # Unpacking the archive into a folder of its own name nests it twice.
    folder = folder / "training_set" if (folder / "training_set").is_dir() else folder
    image, annotation = folder / name, folder / f"{Path(name).stem}_Annotation.png"
    spacing, circumference = number(row, SIZE), number(row, CIRCUMFERENCE)
    if not image.is_file() or not annotation.is_file():
        raise RejectedRow("the image or annotation file is missing or cannot be read")
    if spacing <= 0:
        raise RejectedRow("the pixel size is not positive")
    return {
        "image": str(image),
        "subject": subject_of(name),
        "source": "HC18",
        "kind": "head",
        "spacing_mm": (spacing, spacing),
        "truth": {"ellipse": annotation_ellipse(annotation)},
        "expected": [{"name": "HC", "value": circumference, "unit": "mm"}],
        "official_split": "Train",
    }
