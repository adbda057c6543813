"""DICOM for the fuzz suite: written by pydicom, and read element by element without it."""

import io
import re
import struct
import warnings
from typing import Any

import numpy as np
from robustness_images import read
from robustness_samples import Content, DamagedError, Kind, Sample, same_content

CT, MR, US = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.6.1"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
# Only explicit VR in little endian is judged, so it is the most frequent.
SYNTAXES = (EXPLICIT, EXPLICIT, EXPLICIT, EXPLICIT, IMPLICIT, BIG, DEFLATED, RLE)
LONG = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV")
WRONG = ("short", "blank", "spacing", "orientation", "no pixels", "no rows", "depth")
ROWS, COLUMNS, BITS, STORED, SIGNED = (0x280010, 0x280011, 0x280100, 0x280101, 0x280103)
HIGH, SAMPLES, MONOCHROME, FRAMES = 0x280102, 0x280002, 0x280004, 0x280008
SPACING, SLOPE, OFFSET, PIXELS = 0x280030, 0x281053, 0x281052, 0x7FE00010
ORIENTATION, POSITION, MODALITY, SYNTAX = 0x200037, 0x200032, 0x080060, 0x020010
NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def make(rng: np.random.Generator) -> Sample:
    """One frame of a scanner, in one of five transfer syntaxes; every fifth with one thing wrong."""
    columns, rows = (int(n) for n in rng.integers(4, 30, 2))
    bits, signed = int(rng.choice([8, 16])), int(rng.integers(2))
    signed = signed if bits == 16 else 0
    stored = bits if bits == 8 else int(rng.choice([12, 16]))
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1)) if signed else (0, 2**stored)
    pixels = rng.integers(low, high, (rows, columns)).astype(f"{'i' if signed else 'u'}{bits // 8}")
    pixels.flat[0], pixels.flat[-1] = 0, 100
    wrong = str(rng.choice(WRONG)) if rng.random() < 0.2 else ""
    if wrong == "blank":
        pixels[:] = 5
    rescaled = rng.random() < 0.5
    slope, offset = (
        (float(rng.choice([1.0, 2.0, 0.5])), float(rng.choice([-1024.0, 0.0]))) if rescaled else (1.0, 0.0)
    )
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    spacing, place = rng.uniform(0.1, 3.0, 2).round(3), rng.uniform(-200, 200, 3).round(2)
    header: dict[str, Any] = {
        "SOPClassUID": CT,
        "SOPInstanceUID": "1.2.3.4.5",
        "SeriesInstanceUID": "1.2.3.4",
        "Modality": str(rng.choice(["CT", "MR", "US"])),
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": bits,
        "BitsStored": stored,
        "HighBit": stored - 1,
        "PixelRepresentation": signed,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelSpacing": [float(spacing[1]), float(spacing[0])],
        "ImageOrientationPatient": [float(f"{v:.8f}") for v in (*turn[:, 0], *turn[:, 1])],
        "ImagePositionPatient": [float(v) for v in place],
    }
    header |= {"RescaleSlope": slope, "RescaleIntercept": offset} if rescaled else {}
    header |= _spoilt(wrong, rng)
    syntax = EXPLICIT if wrong else str(rng.choice(SYNTAXES))
    data = _written(header, pixels, syntax, with_pixels=wrong != "no pixels")
    data = data[: -pixels.nbytes // 2] if wrong == "short" else data
    truth = Content((pixels.astype(float) * slope + offset).T[None], _affine(header))
    return Sample(data, None if wrong else truth, f"DICOM {syntax} {bits} bits {wrong}".strip())


def _spoilt(wrong: str, rng: np.random.Generator) -> dict[str, Any]:
    if wrong == "spacing":
        return {"PixelSpacing": [float(rng.choice([0.0, -1.0])), 1.0]}
    if wrong == "orientation":
        return {"ImageOrientationPatient": [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]}
    if wrong == "depth":
        return {"BitsAllocated": 12}
    return {"Rows": None} if wrong == "no rows" else {}


def _affine(header: dict[str, Any]) -> np.ndarray:
    row, column = np.reshape(header["ImageOrientationPatient"], (2, 3))
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * header["PixelSpacing"][1], column * header["PixelSpacing"][0]
    affine[:3, 3] = header["ImagePositionPatient"]
    return LPS @ affine


def _written(header: dict[str, Any], pixels: np.ndarray, syntax: str, *, with_pixels: bool) -> bytes:
    from pydicom.dataset import Dataset, FileMetaDataset

    file = Dataset()
    for name, value in header.items():
        if value is not None:
            setattr(file, name, value)
    file.file_meta = FileMetaDataset()
    file.file_meta.MediaStorageSOPClassUID, file.file_meta.MediaStorageSOPInstanceUID = CT, "1.2.3.4.5"
    file.file_meta.TransferSyntaxUID = EXPLICIT if syntax == RLE else syntax
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if with_pixels:
            body = pixels.astype(pixels.dtype.newbyteorder(">")) if syntax == BIG else pixels
            file.PixelData = body.tobytes() + b"\0" * (body.nbytes % 2)
            file["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
        if syntax == RLE:
            file.compress(RLE, generate_instance_uid=False)
        file.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def judge(data: bytes) -> Content | None:
    """A frame in explicit VR and little endian without a sequence in its header; no claim on others."""
    found = _elements(data)
    if not found or found.get(SYNTAX, b"").rstrip(b"\0") != EXPLICIT.encode() or MODALITY not in found:
        return None
    numbers = {
        tag: struct.unpack("<H", v)[0] for tag, v in found.items() if tag >> 16 == 0x28 and len(v) == 2
    }
    wanted = (ROWS, COLUMNS, BITS, STORED, HIGH, SIGNED, SAMPLES)
    if any(tag not in numbers for tag in wanted) or numbers[SAMPLES] != 1 or FRAMES in found:
        return None
    if found.get(MONOCHROME) != b"MONOCHROME2 " or numbers[BITS] not in (8, 16) or PIXELS not in found:
        return None
    if numbers[STORED] > numbers[BITS] or numbers[HIGH] != numbers[STORED] - 1 or numbers[SIGNED] > 1:
        return None
    amount = numbers[ROWS] * numbers[COLUMNS]
    if not amount:
        return None
    if len(found[PIXELS]) < amount * numbers[BITS] // 8:
        raise DamagedError("fewer pixels than announced")
    kind = np.dtype(f"<{'i' if numbers[SIGNED] else 'u'}{numbers[BITS] // 8}")
    stored = np.frombuffer(found[PIXELS], kind, amount).reshape(numbers[ROWS], numbers[COLUMNS])
    slope, offset, place = (_floats(found.get(tag, b"")) for tag in (SLOPE, OFFSET, POSITION))
    header = {"PixelSpacing": _floats(found.get(SPACING, b"")), "ImagePositionPatient": place}
    header["ImageOrientationPatient"] = _floats(found.get(ORIENTATION, b""))
    if (SLOPE in found) != (OFFSET in found) or None in (slope, offset, *header.values()):
        return None
    if [len(v) for v in header.values()] != [2, 3, 6]:
        return None
    values = stored.astype(float) * (slope or [1.0])[0] + (offset or [0.0])[0]
    # Bits above those that count are cleared or kept by readers as they like: nothing is claimed then.
    if numbers[STORED] < numbers[BITS] and not _within(stored, numbers[STORED], numbers[SIGNED]):
        return None
    return Content(values.T[None], _affine(header))


def _within(stored: np.ndarray, bits: int, signed: int) -> bool:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    return bool(stored.min() >= low and stored.max() < high)


def _elements(data: bytes) -> dict[int, bytes]:
    """Values by tag, in rising order; nothing if anything is odd."""
    found: dict[int, bytes] = {}
    at, last = 132, 0
    if data[128:132] != b"DICM":
        return {}
    while at + 8 <= len(data):
        group, element, kind = struct.unpack_from("<HH2s", data, at)
        tag, wide = group << 16 | element, kind in LONG
        if (
            tag <= last
            or kind == b"SQ"
            or not re.fullmatch(rb"[A-Z]{2}", kind)
            or (wide and at + 12 > len(data))
        ):
            return {}
        size = (
            struct.unpack_from("<I", data, at + 8)[0] if wide else struct.unpack_from("<H", data, at + 6)[0]
        )
        start = at + (12 if wide else 8)
        if tag != PIXELS and start + size > len(data):
            return {}
        found[tag] = data[start : start + size]
        at, last = start + size, tag
    return found


def _floats(text: bytes) -> list[float] | None:
    parts = text.decode("latin-1").rstrip("\0").split("\\") if text else []
    return [float(p) for p in parts] if all(NUMBER.fullmatch(p) for p in parts) else None


def _load() -> None:
    import pydicom.pixels  # noqa: F401


KIND = Kind(".dcm", make, read, judge, same_content, _load)
