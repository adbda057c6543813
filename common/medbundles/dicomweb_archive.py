"""An archive of images that speaks DICOMweb: what is in a study, its images, and new objects for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from medbundles.archives import MAX_UNPACKED_BYTES
from medbundles.dicom_pixels import without_pydicom_messages
from medbundles.dicomweb_address import Address
from medbundles.dicomweb_answers import reason_of, reason_of_refusal
from medbundles.dicomweb_errors import is_passing, told
from medbundles.dicomweb_session import dicomweb_client, quiet_client, session_of
from medbundles.errors import MissingInputError, SizeError

if TYPE_CHECKING:
    import requests
    from pydicom import Dataset

T = TypeVar("T")

AS_STORED = (("application/dicom", "*"),)
BLOCK_BYTES = 1024**2
WHOLE = 2**40  # objects are sent in one piece: not every archive takes pieces
LIST_BYTES = 64 * 1024**2
CONNECT_S, READ_S = 10, 120
WAITS_S = (0.5, 1.0, 2.0)  # before the next attempt
LONGEST_WAIT_S = 30
NOT_ACCEPTABLE = 406
LISTED = ("Modality", "SeriesDescription", "SeriesNumber", "NumberOfSeriesRelatedInstances")


@dataclass(frozen=True)
class ArchiveSeries:
    """A series as an archive lists it: `count` instances, 0 if the archive does not say."""

    uid: str
    number: str
    modality: str
    description: str
    count: int


class Archive:
    """One study in an archive.

    What fails for a moment is asked again, with longer and longer waits. Names and dates of patients that
    come with answers are neither kept nor told.

    Args:
        address: of the study.

    Raises:
        PackageError: what speaks DICOMweb is not installed.
        ArchiveAccessError: the address has a user, and there is no password.
    """

    def __init__(self, address: Address) -> None:
        client = dicomweb_client()
        self.address = address
        self._room = LIST_BYTES
        self._headers: dict[str, Dataset] = {}  # what an archive holds never changes
        session = session_of(address)
        session.hooks["response"].append(self._counted)
        common = {"session": session, "permissive_uid": True, "timeout": (CONNECT_S, READ_S)}
        self._reader = client.DICOMwebClient(address.url, chunk_size=BLOCK_BYTES, **common)
        self._writer = client.DICOMwebClient(address.url, chunk_size=WHOLE, **common)
        for speaker in (self._reader, self._writer):
            speaker.set_http_retry_params(retry=False)  # it would also ask again whoever refuses
            speaker.host = address.host

    def series(self) -> list[ArchiveSeries]:
        """Returns the series of the study, by number."""
        found = self._list(lambda **page: self._reader.search_for_series(
            self.address.study, fields=[*LISTED], **page))  # fmt: skip
        series = [_series(item) for item in found]
        return sorted(series, key=lambda item: (len(item.number), item.number, item.uid))

    def instances(self, series_uid: str) -> list[str]:
        """Returns the SOPInstanceUIDs of a series, none if there is no such series."""
        search = self._reader.search_for_instances
        try:
            found = self._list(lambda **page: search(self.address.study, series_uid, **page))
        except MissingInputError:
            return []
        return sorted({uid for item in found if (uid := _text(item, "00080018"))})

    def header(self, series_uid: str) -> Dataset:
        """Returns the header of one instance of a series, an empty one if there is none."""
        from pydicom import Dataset

        def read(uid: str) -> Dataset:
            found = self._reader.retrieve_instance_metadata(self.address.study, series_uid, uid)
            return Dataset.from_json(found[0] if isinstance(found, list) else found, lambda *_: b"")

        if series_uid not in self._headers:
            uids = self.instances(series_uid)
            self._headers[series_uid] = self._ask(lambda: read(uids[0])) if uids else Dataset()
        return self._headers[series_uid]

    def receive(
        self, series_uid: str, keep: Callable[[Dataset], None], room: int = MAX_UNPACKED_BYTES
    ) -> int:
        """Hands over the instances of a series one by one, as they are stored.

        Where the connection breaks, all come again. Returns how many bytes of `room` are left.

        Raises:
            SizeError: they are more than `room` bytes.
        """
        study = self.address.study

        def run(**options: Any) -> None:
            for dataset in self._reader.iter_series(study, series_uid, **options):
                keep(dataset)

        def as_stored() -> None:
            try:
                run(media_types=AS_STORED)
            except Exception as error:
                if _status(error) != NOT_ACCEPTABLE:
                    raise
                run()

        self._ask(as_stored, room)
        return self._room

    def store(self, path: Path) -> str:
        """Sends a DICOM file to the study; returns why the archive does not take it, "" if it does.

        Raises:
            InputError: the archive is away, or refuses access.
        """
        from pydicom import dcmread

        dataset = dcmread(path)

        def send() -> str:
            try:
                return reason_of(self._writer.store_instances([dataset], self.address.study))
            except Exception as error:
                reason = reason_of_refusal(error)
                if reason is None:
                    raise
                return reason

        return self._ask(send)

    def _list(self, ask: Callable[..., list[Any]]) -> list[Any]:
        """Returns all of a list that an archive may give in pages; one that ignores `offset` ends it too."""
        found: dict[str, Any] = {}
        while True:
            options = {"offset": len(found)} if found else {}
            page = self._ask(lambda options=options: _checked(ask(**options)))
            new = {key: item for item in page if (key := _key(item)) not in found}
            found |= new
            if not new:
                return list(found.values())

    @without_pydicom_messages
    def _ask(self, ask: Callable[[], T], room: int = LIST_BYTES) -> T:
        with quiet_client():
            for wait in (*WAITS_S, None):
                self._room = room
                try:
                    return ask()
                except Exception as error:  # of three packages; `told` knows them all
                    if wait is None or not is_passing(error):
                        raise told(error, self.address, self._answers) from None
                    time.sleep(max(wait, _wished(error)))
        raise AssertionError("the last attempt returns or raises")

    def _answers(self) -> bool:
        """Whether there is a DICOMweb service at the address, whatever it says of the study."""
        self._room = LIST_BYTES
        try:
            self._reader.search_for_studies(search_filters={"StudyInstanceUID": self.address.study}, limit=1)
        except Exception:
            return False
        return True

    def _counted(self, response: requests.Response, **_: Any) -> requests.Response:
        """Ends an answer that is larger than what there is room for, before it is in memory."""
        blocks = response.iter_content

        def counted(*args: Any, **options: Any) -> Iterator[bytes]:
            for block in blocks(*args, **options):
                self._room -= len(block)
                if self._room < 0:
                    raise SizeError(
                        f"more than {MAX_UNPACKED_BYTES / 1024**3:.0f} GiB of images, or an endless list",
                        expected="a study that fits",
                        source=self.address,
                        advice="name one series: /series/NUMBER at the end of the address",
                    )
                yield block

        response.iter_content = counted  # type: ignore[method-assign]
        return response


def _wished(error: Exception) -> float:
    """How long an archive asks to be left alone."""
    after = getattr(getattr(error, "response", None), "headers", {}).get("Retry-After", "")
    return min(float(after), LONGEST_WAIT_S) if str(after).isdigit() else 0.0


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _series(item: Mapping[str, Any]) -> ArchiveSeries:
    number, count = _text(item, "00200011"), _text(item, "00201209")
    return ArchiveSeries(
        uid=_text(item, "0020000E"),
        number=number if number.lstrip("-").isdigit() else "?",
        modality=_text(item, "00080060"),
        description=_text(item, "0008103E"),
        count=int(count) if count.isdigit() else 0,
    )


def _checked(page: Any) -> list[Mapping[str, Any]]:
    if not all(isinstance(item, Mapping) for item in page or []):
        raise ValueError("a list of something else")
    return page or []


def _text(item: Mapping[str, Any], tag: str) -> str:
    entry = item.get(tag)
    values = entry.get("Value") if isinstance(entry, Mapping) else None
    return str(values[0]).strip() if values and values[0] is not None else ""


def _key(item: Mapping[str, Any]) -> str:
    """What tells entries of a list apart: an instance's UID, else the series'."""
    return _text(item, "00080018") or _text(item, "0020000E")
