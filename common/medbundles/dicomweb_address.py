"""Where a study lies in an archive: `dicomweb://[USER@]HOST[:PORT]/PATH/studies/UID[/series/WHICH]`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from medbundles.errors import AddressError

TOKEN, PASSWORD = "MEDBUNDLES_DICOMWEB_TOKEN", "MEDBUNDLES_DICOMWEB_PASSWORD"
PLAIN, SECURE = "dicomweb", "dicomwebs"
SERVICE_FORM = f"{PLAIN}[s]://[USER@]HOST[:PORT]/PATH"
FORM = f"{SERVICE_FORM}/studies/UID[/series/NUMBER or UID]"
UID = re.compile(r"\d+(\.\d+)*")
LONGEST_UID = 64
HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")


@dataclass(frozen=True)
class Address:
    """A study, or one series of it, in an archive that speaks DICOMweb.

    Attributes:
        secure: https, not http.
        host: its name or IP address, with the port if one was given.
        root: the path of the DICOMweb service, without a slash at its end.
        study: StudyInstanceUID; empty for the archive as a whole.
        series: SeriesNumber, SeriesInstanceUID or the end of it; empty for the study.
        user: who logs in with a password.
    """

    secure: bool
    host: str
    root: str
    study: str
    series: str = ""
    user: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """The DICOMweb service, as http clients take it."""
        return f"{'https' if self.secure else 'http'}://{self.host}{self.root}"

    @property
    def study_address(self) -> str:
        """The address of the study, without the user's name."""
        place = f"{SECURE if self.secure else PLAIN}://{self.host}{self.root}"
        return f"{place}/studies/{self.study}" if self.study else place

    def __str__(self) -> str:
        """The address, without the user's name."""
        return self.study_address + (f"/series/{self.series}" if self.series else "")

    @property
    def local(self) -> bool:
        """Whether the archive is on this machine, so that nobody can listen on the way."""
        name = self.host.rpartition("]")[0].lstrip("[") or self.host.partition(":")[0]
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return name.lower() == "localhost"


def is_address(text: str) -> bool:
    """Whether an input is in an archive, not a file."""
    return text.lower().startswith((f"{PLAIN}:", f"{SECURE}:"))


def parse(text: str, *, plain_http: bool = False) -> Address:
    """Returns the address that a text stands for; the word `studies` may be left out.

    Args:
        text: the address.
        plain_http: whether images of patients may travel unencrypted to another machine.

    Raises:
        AddressError: it is not of the form, has a password in it, or is another machine's over plain http.
    """
    parts = _split(text, FORM)
    root, study, series = _resources(parts.path, text)
    return _safe(Address(*_place(parts), root, study, series, unquote(parts.username or "")), plain_http)


def parse_service(text: str, *, plain_http: bool = False) -> Address:
    """Returns the address of an archive as a whole, `dicomweb[s]://[USER@]HOST[:PORT]/PATH`, without a study.

    Raises:
        AddressError: as for `parse`; or it names a study.
    """
    parts = _split(text, SERVICE_FORM)
    root = parts.path.rstrip("/")
    if not PATH.fullmatch(root) or {"..", "studies"} & {*root.split("/")}:
        raise _misformed(text, form=SERVICE_FORM)
    return _safe(Address(*_place(parts), root, "", "", unquote(parts.username or "")), plain_http)


def _split(text: str, form: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        host = HOST.fullmatch(parts.netloc.rpartition("@")[2].removesuffix(f":{parts.port}"))
    except ValueError:  # a port that is no number, brackets that do not fit
        host = None
    if host is None:
        raise _misformed(text, form=form)
    _refuse_secrets(parts, text)
    return parts


def _place(parts: SplitResult) -> tuple[bool, str]:
    """Whether it is https, and the host with its port."""
    return parts.scheme == SECURE, parts.netloc.rpartition("@")[2]


def _safe(address: Address, plain_http: bool) -> Address:
    if not (address.secure or address.local or plain_http):
        raise AddressError(
            "an archive on another machine, without encryption",
            expected=f"{SECURE}://, or an archive on this machine",
            source=address,
            advice=f"use {SECURE}://, or a tunnel; --plain_http true where the network itself is protected",
        )
    return address


def _resources(path: str, text: str) -> tuple[str, str, str]:
    """Returns the path of the service, the study, and which series."""
    found = re.fullmatch(r"(?P<root>.*?)(/studies)?/(?P<study>[\d.]+)(/series/(?P<series>[\d.]+))?/?", path)
    if found is None or not PATH.fullmatch(found["root"]) or {"..", "studies"} & {*found["root"].split("/")}:
        raise _misformed(text)
    if not UID.fullmatch(found["study"]) or len(found["study"]) > LONGEST_UID:
        raise _misformed(text, "a study whose UID is none")
    return found["root"], found["study"], found["series"] or ""


def _refuse_secrets(parts: SplitResult, text: str) -> None:
    """What stands on a command line is seen by every user of the machine, and stays in its history."""
    if parts.password is not None or parts.query or parts.fragment:
        raise AddressError(
            "an address with a password or further parameters",
            expected=FORM,
            source=_without_secrets(text),
            advice=f"put the password into {PASSWORD}, a token into {TOKEN}",
        )


def _misformed(text: str, found: str = "an address of another form", *, form: str = FORM) -> AddressError:
    return AddressError(
        found,
        expected=form,
        source=_without_secrets(text),
        advice="PATH is where the DICOMweb service of the archive begins, dicom-web for Orthanc",
    )


def _without_secrets(text: str) -> str:
    shown = re.split(r"[?#]", text)[0]
    return re.sub(r"//.*@", "//", shown)
