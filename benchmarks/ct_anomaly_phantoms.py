"""Images of one disc and one rectangle, with or without a small round anomaly in one of them.

Grey values are 0 outside, arrays (x, y), lengths in pixels.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

Picture = NDArray[np.float32]
Host = Literal["nothing", "rectangle", "disc"]

SIZE = 128
DISC, RECTANGLE = 1.0, 0.6
NOISE = 0.15
CONTRAST = (1.0, 1.5)  # of the anomaly, in units of the noise
RADIUS = (2.0, 3.0)
APART = 6  # between the border of a shape and an anomaly, which leaves room for its ring
RING = (2.0, 5.0)  # distances from the anomaly's border


@dataclass(frozen=True)
class Phantom:
    """A picture without noise.

    Attributes:
        plain: disc and rectangle.
        anomaly: what the anomaly adds; zero without one.
        mask, ring: where it is, and what it is compared with; empty without one.
    """

    plain: Picture
    anomaly: Picture
    mask: NDArray[np.bool_]
    ring: NDArray[np.bool_]


def phantom(rng: np.random.Generator, host: Host = "nothing") -> Phantom:
    """A disc and a rectangle of random size and place, side by side, and an anomaly in the host."""
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    radius = rng.uniform(16, 26)
    half = rng.uniform(14, 26, 2)
    disc_at = rng.uniform((radius + 3, radius + 3), (61 - radius, SIZE - 4 - radius))
    box_at = rng.uniform((66 + half[0], half[1] + 3), (SIZE - 4 - half[0], SIZE - 4 - half[1]))
    picture = DISC * _soft(radius - np.hypot(x - disc_at[0], y - disc_at[1]))
    inside = np.minimum(half[0] - np.abs(x - box_at[0]), half[1] - np.abs(y - box_at[1]))
    picture = picture + RECTANGLE * _soft(inside)
    anomaly, distance = np.zeros_like(picture), np.full(picture.shape, np.inf)
    if host != "nothing":
        size, contrast = rng.uniform(*RADIUS), rng.uniform(*CONTRAST) * NOISE * rng.choice([-1, 1])
        reach = size + APART
        at = _in_disc(rng, disc_at, radius - reach) if host == "disc" else _in_box(rng, box_at, half - reach)
        distance = np.hypot(x - at[0], y - at[1]) - size
        anomaly = contrast * _soft(-distance)
    turned = (picture, anomaly, distance < 0, (distance > RING[0]) & (distance < RING[1]))
    turned = turned if rng.random() < 0.5 else tuple(part[::-1] for part in turned)
    turned = turned if rng.random() < 0.5 else tuple(part.T for part in turned)
    plain, anomaly, mask, ring = (np.ascontiguousarray(part) for part in turned)
    return Phantom(plain.astype(np.float32), anomaly.astype(np.float32), mask, ring)


class UnpairedPhantoms(Dataset):
    """Noisy pictures beside pictures without noise of other phantoms, the same in every run.

    Args:
        host: where the anomalies are, in both.
        n: items.
        seed: of the pictures.
    """

    def __init__(self, host: Host, n: int, seed: int) -> None:
        self.host, self.n, self.seed = host, n, seed

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """`noisy` and `clean` (1, X, Y)."""
        rng = np.random.default_rng([self.seed, index])
        first, second = phantom(rng, self.host), phantom(rng, self.host)
        noisy = first.plain + first.anomaly + NOISE * rng.standard_normal((SIZE, SIZE), dtype=np.float32)
        return {
            "noisy": torch.from_numpy(noisy)[None],
            "clean": torch.from_numpy(second.plain + second.anomaly)[None],
        }


def _soft(depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 inside, 0 outside, with a pixel of transition."""
    return np.clip(depth + 0.5, 0, 1)


def _in_disc(rng: np.random.Generator, centre: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    angle, away = rng.uniform(0, 2 * np.pi), radius * np.sqrt(rng.random())
    return centre + away * np.array([np.cos(angle), np.sin(angle)])


def _in_box(
    rng: np.random.Generator, centre: NDArray[np.float64], half: NDArray[np.float64]
) -> NDArray[np.float64]:
    return centre + rng.uniform(-1, 1, 2) * half
