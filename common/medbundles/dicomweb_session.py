"""How we speak with an archive: over which connection, as whom, and without a word in the log."""

from __future__ import annotations

import getpass
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from medbundles.dicomweb_address import PASSWORD, TOKEN, Address
from medbundles.errors import ArchiveAccessError, PackageError

if TYPE_CHECKING:
    import requests


def dicomweb_client() -> ModuleType:
    """Returns the package that speaks DICOMweb.

    Raises:
        PackageError: it is not installed.
    """
    try:
        return importlib.import_module("dicomweb_client.api")
    except ModuleNotFoundError as error:
        raise PackageError(
            "dicomweb-client, which speaks with archives, is not installed",
            expected="the packages of the extra `dicomweb`",
            source="an address dicomweb://",
            advice="pip install 'medbundles[dicomweb]', or pip install dicomweb-client highdicom",
        ) from error


def session_of(address: Address) -> requests.Session:
    """Returns the connection: no redirects, credentials from the environment, certificates checked."""
    import requests

    credentials = _credentials(address)

    def authorised(request: requests.PreparedRequest) -> requests.PreparedRequest:
        return credentials(request) if credentials else request

    session = requests.Session()
    session.auth = authorised  # also in place of what a .netrc file says
    session.max_redirects = 0  # whoever is sent on may end at a place that is not protected
    session.trust_env = address.secure  # no proxy for what is not encrypted
    return session


def _credentials(address: Address) -> Callable[[requests.PreparedRequest], requests.PreparedRequest] | None:
    from requests.auth import HTTPBasicAuth

    if address.user:
        return HTTPBasicAuth(address.user.encode(), password_of(address).encode())
    token = os.environ.get(TOKEN, "").strip()

    def with_token(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return with_token if token else None


def password_of(address: Address) -> str:
    """Returns the password of an address's user: from the environment, or asked for.

    Raises:
        ArchiveAccessError: there is none.
    """
    if PASSWORD in os.environ:
        return os.environ[PASSWORD]
    if sys.stdin is not None and sys.stdin.isatty():
        return getpass.getpass(f"password for {address.host}: ")
    raise ArchiveAccessError(
        "a user without a password",
        expected=f"the password in {PASSWORD}",
        source=address,
        advice=f"set {PASSWORD}, or run the command in a terminal, which asks for it",
    )


@contextmanager
def quiet_client() -> Iterator[None]:
    """Silences dicomweb-client, whose log repeats what archives say."""
    log = logging.getLogger("dicomweb_client")
    children = [logging.getLogger(f"dicomweb_client.{name}") for name in ("web", "session_utils", "uri")]
    before = [item.disabled for item in (log, *children)]
    for item in (log, *children):
        item.disabled = True
    try:
        yield
    finally:
        for item, state in zip((log, *children), before, strict=True):
            item.disabled = state
