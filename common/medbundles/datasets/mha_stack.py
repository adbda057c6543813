"""One frame at a time out of a long .mha file, without holding the whole sweep in memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from medbundles.checks import UnreadableFileError

_TYPES = {"MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_USHORT": "u2", "MET_SHORT": "i2", "MET_FLOAT": "f4"}
_CHUNK = 1 << 20


@dataclass(frozen=True)
class MhaStack:
    """A stack of frames in one MetaImage file with its data inside.

    `size` is (x, y, frames); `spacing` in millimetres, in the same order.
    """

    path: Path
    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    dtype: np.dtype
    offset: int
    compressed: bool

    @classmethod
    def open(cls, path: str | Path) -> MhaStack:
        """Reads the header of `path`."""
        path = Path(path)
        try:
            with path.open("rb") as handle:
                return _from_header(path, *_header(handle))
        except (OSError, KeyError, ValueError) as error:
            raise UnreadableFileError(
                f"The sweep cannot be read: {error}.",
                expected="a three-dimensional MetaImage (.mha) with its data inside",
                source=path,
                advice="Download the file again.",
            ) from error

    def frames(self) -> Iterator[NDArray]:
        """Yields every frame (x, y), streaming."""
        width, height, count = self.size
        length = width * height * self.dtype.itemsize
        with self.path.open("rb") as handle:
            handle.seek(self.offset)
            source = _inflate(handle) if self.compressed else iter(lambda: handle.read(_CHUNK), b"")
            for block in _blocks(source, length, count, self.path):
                yield np.frombuffer(block, self.dtype).reshape(height, width).T

    def select(self, indices: Iterable[int]) -> Iterator[tuple[int, NDArray]]:
        """Yields (index, frame) for the indices, in one pass over a compressed file."""
        wanted = sorted(set(indices))
        if not self.compressed:
            yield from ((index, self.frame(index)) for index in wanted)
            return
        for index, frame in enumerate(self.frames()):
            if not wanted:
                return
            if index == wanted[0]:
                yield wanted.pop(0), frame

    def frame(self, index: int) -> NDArray:
        """Returns frame `index` (x, y)."""
        width, height, count = self.size
        if not 0 <= index < count:
            raise IndexError(f"{self.path.name} has frames 0 to {count - 1}, not {index}.")
        if self.compressed:
            return next(frame for _, frame in self.select([index]))
        length = width * height
        place = self.offset + index * length * self.dtype.itemsize
        values = np.fromfile(self.path, self.dtype, count=length, offset=place)
        if len(values) < length:
            raise _truncated(self.path)
        return values.reshape(height, width).T


def _header(handle: BinaryIO) -> tuple[dict[str, str], int]:
    fields: dict[str, str] = {}
    for _ in range(200):
        line = handle.readline(4096)
        key, mark, value = line.decode("latin-1").partition("=")
        if not mark:
            raise ValueError("its header does not end")
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            return fields, handle.tell()
    raise ValueError("its header does not end")


def _from_header(path: Path, fields: dict[str, str], offset: int) -> MhaStack:
    size = tuple(int(v) for v in fields["DimSize"].split())
    spacing = tuple(float(v) for v in fields.get("ElementSpacing", "1 1 1").split())
    if len(size) != 3 or fields["ElementDataFile"] != "LOCAL":
        raise ValueError(f"it has {len(size)} dimensions and its data in {fields['ElementDataFile']}")
    order = ">" if fields.get("BinaryDataByteOrderMSB", "False").lower() == "true" else "<"
    compressed = fields.get("CompressedData", "False").lower() == "true"
    return MhaStack(path, size, spacing, np.dtype(order + _TYPES[fields["ElementType"]]), offset, compressed)


def _inflate(handle: BinaryIO) -> Iterator[bytes]:
    # 32 lets zlib tell gzip from zlib by the header; both occur in MetaImage files.
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
    while chunk := handle.read(_CHUNK):
        yield inflater.decompress(chunk)
    yield inflater.flush()


def _blocks(source: Iterator[bytes], length: int, count: int, path: Path) -> Iterator[bytes]:
    buffer = bytearray()
    for part in source:
        buffer += part
        while len(buffer) >= length and count:
            yield bytes(buffer[:length])
            del buffer[:length]
            count -= 1
    if count:
        raise _truncated(path)


def _truncated(path: Path) -> UnreadableFileError:
    return UnreadableFileError(
        "The sweep ends before its last frame.",
        expected="as many frames as the header says",
        source=path,
        advice="Download the file again.",
    )
