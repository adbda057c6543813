"""What the machine does to echoes: log compression, grey map, smoothing, scan conversion, marks.

Frames are arrays (X, Y): columns to the right, rows away from the probe.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates

from medbundles.simulators.ultrasound import Echoes, Probe
from medbundles.simulators.ultrasound_maps import Floats

FLOOR = 1e-6
KNEE = 0.7
WORDS = (
    "Gn {}",
    "C{}-{}",
    "{}Hz/{}.2cm",
    "{}/{}",
    "2. Trim.",
    "AO 9{}%",
    "FF{}/E{}",
    "SRI II {}",
    "MI 1.{}",
    "Har-high",
)


@dataclass(frozen=True)
class View:
    """A frame's place in the scene: the point (x, z) of pixel (0, 0), pixel size in mm, columns and rows."""

    origin: tuple[float, float]
    spacing: float
    size: tuple[int, int]

    def grid(self) -> tuple[Floats, Floats]:
        """x and z of the pixel centres, both (X, Y)."""
        x = self.origin[0] + self.spacing * np.arange(self.size[0], dtype=np.float32)
        z = self.origin[1] + self.spacing * np.arange(self.size[1], dtype=np.float32)
        return np.broadcast_to(x[:, None], self.size), np.broadcast_to(z[None], self.size)

    def to_pixels(self, point: tuple[float, float]) -> tuple[float, float]:
        """Pixel coordinates of a point in mm."""
        return (point[0] - self.origin[0]) / self.spacing, (point[1] - self.origin[1]) / self.spacing


@dataclass(frozen=True)
class Machine:
    """Display settings.

    Args:
        dynamic_range: dB from black to white.
        level: grey, 0 to 1, at which the reference echo is shown.
        gamma: exponent of the grey map.
        smoothing: speckle reduction, mm.
        mix: how much of the smoothed image is shown, 0 to 1.
        edges: edge enhancement, 0 for none.
        levelling: how much of the change of brightness with depth the gain sliders take out, 0 to 1.
    """

    dynamic_range: float = 55.0
    level: float = 0.35
    gamma: float = 1.0
    smoothing: float = 0.4
    mix: float = 0.6
    edges: float = 0.4
    levelling: float = 0.5


def random_machine(rng: np.random.Generator, *, detail: float = 1.0) -> Machine:
    """Settings between a smooth modern picture and a harsh, grainy one; `detail` scales the smoothing."""
    return Machine(
        dynamic_range=rng.uniform(48, 80),
        level=rng.uniform(0.14, 0.36),
        gamma=rng.uniform(0.85, 1.3),
        smoothing=rng.uniform(0.35, 1.0) * detail,
        mix=rng.uniform(0.4, 1.0),
        edges=rng.uniform(0, 1) ** 2,
        levelling=rng.uniform(0.1, 0.8),
    )


def show(
    echoes: Echoes, view: View, machine: Machine, *, reference: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Returns the picture (X, Y) in 0..1, black outside the sector, and the sector's mask.

    `reference` is the amplitude that is shown at the machine's grey level.
    """
    decibel = 20 * np.log10(np.maximum(echoes.amplitude, FLOOR) / max(reference, FLOOR))
    decibel -= machine.levelling * _trend(decibel)[:, None]
    picture, sector = scan_convert(decibel.astype(np.float32), echoes.probe, view)
    picture = _reduce_speckle(picture, machine, view.spacing)
    grey = np.maximum(machine.level + picture / machine.dynamic_range, 0)
    # The top of the grey map bends, so that bright echoes keep some shape.
    grey = (
        np.where(grey > KNEE, KNEE + (1 - KNEE) * np.tanh((grey - KNEE) / (1 - KNEE)), grey) ** machine.gamma
    )
    return np.where(sector, grey, 0).astype(np.float32), sector


def _trend(decibel: Floats) -> Floats:
    """How the typical tissue echo changes with depth; fluid and shadow, far weaker, do not count."""
    tissue = np.where(decibel > -25, decibel, np.nan)
    enough = np.isfinite(tissue).mean(axis=1) > 0.1
    if not enough.any():
        return np.zeros(len(decibel), np.float32)
    rows = np.flatnonzero(enough)
    middle = np.interp(np.arange(len(decibel)), rows, np.nanmedian(tissue[rows], axis=1))
    return gaussian_filter1d(middle, len(decibel) / 14, mode="nearest").astype(np.float32)


def scan_convert(beams: Floats, probe: Probe, view: View) -> tuple[Floats, NDArray[np.bool_]]:
    """Returns beam data (depth, line) on the frame's pixels and which pixels lie in the sector."""
    depth, angle = probe.beam_coordinates(*view.grid())
    sector = (depth >= 0) & (depth <= probe.depth) & (np.abs(angle) <= probe.half_angle)
    row = depth * ((probe.samples - 1) / probe.depth)
    line = (angle + probe.half_angle) * ((probe.lines - 1) / (2 * probe.half_angle))
    return map_coordinates(beams, [row, line], order=1, mode="nearest"), sector


def _reduce_speckle(picture: Floats, machine: Machine, spacing: float) -> Floats:
    smooth = gaussian_filter(picture, machine.smoothing / spacing, truncate=3.0)
    picture = picture + machine.mix * (smooth - picture)
    if machine.edges:
        wide = gaussian_filter(picture, 3 * machine.smoothing / spacing, truncate=2.5)
        picture = picture + machine.edges * (picture - wide)
    return picture


def add_marks(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Returns the frame with some of: a grey bar, a ruler, text, and black boxes that hide text."""
    image = Image.fromarray(np.ascontiguousarray(picture.T))
    draw = ImageDraw.Draw(image)
    width, height = image.size
    if rng.random() < 0.6:
        _grey_bar(image, rng)
    if rng.random() < 0.5:
        step = height / rng.integers(8, 30)
        column = 1 if rng.random() < 0.7 else width - 4
        for row in np.arange(step / 2, height, step):
            draw.line([(column, row), (column + 2, row)], fill=int(rng.integers(90, 220)))
    if rng.random() < 0.7:
        _text_block(draw, (width, height), rng)
    if rng.random() < 0.2:
        _black_edge(draw, (width, height), rng)
    if rng.random() < 0.12:
        _black_box(draw, (width, height), rng)
    return np.ascontiguousarray(np.asarray(image).T)


def _grey_bar(image: Image.Image, rng: np.random.Generator) -> None:
    width, height = image.size
    length, thick = int(height * rng.uniform(0.12, 0.35)), int(rng.integers(3, 8))
    if rng.random() < 0.4:
        thick = int(width * 0.05)
    ramp = np.linspace(255, 0, length).astype(np.uint8)[:, None]
    image.paste(Image.fromarray(np.repeat(ramp, thick, axis=1)), (0, int(rng.integers(0, height // 10))))


def _text_block(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """A few short lines in the upper right corner, as machines write their settings."""
    font = ImageFont.load_default(size=max(9, int(size[1] * rng.uniform(0.018, 0.035))))
    row, grey = size[1] * 0.01, int(rng.integers(110, 256))
    for _ in range(rng.integers(1, 8)):
        text = str(rng.choice(WORDS)).format(*rng.integers(1, 60, 2))
        draw.text((size[0] - 4 - draw.textlength(text, font=font), row), text, fill=grey, font=font)
        row += font.size * 1.15


def _black_edge(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """A straight black margin at the bottom or a side, where the stored picture ends."""
    (width, height), share = size, rng.uniform(0.02, 0.12)
    boxes = [(0, height * (1 - share), width, height), (0, 0, width * share, height)]
    boxes += [boxes[0], (width * (1 - share), 0, width, height)]
    draw.rectangle(boxes[rng.integers(4)], fill=0)


def _black_box(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """A blackened corner: stored frames have text with personal data painted over."""
    width, height = size[0] * rng.uniform(0.08, 0.3), size[1] * rng.uniform(0.05, 0.25)
    x = 0 if rng.random() < 0.3 else size[0] - width
    y = 0 if rng.random() < 0.3 else size[1] - height
    draw.rectangle([x, y, x + width, y + height], fill=0)
