"""Antialiased contours, calipers and text on a picture, without fills that would hide the anatomy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Bright and distinct on grey, also for colour-blind readers.
LABEL_COLOURS = ["#FFB000", "#39B8FF", "#FF6EB4", "#7FE07F", "#C9A2FF", "#FF7D54", "#F2EE6B", "#4FDCCB"]
WHITE, GREY, BLACK = "#FFFFFF", "#9AA4AE", "#0C0F12"
LINE_WIDTH = 1.8
TEXT_GAP = 12  # from the end of a line to its text
SUPERSAMPLING = 3

Point = tuple[float, float]


def label_colour(value: int) -> str:
    """Returns the colour of a label value, the same in every picture."""
    return LABEL_COLOURS[(int(value) - 1) % len(LABEL_COLOURS)]


def font(size: float) -> ImageFont.FreeTypeFont:
    """Returns the font that comes with Pillow, so that pictures are the same everywhere."""
    return ImageFont.load_default(size=size)


def draw_contour(picture: np.ndarray, mask: np.ndarray, colour: str) -> None:
    """Draws the outline of a mask into an RGB picture of floats, in place.

    Args:
        picture: (rows, columns, 3), 0 to 255.
        mask: (x, y) in voxels, covering the same area as the picture.
        colour: as `#RRGGBB`.
    """
    distance = _signed_distance(mask, (picture.shape[1], picture.shape[0]))
    for width, opacity, paint in ((LINE_WIDTH + 1.6, 0.45, BLACK), (LINE_WIDTH, 1.0, colour)):
        alpha = opacity * np.clip(width / 2 + 0.5 - np.abs(distance), 0, 1)[..., None]
        picture += alpha * (_rgb(paint) - picture)


def _signed_distance(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns (rows, columns) distances to the outline in picture pixels, negative inside."""
    from scipy import ndimage

    factor = size[0] / mask.shape[0]
    field = Image.fromarray(mask.T.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    inside = np.asarray(field) >= 0.5
    if factor > 1.5:  # rounds the staircase of enlarged pixels, by less than half a voxel
        smooth = ndimage.gaussian_filter(np.asarray(field), 0.5 * factor) >= 0.5
        inside = smooth if smooth.sum() > 0.7 * inside.sum() else inside
    if not inside.any() or inside.all():
        return np.full(inside.shape, np.inf)
    # An outline along the border of the picture is not an outline of the structure: edt sees no border.
    outer, inner = (ndimage.distance_transform_edt(m) for m in (~inside, inside))
    return np.where(inside, 0.5 - inner, outer - 0.5)


class Overlay:
    """A transparent sheet for lines and text in picture coordinates, pasted antialiased at the end."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.sheet = Image.new("RGBA", (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING), (0, 0, 0, 0))
        self.pen = ImageDraw.Draw(self.sheet)

    def line(self, points: Sequence[Point], colour: str, width: float = LINE_WIDTH) -> None:
        """Draws a polyline with a dark rim."""
        points = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]
        for extra, paint in ((1.6, BLACK + "70"), (0.0, colour)):
            self.pen.line(points, fill=paint, width=round((width + extra) * SUPERSAMPLING), joint="curve")

    def dashed(self, points: Sequence[Point], colour: str, dash: float = 7.0) -> None:
        """Draws a polyline as dashes of equal length."""
        points = np.asarray(points, float)
        along = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
        for start in np.arange(0, along[-1], 2 * dash):
            at = np.linspace(start, min(start + dash, along[-1]), 5)
            piece = [(np.interp(a, along, points[:, 0]), np.interp(a, along, points[:, 1])) for a in at]
            self.line(piece, colour, 1.3)

    def cross(self, point: Point, colour: str, size: float = 5.0) -> None:
        """Draws a caliper mark."""
        x, y = point
        self.line([(x - size, y), (x + size, y)], colour, 1.4)
        self.line([(x, y - size), (x, y + size)], colour, 1.4)

    def text(self, point: Point, words: str, colour: str, *, size: float = 15, anchor: str = "lm") -> None:
        """Draws text with a dark rim, kept inside the picture."""
        face = font(size * SUPERSAMPLING)
        place = [point[0] * SUPERSAMPLING, point[1] * SUPERSAMPLING]
        box = self.pen.textbbox(tuple(place), words, font=face, anchor=anchor)
        for axis, length in enumerate(self.sheet.size):
            place[axis] += max(0, 6 - box[axis]) - max(0, box[axis + 2] - length + 6)
        rim = round(1.4 * SUPERSAMPLING)
        self.pen.text(tuple(place), words, colour, face, anchor, stroke_width=rim, stroke_fill=BLACK + "B0")

    def onto(self, picture: Image.Image) -> None:
        """Pastes the sheet onto an RGB picture of the same size."""
        small = self.sheet.convert("RGBa").resize(self.size, Image.Resampling.BOX).convert("RGBA")
        picture.paste(small, (0, 0), small)


def draw_primitive(overlay: Overlay, item: dict[str, Any], scale: Point) -> None:
    """Draws one item of a case's `drawing`; coordinates are voxels, pixel centres at whole numbers.

    Kinds: `ellipse` (centre, axes = semi-axes, angle in radians from +x), `line` (from, to) and `text`
    (at, label); each may have a `colour` and a `label`.
    """
    colour = item.get("colour", WHITE)

    def at(point: Sequence[float]) -> Point:
        return (float(point[0]) + 0.5) * scale[0], (float(point[1]) + 0.5) * scale[1]

    if item["kind"] == "ellipse":
        points = [at(p) for p in _ellipse_points(item)]
        overlay.dashed(points, colour)
        overlay.text(_highest(points), item.get("label", ""), colour, anchor="mb")
    elif item["kind"] == "line":
        start, end = at(item["from"]), at(item["to"])
        overlay.dashed([start, end], colour, dash=4)
        overlay.cross(start, colour)
        overlay.cross(end, colour)
        place, anchor = _beyond(start, end)
        overlay.text(place, item.get("label", ""), colour, anchor=anchor)
    elif item["kind"] == "text":
        overlay.text(at(item["at"]), item.get("label", ""), colour)
    else:
        raise ValueError(f"unknown drawing kind {item['kind']!r}: use ellipse, line or text")


def _ellipse_points(item: dict[str, Any], n: int = 180) -> list[Point]:
    (cx, cy), (a, b), angle = item["centre"], item["axes"], item.get("angle", 0.0)
    cos, sin = math.cos(angle), math.sin(angle)
    turn = [2 * math.pi * i / n for i in range(n + 1)]
    return [
        (
            cx + a * math.cos(t) * cos - b * math.sin(t) * sin,
            cy + a * math.cos(t) * sin + b * math.sin(t) * cos,
        )
        for t in turn
    ]


def _beyond(start: Point, end: Point) -> tuple[Point, str]:
    """Where the text of a line goes on from its end, so that texts of lines that cross stay apart."""
    across, down = end[0] - start[0], end[1] - start[1]
    length = max(math.hypot(across, down), 1e-9)
    place = end[0] + TEXT_GAP * across / length, end[1] + TEXT_GAP * down / length
    return place, "lm" if across >= 0 else "rm"


def _highest(points: Sequence[Point]) -> Point:
    x, y = min(points, key=lambda point: point[1])
    return x, y - 6


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
