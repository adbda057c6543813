"""ACOUSLIC-AI (Zenodo 12697994): blind sweeps of 840 frames, abdomen masks on few of them, AC per sweep."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbundles.checks import DatasetError, UnreadableFileError
from medbundles.contours import outer_contour
from medbundles.datasets.mha_stack import MhaStack
from medbundles.datasets.records import Case, LoadReport, RejectedRow, number, read_rows, require_columns
from medbundles.ellipse import EllipseFitError, fit_ellipse_robust
from medbundles.io import write_image

IMAGES = Path("images") / "stacked_fetal_ultrasound"
MASKS = Path("masks") / "stacked_fetal_abdomen"
TABLE = Path("circumferences") / "fetal_abdominal_circumferences_per_sweep.csv"
SWEEPS, FRAMES_PER_SWEEP = 6, 140
QUALITY = {1: "optimal", 2: "suboptimal"}
# Release 1.0 has circumferences that are wrong by a factor of two; later releases agree with the masks.
RELEASE_1_FACTORS = (0.5, 2.0)


def load(
    root: str | Path, *, per_sweep: int = 8, index_file: str | Path | None = None
) -> tuple[list[Case], LoadReport]:
    """Reads annotated frames as cases; frame and mask stay on disk until `read_frame` is called.

    Args:
        root: the folder `acouslic-ai-train-set`, or the folder that holds it.
        per_sweep: at most this many annotated frames of each sweep, evenly spread, optimal ones first.
        index_file: json that remembers which frames are annotated; to find out, every mask is read once.
    """
    root = _root(Path(root))
    known: dict[str, dict[str, int]] = _read_index(index_file)
    report, cases = LoadReport("ACOUSLIC-AI sweeps"), []
    for index, row in enumerate(read_rows(root / TABLE)):
        if index == 0:
            require_columns(root / TABLE, row, ("uuid", "subject_id", "sweep_1_ac_mm"))
        report.rows += 1
        try:
            annotated = known.get(row["uuid"]) or _annotated(root, row["uuid"])
        except RejectedRow as reason:
            report.reject(row["uuid"], str(reason))
            continue
        known[row["uuid"]] = annotated
        cases += _cases(root, row, annotated, per_sweep)
    _write_index(index_file, known)
    _correct_release_1(cases, report)
    report.kept = len(cases)
    return cases, report


def load_frames(
    root: str | Path, *, per_sweep: int = 8, cache: str | Path | None = None
) -> tuple[list[Case], LoadReport]:
    """Reads annotated frames as cases whose frame and mask are small files of their own.

    The frames are copied out of the sweeps once, because a sweep has 350 MB and a training run reads it
    hundreds of times.

    Args:
        root: the folder `acouslic-ai-train-set`, or the folder that holds it.
        per_sweep: at most this many annotated frames of each sweep.
        cache: where the copies go; None takes a folder of this data set in the user's cache folder.
    """
    root = _root(Path(root))
    cache = cache_folder(root) if cache is None else Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    cases, report = load(root, per_sweep=per_sweep, index_file=cache / "annotated.json")
    by_sweep: dict[str, list[Case]] = {}
    for case in cases:
        by_sweep.setdefault(case["image"], []).append(case)
    return [copy for group in by_sweep.values() for copy in _copies(group, cache)], report


def cache_folder(root: str | Path) -> Path:
    """Returns the folder for copies of frames, below $MEDBUNDLES_CACHE or the user's cache folder."""
    base = os.environ.get("MEDBUNDLES_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    place = hashlib.sha256(str(Path(root).resolve()).encode()).hexdigest()[:12]
    return Path(base) / "medbundles" / f"acouslic-{place}"


def read_frame(case: Case) -> NDArray:
    """Returns the frame of a case, (x, y)."""
    return MhaStack.open(case["image"]).frame(case["frame"])


def read_mask(case: Case) -> NDArray[np.bool_]:
    """Returns the abdomen mask of a case's frame, (x, y)."""
    return MhaStack.open(case["truth"]["mask"]).frame(case["truth"]["frame"]) > 0


def _copies(cases: list[Case], cache: Path) -> list[Case]:
    """Returns the cases of one sweep file with frame and mask as files in `cache`, written where missing."""
    stem = Path(cases[0]["image"]).stem
    names = {case["frame"]: f"{stem}_{case['frame']:03d}" for case in cases}
    for path, kind in ((cases[0]["image"], "image"), (cases[0]["truth"]["mask"], "mask")):
        missing = [i for i, name in names.items() if not (cache / f"{name}_{kind}.nii.gz").is_file()]
        stack = MhaStack.open(path)
        affine = np.diag([-stack.spacing[0], -stack.spacing[1], 1.0, 1.0])
        for index, frame in stack.select(missing):
            pixels = (frame > 0).astype(np.uint8) if kind == "mask" else frame
            write_image(pixels[None], cache / f"{names[index]}_{kind}.nii.gz", affine=affine)
    return [_copy(case, cache / names[case["frame"]]) for case in cases]


def _copy(case: Case, stem: Path) -> Case:
    files = {"image": f"{stem}_image.nii.gz", "truth": {"mask": f"{stem}_mask.nii.gz"}}
    return {**case, **files, "sweep_file": case["image"], "frame": None}


def _root(root: Path) -> Path:
    for folder in (root, root / "acouslic-ai-train-set"):
        if (folder / TABLE).is_file():
            return folder
    raise DatasetError(
        "The table of circumferences is missing.",
        expected=str(TABLE),
        source=root,
        advice="Unpack acouslic-ai-train-set of Zenodo record 12697994 (not 11005384) and give that folder.",
    )


def _annotated(root: Path, uuid: str) -> dict[str, int]:
    """Returns frame number -> mask value (1 optimal, 2 suboptimal) of the frames that have a mask."""
    if not (root / IMAGES / f"{uuid}.mha").is_file() or not (root / MASKS / f"{uuid}.mha").is_file():
        raise RejectedRow("the sweep or its mask is missing")
    try:
        MhaStack.open(root / IMAGES / f"{uuid}.mha")
        frames = enumerate(MhaStack.open(root / MASKS / f"{uuid}.mha").frames())
        return {str(i): int(frame.max()) for i, frame in frames if frame.any()}
    except UnreadableFileError:
        raise RejectedRow("the sweep or its mask cannot be read") from None


def _cases(root: Path, row: dict[str, str], annotated: dict[str, int], per_sweep: int) -> list[Case]:
    cases = []
    for sweep in range(SWEEPS):
        first = sweep * FRAMES_PER_SWEEP
        frames = {int(i): v for i, v in annotated.items() if first <= int(i) < first + FRAMES_PER_SWEEP}
        circumference = _circumference(row, sweep)
        cases += [_case(root, row, i, frames[i], circumference) for i in _choose(frames, per_sweep)]
    return cases


def _choose(frames: dict[int, int], count: int) -> list[int]:
    """Returns at most `count` frame numbers, evenly spread, suboptimal ones only where optimal ones lack."""
    chosen: list[int] = []
    for quality in sorted(QUALITY):
        numbers = sorted(i for i, value in frames.items() if value == quality)
        wanted = min(count - len(chosen), len(numbers))
        places = np.linspace(0, len(numbers) - 1, wanted).round().astype(int) if wanted > 0 else []
        chosen += [numbers[place] for place in places]
    return sorted(chosen)


def _circumference(row: dict[str, str], sweep: int) -> float | None:
    # Most sweeps have no circumference: the cell is blank, which is no fault of the row.
    try:
        return number(row, f"sweep_{sweep + 1}_ac_mm")
    except RejectedRow:
        return None


def _case(root: Path, row: dict[str, str], frame: int, value: int, circumference: float | None) -> Case:
    stack = MhaStack.open(root / IMAGES / f"{row['uuid']}.mha")
    known = [] if circumference is None else [{"name": "AC", "value": circumference, "unit": "mm"}]
    return {
        "image": str(stack.path),
        "frame": frame,
        "subject": f"ACOUSLIC-{row['subject_id']}",
        "source": "ACOUSLIC-AI",
        "kind": "abdomen",
        "spacing_mm": stack.spacing[:2],
        "truth": {"mask": str(root / MASKS / f"{row['uuid']}.mha"), "frame": frame},
        "quality": QUALITY.get(value, "suboptimal"),
        "sweep": frame // FRAMES_PER_SWEEP + 1,
        "expected": known,
    }


def _correct_release_1(cases: list[Case], report: LoadReport, examples: int = 20) -> None:
    """Halves or doubles the circumferences when they disagree with the masks by a factor of two."""
    ratios = [ratio for case in cases[:examples] if (ratio := _ratio(case)) is not None]
    if not ratios:
        return
    middle = float(np.median(ratios))
    for factor in RELEASE_1_FACTORS:
        if abs(middle / factor - 1) < 0.2:
            for measured in (entry for case in cases for entry in case["expected"]):
                measured["value"] /= factor
                report.notes["circumference corrected by two (release 1.0 of the data)"] += 1


def _ratio(case: Case) -> float | None:
    """Returns the table's circumference over that of the mask's ellipse."""
    if not case["expected"]:
        return None
    try:
        ellipse, _ = fit_ellipse_robust(outer_contour(read_mask(case)))
    except EllipseFitError:
        return None
    return case["expected"][0]["value"] / ellipse.scaled(case["spacing_mm"]).circumference()


def _read_index(path: str | Path | None) -> dict[str, Any]:
    if path is None or not Path(path).is_file():
        return {}
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _write_index(path: str | Path | None, index: dict[str, Any]) -> None:
    if path is not None:
        Path(path).write_text(json.dumps(index), encoding="utf-8")
