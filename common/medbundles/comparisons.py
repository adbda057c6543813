"""Pictures of an image before and after processing, and of the difference, in grey values that are named."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from PIL import Image

from medbundles.images import RAS_FROM_LPS, spacing_of
from medbundles.previews import Captions, Panel, draw_preview
from medbundles.saving import Metadata, PreviewWriter, affine_of, array_of
from medbundles.slices import slice_view, to_slices
from medbundles.transforms import RESEARCH, measurement_text

SIZE = (1800, 700)
# Patient sides at the left, right, top and bottom edge of a slice whose normal is left-right, front-back, up.
LETTERS = ("APSI", "RLSI", "RLAP")


def windowed(image: np.ndarray, centre: float, width: float) -> np.ndarray:
    """Returns 8-bit grey values: black at centre - width/2 and below, white at centre + width/2 and above."""
    grey = 255 * ((np.asarray(image, np.float32) - centre) / width + 0.5)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def comparison_panels(
    before: np.ndarray,
    after: np.ndarray,
    affine: np.ndarray,
    *,
    window: tuple[float, float],
    difference: float,
    unit: str = "",
    marks: np.ndarray | None = None,
    oriented: bool = True,
) -> tuple[list[Panel], str]:
    """Returns the planes before, after and difference of one slice, and which slice it is, in words.

    Args:
        before: (x, y[, z]) values; `after` and `marks` likewise.
        affine: 4x4 RAS.
        window: centre and width of the grey scale.
        difference: the difference that is drawn white; as much less is black, none is grey.
        unit: of the values.
        marks: label values outlined on what came out and on the difference; the slice with most of them is
            shown, without any the middle one.
        oriented: whether the header says where the patient's sides are.
    """
    order, flips = slice_view(affine, before.shape)
    stacks = [before, after, np.zeros(before.shape, np.uint8) if marks is None else marks]
    stacks = [to_slices(torch.as_tensor(np.asarray(s)[None]), order, flips)[0].numpy() for s in stacks]
    index = chosen_slice(stacks[2])
    old, new, outlined = (stack[..., index] for stack in stacks)
    spacing = np.array(spacing_of(affine, 3))[order[:2]]
    normal = int(np.argmax(np.abs((RAS_FROM_LPS @ np.asarray(affine, float))[:3, order[2]])))
    letters = LETTERS[normal] if oriented else ""
    shown = [
        ("before", windowed(old, *window), None),
        ("after", windowed(new, *window), outlined),
        (f"after - before, +-{difference:g} {unit}", windowed(new - old, 0, 2 * difference), outlined),
    ]
    place = (0.02 * old.shape[0], 0.03 * old.shape[1])
    panels = []
    for text, grey, labels in shown:
        caption = [{"kind": "text", "at": place, "label": text.rstrip()}]
        panels.append(Panel(grey, labels, (float(spacing[0]), float(spacing[1])), caption, letters))
    count = stacks[0].shape[-1]
    return panels, "" if count == 1 else f"slice {index + 1} of {count}"


def chosen_slice(marks: np.ndarray) -> int:
    """Returns the index of the slice with the most marks along the last axis; of the middle one without."""
    areas = (marks > 0).sum(axis=(0, 1))
    return int(np.argmax(areas)) if areas.any() else marks.shape[-1] // 2


class SaveComparisond(PreviewWriter):
    """Writes `<case>_preview.png`: one slice before and after, and their difference, the window named.

    Args:
        keys: the result, on the input's grid and in the input's unit.
        output_dir: the folder.
        metadata: path or content of metadata.json.
        image_key: the input, on the same grid.
        marks_key: what is outlined, where the case has it; its label names are `mark_names`.
        mark_names: what the values of the marks mean.
        window: centre and width of the grey scale.
        difference: the difference that is drawn white.
        unit: of the values.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike,
        *,
        metadata: Metadata,
        image_key: str = "image",
        marks_key: str = "marks",
        mark_names: Sequence[str] = (),
        window: Sequence[float] = (40, 400),
        difference: float = 100,
        unit: str = "HU",
    ) -> None:
        super().__init__(keys, output_dir, metadata=metadata, image_key=image_key)
        self.marks_key, self.mark_names = marks_key, list(mark_names)
        self.window, self.difference, self.unit = (float(window[0]), float(window[1])), difference, unit

    def _draw(self, case: Mapping[Hashable, Any]) -> Image.Image:
        result = case[self.keys[0]]
        calibrated = bool(result.meta.get("calibrated", False))
        marks = case.get(self.marks_key)
        panels, which = comparison_panels(
            array_of(case[self.image_key])[0],
            array_of(result)[0],
            affine_of(result),
            window=self.window,
            difference=self.difference,
            unit=self.unit,
            marks=None if marks is None else array_of(marks)[0],
            oriented=calibrated,
        )
        name = Path(self._source(case, self.keys[0])).name
        window = f"window {self.window[0]:g} / {self.window[1]:g} {self.unit} (centre / width)"
        captions = Captions(
            title=", ".join(filter(None, [name, which, window])),
            footer=f"{self.info.name} {self.info.version} - {RESEARCH}",
            unit="mm" if calibrated else "px",
            label_names=dict(enumerate(self.mark_names, start=1)),
            lines=[measurement_text(m) for m in case.get("measurements", [])],
        )
        return draw_preview(panels, captions, max_size=SIZE)
