"""PNG for the fuzz suite: files written and read chunk by chunk, without Pillow."""

import struct
import zlib

import numpy as np
from robustness_images import read
from robustness_samples import Content, DamagedError, Kind, Sample, same_content

MAGIC = b"\x89PNG\r\n\x1a\n"
GREY, GREY_ALPHA = 0, 4
CHANNELS = {GREY: 1, GREY_ALPHA: 2}
WRONG = ("short", "blank", "crc", "adler", "size", "no end", "magic")
FILTERS = 5
CRITICAL = (b"IHDR", b"IDAT")


def make(rng: np.random.Generator) -> Sample:
    """A grey picture of 8 or 16 bits, with or without an opaque alpha channel, in any row filter."""
    width, height = (int(n) for n in rng.integers(3, 40, 2))
    depth, colour = int(rng.choice([8, 16])), int(rng.choice([GREY, GREY, GREY_ALPHA]))
    colour = GREY if depth == 16 else colour  # 16 bits with alpha are read with 8
    pixels = rng.integers(0, 2**depth, (height, width)).astype(f"u{depth // 8}")
    pixels.flat[0], pixels.flat[-1] = 0, 100
    wrong = str(rng.choice(WRONG)) if rng.random() < 0.25 else ""
    if wrong == "blank":
        pixels[:] = 9
    rows = np.stack([pixels, np.full_like(pixels, 255)], -1) if colour == GREY_ALPHA else pixels[..., None]
    raw = rows.astype(rows.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    step = CHANNELS[colour] * depth // 8
    packed = bytearray(zlib.compress(b"".join(_filtered(raw, step, rng)), 1))
    if wrong == "adler":
        packed[-1] ^= 1
    packed = packed[: len(packed) // 2] if wrong == "short" else packed
    shown = (0, height) if wrong == "size" else (width, height)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", *shown, depth, colour, 0, 0, 0)), (b"tEXt", b"Comment\0test")]
    half = len(packed) // 2
    chunks += [(b"IDAT", bytes(packed[:half])), (b"IDAT", bytes(packed[half:])), (b"IEND", b"")]
    data = b"".join(_chunk(name, body) for name, body in chunks[: -1 if wrong == "no end" else None])
    if wrong == "crc":
        data = _chunk(*chunks[0])[:-1] + b"\x00" + data[len(_chunk(*chunks[0])) :]
    truth = None if wrong else Content(pixels.T[None])
    return Sample((b"oops" if wrong == "magic" else MAGIC) + data, truth, f"PNG {depth} bits {wrong}".strip())


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _filtered(raw: np.ndarray, step: int, rng: np.random.Generator) -> list[bytes]:
    before, rows = np.zeros(raw.shape[1], int), []
    for row in raw.astype(int):
        kind = int(rng.integers(FILTERS))
        rows.append(
            bytes([kind]) + ((row - _predicted(kind, row, before, step)) % 256).astype(np.uint8).tobytes()
        )
        before = row
    return rows


def _predicted(kind: int, row: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    left = np.concatenate([np.zeros(step, int), row[:-step]])
    corner = np.concatenate([np.zeros(step, int), above[:-step]])
    return [np.zeros_like(row), left, above, (left + above) // 2, _paeth(left, above, corner)][kind]


def _paeth(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    guess = left + above - corner
    apart = np.abs(np.stack([guess - left, guess - above, guess - corner]))
    return np.choose(apart.argmin(0), [left, above, corner])


def judge(data: bytes) -> Content | None:
    """The picture, if all sums agree; no claim on what `make` does not write."""
    if not data.startswith(MAGIC):
        return None
    header, packed = b"", b""
    for name, body in _chunks(data[len(MAGIC) :]):
        header = body if name == b"IHDR" else header
        packed += body if name == b"IDAT" else b""
    if len(header) != 13 or not packed:
        raise DamagedError("no header or no pixels")
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", header)
    if depth not in (8, 16) or colour not in CHANNELS or any(rest) or (depth == 16 and colour == GREY_ALPHA):
        return None
    try:
        raw = zlib.decompress(packed)
    except zlib.error as error:
        raise DamagedError("compressed pixels") from error
    step = CHANNELS[colour] * depth // 8
    if not width or not height or len(raw) < height * (1 + width * step):
        raise DamagedError("fewer pixels than announced")
    pixels = _unfiltered(raw, width * step, height, step)
    if pixels is None:
        return None
    pixels = pixels.reshape(height, width, step)
    if colour == GREY_ALPHA:
        return Content(pixels[..., 0].T[None]) if (pixels[..., 1] == 255).all() else None
    return Content(np.ascontiguousarray(pixels).view(f">u{step}")[..., 0].T[None])


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    while len(data) >= 8:
        length, name = struct.unpack(">I", data[:4])[0], data[4:8]
        body, told = data[8 : 8 + length], data[8 + length : 12 + length]
        if name == b"IEND":
            return found
        if len(told) < 4 and name in CRITICAL:
            raise DamagedError("cut off")
        if name in CRITICAL and told != struct.pack(">I", zlib.crc32(name + body)):
            raise DamagedError("sum of a part")
        found.append((name, body))
        data = data[12 + length :]
    raise DamagedError("no end")


def _unfiltered(raw: bytes, length: int, height: int, step: int) -> np.ndarray | None:
    rows = np.frombuffer(raw, np.uint8, height * (length + 1)).reshape(height, length + 1)
    above, result = [0] * length, np.zeros((height, length), np.uint8)
    for index, (kind, *values) in enumerate(rows.tolist()):
        if kind >= FILTERS:
            return None
        row: list[int] = []
        for place, value in enumerate(values):
            left = row[place - step] if place >= step else 0
            corner = above[place - step] if place >= step else 0
            guess = _guess(kind, left, above[place], corner)
            row.append((value + guess) % 256)
        result[index], above = row, row
    return result


def _guess(kind: int, left: int, above: int, corner: int) -> int:
    if kind < 4:
        return (0, left, above, (left + above) // 2)[kind]
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: abs(guess - value))


KIND = Kind(".png", make, read, judge, same_content)
