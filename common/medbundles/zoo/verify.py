"""Whether a packed bundle is what was packed: sums of all files, none more, none less, and the signature."""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from medbundles.errors import IntegrityError, MissingInputError, SignatureError, UnreadableFileError
from medbundles.packed import SUMS
from medbundles.zoo import minisign

LINE = re.compile(r"(?P<sum>[0-9a-f]{64})  (?P<name>.+)")
SIGNATURE = SUMS + minisign.SUFFIX
MOST_BYTES = 1 << 30  # unpacked: more is no bundle
ADVICE = "do not use it; get it again from where it was published"


def verify(path: Path, key: str | Path | None = None) -> Iterator[str]:
    """Yields what was checked of a zip or an unpacked folder, line by line.

    Args:
        path: the zip or the folder.
        key: the public key of whoever signed it; without one the signature is not checked.

    Raises:
        IntegrityError: a file was changed, added or removed.
        SignatureError: the signature is missing, damaged, of another key, or of other sums.
    """
    path = Path(path)
    public = None if key is None else minisign.read_public(key)
    files = read_files(path)
    if SUMS not in files:
        raise IntegrityError(f"there is no {SUMS}", expected="a bundle of `medbundles pack`", source=path)
    # The signature comes first: nothing of sums that anybody may have written is worth a report.
    signature = None if public is None else _signed(files, public, path)
    listed = _listed(files[SUMS], path / SUMS)
    _compare(files, listed, path)
    yield f"{path.name}: {len(listed)} files have the sums of {SUMS}, none is missing, none was added"
    if signature is not None:
        yield f"signature: by the key {minisign.key_name(signature.number)}; it says: {signature.comment}"
    elif SIGNATURE in files:
        number = minisign.parse_signature(_text(files[SIGNATURE], path / SIGNATURE), path / SIGNATURE).number
        yield f"signature: by the key {minisign.key_name(number)}, NOT CHECKED: give --key"
    else:
        yield "signature: none; whoever changed a file could have changed its sum"


def read_files(path: Path) -> dict[str, bytes]:
    """The content of all files of a zip or a folder, by path in the bundle's folder.

    Raises:
        IntegrityError: the zip holds anything but files of one folder.
    """
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        raise MissingInputError("no such file or folder", source=path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _of_zip(archive, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UnreadableFileError(f"the zip is damaged: {error}", source=path, advice=ADVICE) from error


def _of_folder(folder: Path) -> dict[str, bytes]:
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() and path.is_dir():
            raise IntegrityError("a link to a folder", source=path, advice=ADVICE)
        if not path.is_dir():
            files[name] = path.read_bytes() if path.exists() else b""
    return files


def _of_zip(archive: zipfile.ZipFile, source: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if sum(entry.file_size for entry in entries) > MOST_BYTES:
        raise IntegrityError("more than 1 GB unpacked", source=source, advice=ADVICE)
    folders = {PurePosixPath(entry.filename).parts[0] for entry in entries}
    if len(folders) > 1:
        found = f"files of several folders ({', '.join(sorted(folders)[:3])})"
        raise IntegrityError(found, expected="the folder of one bundle", source=source, advice=ADVICE)
    for entry in entries:
        parts = PurePosixPath(entry.filename).parts
        name = "/".join(parts[1:])
        if not name or ".." in parts or "\\" in entry.filename or name in files:
            found = f"'{entry.filename}' is there twice, or leads out of the folder"
            raise IntegrityError(found, source=source, advice=ADVICE)
        files[name] = archive.read(entry)
    return files


def _listed(content: bytes, source: Path) -> dict[str, str]:
    """The sums by file."""
    found = {}
    for line in _text(content, source).splitlines():
        match = LINE.fullmatch(line)
        if match is None or match["name"] in found:
            raise IntegrityError(f"an unreadable line: {line[:80]}", source=source, advice=ADVICE)
        found[match["name"]] = match["sum"]
    return found


def _compare(files: Mapping[str, bytes], listed: Mapping[str, str], path: Path) -> None:
    there = set(files) - {SUMS, SIGNATURE}
    problems = {
        "was changed": sorted(n for n in there & set(listed) if _sum(files[n]) != listed[n]),
        "is missing": sorted(set(listed) - there),
        f"is not listed in {SUMS}": sorted(there - set(listed)),
    }
    found = [f"{name} {what}" for what, names in problems.items() for name in names]
    if found:
        text = "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
        raise IntegrityError(text, expected=f"exactly the files of {SUMS}", source=path, advice=ADVICE)


def _signed(files: Mapping[str, bytes], key: minisign.PublicKey, path: Path) -> minisign.Signature:
    if SIGNATURE not in files:
        raise SignatureError(
            "the bundle is not signed", expected=f"{SIGNATURE} by the key {key.name}", source=path
        )
    source = path / SIGNATURE
    signature = minisign.parse_signature(_text(files[SIGNATURE], source), source)
    minisign.check(files[SUMS], signature, key, source=path / SUMS)
    return signature


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _text(content: bytes, source: Path) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise IntegrityError("no text", source=source, advice=ADVICE) from error
