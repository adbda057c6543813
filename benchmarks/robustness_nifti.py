"""NIfTI for the fuzz suite: files written and read field by field, without nibabel."""

import gzip
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
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
OTHER_TYPES = (1, 32, 128, 1536, 1792, 2048, 2304)  # bits, complex, colour, 128 bits: nothing is claimed
UNITS = {1: 1e3, 2: 1.0, 3: 1e-3}
# Offset and format of each field, by the length of the header: NIfTI-1 and NIfTI-2.
FIELDS = {
    348: {
        **{"dim": (40, "8h"), "datatype": (70, "h"), "bitpix": (72, "h"), "pixdim": (76, "8f")},
        **{"vox_offset": (108, "f"), "scl_slope": (112, "f"), "scl_inter": (116, "f")},
        **{"xyzt_units": (123, "b"), "qform_code": (252, "h"), "sform_code": (254, "h")},
        **{"quatern": (256, "3f"), "qoffset": (268, "3f"), "srow": (280, "12f"), "magic": (344, "4s")},
    },
    540: {
        **{"magic": (4, "8s"), "datatype": (12, "h"), "bitpix": (14, "h"), "dim": (16, "8q")},
        **{"pixdim": (104, "8d"), "vox_offset": (168, "q"), "scl_slope": (176, "d"), "scl_inter": (184, "d")},
        **{
            "qform_code": (344, "i"),
            "sform_code": (348, "i"),
            "quatern": (352, "3d"),
            "qoffset": (376, "3d"),
        },
        **{"srow": (400, "12d"), "xyzt_units": (500, "i")},
    },
}
MAGIC = {348: b"n+1\0", 540: b"n+2\0\r\n\x1a\n"}
WRONG = ("nan", "blank", "spacing", "axes", "disagree", "magic", "dim", "type", "short", "scale")


def make(rng: np.random.Generator) -> Sample:
    """A file with a choice of every field; every fourth has one thing wrong that must be refused."""
    ndim = int(rng.integers(2, 4))
    shape = tuple(int(n) for n in rng.integers(3, 14, ndim))
    kind = np.dtype(rng.choice(list(TYPES.values())))
    pixels, affine = random_pixels(rng, shape, kind), random_axes(rng, ndim)
    size, order = int(rng.choice([348, 540])), str(rng.choice(["<", ">"]))
    unit = int(rng.choice([0, 1, 2, 3]))
    scale = (float(rng.choice([0.5, 2.0, -1.0])), float(rng.choice([-1024.0, 0.0, 3.5])))
    scale = (
        scale if rng.random() < 0.4 and kind.itemsize < 8 else (float(rng.choice([0.0, np.nan, 1.0])), 0.0)
    )
    wrong = str(rng.choice(WRONG)) if rng.random() < 0.25 else ""
    stored = affine / np.array([UNITS.get(unit, 1.0)] * 3 + [1.0])[:, None]
    fields = {
        "dim": (ndim, *shape, *[1] * (7 - ndim)),
        "datatype": next(code for code, name in TYPES.items() if np.dtype(name) == kind),
        "bitpix": 8 * kind.itemsize,
        "pixdim": (1.0, *np.linalg.norm(stored[:3, :3], axis=0), 1, 1, 1, 1),
        "vox_offset": size + 4,
        "scl_slope": scale[0],
        "scl_inter": scale[1],
        "xyzt_units": unit + 8 * int(rng.choice([0, 1])),
        "qform_code": 0,
        "sform_code": int(rng.integers(1, 5)),
        "quatern": (0.0, 0.0, 0.0),
        "qoffset": (0.0, 0.0, 0.0),
        "srow": tuple(stored[:3].ravel()),
        "magic": MAGIC[size],
    }
    pixels, fields = _spoilt(wrong, pixels, fields, rng)
    body = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes("F")
    data = _header(size, order, fields) + bytes(4) + (body[:-5] if wrong == "short" else body)
    data = gzip.compress(data, 1)
    scaled = (
        pixels.astype(float) * scale[0] + scale[1]
        if scale[0] not in (0.0,) and scale[0] == scale[0]
        else pixels
    )
    truth = None if wrong else Content(scaled[None], affine)
    return Sample(data, truth, f"NIfTI-{1 + (size == 540)} {kind} {wrong}".strip())


def _spoilt(
    wrong: str, pixels: np.ndarray, fields: dict, rng: np.random.Generator
) -> tuple[np.ndarray, dict]:
    changes: dict = {}
    if wrong == "nan":
        kind = {"f4": 16, "f8": 64}[str(rng.choice(["f4", "f8"]))]
        pixels = pixels.astype(TYPES[kind])
        pixels.flat[1] = rng.choice([np.nan, np.inf, -np.inf])
        changes = {"datatype": kind, "bitpix": 8 * pixels.itemsize, "scl_slope": 0.0}
    elif wrong == "blank":
        pixels = np.full_like(pixels, 7)
    elif wrong == "spacing":
        rows = np.array(fields["srow"]).reshape(3, 4)
        rows[:, 0] *= rng.choice([0.0, np.nan, 1e9])
        changes = {"srow": tuple(rows.ravel())}
    elif wrong == "axes":
        rows = np.array(fields["srow"]).reshape(3, 4)
        rows[:, 1] = rows[:, 0]
        changes = {"srow": tuple(rows.ravel())}
    elif wrong == "disagree":
        changes = {"qform_code": 1, "qoffset": (900.0, 0.0, 0.0)}
    elif wrong == "magic":
        changes = {"magic": b"oops"}
    elif wrong == "dim":
        changes = {"dim": (fields["dim"][0], int(rng.choice([0, -4])), *fields["dim"][2:])}
    elif wrong == "type":
        changes = {"datatype": int(rng.choice([0, 3, 77, 32, 1792]))}
    elif wrong == "scale":
        changes = {"scl_slope": 2.0, "scl_inter": float("nan")}
    return pixels, fields | changes


def _header(size: int, order: str, fields: dict) -> bytes:
    header = bytearray(size)
    struct.pack_into(order + "i", header, 0, size)
    for name, value in fields.items():
        offset, layout = FIELDS[size][name]
        struct.pack_into(order + layout, header, offset, *(value if isinstance(value, tuple) else (value,)))
    return bytes(header)


def judge(data: bytes) -> Content | None:
    """What the bytes say by the standard's own words; None beyond what we read so strictly."""
    try:
        data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DamagedError("gzip") from error
    sizes = {(s, o) for s in FIELDS for o in "<>" if data[:4] == struct.pack(o + "i", s)}
    if not sizes:
        raise DamagedError("neither length of a header")
    size, order = sizes.pop()
    if len(data) < size:
        raise DamagedError("a header cut off")
    fields = {n: struct.unpack_from(order + f, data, at) for n, (at, f) in FIELDS[size].items()}
    one = {name: values[0] for name, values in fields.items() if len(values) == 1}
    if one["magic"] != MAGIC[size]:
        return None
    pixels = _pixels(data, fields, one, order)
    return None if pixels is None else Content(pixels[None], _affine(fields, one, pixels.ndim))


def _pixels(data: bytes, fields: dict, one: dict, order: str) -> np.ndarray | None:
    count, *shape = fields["dim"]
    if not 1 <= count <= 7 or min(shape[:count]) < 1:
        raise DamagedError("sizes")
    if one["datatype"] in OTHER_TYPES:
        return None
    if one["datatype"] not in TYPES:
        raise DamagedError("type")
    while count > 3 and shape[count - 1] == 1:
        count -= 1
    if count > 3 or count < 2:
        return None
    kind = np.dtype(TYPES[one["datatype"]]).newbyteorder(order)
    amount, start = int(np.prod([int(n) for n in shape[:count]], dtype=object)), one["vox_offset"]
    if not np.isfinite(start) or start < 0 or int(start) + amount * kind.itemsize > len(data):
        raise DamagedError("fewer pixels than announced")
    stored = np.frombuffer(data, kind, amount, int(start)).reshape(shape[:count], order="F")
    slope, offset = one["scl_slope"], one["scl_inter"]
    if np.isfinite(slope) and slope != 0:
        if not np.isfinite(offset):
            raise DamagedError("an offset that is no number")
        stored = stored.astype(float) * slope + offset
    return stored[..., 0] if count == 3 and shape[2] == 1 else stored


def _affine(fields: dict, one: dict, ndim: int) -> np.ndarray | None:
    """The sform; no claim without one."""
    if one["sform_code"] <= 0:
        return None
    affine = np.eye(4)
    affine[:3] = np.array(fields["srow"]).reshape(3, 4) * UNITS.get(one["xyzt_units"] & 7, 1.0)
    if not np.isfinite(affine).all() or (np.linalg.norm(affine[:3, :ndim], axis=0) == 0).any():
        raise DamagedError("axes that are no numbers")
    return affine


KIND = Kind(".nii.gz", make, read, judge, same_content)
