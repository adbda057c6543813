"""A row of figures for every tooth of a label map: its size, how sure it is, and what disturbs it."""

from __future__ import annotations

import csv
import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy import ndimage

from dental_teeth.frame import Array
from dental_teeth.jaws import LOWER, UPPER
from dental_teeth.places import not_scanned
from dental_teeth.teeth import FDI_CODES, Reading, Tooth, code_of
from dental_teeth.tooth_shape import (
    NEAR_MM,
    grown,
    is_cut,
    largest_piece,
    metal_of,
    metal_threshold,
    outside_field,
    tooth_length,
)
from medbundles import io
from medbundles.images import spacing_of
from medbundles.measure import Measurement, measurement
from medbundles.saving import CaseWriter, Metadata, affine_of, array_of

WHOLE = 0.95  # share of the largest piece
COLUMNS = "fdi name volume_mm3 length_mm confidence sure touches_field_of_view metal remark".split()
KINDS = ("central incisor", "lateral incisor", "canine", "first premolar", "second premolar")
MOLARS = ("first molar", "second molar", "third molar")
CODES = {
    UPPER: tuple(code for code in FDI_CODES if code < 30),
    LOWER: tuple(code for code in FDI_CODES if code > 30),
}
QUADRANTS = ("upper right", "upper left", "lower left", "lower right")

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ToothRow:
    """What is known of one tooth of a label map.

    Attributes:
        fdi: its number.
        name: in words.
        volume_mm3: of its voxels; only of the visible part if it is cut.
        length_mm: see `tooth_length`; likewise.
        confidence: of the detector, 0 to 1; None if the panorama does not show it.
        sure: whether its number is beyond doubt; None likewise.
        cut: whether it reaches the edge of the field of view.
        metal: "inside", "near" (within 3 mm) or "none"; None without an image.
        remark: what a reader must know.
    """

    fdi: int
    name: str
    volume_mm3: float
    length_mm: float
    confidence: float | None
    sure: bool | None
    cut: bool
    metal: str | None
    remark: str


class MeasureTeethd(MapTransform):
    """Adds volume, length and confidence of every tooth, which teeth are missing, and what is uncertain.

    The rows lie in the case under `teeth`.

    Args:
        keys: the label map (1, X, Y, Z), values 1 to 32, on the grid of the input.
        image_key: the scan (1, X, Y, Z) in HU; one on another grid is not used.
        findings_key: what was read from the panoramas, a `Reading`; not needed.
    """

    def __init__(
        self, keys: KeysCollection = "pred", *, image_key: str = "image", findings_key: str = "findings"
    ) -> None:
        super().__init__(keys)
        self.image_key, self.findings_key = image_key, findings_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        case = dict(data)
        findings = case.get(self.findings_key)
        for key in self.key_iterator(case):
            labels = np.asarray(array_of(case[key])[0], np.uint8)
            image = image_on_grid(case, key, self.image_key)
            rows = tooth_rows(labels, affine_of(case[key]), image=image, findings=findings)
            case["teeth"] = rows
            found = [*jaw_counts(rows, findings), *(item for row in rows for item in measurements_of(row))]
            case["measurements"] = [*case.get("measurements", []), *found]
            case["warnings"] = [*case.get("warnings", []), *warnings_of(rows, findings)]
        return case


class SaveTeethTabled(CaseWriter):
    """Writes `<case>_teeth.csv`, a line per tooth, of the rows that `MeasureTeethd` leaves in the case.

    Args:
        keys: the label map; it names the case.
        output_dir: the folder.
        metadata: path or content of metadata.json.
    """

    def __init__(
        self, keys: KeysCollection, output_dir: str | os.PathLike, *, metadata: Metadata | None = None
    ) -> None:
        super().__init__(keys, output_dir, metadata)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the case, with the table in `outputs` as `teeth`."""
        case = dict(data)
        if "teeth" in case:
            path = self._path(case, self.keys[0], "teeth.csv")
            with (
                io.atomic_path(path) as temporary,
                open(temporary, "w", newline="", encoding="utf-8") as file,
            ):
                writer = csv.writer(file)
                writer.writerow(COLUMNS)
                writer.writerows(_cells(row) for row in case["teeth"])
            self._record(case, "teeth", path)
        return case


def tooth_name(code: int) -> str:
    """Returns the name of a permanent tooth, such as `upper right first molar` for 16."""
    return f"{QUADRANTS[code // 10 - 1]} {(*KINDS, *MOLARS)[code % 10 - 1]}"


def image_on_grid(case: Mapping[Hashable, Any], key: Hashable, image_key: str) -> NDArray | None:
    """Returns the scan (X, Y, Z) of a case as a view on the grid of a result; None if it has another grid."""
    if image_key not in case:
        return None
    image, place, wanted = array_of(case[image_key])[0], affine_of(case[image_key]), affine_of(case[key])
    change = ornt_transform(io_orientation(place), io_orientation(wanted))
    turned = apply_orientation(image, change)
    same = np.allclose(place @ inv_ornt_aff(change, image.shape), wanted, atol=1e-3)
    return turned if same and turned.shape == tuple(case[key].shape[1:]) else None


def tooth_rows(
    labels: NDArray[np.uint8],
    affine: Array,
    *,
    image: NDArray | None = None,
    findings: Reading | None = None,
) -> list[ToothRow]:
    """Returns a row for each tooth of a label map, by FDI number.

    Args:
        labels: (X, Y, Z), values 1 to 32.
        affine: RAS affine of the labels.
        image: HU on the same grid.
        findings: what was read from the panoramas.
    """
    boxes = {
        value: box
        for value, box in enumerate(ndimage.find_objects(labels, max_label=len(FDI_CODES)), start=1)
        if box is not None
    }
    outside = None if image is None else outside_field(image, affine)
    metal = {} if image is None else _metal(labels, affine, image, boxes)
    rows = []
    for value, box in boxes.items():
        mask, code = labels[box] == value, code_of(value)
        cut = is_cut(mask, box, labels.shape, outside)
        row = _row(code, mask, affine, cut=cut, metal=metal.get(value))
        rows.append(_with_finding(row, findings.teeth.get(code) if findings else None))
    return rows


def _metal(
    labels: NDArray[np.uint8], affine: Array, image: NDArray, boxes: Mapping[int, tuple[slice, ...]]
) -> dict[int, str]:
    """Where there is metal about each tooth."""
    values = [image[box][labels[box] == value] for value, box in boxes.items()]
    limit = metal_threshold(image, values, abs(float(np.linalg.det(affine[:3, :3]))))
    margin = [NEAR_MM / size + 1 for size in spacing_of(affine, 3)]
    near = {value: grown(box, margin, labels.shape) for value, box in boxes.items()}
    return {value: metal_of(labels[box] == value, image[box], affine, limit) for value, box in near.items()}


def _row(code: int, mask: Mask, affine: Array, *, cut: bool, metal: str | None) -> ToothRow:
    volume = float(mask.sum()) * abs(float(np.linalg.det(affine[:3, :3])))
    piece = largest_piece(mask)
    length = tooth_length(piece, affine)
    remarks = [f"cut by the edge of the field of view: at least {volume:.0f} mm3, {length:.1f} mm"] * cut
    remarks += ["outlined in several pieces"] * bool(piece.sum() < WHOLE * mask.sum())
    name = tooth_name(code)
    return ToothRow(code, name, volume, length, None, None, cut, metal, "; ".join(remarks))


def _with_finding(row: ToothRow, tooth: Tooth | None) -> ToothRow:
    if tooth is None:
        return row
    remark = row.remark if tooth.sure else "; ".join(filter(None, ["number uncertain", row.remark]))
    return replace(row, confidence=float(tooth.score), sure=bool(tooth.sure), remark=remark)


def measurements_of(row: ToothRow) -> list[Measurement]:
    """Returns volume, length and confidence of a tooth; of one that is cut, None with what can be seen."""
    found = []
    for what, value, unit in (("volume", row.volume_mm3, "mm3"), ("length", row.length_mm, "mm")):
        text = f"{value:.0f}" if unit == "mm3" else f"{value:.1f}"
        cut = f"cut by the edge of the field of view; {text} {unit} of it are inside"
        reason = "number uncertain" if row.sure is False else None
        found.append(
            measurement(f"tooth {row.fdi} {what}", None, unit, cut)
            if row.cut
            else measurement(f"tooth {row.fdi} {what}", value, unit, reason)
        )
    if row.confidence is not None:
        found.append(measurement(f"tooth {row.fdi} confidence", row.confidence, "1"))
    return found


def missing_teeth(rows: Sequence[ToothRow], findings: Reading | None) -> dict[str, list[int]]:
    """Returns the numbers that no tooth has, by jaw, as far as the field of view shows their places."""
    there = {row.fdi for row in rows} | set(findings.teeth if findings else ())
    read = findings.jaws if findings else {}
    unseen = {code for jaw in read.values() for code in not_scanned(jaw)}
    seen = [jaw for jaw in CODES if jaw in read or there & set(CODES[jaw])]
    return {jaw: [code for code in CODES[jaw] if code not in there | unseen] for jaw in seen}


def jaw_counts(rows: Sequence[ToothRow], findings: Reading | None) -> list[Measurement]:
    """Returns how many teeth each jaw has, and as a remark which are missing or were not found."""
    missing, found = missing_teeth(rows, findings), []
    for jaw, codes in CODES.items():
        name = f"{jaw} teeth"
        if jaw not in missing:
            found.append(measurement(name, None, "1", f"the {jaw} jaw is not in the field of view"))
            continue
        count = sum(row.fdi in codes for row in rows)
        unseen = not_scanned(findings.jaws[jaw]) if findings and jaw in findings.jaws else ()
        notes = [("missing or not found", missing[jaw]), ("outside the field of view", unseen)]
        remark = "; ".join(f"{text}: {_listed(codes)}" for text, codes in notes if codes)
        found.append(measurement(name, count, "1", remark or None))
    return found


def warnings_of(rows: Sequence[ToothRow], findings: Reading | None) -> list[str]:
    """Returns what a dentist must check: uncertain numbers, and teeth that could not be outlined."""
    if findings is None:
        return []
    unsure = sorted(code for code, tooth in findings.teeth.items() if not tooth.sure)
    lost = sorted(set(findings.teeth) - {row.fdi for row in rows})
    notes = []
    if unsure:
        notes.append(
            f"uncertain number: {_listed(unsure)} may be a neighbour of that number, "
            "since a tooth is missing or hard to tell apart; check on the panorama"
        )
    if lost:
        notes.append(f"seen on the panorama but not outlined in 3D: {_listed(lost)}")
    return notes


def _listed(codes: Sequence[int]) -> str:
    return ", ".join(map(str, codes))


def _cells(row: ToothRow) -> list[Any]:
    """A line of the table; unknown values are empty, as are sizes of teeth that are cut."""
    words = {None: "", True: "yes", False: "no"}
    return [
        row.fdi,
        row.name,
        "" if row.cut else f"{row.volume_mm3:.1f}",
        "" if row.cut else f"{row.length_mm:.1f}",
        "" if row.confidence is None else f"{row.confidence:.3f}",
        words[row.sure],
        words[row.cut],
        row.metal or "",
        row.remark,
    ]
