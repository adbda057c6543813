"""Keys and signatures as minisign writes them: Ed25519 on a BLAKE2b hash, with a comment that is signed too.

The tool itself reads what is written here, and the reverse (https://jedisct1.github.io/minisign).
"""

from __future__ import annotations

import hashlib
import os
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from medbundles.errors import PackageError, SignatureError

SUFFIX = ".minisig"
KEY, HASHED = b"Ed", b"ED"  # of a key, and of a signature whose message is hashed; b"Ed" is one that is not
SCRYPT, PLAIN, BLAKE = b"Sc", b"\0\0", b"B2"
UNTRUSTED, TRUSTED = "untrusted comment: ", "trusted comment: "
HEAD = 6  # what kind of key, protected how, checksum of which kind
SALT, COST, SECRET = 32, 8, 104
OPERATIONS, MEMORY = 1 << 25, 1 << 30  # of deriving a key from a password: minisign's own choice
MOST_MEMORY = 1 << 30
LIMIT = (1 << 31) - 1  # the largest that Python lets scrypt take
BLOCK = 8


@dataclass(frozen=True)
class PublicKey:
    """What signatures are checked with.

    Attributes:
        number: tells keys apart.
        value: the key.
    """

    number: bytes
    value: bytes

    @property
    def name(self) -> str:
        """The number as minisign shows it."""
        return key_name(self.number)

    def text(self) -> str:
        """The file of the key."""
        return _commented(f"minisign public key {self.name}", KEY + self.number + self.value)


@dataclass(frozen=True)
class SecretKey:
    """What is signed with.

    Attributes:
        number: tells keys apart.
        seed: the secret.
    """

    number: bytes
    seed: bytes

    @property
    def public(self) -> PublicKey:
        """The half that may be shown."""
        return PublicKey(self.number, _private(self.seed).public_key().public_bytes_raw())

    def text(self, password: str, operations: int = OPERATIONS, memory: int = MEMORY) -> str:
        """The file of the key, protected by a password unless that is empty; costs as libsodium counts."""
        secret = self.number + self.seed + self.public.value
        if not password:
            empty = bytes(SALT + 2 * COST)
            content = KEY + PLAIN + BLAKE + empty + secret + bytes(32)
        else:
            salt = os.urandom(SALT)
            costs = operations.to_bytes(COST, "little") + memory.to_bytes(COST, "little")
            checked = secret + _hash(KEY + secret, 32)
            stream = _stream(password, salt, operations, memory)
            content = KEY + SCRYPT + BLAKE + salt + costs + _mixed(checked, stream)
        return _commented("minisign encrypted secret key", content)


@dataclass(frozen=True)
class Signature:
    """A signature and the comment that it covers."""

    hashed: bool
    number: bytes
    value: bytes
    comment: str
    whole: bytes

    def text(self) -> str:
        """The file of the signature."""
        head = (HASHED if self.hashed else KEY) + self.number + self.value
        first = _commented("signature from a medbundles key", head)
        return f"{first}{TRUSTED}{self.comment}\n{b64encode(self.whole).decode()}\n"


def new_key() -> SecretKey:
    """Returns a key that nobody had before."""
    return SecretKey(os.urandom(8), os.urandom(32))


def key_name(number: bytes) -> str:
    """The number of a key as minisign shows it."""
    return number[::-1].hex().upper()


def sign(content: bytes, key: SecretKey, comment: str) -> Signature:
    """Signs a content; the same content, key and comment give the same signature."""
    private = _private(key.seed)
    value = private.sign(_hash(content, 64))
    return Signature(True, key.number, value, comment, private.sign(value + comment.encode()))


def check(content: bytes, signature: Signature, key: PublicKey, *, source: str | Path) -> None:
    """Checks a signature of a content.

    Raises:
        SignatureError: it is by another key, or the content or the comment is another.
    """
    if signature.number != key.number:
        raise SignatureError(
            f"signed with the key {key_name(signature.number)}",
            expected=f"a signature with the key {key.name}",
            source=source,
            advice="ask for the public key of whoever signed it, or do not use it",
        )
    message = _hash(content, 64) if signature.hashed else content
    pairs = ((signature.value, message), (signature.whole, signature.value + signature.comment.encode()))
    for value, signed in pairs:
        if not _agrees(key, value, signed):
            raise SignatureError(
                "the signature does not belong to this content: it was changed after signing",
                expected=f"what the key {key.name} signed",
                source=source,
                advice="do not use it; get it again from where it was published",
            )


def read_public(key: str | Path) -> PublicKey:
    """Returns a public key, given its file or the text that minisign shows (`RW...`).

    Raises:
        SignatureError: it is no such key.
    """
    text = str(key)
    content = _decoded(text) if text.startswith("RW") and not Path(text).exists() else _lines(Path(text))[0]
    if len(content) != 42 or content[:2] != KEY:
        raise _unreadable("no public key of minisign", key)
    return PublicKey(content[2:10], content[10:])


def read_secret(path: Path, password: str | None) -> SecretKey:
    """Returns a secret key.

    Args:
        path: its file.
        password: what protects it; None if it is not known.

    Raises:
        SignatureError: it is no such key, or the password is wrong.
    """
    content = _lines(path)[0]
    if len(content) != HEAD + SALT + 2 * COST + SECRET or content[:2] != KEY or content[4:6] != BLAKE:
        raise _unreadable("no secret key of minisign", path)
    protection, rest = content[2:4], content[HEAD + SALT + 2 * COST :]
    if protection == SCRYPT:
        if password is None:
            raise SignatureError("a key that a password protects", source=path, advice="give its password")
        salt, costs = content[HEAD : HEAD + SALT], content[HEAD + SALT :]
        operations = int.from_bytes(costs[:COST], "little")
        memory = int.from_bytes(costs[COST : 2 * COST], "little")
        if memory > MOST_MEMORY:
            raise _unreadable("a key that asks for more than 1 GB of memory", path)
        rest = _mixed(rest, _stream(password, salt, operations, memory))
        if _hash(KEY + rest[:72], 32) != rest[72:]:
            raise SignatureError("the password of the key is wrong", source=path)
    elif protection != PLAIN:
        raise _unreadable("a key that is protected in an unknown way", path)
    return SecretKey(rest[:8], rest[8:40])


def is_protected(path: Path) -> bool:
    """Whether a secret key needs a password."""
    return _lines(path)[0][2:4] == SCRYPT


def parse_signature(text: str, source: str | Path) -> Signature:
    """Returns the signature that a file holds.

    Raises:
        SignatureError: it is truncated, or of another kind.
    """
    lines = text.splitlines()
    if len(lines) < 4 or not lines[0].startswith(UNTRUSTED) or not lines[2].startswith(TRUSTED):
        raise _unreadable("no complete signature of minisign", source)
    head, whole = _decoded(lines[1]), _decoded(lines[3])
    if len(head) != 74 or head[:2] not in (HASHED, KEY) or len(whole) != 64:
        raise _unreadable("no complete signature of minisign", source)
    comment = lines[2].removeprefix(TRUSTED)
    return Signature(head[:2] == HASHED, head[2:10], head[10:], comment, whole)


def write_new(path: Path, text: str, mode: int) -> None:
    """Writes a file that is not there yet.

    Raises:
        SignatureError: it is there: a key that is lost cannot be had again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise taken(path) from error
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)


def taken(path: Path) -> SignatureError:
    """The error for a key that would be overwritten."""
    found = "the file is there already, and keys are never overwritten"
    return SignatureError(found, source=path, advice="choose another name")


def _lines(path: Path) -> list[bytes]:
    """What the lines below the first of a key's file hold."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(f"the key cannot be read: {type(error).__name__}", path) from error
    if len(lines) < 2 or not lines[0].startswith(UNTRUSTED):
        raise _unreadable("no key of minisign", path)
    return [_decoded(line) for line in lines[1:2]]


def _decoded(line: str) -> bytes:
    try:
        return b64decode(line, validate=True)
    except ValueError:
        return b""  # the length is what callers check


def _commented(comment: str, content: bytes) -> str:
    return f"{UNTRUSTED}{comment}\n{b64encode(content).decode()}\n"


def _hash(content: bytes, size: int) -> bytes:
    return hashlib.blake2b(content, digest_size=size).digest()


def _mixed(content: bytes, stream: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(content, stream, strict=True))


def _stream(password: str, salt: bytes, operations: int, memory: int) -> bytes:
    """The bytes that a key is hidden under, with libsodium's way from costs to parameters."""
    operations = max(operations, 1 << 15)
    if operations < memory // 32:
        most, parts = operations // (4 * BLOCK), 1
    else:
        most, parts = memory // (128 * BLOCK), 0
    steps = 1 << max(1, most.bit_length() - 1)
    parts = parts or min(operations // 4 // steps, 0x3FFFFFFF) // BLOCK
    return hashlib.scrypt(password.encode(), salt=salt, n=steps, r=BLOCK, p=parts, maxmem=LIMIT, dklen=SECRET)


def _private(seed: bytes) -> Any:
    return _ed25519().Ed25519PrivateKey.from_private_bytes(seed)


def _agrees(key: PublicKey, value: bytes, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        _ed25519().Ed25519PublicKey.from_public_bytes(key.value).verify(value, content)
    except InvalidSignature:
        return False
    return True


def _ed25519() -> ModuleType:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise PackageError(
            "the package cryptography, which signs and checks signatures, is not installed",
            expected="cryptography 42 or later",
            advice="pip install 'medbundles[sign]'",
        ) from error
    return ed25519


def _unreadable(found: str, source: str | Path) -> SignatureError:
    return SignatureError(found, expected="a complete file of minisign", source=source)
