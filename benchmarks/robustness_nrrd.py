"""NRRD for the fuzz suite: files written and read line by line, without ITK."""

import gzip
import re
import struct
import zlib

import numpy as np
from robustness_images import read
from robustness_samples import (
    Content,
    DamagedError,
    Kind,
    Sample,
    random_axes,
    random_pixels,
    same_content,
)

TYPES = {
    **{"uint8": "u1", "unsigned char": "u1", "uchar": "u1", "int8": "i1", "signed char": "i1"},
    **{"int16": "i2", "short": "i2", "uint16": "u2", "unsigned short": "u2", "ushort": "u2"},
    **{"int32": "i4", "int": "i4", "uint32": "u4", "unsigned int": "u4"},
    **{"float": "f4", "double": "f8"},
}
# What leads from a file's space to RAS.
SPACES = {
    "left-posterior-superior": np.diag([-1.0, -1.0, 1.0, 1.0]),
    "LPS": np.diag([-1.0, -1.0, 1.0, 1.0]),
    "right-anterior-superior": np.eye(4),
    "RAS": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
}
ENCODINGS = ("raw", "gzip", "ascii", "hex")
KNOWN = {
    "type",
    "dimension",
    "sizes",
    "encoding",
    "endian",
    "space",
    "space directions",
    "space origin",
    "kinds",
}
WRONG = ("short", "nan", "blank", "zero axis", "type", "sizes", "magic", "crc", "coincide")


def make(rng: np.random.Generator) -> Sample:
    """A volume in a choice of types, spaces and encodings; every fourth has one thing wrong."""
    shape = tuple(int(n) for n in rng.integers(3, 14, 3))
    name = str(rng.choice(list(TYPES)))
    kind = np.dtype(TYPES[name])
    pixels, affine = random_pixels(rng, shape, kind), random_axes(rng, 3)
    wrong = str(rng.choice(WRONG)) if rng.random() < 0.25 else ""
    if wrong == "nan":
        name, pixels = "float", pixels.astype("f4")
        pixels.flat[1] = rng.choice([np.nan, np.inf])
    if wrong == "blank":
        pixels = np.full_like(pixels, 3)
    encoding = "gzip" if wrong == "crc" else "raw" if wrong == "nan" else str(rng.choice(ENCODINGS))
    space, order = str(rng.choice(list(SPACES))), str(rng.choice(["little", "big"]))
    stored = SPACES[space] @ affine
    if wrong == "zero axis":
        stored[:3, 1] = 0
    if wrong == "coincide":
        stored[:3, 1] = stored[:3, 0]
    lines = [
        "OOPS0004" if wrong == "magic" else str(rng.choice(["NRRD0004", "NRRD0005"])),
        "# made for a test",
        f"type: {'quad' if wrong == 'type' else name}",
        "dimension: 3",
        f"space: {space}",
        "sizes: " + " ".join(str(n) for n in ((0, *shape[1:]) if wrong == "sizes" else shape)),
        "space directions: " + " ".join(_vector(stored[:3, axis]) for axis in range(3)),
        "kinds: domain domain domain",
        f"endian: {order}",
        f"encoding: {encoding}",
        f"space origin: {_vector(stored[:3, 3])}",
    ]
    body = _encoded(pixels, encoding, order)
    body = body[: len(body) // 2] if wrong == "short" else body
    body = body[:-8] + bytes(4) + body[-4:] if wrong == "crc" else body
    truth = None if wrong else Content(pixels[None], affine)
    return Sample(
        "\n".join([*lines, "", ""]).encode() + body, truth, f"NRRD {name} {encoding} {wrong}".strip()
    )


def _vector(values: np.ndarray) -> str:
    return "(" + ",".join(repr(float(v)) for v in values) + ")"


def _encoded(pixels: np.ndarray, encoding: str, order: str) -> bytes:
    if encoding == "ascii":
        return " ".join(str(v) for v in pixels.ravel("F").tolist()).encode() + b"\n"
    raw = pixels.astype(pixels.dtype.newbyteorder("<" if order == "little" else ">")).tobytes("F")
    return gzip.compress(raw, 1) if encoding == "gzip" else raw.hex().encode() if encoding == "hex" else raw


def judge(data: bytes) -> Content | None:
    """What the bytes say, if every line of the header is of the kind that `make` writes; else None."""
    head, found, body = data.partition(b"\n\n")
    if not found or not re.fullmatch(rb"NRRD000[1-5]", head.split(b"\n", 1)[0]):
        return None
    try:
        lines = [line for line in head.decode("ascii").split("\n")[1:] if not line.startswith("#")]
        fields = dict(line.split(": ", 1) for line in lines)
        shape = tuple(int(n) for n in fields["sizes"].split())
        axes = [_numbers(v) for v in fields["space directions"].split(" ")]
        origin, lead = _numbers(fields["space origin"]), SPACES[fields["space"]]
        kind = np.dtype(TYPES[fields["type"]])
        order = {"little": "<", "big": ">"}[fields["endian"]]
    except (UnicodeDecodeError, ValueError, KeyError):
        return None
    if set(fields) != KNOWN or len(lines) != len(KNOWN) or fields["dimension"] != "3":
        return None
    if fields["kinds"] != "domain domain domain" or [len(v) for v in (*axes, origin)] != [3] * 4:
        return None
    pixels = _decoded(body, fields["encoding"], kind.newbyteorder(order), shape)
    if pixels is None or 1 in shape:
        return None
    affine = np.eye(4)
    affine[:3] = np.column_stack([*axes, origin])
    return Content(pixels[None], lead @ affine)


def _numbers(text: str) -> list[float]:
    if not re.fullmatch(r"\([-+.,\deE]+\)", text):
        raise ValueError(text)
    return [float(v) for v in text[1:-1].split(",")]


def _decoded(body: bytes, encoding: str, kind: np.dtype, shape: tuple[int, ...]) -> np.ndarray | None:
    amount = int(np.prod(shape, dtype=object))
    if amount < 1 or min(shape) < 1:
        raise DamagedError("sizes")
    if encoding == "gzip":
        try:
            body = gzip.decompress(body)
        except (OSError, EOFError, zlib.error, struct.error) as error:
            raise DamagedError("gzip") from error
    elif encoding != "raw":
        return None
    if len(body) < amount * kind.itemsize:
        raise DamagedError("fewer pixels than announced")
    return np.frombuffer(body, kind, amount).reshape(shape, order="F")


def _load() -> None:
    import itk

    itk.NrrdImageIO.New()


KIND = Kind(".nrrd", make, read, judge, same_content, _load)
