"""Zip archives of images, read without trusting them: no path outside, no link, no password, no bomb."""

import contextlib
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from medbundles.errors import EmptyInputError, UnreadableFileError

MAX_UNPACKED_BYTES = 8 * 1024**3
MAX_MEMBERS = 20_000
COPY_BYTES = 1024**2
DICOM_HEAD = 132
ENCRYPTED = 0x1


def split_archive(path: str | Path) -> tuple[Path, str] | None:
    """Returns (archive, member) of a path to or into a zip file (`a.zip`, `a.zip/x/y.dcm`), else None."""
    path = Path(path)
    for folder in (path, *path.parents):
        if folder.suffix.lower() == ".zip" and folder.is_file():
            return folder, path.relative_to(folder).as_posix().removeprefix(".")
    return None


def members(archive: Path) -> dict[str, bytes]:
    """Returns the files of an archive by name, each with its first bytes, after checking that all is safe.

    Raises:
        UnreadableFileError: the archive is corrupt, encrypted, too large or tries to write elsewhere.
        EmptyInputError: there is no file in it.
    """
    with _opened(archive) as file:
        return {info.filename: _head(file, info) for info in _safe_members(file, archive)}


@contextlib.contextmanager
def unpacked(archive: Path, member: str = "") -> Iterator[Path]:
    """Yields the archive, or the file or folder `member` of it, unpacked into a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="medbundles-") as folder:
        root = Path(folder) / archive.stem
        with _opened(archive) as file:
            infos = _safe_members(file, archive)
            # A header file (.mhd, .nhdr) needs its neighbour, so a file comes with its whole folder.
            wanted = [i for i in infos if _belongs(i.filename, member)]
            budget = MAX_UNPACKED_BYTES
            for info in wanted:
                budget -= _extract(file, info, root, budget, archive)
        target = root / member
        if not target.exists():
            raise EmptyInputError(
                f"no {member or 'file'} in this zip archive",
                expected="an image",
                source=archive,
                advice="list the archive and pass a path that is in it",
            )
        yield target


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    errors = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)
    try:
        with zipfile.ZipFile(archive) as file:
            yield file
    except errors as error:
        raise UnreadableFileError(
            f"this zip archive is damaged or of an unknown kind ({str(error)[:80]})",
            expected="a complete zip file",
            source=archive,
            advice="copy it again, or unpack it and pass the folder",
        ) from error


def _belongs(name: str, member: str) -> bool:
    parent = PurePosixPath(member).parent.as_posix()
    return not member or name.startswith(member + "/") or PurePosixPath(name).parent.as_posix() == parent


def _safe_members(file: zipfile.ZipFile, archive: Path) -> list[zipfile.ZipInfo]:
    infos = [info for info in file.infolist() if not info.is_dir()]
    for info in infos:
        if reason := _danger(info):
            raise _unsafe(archive, reason)
    if len(infos) > MAX_MEMBERS or sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES:
        raise _unsafe(archive, f"more than {MAX_MEMBERS} files or {MAX_UNPACKED_BYTES / 1024**3:.0f} GiB")
    if not infos:
        raise EmptyInputError(
            "an empty zip archive", expected="images", source=archive, advice="make the archive again"
        )
    return infos


def _danger(info: zipfile.ZipInfo) -> str:
    name = info.filename
    windows = PureWindowsPath(name)
    if name.startswith("/") or windows.drive or windows.root or ".." in windows.parts:
        return "a member that would be written outside the folder"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a symbolic link"
    if info.flag_bits & ENCRYPTED:
        return "a member with a password"
    return ""


def _unsafe(archive: Path, reason: str) -> UnreadableFileError:
    return UnreadableFileError(
        f"this zip archive is not opened: it has {reason}",
        expected="a plain zip of image files",
        source=archive,
        advice="unpack it yourself if you trust it, and pass the folder",
    )


def _head(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with file.open(info) as member:
        return member.read(DICOM_HEAD)


def _extract(file: zipfile.ZipFile, info: zipfile.ZipInfo, root: Path, budget: int, archive: Path) -> int:
    """Copies one member, counting what really comes out: the size in the header may be a lie."""
    target = root / info.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with file.open(info) as member, target.open("wb") as copy:
        while block := member.read(COPY_BYTES):
            written += len(block)
            if written > budget:
                raise _unsafe(archive, f"more than {MAX_UNPACKED_BYTES / 1024**3:.0f} GiB")
            copy.write(block)
    return written
