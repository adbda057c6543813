"""What goes wrong between us and an archive, in a few lines that name the archive and no patient.

Nothing of an answer's body is quoted: it may hold what the archive knows of a patient.
"""

from __future__ import annotations

from collections.abc import Callable

from medbundles.dicomweb_address import PASSWORD, TOKEN, Address
from medbundles.errors import (
    ArchiveAccessError,
    ArchiveAnswerError,
    ArchiveUnreachableError,
    InputError,
    MissingInputError,
)

PASSING = (408, 425, 429, 500, 502, 503, 504)
DENIED, MISSING, SERVER = (401, 403), (404, 410), 500


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed a moment later."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError):
        return error.response.status_code in PASSING
    lasting = (exceptions.SSLError, exceptions.InvalidURL, exceptions.ProxyError)
    broken = (exceptions.ConnectionError, exceptions.Timeout, exceptions.ChunkedEncodingError)
    return isinstance(error, broken) and not isinstance(error, lasting)


def told(error: Exception, address: Address, service_answers: Callable[[], bool]) -> Exception:
    """Returns the error to raise for what a request raised; one of this machine (no room, say) is itself.

    Args:
        error: of requests, dicomweb-client or pydicom.
        address: what was asked for.
        service_answers: whether there is a DICOMweb service at all; asked where a study was not found.
    """
    from requests import exceptions

    ours = isinstance(error, OSError) and not isinstance(error, exceptions.RequestException)
    if ours or isinstance(error, InputError):
        return error
    if isinstance(error, exceptions.HTTPError):
        return _refused(error.response.status_code, address, service_answers)
    if isinstance(error, exceptions.SSLError):
        return unreachable(
            "the archive's certificate is not trusted, or it does not speak https",
            address,
            "name the file of your authority's certificates in REQUESTS_CA_BUNDLE",
        )
    if isinstance(error, exceptions.Timeout):
        return unreachable("the archive does not answer in time", address, "try again later")
    if isinstance(error, exceptions.TooManyRedirects):
        return strange("the archive sends on to another address", address)
    if isinstance(error, exceptions.ConnectionError | exceptions.ChunkedEncodingError):
        return unreachable(
            f"no connection to the archive, or it broke off ({_reason(error)})",
            address,
            "is the archive running, and are host and port right?",
        )
    return strange(f"an answer that is not DICOMweb's ({type(error).__name__})", address)


def no_study(address: Address, found: str = "no such study in this archive") -> MissingInputError:
    """Returns the error for a study that is not there."""
    return MissingInputError(
        found,
        expected="the StudyInstanceUID of a study that you may read",
        source=address,
        advice="check the UID; an archive also hides studies from users who may not see them",
    )


def strange(found: str, address: Address) -> ArchiveAnswerError:
    """Returns the error for an answer that cannot be used."""
    return ArchiveAnswerError(
        found,
        expected="a DICOMweb service (QIDO-RS, WADO-RS, STOW-RS)",
        source=address,
        advice="check the path before /studies; it is dicom-web for Orthanc",
    )


def unreachable(found: str, address: Address, advice: str) -> ArchiveUnreachableError:
    """Returns the error for an archive that does not answer."""
    return ArchiveUnreachableError(found, expected="an archive that answers", source=address, advice=advice)


def _refused(status: int, address: Address, service_answers: Callable[[], bool]) -> InputError:
    if status in DENIED:
        return ArchiveAccessError(
            f"the archive refuses access (HTTP {status})",
            expected="a user or a token that may read and store",
            source=address,
            advice=f"USER@ before the host and the password in {PASSWORD}, or a token in {TOKEN}",
        )
    if status in MISSING:
        return no_study(address) if service_answers() else strange(f"nothing there (HTTP {status})", address)
    if status in PASSING or status >= SERVER:
        return unreachable(f"the archive fails (HTTP {status})", address, "try again later; see its log")
    return strange(f"the archive does not take the request (HTTP {status})", address)


def _reason(error: Exception) -> str:
    """The name of the deepest cause; its text may hold addresses of its own."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return type(error).__name__
