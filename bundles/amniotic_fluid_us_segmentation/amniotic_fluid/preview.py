"""The picture of a frame: outlined labels and the caliper of the deepest pocket along the vertical."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from amniotic_fluid.pockets import Pocket
from medbundles.images import spacing_of
from medbundles.previews import Captions, Panel, draw_preview, upright
from medbundles.saving import affine_of, array_of
from medbundles.transforms import RESEARCH, SavePreviewd, measurement_text

CALIPER = "#39d353"


class SaveFluidPreviewd(SavePreviewd):
    """Writes `<case>_preview.png`; arguments as for `SavePreviewd`. What was not found says why."""

    def _draw(self, case: Mapping[Hashable, Any]) -> Image.Image:
        key = self.keys[0]
        labels, affine = array_of(case[key])[0], affine_of(case[key])
        image = self._original(case, key, labels.shape)
        captions = Captions(
            title=Path(self._source(case, key)).name,
            footer=f"{self.info.name} {self.info.version} - {RESEARCH}",
            unit="mm" if case[key].meta.get("calibrated", False) else "px",
            label_names=self.info.label_names,
            lines=captions_of(case.get("measurements", [])),
        )
        panel = Panel(image, labels, spacing_of(affine, 2), case.get("drawing", ()))
        return draw_preview(upright(panel, affine), captions)


def caliper(pocket: Pocket, unit: str) -> list[dict[str, Any]]:
    """Returns the primitives of a pocket's caliper and of its length beside it, in pixels of the frame."""
    near, far = pocket.ends
    middle = (near[0] + far[0]) / 2, (near[1] + far[1]) / 2
    # Blanks keep the length off the line; in the middle of the pocket it stands on black.
    text = f"  {pocket.depth:.1f} {unit}"
    return [
        {"kind": "line", "from": near, "to": far, "colour": CALIPER},
        {"kind": "text", "at": middle, "colour": CALIPER, "label": text},
    ]


def captions_of(measurements: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns the values of a frame as texts: counts as whole numbers, and one reason for what is missing."""
    texts = []
    for item in measurements:
        value, unit = item["value"], item["unit"]
        if value is None:
            texts.append(item["reason"])
        elif unit == "1":
            texts.append(f"{item['name']} {value:.0f}")
        elif unit.endswith("2"):
            texts.append(f"{item['name']} {value:.0f} {unit}")
        else:
            texts.append(measurement_text(item))
    return list(dict.fromkeys(texts))
