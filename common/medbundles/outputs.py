"""Folders of results: errors of the disk in words, and one process at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from medbundles.errors import BusyOutputError, InputError, OutputError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
LEAST_FREE = 1 << 16  # bytes; with less even a message of ITK's writers means a full disk
_claimed: dict[tuple[int, int], int] = {}  # folders by device and inode, with their open handles


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """What the system says about a full or protected disk while `path` is written becomes an `OutputError`.

    Raises:
        OutputError: there is no room, or no permission.
    """
    path = Path(path)
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        problem = _problem(error, path.parent)
        if problem is None:
            raise
        raise problem from error


def disk_problem(error: BaseException | None) -> OutputError | None:
    """What an error that nobody expected says about a full or protected disk; None if it does not."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return _full(error.filename)
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return _refused(error, error.filename)
        error = error.__cause__ or error.__context__
    return None


def make_folder(path: str | Path) -> None:
    """Makes a folder for results, and those that it lies in.

    Raises:
        OutputError: it cannot be made.
    """
    with writing(Path(path) / "results"):
        Path(path).mkdir(parents=True, exist_ok=True)


def claim(folder: str | Path, *, shared: bool = False) -> None:
    """Takes a folder for this process, until `give_up` or its end, however it ends.

    Where the file system knows no locks, nothing is refused.

    Args:
        folder: an existing folder of results.
        shared: with others that share it, too, as the processes of torchrun do.

    Raises:
        BusyOutputError: another process has it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return
    handle = os.open(folder, os.O_RDONLY)
    key = _key(handle)
    try:
        if key in _claimed:
            os.close(handle)
            handle = _claimed[key]
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        _claimed[key] = handle
    except BlockingIOError as error:
        os.close(handle)
        _claimed.pop(key, None)
        raise BusyOutputError(
            "another process writes into this folder",
            expected="one process for a folder of results, or those of one torchrun",
            source=folder,
            advice="wait until it is done, or name another folder",
        ) from error
    except OSError:  # no locks here
        os.close(handle)
        _claimed.pop(key, None)


def give_up(folder: str | Path) -> None:
    """Lets other processes have a folder."""
    with contextlib.suppress(OSError):  # the folder is gone, and nobody waits for it
        facts = os.stat(folder)
        handle = _claimed.pop((facts.st_dev, facts.st_ino), None)
        if handle is not None:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_UN)  # worker processes may still have a copy of it
            os.close(handle)


def _key(handle: int) -> tuple[int, int]:
    facts = os.fstat(handle)
    return facts.st_dev, facts.st_ino


def _problem(error: BaseException, folder: Path) -> OutputError | None:
    """What an error says about the disk; None if it is about something else."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in FULL:
            return _full(folder)
        if isinstance(cause, OSError) and cause.errno in REFUSED and _is_of(cause, folder):
            return _refused(cause, folder)
        cause = cause.__cause__ or cause.__context__
    return _full(folder) if not isinstance(error, OSError) and _no_room(folder) else None


def _is_of(error: OSError, folder: Path) -> bool:
    """Whether it is about a file in the folder, or about one of the folders that this lies in."""
    if error.filename is None:
        return True
    path = Path(os.fsdecode(error.filename)).absolute()
    return folder.absolute() in path.parents or path in (folder.absolute(), *folder.absolute().parents)


def _no_room(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < LEAST_FREE
    except OSError:
        return False


def _refused(error: OSError, place: str | Path | None) -> OutputError:
    return OutputError(
        f"no access: {os.strerror(error.errno or 0)}",
        expected="inputs that may be read, and a folder for results that may be written to",
        source=place,
        advice="name another folder, or ask for permission",
    )


def _full(place: str | Path | None) -> OutputError:
    return OutputError(
        "the disk is full, or the quota used up",
        expected="room for the results",
        source=place,
        advice="make room, and give the same command again: what is done is not repeated",
    )
