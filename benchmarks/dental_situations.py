"""Does the tooth bundle answer rightly, or refuse clearly, where a scan is unlike the usual one?

Simulated patients in each situation: mirrored, stored otherwise, cut by the field of view, tilted, with one
tooth or none, of a child's size, at other voxel sizes; and volumes that are not of teeth. See README.md
beside this file.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire
import numpy as np
import torch
from dental_bundle import BUNDLE
from dental_scans import DentalScan, finer, scanned, scans, usual_plan
from paired_tables import Row

from dental_teeth.frame import NotDentalError  # found since dental_bundle is
from dental_teeth.inferer import TeethInferer
from dental_teeth.scores import identification, tooth_scores
from dental_teeth.teeth import to_labels
from medbundles.evaluation import write_rows
from medbundles.io import atomic_path, write_image
from medbundles.weights import load_weights
from medbundles.zoo.workflows import build_network

logger = logging.getLogger(__name__)

NAME = "dental_situations"
FULL_SIZE, FULL_MM = (800, 800, 400), 0.2
LABELS, NONE, REFUSED = "labels", "no tooth", "refused"
COLUMNS = ("situation", "patient", "answer", "teeth", "precision", "recall", "F1", "Dice")


def measure(
    *,
    patients: int = 3,
    spacing_mm: float = 0.4,
    weights: str = "",
    out: str = "benchmarks/results",
) -> None:
    """Runs every situation of so many patients.

    Args:
        patients: simulated patients, numbered from 0.
        spacing_mm: of the voxels where the situation does not say otherwise.
        weights: a weights file; the bundle's own unless given.
        out: the folder of the results.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    network = shipped_network(weights)
    rows = []
    for patient in range(int(patients)):
        for scan in scans(patient, float(spacing_mm)):
            rows.append({"patient": patient, **answer(scan, network)})
            logger.info(line_of(rows[-1]))
    write_report(rows, Path(out), float(spacing_mm))


def full_size(
    path: str,
    *,
    patient: int = 0,
    voxels: Sequence[int] = FULL_SIZE,
    spacing_mm: float = FULL_MM,
    scanned_mm: float = 0.4,
) -> None:
    """Writes a scan as large as clinical ones to a file, for `cost.py predict`.

    The patient is scanned at coarser voxels, interpolated, and surrounded by soft tissue.

    Args:
        path: the file, .nii.gz.
        patient: its number.
        voxels: along each axis.
        spacing_mm: of the voxels.
        scanned_mm: of those that are simulated.
    """
    scan = scanned("full size", usual_plan(int(patient), float(scanned_mm)))
    large = finer(scan, float(spacing_mm), [int(count) for count in voxels])
    write_image(large.image.astype(np.int16)[None], path, affine=large.affine, description="simulated")


def shipped_network(weights: str = "") -> torch.nn.Module:
    """The bundle's network with its own weights, or those of a file."""
    network = build_network(BUNDLE)
    load_weights(network, Path(weights) if weights else BUNDLE / "models" / "model.pt")
    return network.eval()


def answer(scan: DentalScan, network: torch.nn.Module) -> Row:
    """What the bundle says of a scan, and how far that is right."""
    truth = to_labels(scan.codes)
    about: Row = {"situation": scan.name, "teeth": int(len(np.unique(truth)) - 1)}
    try:
        labels, _ = TeethInferer().label(torch.from_numpy(scan.image), scan.affine, network)
    except NotDentalError:
        return about | {"answer": REFUSED}
    found = labels.numpy()
    if not found.any():
        return about | {"answer": NONE}
    rows = tooth_scores(found, truth, scan.spacing)
    figures = identification(found, truth, rows, float(np.prod(scan.spacing)))
    overlap = float(np.mean([row["Dice"] for row in rows])) if rows else float("nan")
    return about | {"answer": LABELS, **figures, "Dice": overlap}


def line_of(row: Row) -> str:
    """A row as text."""
    shown = ", ".join(
        f"{name} {row[name]:.3g}" for name in ("teeth", "precision", "recall", "F1", "Dice") if name in row
    )
    return f"patient {row['patient']}, {row['situation']}: {row['answer']}, {shown}"


def write_report(rows: list[Row], folder: Path, spacing_mm: float) -> None:
    """Writes a row per scan, and a page with a row per situation."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows([{name: row.get(name, "") for name in COLUMNS} for row in rows], folder / f"{NAME}.csv")
    with atomic_path(folder / f"{NAME}.md") as path:
        path.write_text(page(rows, spacing_mm), encoding="utf-8")


def page(rows: list[Row], spacing_mm: float) -> str:
    """A table: n, how many were refused, and mean and SD of F1 and Dice of the others."""
    lines = [
        "# Teeth where a scan is unlike the usual one",
        "",
        "Simulated patients without metal, one scan of each in every situation, by `dental_situations.py`;",
        f"voxels of {spacing_mm:g} mm where the situation does not say otherwise.",
        "F1 counts teeth that are where their number says; Dice is the mean over the found teeth of a scan.",
        "",
        "| situation | n | refused | no tooth found | F1, mean (SD) | Dice, mean (SD) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(row["situation"] for row in rows):
        members = [row for row in rows if row["situation"] == name]
        counts = [sum(row["answer"] == answer for row in members) for answer in (REFUSED, NONE)]
        shown = [_spread([row[score] for row in members if score in row]) for score in ("F1", "Dice")]
        cells = [name, len(members), *counts, *shown]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _spread(values: list[Any]) -> str:
    values = [value for value in values if np.isfinite(value)]
    if not values:
        return "-"
    spread = f" ({np.std(values, ddof=1):.3f})" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


if __name__ == "__main__":
    fire.Fire({"measure": measure, "full_size": full_size})
