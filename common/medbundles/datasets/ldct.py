"""CT at routine and at low dose: TCIA LDCT-and-Projection-data, AAPM-Mayo 2016, and any folder of DICOM CT.

The layouts are told apart folder by folder, so `root` may be the data set, a part of it, or a folder above
several:

* TCIA (10.7937/9NPB-2637): `<patient>/<study>/1.000000-Low Dose Images-.../` beside the same with `Full`, or
  folders named by UID, whose headers say the same; patients are L abdomen, C chest, N neuro;
* AAPM-Mayo: `1mm B30/FD_1mm/L067/full_1mm/L067_FD_1_1.CT....IMA` and `QD_1mm/.../quarter_1mm/...`;
* anything else: a folder of one patient gives one case per series; a folder of slices of many patients, and a
  series with gaps, gives one case per slice.

Besides the keys that all loaders give, a case has `dose`, the fraction of the routine dose (1 for what was
acquired); `series`, the UID to read in a folder, None for one file; `kernel` and
`thickness_mm`; and `name`, unique among the cases. `truth` is {"image": folder, "series": UID} where the same
scan exists at routine dose; that scan is then no case of its own.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medbundles.datasets.dicom_folders import (
    PROJECTIONS,
    Slice,
    by_series,
    dicom_folders,
    is_volume,
    read_slice,
)
from medbundles.datasets.records import Case, LoadReport, RejectedRow
from medbundles.errors import DatasetError, MissingInputError

PATIENT = re.compile(r"[LCN]\d{3}", re.IGNORECASE)
TCIA_SERIES = re.compile(r"\b(low|full)[ _-]dose[ _-]images?\b", re.IGNORECASE)
MAYO_FILE = re.compile(r"([LCN]\d{3})_([FQ])D_(\d)_(SHARP_)?", re.IGNORECASE)
MAYO_FOLDER = re.compile(r"(full|quarter)_(\d)mm(_sharp)?", re.IGNORECASE)
KINDS = {"L": "abdomen", "C": "chest", "N": "head"}
TCIA_DOSE = {"L": 0.25, "C": 0.10, "N": 0.25}  # of the routine dose, by the patient's letter
MAYO_DOSE = {"F": 1.0, "Q": 0.25}
TCIA, MAYO, ANY = "LDCT-and-Projection-data", "AAPM-Mayo", "DICOM"


@dataclass(frozen=True)
class Scan:
    """A series of a published data set; scans that agree in `same` are one scan at several doses."""

    source: str
    patient: str
    dose: float
    same: tuple[str, ...] = ()


@dataclass
class _Found:
    """A candidate: its case, its slices, and what it is a copy or a partner of."""

    case: Case
    scan: Scan
    slices: int
    identity: tuple

    @property
    def is_routine(self) -> bool:
        return self.scan.source != ANY and self.scan.dose == 1


def cases(root: str | Path) -> list[Case]:
    """Reads every CT below a folder and logs what was left out; `load` returns the report instead."""
    found, report = load(root)
    report.log()
    return found


def load(root: str | Path) -> tuple[list[Case], LoadReport]:
    """Reads every CT below a folder; a row of the report is a series, a single slice, or a file left out.

    Raises:
        MissingInputError: there is no such folder.
        DatasetError: there is no CT in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingInputError(
            "The data folder does not exist.",
            expected="a folder of DICOM CT",
            source=root,
            advice="Check the path given as dataset_dir.",
        )
    report = LoadReport("CT")
    found = [item for place in dicom_folders(root) for item in _candidates(*place, report)]
    report.rows = len(found) + report.rejected.total()
    found = _paired(_without_copies(found, report), report)
    if not found:
        raise _nothing(root, report)
    report.kept = len(found)
    _name(found, root)
    return [item.case for item in found], report


def _candidates(folder: Path, files: list[Path], report: LoadReport) -> Iterator[_Found]:
    """Yields the series or slices of one folder."""
    if _is_raw(files[0]):
        report.reject(str(folder), PROJECTIONS)  # one of tens of thousands of files, all alike
        return
    first = _first_slice(files)
    scan = None if first is None else published_scan(folder, first)
    if scan is not None:
        identity = (first.series or str(folder), scan.dose, scan.same)
        yield _Found(_case(folder, first, scan, first.series), scan, len(files), identity)
        return
    slices = _readable(files, report)
    patients = {item.patient or item.study for item in slices}
    for group in by_series(slices):
        whole = len(patients) == 1 and len(slices) == len(files) and is_volume(group)
        scan = Scan(ANY, group[0].patient or group[0].study or folder.name, 1.0)
        if whole:
            identity = (group[0].series or str(folder), len(group))
            yield _Found(_case(folder, group[0], scan, group[0].series), scan, len(group), identity)
            continue
        if len(group) > 1 and len(patients) == 1:
            report.notes["slices of a series that makes no even stack, taken one by one"] += len(group)
        for item in group:
            yield _Found(_case(item.path, item, scan, None), scan, 1, (item.instance,))


def _is_raw(path: Path) -> bool:
    try:
        read_slice(path)
    except RejectedRow as reason:
        return str(reason) == PROJECTIONS
    return False


def _first_slice(files: Sequence[Path]) -> Slice | None:
    for path in files:
        try:
            return read_slice(path)
        except RejectedRow:
            continue
    return None


def _readable(files: Sequence[Path], report: LoadReport) -> list[Slice]:
    slices = []
    for path in files:
        try:
            slices.append(read_slice(path))
        except RejectedRow as reason:
            report.reject(str(path), str(reason))
    return slices


def published_scan(folder: Path, first: Slice) -> Scan | None:
    """Returns which scan of a published data set a folder holds, given one of its slices; else None."""
    return _mayo_scan(folder, first) or _tcia_scan(folder, first)


def _mayo_scan(folder: Path, first: Slice) -> Scan | None:
    by_file, by_folder = MAYO_FILE.match(first.path.name), MAYO_FOLDER.fullmatch(folder.name)
    if by_file:
        patient, dose, thickness, sharp = by_file.groups()
    elif by_folder and (patient := _patient(folder, first)):
        dose, thickness, sharp = by_folder.groups()
    else:
        return None
    kernel = "sharp" if sharp else "medium"
    return Scan(MAYO, patient.upper(), MAYO_DOSE[dose[0].upper()], (MAYO, patient.upper(), thickness, kernel))


def _tcia_scan(folder: Path, first: Slice) -> Scan | None:
    found = TCIA_SERIES.search(first.description) or TCIA_SERIES.search(folder.name)
    patient = _patient(folder, first)
    if not found or not patient:
        return None
    dose = 1.0 if found.group(1).lower() == "full" else TCIA_DOSE[patient[0].upper()]
    return Scan(TCIA, patient.upper(), dose, (TCIA, patient.upper()))


def _patient(folder: Path, first: Slice) -> str:
    names = (first.patient, *(part.name for part in (folder, *folder.parents)))
    return next((name for name in names if PATIENT.fullmatch(name)), "")


def _case(image: Path, first: Slice, scan: Scan, series: str | None) -> Case:
    published = scan.source != ANY
    return {
        "image": str(image),
        # Both collections number the same patients of the Mayo Clinic alike: a split must not part them.
        "subject": f"Mayo-{scan.patient}" if published else scan.patient,
        "source": scan.source,
        "kind": KINDS[scan.patient[0]] if published else "ct",
        "spacing_mm": first.spacing_mm,
        "truth": {},
        "expected": [],
        "dose": scan.dose,
        "series": series or None,
        "kernel": first.kernel,
        "thickness_mm": first.thickness_mm,
    }


def _without_copies(found: list[_Found], report: LoadReport) -> list[_Found]:
    seen, kept = set(), []
    for item in found:
        if item.identity in seen:
            report.reject(item.case["image"], "a copy of what was read already")
            continue
        seen.add(item.identity)
        kept.append(item)
    return kept


def _paired(found: list[_Found], report: LoadReport) -> list[_Found]:
    """Gives low-dose scans their routine-dose partners, which are then no cases of their own."""
    routine = defaultdict(list)
    for item in found:
        if item.is_routine:
            routine[item.scan.same].append(item)
    used = set()
    for item in found:
        if item.scan.source == ANY or item.is_routine:
            continue
        partner = _partner(item, routine[item.scan.same], report)
        if partner is not None:
            item.case["truth"] = {"image": partner.case["image"], "series": partner.case["series"]}
            used.add(id(partner))
    report.notes["routine-dose scans that are the truth of a low-dose scan"] += len(used)
    report.notes = +report.notes  # without what was counted zero times
    return [item for item in found if id(item) not in used]


def _partner(item: _Found, routine: Sequence[_Found], report: LoadReport) -> _Found | None:
    study = Path(item.case["image"]).parent
    beside = [other for other in routine if Path(other.case["image"]).parent == study] or routine
    if len(beside) != 1:
        report.notes[f"low-dose scans with {'several partners' if beside else 'no partner'}"] += 1
        return None
    if beside[0].slices != item.slices:
        report.notes["low-dose scans whose routine-dose partner has another number of slices"] += 1
        return None
    return beside[0]


def _name(found: Sequence[_Found], root: Path) -> None:
    """Names the cases by their place below the root; several series of one folder are numbered."""
    count: Counter[str] = Counter()
    for item in found:
        place = "_".join(Path(item.case["image"]).relative_to(root).parts) or root.name
        name = re.sub(r"[^A-Za-z0-9-]+", "_", place).strip("_") or "ct"
        count[name] += 1
        item.case["name"] = name if count[name] == 1 else f"{name}_series{count[name]}"


def _nothing(root: Path, report: LoadReport) -> DatasetError:
    reasons = ", ".join(f"{count} x {reason}" for reason, count in report.rejected.most_common(3))
    return DatasetError(
        f"No CT was found ({reasons})." if reasons else "No CT was found.",
        expected="LDCT-and-Projection-data, AAPM-Mayo, or any folder of DICOM CT",
        source=root,
        advice="See docs/how-to/train-on-the-full-data-sets.md, or write data with `medbundles simulate`.",
    )
