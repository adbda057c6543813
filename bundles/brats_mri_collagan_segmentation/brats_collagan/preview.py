"""The picture of a case: three planes through the tumour, its diameters, and every contrast of one slice."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray
from PIL import Image

from medbundles.contrasts import CONTRASTS, TITLES
from medbundles.previews import Captions, Panel, draw_preview, volume_panels
from medbundles.regions import diameter_lines
from medbundles.saving import Metadata, PreviewWriter, affine_of, array_of
from medbundles.transforms import RESEARCH, measurement_text

PLANES_ON = "flair"  # shows all of the tumour
PLANES_TITLE = "three planes through the middle of the tumour"
SIZE = (1240, 460)
STRIP = 54  # height of the scale bar and footer of a picture, which one of the two shows

Volume = NDArray[np.floating]


class SaveTumourPreviewd(PreviewWriter):
    """Writes `<case>_preview.png`; panels of imputed contrasts say so.

    Args:
        keys: the label map (1, X, Y, Z) on the grid of the input.
        output_dir: the folder.
        metadata: path or content of metadata.json.
        image_key: the completed contrasts (C, X, Y, Z) on the same grid.
        image_only: there is no segmentation to outline.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike,
        *,
        metadata: Metadata,
        image_key: str = "image",
        image_only: bool = False,
    ) -> None:
        super().__init__(keys, output_dir, metadata=metadata, image_key=image_key)
        self.image_only = bool(image_only)

    def _draw(self, case: Mapping[Hashable, Any]) -> Image.Image:
        result = case[self.keys[0]]
        labels, images = array_of(result)[0], array_of(case[self.image_key])
        synthetic = list(case.get("synthetic_inputs", []))
        calibrated = bool(result.meta.get("calibrated", False))
        panels = tumour_panels(
            images, None if self.image_only else labels, affine_of(result), synthetic, oriented=calibrated
        )
        captions = Captions(
            title=Path(self._source(case, self.keys[0])).name,
            footer=f"{self.info.name} {self.info.version} - {RESEARCH}",
            unit="mm" if calibrated else "px",
            label_names=self.info.label_names,
            lines=[measurement_text(m) for m in case.get("measurements", [])],
        )
        contrasts = draw_preview(panels[1], replace(captions, lines=[]), max_size=SIZE)
        planes = draw_preview(panels[0], replace(captions, title=PLANES_TITLE), max_size=SIZE)
        return stacked(contrasts.crop((0, 0, contrasts.width, contrasts.height - STRIP)), planes)


def tumour_panels(
    images: Volume,
    labels: NDArray[np.uint8] | None,
    affine: NDArray[np.float64],
    synthetic: list[str],
    *,
    oriented: bool = True,
) -> tuple[list[Panel], list[Panel]]:
    """Returns three planes with outlines, the first with diameters, and every contrast without outlines.

    Around the brain everything is black, although 0 lies amid the z-scores.

    Args:
        images: (C, X, Y, Z).
        labels: (X, Y, Z).
        affine: 4x4 RAS.
        synthetic: the contrasts that were imputed.
        oriented: whether the header says where the patient's sides are.
    """
    images, labels, affine = towards_left_back_up(images, labels, affine)
    brain = (images != 0).any(0)
    images = [np.where(brain, image, image[brain].min() if brain.any() else 0) for image in images]
    planes = volume_panels(images[CONTRASTS.index(PLANES_ON)], labels, affine, oriented=oriented)
    planes[0] = replace(planes[0], drawing=[_caption(planes[0].image.shape, PLANES_ON, synthetic)])
    contrasts = []
    for image, name in zip(images, CONTRASTS, strict=True):
        panel = volume_panels(image, labels, affine, oriented=oriented)[0]
        contrasts.append(replace(panel, labels=None, drawing=[_caption(panel.image.shape, name, synthetic)]))
    if labels is not None and (drawn := _diameters(images, labels, affine, synthetic)):
        planes[0] = replace(planes[0], **drawn)
    return planes, contrasts


def towards_left_back_up(
    images: Volume, labels: NDArray[np.uint8] | None, affine: NDArray[np.float64]
) -> tuple[Volume, NDArray[np.uint8] | None, NDArray[np.float64]]:
    """Contrasts (C, X, Y, Z), labels (X, Y, Z) and affine with axes that run nearest to left, back and up."""
    change = ornt_transform(io_orientation(affine), axcodes2ornt("LPS"))
    turned = np.stack([apply_orientation(image, change) for image in images])
    labels = None if labels is None else apply_orientation(labels, change)
    return turned, labels, affine @ inv_ornt_aff(change, images.shape[1:])


def _diameters(
    images: list[Volume], labels: NDArray[np.uint8], affine: NDArray[np.float64], synthetic: list[str]
) -> dict[str, Any] | None:
    """The axial slice with the largest diameters, and these: of what enhances, or of the whole tumour."""
    for region, contrast in (("ET", "t1gd"), ("WT", PLANES_ON)):
        found, lines = diameter_lines(labels, affine, region)
        if found is not None and not (region == "ET" and contrast in synthetic):
            plane = images[CONTRASTS.index(contrast)][..., found.index]
            caption = _caption(plane.shape, contrast, synthetic)
            caption["label"] += f", diameters of {region}"
            return {"image": plane, "labels": labels[..., found.index], "drawing": [caption, *lines]}
    return None


def stacked(above: Image.Image, below: Image.Image) -> Image.Image:
    """Both pictures, one under the other."""
    sheet = Image.new("RGB", (max(above.width, below.width), above.height + below.height))
    sheet.paste(above, (0, 0))
    sheet.paste(below, (0, above.height))
    return sheet


def _caption(shape: tuple[int, ...], contrast: str, synthetic: list[str]) -> dict[str, Any]:
    width, height = shape
    text = f"{TITLES[contrast]}, SYNTHETIC" if contrast in synthetic else TITLES[contrast]
    return {"kind": "text", "at": (0.03 * width, 0.09 * height), "label": text}
