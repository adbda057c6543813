"""Runs on a study in an archive (PACS): fetches it, and stores the results in the same study.

Fetched images lie in a hidden folder of the results, for as long as the run takes. What they are called
follows from numbers of series and from hashes of identifiers, never from names, dates or numbers of patients.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medbundles.archives import MAX_MEMBERS, MAX_UNPACKED_BYTES
from medbundles.dicomweb_address import Address
from medbundles.dicomweb_archive import Archive, ArchiveSeries
from medbundles.dicomweb_errors import no_study, strange
from medbundles.dicomweb_results import MARK, store_results
from medbundles.errors import DicomSeriesError, SizeError
from medbundles.logs import say
from medbundles.metadata import BundleInfo
from medbundles.reports import read_report, write_report

if TYPE_CHECKING:
    from pydicom import Dataset

FOLDER = ".dicomweb"  # in the folder of the results
HASH_DIGITS = 12
LONG_AGO = (0, 0)  # instances of an archive never change, so that finished cases stay finished
MAX_LISTED = 6


@dataclass
class Fetched:
    """A study on this machine.

    Attributes:
        archive: where it comes from.
        place: the file or folder that a workflow takes.
        sources: SOPInstanceUIDs of its images.
    """

    archive: Archive
    place: Path
    sources: set[str] = field(default_factory=set)


def run_on_study(
    address: Address,
    info: BundleInfo,
    output_dir: Path,
    work: Callable[[Path], int],
    *,
    store: bool = True,
    overwrite: bool = False,
) -> int:
    """Fetches a study, works on it, stores what was written; returns what `work` returned.

    Args:
        address: of the study, or of one series of it.
        info: of the bundle; its input says which series fit.
        output_dir: the folder of the report.
        work: what runs the bundle on a file or folder.
        store: whether results go to the archive.
        overwrite: store a result that differs from an earlier one of the same bundle and version.

    Raises:
        InputError: the study cannot be fetched, or its results not be stored; one subclass per cause.
    """
    with fetched(address, info, output_dir) as study, _named_by_address(address, output_dir):
        status = work(study.place)
        inside = str(output_dir / FOLDER) + os.sep
        cases = [c for c in read_report(output_dir)["cases"] if c["input"].startswith(inside)]
        if store:
            store_results(study.archive, output_dir, cases, sources=study.sources, overwrite=overwrite)
    return status


@contextmanager
def fetched(address: Address, info: BundleInfo, output_dir: Path) -> Iterator[Fetched]:
    """Yields the images that a bundle takes from a study, in a folder that is removed in the end.

    Raises:
        InputError: one subclass per cause.
    """
    archive = Archive(address)
    chosen = choose(archive.series(), address, info)
    base = output_dir / FOLDER
    _remove(base)  # of a run that was killed
    base.mkdir(parents=True, mode=0o700)
    try:
        yield _fetch(archive, chosen, base, info)
    finally:
        _remove(base)


def choose(series: Sequence[ArchiveSeries], address: Address, info: BundleInfo) -> list[ArchiveSeries]:
    """Returns the series that a bundle is to read.

    Named ones as they are; otherwise all acquired ones of its modality, and for a bundle that takes one
    volume exactly one.

    Raises:
        MissingInputError: there is no study, or no such series.
        DicomSeriesError: none fits, or several do and one must be named.
    """
    if not series:
        raise no_study(address)
    if address.series:
        named = (
            [s for s in series if s.uid == address.series]
            or [s for s in series if s.number == address.series]
            or [s for s in series if s.uid.endswith(f".{address.series}")]
        )
        if len(named) == 1:
            return named
        if not named:
            raise no_study(address, f"no series {address.series} in this study; it has {_listed(series)}")
        raise _no_choice(named, address, f"{len(named)} series named {address.series}")
    wanted = info.input.get("modality")
    fitting = [s for s in series if (not wanted or s.modality in wanted) and MARK not in s.description]
    if not fitting:
        kinds = " or ".join(wanted or ["any modality"])
        raise _no_choice(series, address, f"no acquired series of {kinds} in this study")
    if len(fitting) > 1 and not _takes_many(info):
        raise _no_choice(fitting, address, f"{len(fitting)} series in this study")
    return fitting


def _takes_many(info: BundleInfo) -> bool:
    """Whether each image of a study is a case by itself, or a case has several series."""
    return info.input.get("spatial_dims") == 2 or int(info.input.get("channels", 1)) > 1


def _no_choice(series: Sequence[ArchiveSeries], address: Address, found: str) -> DicomSeriesError:
    return DicomSeriesError(
        found,
        expected=f"one series: {_listed(series)}",
        source=address,
        advice=f"name it by its number or the end of its UID: {address.study_address}/series/NUMBER",
    )


def _listed(series: Sequence[ArchiveSeries]) -> str:
    """Number, modality and count of each; descriptions may hold names and are left out."""
    texts = [
        f"{s.number} ({s.modality}, {s.count} files, UID ends with {s.uid[-6:]})" for s in series[:MAX_LISTED]
    ]
    more = len(series) - len(texts)
    return "; ".join(texts) + (f"; and {more} more" if more > 0 else "")


def _fetch(archive: Archive, chosen: Sequence[ArchiveSeries], base: Path, info: BundleInfo) -> Fetched:
    count = sum(series.count for series in chosen)
    if count > MAX_MEMBERS:
        raise SizeError(
            f"{count} images",
            expected=f"at most {MAX_MEMBERS}",
            source=archive.address,
            advice="name one series: /series/NUMBER at the end of the address",
        )
    study, room = Fetched(archive, base), MAX_UNPACKED_BYTES
    for series in chosen:
        uids, folder, room = _fetch_series(archive, series, base, room)
        study.sources |= uids
        study.place = folder.rename(base / f"{folder.name}_{_hash(uids)}")
    if _takes_many(info):
        study.place = _together(base, info, study.sources)
    for path in base.rglob("*"):
        os.utime(path, LONG_AGO)
    size = (MAX_UNPACKED_BYTES - room) / 1e6
    numbers = f"{len(study.sources)} images ({size:.1f} MB) of {len(chosen)} series"
    say(f"fetched {numbers} from {archive.address.host}", images=len(study.sources), series=len(chosen))
    return study


def _fetch_series(
    archive: Archive, series: ArchiveSeries, base: Path, room: int
) -> tuple[set[str], Path, int]:
    """Writes the instances of a series; returns their UIDs, their folder and what is left of `room`."""
    from pydicom import dcmwrite

    name = f"series_{series.number.replace('?', 'x')}"
    folder, uids = base / name, set()
    folder.mkdir()

    def keep(dataset: Dataset) -> None:
        _check_belongs(dataset, series, archive.address)
        uid = str(dataset.SOPInstanceUID)
        dcmwrite(folder / f"{name}_{_hash([uid])}.dcm", dataset)
        uids.add(uid)

    room = archive.receive(series.uid, keep, room)
    if len(uids) < max(series.count, 1):
        raise strange(
            f"{len(uids)} of {max(series.count, 1)} images of series {series.number} came", archive.address
        )
    return uids, folder, room


def _check_belongs(dataset: Dataset, series: ArchiveSeries, address: Address) -> None:
    """Results of another patient's images must not come into this study."""
    same = (dataset.get("StudyInstanceUID"), dataset.get("SeriesInstanceUID")) == (address.study, series.uid)
    if not same or not dataset.get("SOPInstanceUID"):
        raise strange("an image of another study or series than was asked for", address)


def _together(base: Path, info: BundleInfo, uids: Iterable[str]) -> Path:
    """Puts all into one folder: series as folders for a study of several contrasts, else files."""
    study = base / f"study_{_hash(uids)}"
    folders = sorted(base.iterdir())
    study.mkdir()
    for folder in folders:
        if info.input.get("spatial_dims") == 2:
            for path in sorted(folder.iterdir()):
                path.rename(study / path.name)
            folder.rmdir()
        else:
            folder.rename(study / folder.name)
    return study


@contextmanager
def _named_by_address(address: Address, output_dir: Path) -> Iterator[None]:
    """In the report of a folder, inputs are called by their address; while a run lasts, by their path."""
    path, name = str(output_dir / FOLDER), address.study_address
    _rename_inputs(output_dir, name, path)
    try:
        yield
    finally:
        _rename_inputs(output_dir, path, name)


def _rename_inputs(output_dir: Path, old: str, new: str) -> None:
    report = read_report(output_dir)
    renamed = [case for case in report["cases"] if case["input"].startswith(f"{old}/")]
    for case in renamed:
        case["input"] = new + case["input"].removeprefix(old)
    if renamed:
        write_report(output_dir, report.pop("cases"), report)


def _hash(uids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(uids)).encode()).hexdigest()[:HASH_DIGITS]


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
