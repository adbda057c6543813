"""Keys on a user's disk: made once, never overwritten, readable by their owner alone, behind a password."""

from __future__ import annotations

import os
import sys
from getpass import getpass
from pathlib import Path

from medbundles.errors import SignatureError
from medbundles.zoo import minisign

PASSWORD = "MEDBUNDLES_KEY_PASSWORD"
SECRET_MODE, PUBLIC_MODE = 0o600, 0o644


def make_keys(path: Path, *, plain: bool = False) -> minisign.PublicKey:
    """Writes a new secret key, and the public one beside it with the suffix .pub; returns the public one.

    Raises:
        SignatureError: one of the files is there already, or no password was given.
    """
    public = path.with_name(path.name + ".pub")
    for file in (path, public):
        if os.path.lexists(file):
            raise minisign.taken(file)
    key = minisign.new_key()
    text = key.text("" if plain else _password(path, twice=True))
    minisign.write_new(path, text, SECRET_MODE)
    minisign.write_new(public, key.public.text(), PUBLIC_MODE)
    return key.public


def secret_key(path: Path) -> minisign.SecretKey:
    """The secret key in a file; its password is asked for where it has one.

    Raises:
        SignatureError: it is no secret key, or the password is wrong.
    """
    return minisign.read_secret(path, _password(path) if minisign.is_protected(path) else None)


def _password(path: Path, *, twice: bool = False) -> str:
    if given := os.environ.get(PASSWORD):
        return given
    if not sys.stdin.isatty():
        raise SignatureError(
            "a password is needed, and nobody is there to type it",
            source=path,
            advice=f"set ${PASSWORD}; a new key may do without: --plain",
        )
    first = getpass(f"password of {path.name}: ")
    if not first or (twice and getpass("once more: ") != first):
        raise SignatureError("no password, or not the same one twice", source=path, advice="try again")
    return first
