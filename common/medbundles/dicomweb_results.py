"""Stores results in the study that they were computed from: each object once, and seen there afterwards."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbundles.dicom_pixels import without_pydicom_messages
from medbundles.dicomweb_archive import Archive
from medbundles.errors import ArchiveStoreError
from medbundles.formats import DICOM, suffix_of
from medbundles.logs import say

if TYPE_CHECKING:
    from pydicom import Dataset

MAKER = "medbundles"
MARK = f"({MAKER}"  # in the SeriesDescription of everything that we write
REPORTS = ("SR",)
APPEARS_S = (0.0, 0.5, 1.0, 2.0, 4.0)  # some archives list an object a moment after they took it
MOST_TOLD = 4


@dataclass(frozen=True)
class Made:
    """A DICOM file that we wrote."""

    path: Path

    @cached_property
    def header(self) -> Dataset:
        """All but the pixels."""
        from pydicom import dcmread

        return dcmread(self.path, stop_before_pixels=True)

    @property
    def uid(self) -> str:
        """SOPInstanceUID."""
        return str(self.header.SOPInstanceUID)

    @property
    def series(self) -> str:
        """SeriesInstanceUID."""
        return str(self.header.SeriesInstanceUID)

    @property
    def kind(self) -> tuple[str, str]:
        """Modality and description, which results of one kind share."""
        return str(self.header.Modality), str(self.header.get("SeriesDescription") or "")


def store_results(
    archive: Archive,
    output_dir: Path,
    cases: Sequence[Mapping[str, Any]],
    *,
    sources: Collection[str],
    overwrite: bool = False,
) -> None:
    """Stores what was written for cases, as far as the study does not have it.

    An object that the study has is not sent again: the same results have the same identifiers. Neither is
    anything of a case whose study has another result of the same bundle and version for the same images,
    unless `overwrite` is true; it then comes to stand beside the other.

    Args:
        archive: of the study.
        output_dir: the folder of the report.
        cases: rows of the report.
        sources: SOPInstanceUIDs of the images that results were computed from.
        overwrite: store a result that differs from an earlier one.

    Raises:
        ArchiveStoreError: some object was not stored, or is not listed afterwards.
        InputError: the archive is away, or refuses access.
    """
    failed: list[str] = []
    total = 0
    for case in cases:
        objects = made_for(case, output_dir)
        total += len(objects)
        failed += _store(archive, _name(case), objects, sources, overwrite)
    if failed:
        told = "; ".join(failed[:MOST_TOLD]) + (
            f"; and {len(failed) - MOST_TOLD} more" * (len(failed) > MOST_TOLD)
        )
        raise ArchiveStoreError(
            f"{len(failed)} of {total} objects were not stored: {told}",
            expected="an archive that takes segmentations, structured reports and derived images",
            source=archive.address,
            advice=f"the objects are in {output_dir}; run the same command again to store what is missing",
        )


@without_pydicom_messages
def made_for(case: Mapping[str, Any], output_dir: Path) -> list[Made]:
    """Returns the DICOM files of a case; reports come last, since they refer to the others."""
    files: list[Path] = []
    for written in case["outputs"].values():
        path = output_dir / written
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        files += [file for file in inside if suffix_of(file) in DICOM]
    return sorted((Made(file) for file in files), key=lambda made: made.kind[0] in REPORTS)


@without_pydicom_messages
def _store(
    archive: Archive, name: str, objects: Sequence[Made], sources: Collection[str], overwrite: bool
) -> list[str]:
    """Stores what is missing of a case; returns what was not stored, each with the reason."""
    if not objects:  # the case failed
        return []
    there = _there(archive, objects)
    missing = [made for made in objects if made.uid not in there]
    if not missing:
        say(f"{name}: {len(objects)} objects are in the study already", stored=0, there=len(objects))
        return []
    if not overwrite and _has_another(archive, objects, sources):
        say(
            f"{name}: not stored, the study has another result of this bundle and version for these images; "
            "--overwrite true stores this one beside it",
            stored=0,
            there=len(there),
        )
        return []
    reasons = {made.uid: reason for made in missing if (reason := archive.store(made.path))}
    listed = _listed_at_last(archive, [made for made in missing if made.uid not in reasons])
    for made in missing:
        if made.uid not in listed:
            reasons.setdefault(made.uid, "the archive took it, and does not list it")
    stored = len(missing) - len(reasons)
    already = f", {len(there)} were there" if there else ""
    say(f"{name}: {stored} objects stored in the study{already}", stored=stored, there=len(there))
    return [f"{_called(made, name)}: {reasons[made.uid]}" for made in missing if made.uid in reasons]


def _there(archive: Archive, objects: Sequence[Made]) -> set[str]:
    """Returns which of the objects the study has."""
    listed = {uid for series in {made.series for made in objects} for uid in archive.instances(series)}
    return {made.uid for made in objects} & listed


def _listed_at_last(archive: Archive, objects: Sequence[Made]) -> set[str]:
    found: set[str] = set()
    for wait in APPEARS_S:
        time.sleep(wait)
        found = _there(archive, objects)
        if len(found) == len(objects):
            break
    return found


def _has_another(archive: Archive, objects: Sequence[Made], sources: Collection[str]) -> bool:
    """Whether the study has a result of the same kind, maker and images, under other identifiers."""
    own, kinds = {made.series for made in objects}, {made.kind: made for made in objects}
    for series in archive.series():
        made = kinds.get((series.modality, series.description))
        if made is None or series.uid in own:
            continue
        header = archive.header(series.uid)
        mine = _references(made.header) & set(sources)
        if _maker(header) == _maker(made.header) and _references(header) & mine:
            return True
    return False


def _maker(header: Dataset) -> tuple[str, str]:
    """Returns the bundle and its version."""
    items = [header, *(header.get("ContributingEquipmentSequence") or [])]
    ours = [item for item in items if item.get("Manufacturer") == MAKER]
    last = ours[-1] if ours else None
    names = ("ManufacturerModelName", "SoftwareVersions")
    return ("", "") if last is None else tuple(str(last.get(name) or "") for name in names)  # type: ignore


def _references(header: Dataset) -> set[str]:
    return {str(item.value) for item in header.iterall() if item.keyword == "ReferencedSOPInstanceUID"}


def _name(case: Mapping[str, Any]) -> str:
    return Path(case["input"]).name


def _called(made: Made, name: str) -> str:
    return f"{made.path.name} of {name}"
