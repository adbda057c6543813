"""What the fuzz suite shares: a sample, what is known of it, and damage to its bytes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HEAD_BYTES = 512  # where most headers are
EXTREMES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x01")


class DamagedError(Exception):
    """What the bytes say cannot be: no reader may answer without a word."""


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        array: channel-first.
        affine: 4x4 in RAS; None where nothing is claimed.
    """

    array: np.ndarray
    affine: np.ndarray | None = None


@dataclass(frozen=True)
class Sample:
    """One input.

    Attributes:
        data: its bytes.
        truth: what a reader must find; None where the file must be refused.
        what: a few words for the table of failures.
    """

    data: bytes
    truth: Any
    what: str


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
        suffix: of its files.
        make: a sample from random numbers, with the truth known from the making.
        answer: what medbundles makes of a file, with its warnings.
        judge: what the bytes say by a reader of our own that shares nothing with the one under test. None is
            no claim; DamagedError is the claim that they say nothing.
        same: whether an answer is the truth.
        ready: loads what takes long the first time.
    """

    suffix: str
    make: Callable[[np.random.Generator], Sample]
    answer: Callable[[Path], tuple[Any, list[str]]]
    judge: Callable[[bytes], Any]
    same: Callable[[Any, Any], bool]
    ready: Callable[[], None] = lambda: None


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes after one to four accidents: bits turned, bytes lost, doubled, moved or cut off."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        _accident(changed, rng)
    return bytes(changed)


def _accident(data: bytearray, rng: np.random.Generator) -> None:
    if not data:
        return
    # Every second accident hits the header, which is a small part of most files.
    place = int(rng.integers(min(len(data), HEAD_BYTES) if rng.random() < 0.5 else len(data)))
    length = int(min(len(data) - place, 2 ** rng.integers(0, 7)))
    kind = rng.choice(["bit", "byte", "extreme", "cut", "lose", "double", "zero", "insert"])
    if kind == "bit":
        data[place] ^= 1 << int(rng.integers(8))
    elif kind == "byte":
        data[place] = int(rng.integers(256))
    elif kind == "extreme":
        width = int(min(len(data) - place, rng.choice([1, 2, 4, 8])))
        data[place : place + width] = EXTREMES[int(rng.integers(len(EXTREMES)))] * width
    elif kind == "cut":
        del data[place:]
    elif kind == "lose":
        del data[place : place + length]
    elif kind == "double":
        data[place:place] = data[place : place + length]
    elif kind == "zero":
        data[place : place + length] = bytes(length)
    else:
        data[place:place] = rng.integers(0, 256, length, dtype=np.uint8).tobytes()


def random_axes(rng: np.random.Generator, ndim: int) -> np.ndarray:
    """A 4x4 affine with axes turned and mirrored, uneven spacing and an origin far from zero."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    if rng.random() < 0.5 or ndim == 2:
        turn = np.eye(3)[rng.permutation(3) if ndim == 3 else [0, 1, 2]] * rng.choice([-1.0, 1.0], 3)
    affine = np.eye(4)
    affine[:3, :3] = turn * rng.uniform(0.1, 4.0, 3)
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return affine


def random_pixels(rng: np.random.Generator, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
    """Pixels of a type, with its extremes among them and never all equal."""
    if kind.kind == "f":
        pixels = rng.normal(0, 1000, shape).astype(kind)
    else:
        limits = np.iinfo(kind)
        low, high = max(limits.min, -(2**31)), min(limits.max, 2**31)
        pixels = rng.integers(low, high, shape).astype(kind)
    pixels.flat[0], pixels.flat[-1] = 0, 100
    return pixels


def same_content(found: Content, truth: Content) -> bool:
    """Whether values, type of axes and place are the same; the place to a hundredth of a pixel."""
    if found.array.shape != truth.array.shape:
        return False
    wanted = truth.array.astype(float)
    if not np.allclose(found.array.astype(float), wanted, rtol=1e-5, atol=1e-5, equal_nan=True):
        return False
    if truth.affine is None:
        return True
    ndim = truth.array.ndim - 1
    columns = [*range(ndim), 3]
    tolerance = 0.01 * np.linalg.norm(truth.affine[:3, :ndim], axis=0).min()
    return np.allclose(
        found.affine[:3, columns], truth.affine[:3, columns], rtol=1e-4, atol=max(tolerance, 1e-4)
    )
