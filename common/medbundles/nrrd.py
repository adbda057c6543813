"""What ITK leaves out when it reads NRRD: it crashes on some damaged headers, and skips the sum of gzip."""

import gzip
import re
from pathlib import Path

HEADER_BYTES = 2**20
MAX_VALUE_LENGTH = 1024  # of a field; ITK writes what it cannot read into a message of fixed length
FIRST_LINE = re.compile(rb"NRRD000[1-5]\s*")
BLANK_LINE = re.compile(rb"\r?\n\r?\n")
GZIPPED = re.compile(rb"^encoding:\s*gz(ip)?\s*$", re.IGNORECASE | re.MULTILINE)
DETACHED = re.compile(rb"^data ?file:", re.IGNORECASE | re.MULTILINE)
SKIPPED = re.compile(rb"^(line|byte) ?skip:", re.IGNORECASE | re.MULTILINE)
CHUNK_BYTES, MAX_TRAILING_BYTES = 2**20, 2**26


def check_header(path: Path) -> None:
    """Refuses a header that is not lines of `field: value`, `key:=value` and `# comment` up to a blank one.

    Raises:
        ValueError: it is not.
    """
    head = _header(path)
    first, *lines = head.rstrip().splitlines() or [b""]
    if not FIRST_LINE.fullmatch(first):
        raise ValueError("not NRRD")
    for line in lines:
        field, colon, value = line.partition(b":")
        if line.startswith(b"#") or value.startswith(b"="):
            continue
        if not colon or len(field) > MAX_VALUE_LENGTH or len(value) > MAX_VALUE_LENGTH:
            raise ValueError("a line of the header that is no field")


def check_sum(path: Path, size: int) -> None:
    """Compares a gzip stream with the sum at its end: damaged pixels would pass.

    Args:
        path: the file.
        size: how many bytes its header announces.

    Raises:
        OSError, EOFError, zlib.error: the stream is damaged.
        ValueError: it is much longer than announced.
    """
    head = _header(path)
    if not GZIPPED.search(head) or DETACHED.search(head) or SKIPPED.search(head):
        return
    left = size + MAX_TRAILING_BYTES
    with path.open("rb") as file:
        file.seek(len(head))
        with gzip.open(file) as stream:
            while left > 0 and (piece := stream.read(min(left, CHUNK_BYTES))):
                left -= len(piece)
    if left <= 0:
        raise ValueError("much more data than the header announces")


def _header(path: Path) -> bytes:
    """All up to the blank line, with it; all of the file where the pixels lie in another one.

    Raises:
        ValueError: the pixels follow without a blank line.
    """
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    blank = BLANK_LINE.search(head)
    if blank is not None:
        return head[: blank.end()]
    if DETACHED.search(head) and len(head) < HEADER_BYTES:
        return head
    raise ValueError("a header without an end")
