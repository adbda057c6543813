"""Preview pictures: the image with contours, a legend, a scale bar, and where everything came from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from medbundles.drawing import (
    BLACK,
    GREY,
    WHITE,
    Overlay,
    draw_contour,
    draw_primitive,
    font,
    label_colour,
)
from medbundles.images import RAS_FROM_LPS, frame_axes
from medbundles.preview_files import TITLE_ROWS

MARGIN, GAP, LINE_HEIGHT = 16, 10, 24
MAX_SIZE = (1240, 820)
LONG_SIDE = 820


@dataclass(frozen=True)
class Panel:
    """One plane of a preview.

    Attributes:
        image: (x, y) grey values.
        labels: (x, y) label values, 0 is background.
        spacing: pixel size along x and y.
        drawing: primitives in voxel coordinates, see `medbundles.drawing.draw_primitive`.
        letters: patient sides at the left, right, top and bottom edge, where they are known.
    """

    image: np.ndarray
    labels: np.ndarray | None = None
    spacing: tuple[float, float] = (1.0, 1.0)
    drawing: Sequence[Mapping[str, Any]] = ()
    letters: str = ""


@dataclass(frozen=True)
class Captions:
    """What is written around the planes of a preview."""

    title: str = ""
    footer: str = ""
    unit: str = "mm"
    label_names: Mapping[int, str] = field(default_factory=dict)
    lines: Sequence[str] = ()


def draw_preview(
    panels: Panel | Sequence[Panel], captions: Captions, *, max_size: tuple[int, int] = MAX_SIZE
) -> Image.Image:
    """Returns the picture of one plane, or of several side by side at the same scale.

    Args:
        panels: the planes.
        captions: what is written around them.
        max_size: the most pixels that the planes together may be wide and high.
    """
    panels = [panels] if isinstance(panels, Panel) else list(panels)
    scale = _pixels_per_unit(panels, max_size)
    planes = [_draw_panel(panel, scale) for panel in panels]
    width = max(560, sum(p.width for p in planes) + GAP * (len(planes) - 1) + 2 * MARGIN)
    strip = _draw_strip(panels, captions, width, scale)
    top = MARGIN + LINE_HEIGHT + 4
    height = top + max(p.height for p in planes) + strip.height
    sheet = Image.new("RGB", (width, height), BLACK)
    sheet.info[TITLE_ROWS] = top
    title = _fitted(captions.title, width - 2 * MARGIN, 17)
    ImageDraw.Draw(sheet).text((MARGIN, MARGIN + 8), title, WHITE, font(17), "lm")
    left = (width - sum(p.width for p in planes) - GAP * (len(planes) - 1)) // 2
    for plane in planes:
        sheet.paste(plane, (left, top))
        left += plane.width + GAP
    sheet.paste(strip, (0, height - strip.height))
    return sheet


def upright(panel: Panel, affine: np.ndarray) -> Panel:
    """Returns the plane flipped and turned by right angles so that it is seen as its header says.

    Args:
        panel: a 2D frame with its own pixel axes.
        affine: 4x4 RAS; see `medbundles.images.frame_axes`.
    """
    axes = frame_axes(affine)
    swap = abs(axes[0, 1]) + abs(axes[1, 0]) > abs(axes[0, 0]) + abs(axes[1, 1])
    axes = axes[:, ::-1] if swap else axes
    flips = [bool(axes[i, i] < 0) for i in (0, 1)]

    def turn(array: np.ndarray) -> np.ndarray:
        array = array.T if swap else array
        return array[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]

    shape = panel.image.T.shape if swap else panel.image.shape
    return replace(
        panel,
        image=turn(panel.image),
        labels=None if panel.labels is None else turn(panel.labels),
        spacing=panel.spacing[::-1] if swap else panel.spacing,
        drawing=[_turned(item, swap, flips, shape) for item in panel.drawing],
    )


def volume_panels(
    image: np.ndarray, labels: np.ndarray | None, affine: np.ndarray, *, oriented: bool = True
) -> list[Panel]:
    """Returns the axial, coronal and sagittal plane with most of the labels, as radiologists see them.

    Args:
        image: (x, y, z) values.
        labels: (x, y, z) label values.
        affine: 4x4 RAS.
        oriented: whether the header says where the patient's sides are.
    """
    image, labels, spacing = _towards_left_back_up(image, labels, affine)
    x, y, z = _richest_planes(labels) or [n // 2 for n in image.shape]
    cuts = [  # (index, flip the downward axis, axes, letters)
        ((slice(None), slice(None), z), False, (0, 1), "RLAP"),
        ((slice(None), y, slice(None)), True, (0, 2), "RLSI"),
        ((x, slice(None), slice(None)), True, (1, 2), "APSI"),
    ]
    panels = []
    for index, flip, axes, letters in cuts:
        step = -1 if flip else 1
        plane, mask = image[index][:, ::step], None if labels is None else labels[index][:, ::step]
        size = (spacing[axes[0]], spacing[axes[1]])
        panels.append(Panel(plane, mask, size, letters=letters if oriented else ""))
    return panels


def _richest_planes(labels: np.ndarray | None) -> list[int] | None:
    """Returns, for each axis, the index of the plane that cuts the largest labelled area."""
    if labels is None or not labels.any():
        return None
    return [int(np.argmax((labels > 0).sum(tuple(set(range(3)) - {axis})))) for axis in range(3)]


def _towards_left_back_up(
    image: np.ndarray, labels: np.ndarray | None, affine: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Permutes and flips axes until they run nearest to left, back and up."""
    axes = (RAS_FROM_LPS @ np.asarray(affine, float))[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    order = _nearest_axes(axes / spacing)
    steps = tuple(slice(None, None, -1 if axes[row, order[row]] < 0 else 1) for row in range(3))
    image = image.transpose(order)[steps]
    return image, None if labels is None else labels.transpose(order)[steps], spacing[order]


def _nearest_axes(directions: np.ndarray) -> list[int]:
    """Returns, for each patient axis, the voxel axis nearest to it; each voxel axis is used once."""
    from itertools import permutations

    return list(max(permutations(range(3)), key=lambda p: sum(abs(directions[r, p[r]]) for r in range(3))))


def _pixels_per_unit(panels: Sequence[Panel], max_size: tuple[int, int]) -> float:
    sizes = np.array([np.multiply(p.image.shape, p.spacing) for p in panels])
    width, height = sizes[:, 0].sum(), sizes[:, 1].max()
    return min(max_size[0] / width, max_size[1] / height, LONG_SIDE / max(sizes.max(), 1e-9))


def _outer_first(labels: np.ndarray) -> list[int]:
    """Returns the labels of a plane, those that reach furthest first: where two meet, the inner one is seen.

    The reach is that of the rectangle around a label, which holds for rings with a gap as well.
    """
    values = np.unique(labels[labels > 0]).tolist()
    reach = {value: np.prod(np.ptp(np.argwhere(labels == value), axis=0) + 1) for value in values}
    return sorted(values, key=lambda value: -reach[value])


def _draw_panel(panel: Panel, scale: float) -> Image.Image:
    factors = (panel.spacing[0] * scale, panel.spacing[1] * scale)
    size = tuple(max(1, round(n * f)) for n, f in zip(panel.image.shape, factors, strict=True))
    grey = Image.fromarray(np.ascontiguousarray(_windowed(panel.image).T))
    picture = np.repeat(np.asarray(grey.resize(size, Image.Resampling.BICUBIC), np.float32)[..., None], 3, 2)
    if panel.labels is not None:
        for value in _outer_first(panel.labels):
            draw_contour(picture, panel.labels == value, label_colour(value))
    plane = Image.fromarray(np.clip(picture + 0.5, 0, 255).astype(np.uint8))
    overlay = Overlay(size)
    for item in panel.drawing:
        draw_primitive(overlay, dict(item), factors)
    width, height = size
    places = [(8, height / 2), (width - 8, height / 2), (width / 2, 8), (width / 2, height - 8)]
    for letter, place, anchor in zip(panel.letters, places, ("lm", "rm", "mt", "mb"), strict=False):
        overlay.text(place, letter, WHITE, size=18, anchor=anchor)
    overlay.onto(plane)
    return plane


def _windowed(image: np.ndarray) -> np.ndarray:
    """Returns 8-bit grey values between the half-percent tails; 8-bit images keep their values."""
    if image.dtype == np.uint8:
        return image
    low, high = np.percentile(image, [0.5, 99.5])
    if high <= low:
        low, high = float(image.min()), float(image.max())
    return np.clip(255 * (image - low) / max(high - low, 1e-9), 0, 255).astype(np.uint8)


def _draw_strip(panels: Sequence[Panel], captions: Captions, width: int, scale: float) -> Image.Image:
    """Draws what stands below the planes: legend, values, and the scale bar beside the footer."""
    present = {int(v) for p in panels if p.labels is not None for v in np.unique(p.labels) if v > 0}
    legend = [(captions.label_names.get(v, f"label {v}"), label_colour(v)) for v in sorted(present)]
    rows = _flow([(text, colour) for text, colour in legend], width)
    rows += _flow([(line, "") for line in captions.lines], width)
    height = GAP + len(rows) * LINE_HEIGHT + 44
    strip = Image.new("RGB", (width, height), BLACK)
    pen = ImageDraw.Draw(strip)
    for index, row in enumerate(rows):
        y = GAP + index * LINE_HEIGHT + LINE_HEIGHT // 2
        for x, text, colour in row:
            if colour:
                pen.line([(x, y), (x + 18, y)], colour, 3)
            pen.text((x + (26 if colour else 0), y), text, WHITE, font(15), "lm")
    bar = _draw_scale_bar(
        pen, (MARGIN, height - 20), min(p.image.shape[0] * p.spacing[0] for p in panels), scale
    )
    unit = font(14)
    pen.text((MARGIN + bar[0] + 10, height - 20), f"{bar[1]:g} {captions.unit}", WHITE, unit, "lm")
    room = width - 3 * MARGIN - bar[0] - 90
    pen.text((width - MARGIN, height - 20), _fitted(captions.footer, room, 13), GREY, font(13), "rm")
    return strip


def _draw_scale_bar(
    pen: ImageDraw.ImageDraw, place: tuple[int, int], extent: float, scale: float
) -> tuple[int, float]:
    """Draws a bar of a round length near a fifth of the picture; returns its pixels and its length."""
    length = round_length(extent / 5)
    pixels = round(length * scale)
    x, y = place
    pen.line([(x, y), (x + pixels, y)], WHITE, 2)
    for end in (x, x + pixels):
        pen.line([(end, y - 5), (end, y + 5)], WHITE, 2)
    return pixels, length


def round_length(wanted: float) -> float:
    """Returns the nearest of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(wanted, 1e-9)))
    return min((m * power for m in (1, 2, 5, 10)), key=lambda m: abs(math.log(m / max(wanted, 1e-9))))


def _flow(items: Sequence[tuple[str, str]], width: int) -> list[list[tuple[int, str, str]]]:
    """Places texts from left to right, and onto new lines where they do not fit."""
    rows: list[list[tuple[int, str, str]]] = []
    x = width
    for text, colour in items:
        text = _fitted(text, width - 2 * MARGIN - 30, 15)
        needed = round(font(15).getlength(text)) + (26 if colour else 0)
        if x + needed > width - MARGIN:
            rows.append([])
            x = MARGIN
        rows[-1].append((x, text, colour))
        x += needed + 26
    return rows


def _fitted(text: str, width: float, size: float) -> str:
    """Shortens a text in its middle, where file names differ least."""
    face = font(size)
    if face.getlength(text) <= width:
        return text
    keep = len(text)
    while keep > 8 and face.getlength(text[: keep // 2] + "..." + text[-(keep // 2) :]) > width:
        keep -= 2
    return text[: keep // 2] + "..." + text[-(keep // 2) :]


def _turned(
    item: Mapping[str, Any], swap: bool, flips: Sequence[bool], shape: tuple[int, ...]
) -> dict[str, Any]:
    """Carries a primitive along when its plane is transposed (`swap`) and then flipped."""

    def move(point: Sequence[float]) -> tuple[float, float]:
        x, y = (point[1], point[0]) if swap else (point[0], point[1])
        return (shape[0] - 1 - x if flips[0] else x), (shape[1] - 1 - y if flips[1] else y)

    moved = {**item, **{key: move(item[key]) for key in ("centre", "from", "to", "at") if key in item}}
    if "angle" in item:
        angle = math.pi / 2 - item["angle"] if swap else item["angle"]
        moved["angle"] = -angle if flips[0] != flips[1] else angle
    return moved
