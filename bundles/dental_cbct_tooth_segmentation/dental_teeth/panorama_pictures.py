"""The picture that a dentist reads: both panoramas, every tooth outlined and numbered.

Seen as on a film: the patient's right on the left, crowns facing each other, both jaws at one scale and with
their middles one above the other. At twelve pixels a millimetre the file prints at life size, along the arch.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from dental_teeth.jaws import UPPER
from dental_teeth.places import crown_of, missing_places, not_scanned
from dental_teeth.teeth import JawReading, Reading, Tooth
from medbundles import io
from medbundles.contours import outer_contour
from medbundles.drawing import BLACK, GREY, LABEL_COLOURS, SUPERSAMPLING, WHITE, Overlay, font
from medbundles.saving import CaseWriter, Metadata
from medbundles.transforms import RESEARCH

PIXELS_PER_MM = 12.0
MARGIN_MM = {"side": 7.0, "root": 5.0, "bite": 2.5}
SMOOTH_PX = 0.8  # of outlines, in pixels of the panorama
GAMMA = 0.85
BAR_MM, EDGE_MM, LINE_MM = 10.0, 1.4, 2.9  # of the sheet
TEXT_MM, NUMBER_MM, MISSING_MM = 2.0, 2.4, 1.8  # 7 points is the least that prints well
OUTLINE_MM, DASH_MM, PLATE_MM, RIM_MM = 0.19, 0.9, (1.5, 1.1), 0.26

Mask = NDArray[np.bool_]
Point = tuple[float, float]


class SavePanoramasd(CaseWriter):
    """Writes `<case>_panorama.png`: upper above lower jaw; nothing if no panorama was read.

    Args:
        keys: the result on the grid of the input; it names the case.
        output_dir: the folder.
        metadata: path or content of metadata.json.
        findings_key: what was read from the panoramas, a `Reading`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike,
        *,
        metadata: Metadata | None = None,
        findings_key: str = "findings",
    ) -> None:
        super().__init__(keys, output_dir, metadata)
        self.findings_key = findings_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the case, with the picture in `outputs` as `panorama`."""
        case = dict(data)
        findings: Reading | None = case.get(self.findings_key)
        if findings is None or not findings.jaws:
            return case
        footer = f"{self.info.name} {self.info.version} - {RESEARCH}"
        sheet = panorama_sheet(findings, Path(self._source(case, self.keys[0])).name, footer)
        path = self._path(case, self.keys[0], "panorama.png")
        with io.atomic_path(path) as temporary:
            sheet.save(temporary, dpi=(25.4 * PIXELS_PER_MM,) * 2)
        self._record(case, "panorama", path)
        return case


def panorama_sheet(
    findings: Reading, title: str, footer: str, *, pixels_per_mm: float = PIXELS_PER_MM
) -> Image.Image:
    """Returns the panoramas of all jaws with a title, a scale bar, what the marks mean, and a footer."""
    pictures = draw_panoramas(findings, pixels_per_mm=pixels_per_mm)
    edge, line, face = (round(size * pixels_per_mm) for size in (EDGE_MM, LINE_MM, TEXT_MM))
    lines = [
        (f"{BAR_MM:g} mm along the arch", WHITE),
        *((text, GREY) for text in [*legend(findings), footer]),
    ]
    bar = round(BAR_MM * pixels_per_mm) + edge // 2
    needed = max(
        [font(1.2 * face).getlength(title), *(font(face).getlength(text) + bar for text, _ in lines)]
    )
    width, top = max(pictures.width, round(needed)) + 2 * edge, pictures.height + line + 2 * edge
    sheet = Image.new("RGB", (width, top + line * len(lines) + edge // 2), BLACK)
    sheet.paste(pictures, ((width - pictures.width) // 2, edge + line))
    pen = ImageDraw.Draw(sheet)
    pen.text((edge, edge + line // 3), title, WHITE, font(1.2 * face), "lm")
    for index, (text, colour) in enumerate(lines):
        pen.text(
            (edge + (0 if index else bar), top + line * index + line // 2), text, colour, font(face), "lm"
        )
    _scale_bar(pen, (edge, top + line // 2), BAR_MM * pixels_per_mm)
    return sheet


def draw_panoramas(findings: Reading, *, pixels_per_mm: float = PIXELS_PER_MM) -> Image.Image:
    """Returns the panoramas of all jaws, one above the other, their arches' middles in line."""
    jaws = list(findings.jaws.values())
    extents = np.array([_extent(jaw) for jaw in jaws])
    window = float(extents[:, 0].min()), float(extents[:, 1].max())
    pictures = [draw_jaw(jaw, window, pixels_per_mm=pixels_per_mm) for jaw in jaws]
    gap = round(0.4 * pixels_per_mm)
    height = sum(picture.height for picture in pictures) + gap * (len(pictures) - 1)
    sheet = Image.new("RGB", (pictures[0].width, height), BLACK)
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height + gap
    return sheet


def draw_jaw(
    jaw: JawReading, window_mm: tuple[float, float], *, pixels_per_mm: float = PIXELS_PER_MM
) -> Image.Image:
    """Returns the panorama of one jaw with its teeth and the places of missing ones.

    Args:
        jaw: what was read.
        window_mm: what to show along the arch, from its middle, negative to the patient's right.
        pixels_per_mm: of the picture.
    """
    pitch = jaw.view.pitch_mm
    scale = pixels_per_mm * pitch
    middle = (jaw.view.shape[0] - 1) / 2
    left = round(middle + window_mm[0] / pitch)
    columns = left, left + round((window_mm[1] - window_mm[0]) / pitch)
    rows = _shown_rows(jaw)
    grey = _grey(jaw.picture, columns, rows)
    size = round(grey.shape[0] * scale), round(grey.shape[1] * scale)
    picture = Image.fromarray(grey.T).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    overlay = Overlay(size)

    def at(column: float, row: float) -> Point:
        return (column - columns[0] + 0.5) * scale, (row - rows[0] + 0.5) * scale

    for tooth in jaw.teeth:
        outline = [at(*point) for point in _outline(tooth)]
        _draw_outline(overlay, [*outline, outline[0]], tooth, pixels_per_mm)
    for tooth in jaw.teeth:  # after all outlines, so that none crosses a number
        text = f"{tooth.code}" if tooth.sure else f"{tooth.code}?"
        _draw_number(overlay, at(*crown_of(tooth)), text, pixels_per_mm)
    for code in absent_teeth(jaw):
        _draw_missing(overlay, at(*missing_places(jaw)[code]), code, pixels_per_mm)
    _captions(overlay, jaw.view.jaw, pixels_per_mm)
    overlay.onto(picture)
    return picture


def tooth_colour(code: int) -> str:
    """Returns the colour of a tooth: another one than those of its neighbours and of the teeth opposite."""
    shift = (0, 4, 2, 6)[code // 10 - 1]
    return LABEL_COLOURS[(code % 10 - 1 + shift) % len(LABEL_COLOURS)]


def absent_teeth(jaw: JawReading) -> tuple[int, ...]:
    """Returns the numbers of the teeth that are not where they would be seen: missing, or not found."""
    unseen = not_scanned(jaw)
    return tuple(code for code in jaw.missing if code not in unseen)


def legend(findings: Reading) -> list[str]:
    """Returns what the marks on the pictures mean, of those that there are."""
    unsure = sorted(code for code, tooth in findings.teeth.items() if not tooth.sure)
    absent = sorted(code for jaw in findings.jaws.values() for code in absent_teeth(jaw))
    unseen = sorted(code for jaw in findings.jaws.values() for code in not_scanned(jaw))
    notes = [
        ("dashed, with ?: number uncertain", unsure),
        ("grey: missing or not found", absent),
        ("outside the field of view", unseen),
    ]
    return [f"{text} ({', '.join(map(str, codes))})" for text, codes in notes if codes]


def _extent(jaw: JawReading) -> tuple[float, float]:
    """What to show of a jaw along its arch, in mm from the arch's middle."""
    curve, places = jaw.view.curve, missing_places(jaw)
    edges = [edge for tooth in jaw.teeth for edge in (tooth.box.left, tooth.box.right)]
    edges += [places[code][0] for code in absent_teeth(jaw)]
    inside = np.clip([curve.first, curve.last, *edges], 0, jaw.view.shape[0] - 1)
    middle = (jaw.view.shape[0] - 1) / 2
    low, high = (np.array([inside.min(), inside.max()]) - middle) * jaw.view.pitch_mm
    return float(low) - MARGIN_MM["side"], float(high) + MARGIN_MM["side"]


def _shown_rows(jaw: JawReading) -> tuple[int, int]:
    """First and last row to show: from above the roots to a little beyond the bite."""
    if not jaw.teeth:
        return 0, jaw.view.rows
    seen = np.flatnonzero(np.logical_or.reduce([tooth.mask.any(0) for tooth in jaw.teeth]))
    margins = MARGIN_MM["root"], MARGIN_MM["bite"]
    above, below = margins if jaw.view.jaw == UPPER else margins[::-1]
    pitch = jaw.view.pitch_mm
    low, high = seen[0] - round(above / pitch), seen[-1] + 1 + round(below / pitch)
    return max(0, int(low)), min(jaw.view.rows, int(high))


def _grey(picture: NDArray[np.float32], columns: tuple[int, int], rows: tuple[int, int]) -> NDArray[np.uint8]:
    """A part of a panorama as 8-bit grey values; columns beyond it are black."""
    first, last = max(0, columns[0]), min(len(picture), columns[1])
    part = picture[first:last, rows[0] : rows[1]]
    seen = part[part > 0]
    low, high = np.percentile(seen, (3, 99.7)) if len(seen) else (0.0, 1.0)
    grey = 255 * np.clip((part - low) / max(high - low, 1e-6), 0, 1) ** GAMMA
    return np.pad(grey.astype(np.uint8), ((first - columns[0], columns[1] - last), (0, 0)))


def _outline(tooth: Tooth) -> NDArray[np.float64]:
    """The outline (n, 2) of a tooth's mask in pixels of the panorama, smoothed by less than a pixel."""
    smooth = ndimage.gaussian_filter(tooth.mask.astype(np.float32), SMOOTH_PX)
    return outer_contour(smooth if (smooth > 0.5).any() else tooth.mask)


def _draw_outline(overlay: Overlay, points: Sequence[Point], tooth: Tooth, pixels_per_mm: float) -> None:
    """Draws the closed outline of a tooth; dashed if its number is uncertain."""
    colour, width = tooth_colour(tooth.code), OUTLINE_MM * pixels_per_mm
    if tooth.sure:
        overlay.line(points, colour, width)
        return
    places = np.asarray(points)
    along = np.r_[0, np.cumsum(np.linalg.norm(np.diff(places, axis=0), axis=1))]
    count = max(6, round(along[-1] / (2 * DASH_MM * pixels_per_mm)))
    for start in np.arange(count) * along[-1] / count:
        at = np.linspace(start, start + 0.5 * along[-1] / count, 6)
        dash = np.stack([np.interp(at, along, places[:, axis]) for axis in (0, 1)], 1)
        overlay.line([(float(x), float(y)) for x, y in dash], colour, width)


def _draw_number(overlay: Overlay, place: Point, text: str, pixels_per_mm: float) -> None:
    """Writes a number with a broad rim, readable on a crown of metal and when printed."""
    unit = pixels_per_mm * SUPERSAMPLING
    x, y = (value * SUPERSAMPLING for value in place)
    rim = {"stroke_width": round(RIM_MM * unit), "stroke_fill": BLACK + "E0"}
    overlay.pen.text((x, y), text, WHITE, font(NUMBER_MM * unit), "mm", **rim)


def _draw_missing(overlay: Overlay, place: Point, code: int, pixels_per_mm: float) -> None:
    """Writes the number of a missing tooth, small, on a dark plate: an implant behind it is bright."""
    wide, high = (half * pixels_per_mm * SUPERSAMPLING for half in PLATE_MM)
    x, y = (value * SUPERSAMPLING for value in place)
    overlay.pen.rounded_rectangle((x - wide, y - high, x + wide, y + high), high / 2, fill=BLACK + "A0")
    overlay.text(place, str(code), GREY, size=MISSING_MM * pixels_per_mm, anchor="mm")


def _captions(overlay: Overlay, jaw: str, pixels_per_mm: float) -> None:
    width, height = overlay.size
    size, edge = TEXT_MM * pixels_per_mm, 0.8 * pixels_per_mm
    for letter, x, anchor in (("R", edge, "lm"), ("L", width - edge, "rm")):
        overlay.text((x, height / 2), letter, WHITE, size=1.25 * size, anchor=anchor)
    y, anchor = (edge, "lt") if jaw == UPPER else (height - edge, "lb")
    overlay.text((edge, y), f"{jaw} jaw", WHITE, size=size, anchor=anchor)


def _scale_bar(pen: ImageDraw.ImageDraw, place: Point, length: float) -> None:
    x, y = place
    pen.line([(x, y), (x + length, y)], WHITE, 3)
    for tick in (x, x + length):
        pen.line([(tick, y - 7), (tick, y + 7)], WHITE, 3)
