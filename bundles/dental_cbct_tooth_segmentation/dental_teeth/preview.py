"""The picture of a case: three planes through the teeth, and below them the panoramas with the numbers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from dental_teeth.frame import AIR_HU
from dental_teeth.measure import image_on_grid
from dental_teeth.panorama_pictures import draw_panoramas, legend, tooth_colour
from dental_teeth.teeth import FDI_CODES, Reading, code_of
from medbundles.drawing import BLACK, LABEL_COLOURS, WHITE, font
from medbundles.previews import Captions, Panel, draw_preview, volume_panels
from medbundles.saving import PreviewWriter, affine_of, array_of
from medbundles.transforms import RESEARCH

FINDINGS = "findings"
BRIGHTEST_HU = 3000.0  # metal must not make all teeth dark
SIZE = (1240, 440)
FOOT, ROW = 44, 24  # heights in a preview of the line with scale bar and footer, and of a line of text
MARGIN, GAP = 16, 8
FINE = 8.0  # pixels a millimetre
SMALLEST_MM = 3.5  # sections that are thinner have no room for a number
HALF_NUMBER_PX = 9.0

Mask = NDArray[np.bool_]


class SaveToothPreviewd(PreviewWriter):
    """Writes `<case>_preview.png`; without findings it shows the planes alone."""

    def _draw(self, case: Mapping[Hashable, Any]) -> Image.Image:
        key = self.keys[0]
        labels = np.asarray(array_of(case[key])[0], np.uint8)
        image = image_on_grid(case, key, self.image_key)
        findings: Reading | None = case.get(FINDINGS)
        oriented = bool(case[key].meta.get("calibrated", True))
        panels = tooth_panels(image, labels, affine_of(case[key]), oriented=oriented)
        captions = Captions(
            title=Path(self._source(case, key)).name,
            footer=f"{self.info.name} {self.info.version} - {RESEARCH}",
            unit="mm" if oriented else "px",
        )
        planes = without_legend(panels, captions)
        return planes if findings is None or not findings.jaws else _sheet(planes, findings)


def tooth_panels(
    image: NDArray | None, labels: NDArray[np.uint8], affine: NDArray[np.float64], *, oriented: bool = True
) -> list[Panel]:
    """Returns three planes of a scan with outlined teeth, their numbers in them.

    Args:
        image: (X, Y, Z); without it the planes are black.
        labels: (X, Y, Z), values 1 to 32.
        affine: RAS affine of both.
        oriented: whether the header says where the patient's sides are.
    """
    grey = np.broadcast_to(np.uint8(0), labels.shape) if image is None else image
    panels = volume_panels(grey, labels, affine, oriented=oriented)
    width = sum(panel.image.shape[0] * panel.spacing[0] for panel in panels)
    shift = HALF_NUMBER_PX * width / SIZE[0]
    return [
        replace(
            panel,
            image=np.clip(panel.image, AIR_HU, BRIGHTEST_HU) if image is not None else panel.image,
            labels=_recoloured(panel),
            drawing=_numbers(panel, shift),
        )
        for panel in panels
    ]


def without_legend(panels: list[Panel], captions: Captions) -> Image.Image:
    """Returns the preview of planes without its list of labels: the numbers stand in the teeth."""
    full = draw_preview(panels, captions, max_size=SIZE)
    bare = draw_preview([replace(panel, labels=None) for panel in panels], captions, max_size=SIZE)
    sheet = Image.new("RGB", bare.size, BLACK)
    sheet.paste(full.crop((0, 0, bare.width, bare.height - FOOT)), (0, 0))
    foot = full.crop((0, full.height - FOOT, full.width, full.height))
    sheet.paste(foot, (0, bare.height - FOOT))
    return sheet


def _recoloured(panel: Panel) -> NDArray[np.uint8]:
    """Labels with values that previews draw in the colours of the panoramas."""
    table = np.zeros(256, np.uint8)
    for value, code in enumerate(FDI_CODES, start=1):
        quadrant = (value - 1) // len(LABEL_COLOURS)
        table[value] = 1 + len(LABEL_COLOURS) * quadrant + LABEL_COLOURS.index(tooth_colour(code))
    return table[panel.labels]


def _numbers(panel: Panel, shift_mm: float) -> list[dict[str, Any]]:
    """The FDI numbers of the teeth in a plane, in their middles, where there is room."""
    items = []
    for value, box in enumerate(ndimage.find_objects(panel.labels), start=1):
        if box is None:
            continue
        sides = [(p.stop - p.start) * size for p, size in zip(box, panel.spacing, strict=True)]
        if min(sides) >= SMALLEST_MM:
            x, y = np.argwhere(panel.labels == value).mean(0)
            place = float(x - shift_mm / panel.spacing[0]), float(y)
            items.append({"kind": "text", "at": place, "label": str(code_of(value))})
    return items


def _sheet(planes: Image.Image, findings: Reading) -> Image.Image:
    """The panoramas as wide as the planes and below them, then what the marks mean, then the planes' foot."""
    pictures = draw_panoramas(findings, pixels_per_mm=FINE)
    factor = min(1.0, (planes.width - 2 * MARGIN) / pictures.width)
    size = round(pictures.width * factor), round(pictures.height * factor)
    notes, top = legend(findings), planes.height - FOOT
    sheet = Image.new("RGB", (planes.width, planes.height + size[1] + ROW * len(notes) + GAP), BLACK)
    sheet.paste(planes.crop((0, 0, planes.width, top)), (0, 0))
    left = (planes.width - size[0]) // 2
    sheet.paste(pictures.resize(size, Image.Resampling.LANCZOS), (left, top))
    pen = ImageDraw.Draw(sheet)
    for index, note in enumerate(notes):
        pen.text((MARGIN, top + size[1] + ROW * (index + 0.75)), note, WHITE, font(15), "lm")
    foot = planes.crop((0, top, planes.width, planes.height))
    sheet.paste(foot, (0, sheet.height - FOOT))
    return sheet
