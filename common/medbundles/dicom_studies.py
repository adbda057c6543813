"""The series of a DICOM study by contrast, from their headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from medbundles.contrasts import TITLES, contrast_of, contrast_of_series, is_synthetic_name
from medbundles.dicom_pixels import header_of, is_dicom, without_pydicom_messages
from medbundles.errors import DicomSeriesError, InputError
from medbundles.formats import DICOM, suffix_of

MIN_SLICES = 5  # fewer are localizers or single pictures
MAX_DEPTH = 4
TAGS = (
    *("Rows", "Columns", "Modality", "ImageType", "NumberOfFrames", "PatientID", "StudyInstanceUID"),
    *("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "ProtocolName", "ScanningSequence"),
    *("RepetitionTime", "EchoTime", "InversionTime", "ContrastBolusAgent", "FrameOfReferenceUID"),
)
NOT_ACQUIRED = {"LOCALIZER", "PROJECTION IMAGE", "SUBTRACTION", "SUB", "SECONDARY", "SCREENSHOT"}


@dataclass(frozen=True)
class StudySeries:
    """One series of a study.

    Attributes:
        uid: SeriesInstanceUID.
        number: SeriesNumber, as text.
        contrast: what its header says it is, or None.
        slices: how many files or frames.
        folder: where its files lie.
        study: (PatientID, StudyInstanceUID).
        frame: FrameOfReferenceUID.
    """

    uid: str
    number: str
    contrast: str | None
    slices: int
    folder: Path
    study: tuple[str, str]
    frame: str


def dicom_folders_below(folder: Path, depth: int = MAX_DEPTH) -> Iterator[Path]:
    """Yields the folders at or below `folder` that hold DICOM files."""
    inside = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    if any(_is_slice(path) for path in inside):
        yield folder
    for below in inside if depth else []:
        if below.is_dir() and not below.name.startswith("__MACOSX"):
            yield from dicom_folders_below(below, depth - 1)


@without_pydicom_messages
def study_of(folder: Path) -> tuple[str, str]:
    """Returns (PatientID, StudyInstanceUID) of the first readable file in a folder."""
    for path in _slices(folder):
        try:
            header = header_of(path, path, TAGS)
        except InputError:
            continue
        if header is not None:
            return str(header.get("PatientID") or ""), str(header.get("StudyInstanceUID") or "")
    return "", ""


@without_pydicom_messages
def series_below(folder: Path, source: Path) -> list[StudySeries]:
    """Returns the acquired series of more than a few slices at and below a folder, by number.

    Raises:
        UnreadableFileError: a file is damaged.
        DicomSeriesError: the files are of several studies.
    """
    found: dict[str, StudySeries] = {}
    for place in dicom_folders_below(folder):
        for path in _slices(place):
            header = header_of(path, source / path.relative_to(folder), TAGS)
            if header is None or header.get("Modality", "MR") != "MR" or _made(header):
                continue
            uid, frames = (
                str(header.get("SeriesInstanceUID") or place),
                int(header.get("NumberOfFrames") or 1),
            )
            seen = found.get(uid)
            found[uid] = _series(header, place, (seen.slices if seen else 0) + frames)
    series = [item for item in found.values() if item.slices >= MIN_SLICES]
    if len({item.study for item in series}) > 1:
        raise DicomSeriesError(
            f"series of {len({item.study for item in series})} studies or patients in one folder",
            expected="the series of one study",
            source=source,
            advice="put each study into a folder of its own",
        )
    return sorted(series, key=lambda item: (len(item.number), item.number, item.uid))


def choose_series(
    found: list[StudySeries], source: Path, wanted: Mapping[str, str | int] | None = None
) -> dict[str, StudySeries]:
    """Returns one series per contrast.

    Args:
        found: the series of a study.
        source: what the user calls the study.
        wanted: by contrast, a SeriesNumber or the end of a SeriesInstanceUID.

    Raises:
        DicomSeriesError: several series of one contrast and no choice among them, or the choice fits none.
    """
    chosen: dict[str, StudySeries] = {}
    for name in TITLES:
        named = (wanted or {}).get(name)
        fitting = [s for s in found if (s.contrast == name if named is None else _is_called(s, str(named)))]
        if len(fitting) > 1 or (named is not None and not fitting):
            raise _no_choice(name, named, fitting or found, source)
        if fitting:
            chosen[name] = fitting[0]
    return chosen


def _series(header: object, place: Path, slices: int) -> StudySeries:
    contrast = contrast_of_series(header)
    said = str(header.get("SeriesDescription") or header.get("ProtocolName") or "").strip()
    if contrast is None and not said:
        contrast = contrast_of(place.name)  # anonymised headers, folders named by hand
    return StudySeries(
        uid=str(header.get("SeriesInstanceUID") or place),
        number=str(header.get("SeriesNumber") if header.get("SeriesNumber") is not None else "?"),
        contrast=contrast,
        slices=slices,
        folder=place,
        study=(str(header.get("PatientID") or ""), str(header.get("StudyInstanceUID") or "")),
        frame=str(header.get("FrameOfReferenceUID") or ""),
    )


def _made(header: object) -> bool:
    """Localizers, projections, differences, and what a program synthesised."""
    kinds = {str(kind).upper() for kind in header.get("ImageType") or ()}
    return bool(kinds & NOT_ACQUIRED) or is_synthetic_name(str(header.get("SeriesDescription") or ""))


def _is_called(series: StudySeries, name: str) -> bool:
    return series.number == name or series.uid.endswith(name)


def _no_choice(name: str, named: object, series: list[StudySeries], source: Path) -> DicomSeriesError:
    listed = "; ".join(f"{s.number} ({s.slices} slices, UID ends with {s.uid[-6:]})" for s in series[:6])
    found = f"{len(series)} series of the contrast {TITLES[name]}: {listed}"
    return DicomSeriesError(
        found if named is None else f"no single series {named} for {TITLES[name]}; there are {listed}",
        expected="one series per contrast",
        source=source,
        advice=f'choose one by its number, series={{"{name}": {series[0].number}}}, or remove the others',
    )


def _is_slice(path: Path) -> bool:
    if not path.is_file() or path.name.upper() == "DICOMDIR":
        return False
    ending = path.suffix.lstrip(".")
    bare = not suffix_of(path) and (not ending or ending.isdigit() or len(ending) > 5)
    return suffix_of(path) in DICOM or (bare and is_dicom(path))


def _slices(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.iterdir()) if not p.name.startswith(".") and _is_slice(p)]
