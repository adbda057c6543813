"""MONAI transforms that read with checks, write whole files on the input's own grid, and draw previews."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from monai.config import DtypeLike, KeysCollection
from monai.data import MetaTensor
from monai.transforms import LoadImaged, MapTransform
from monai.utils.enums import SpaceKeys

from medbundles import io
from medbundles.images import Image, spacing_of
from medbundles.metadata import bundle_info
from medbundles.saving import Metadata, PreviewWriter, SaveImageWholed, affine_of, array_of

__all__ = [
    "RESEARCH",
    "LoadImageCheckedd",
    "SaveImageWholed",
    "SavePreviewd",
    "image_in_memory",
    "measurement_text",
]

RESEARCH = "research use only"


class LoadImageCheckedd(LoadImaged):
    """Reads images channel-first as float32 and checks them against the bundle's metadata.

    An item that is an array already (a client has read it) is only checked. The tensor's `meta` says `affine`
    and `original_affine` (4x4 RAS, also in 2D), `filename_or_obj`, `spatial_shape`, `spacing`, `calibrated`,
    `calibration` and `modality`. What is unusual but usable is appended to the case's `warnings`.

    Args:
        keys: the items to read.
        metadata: path or content of metadata.json; None reads without checking, for labels.
        pixel_mm: the size of a pixel in millimetres, instead of what the file says; None takes the case's own
            `pixel_mm`, as data sets have it that keep the size in a table.
        dtype: the tensor's type.
    """

    def __init__(
        self,
        keys: KeysCollection,
        metadata: Metadata | None = None,
        *,
        pixel_mm: float | Sequence[float] | None = None,
        dtype: DtypeLike = np.float32,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(
            self, keys, allow_missing_keys
        )  # LoadImaged's would look for every reader there is
        self._loader = SimpleNamespace(image_only=True)  # a switch that older clients turn
        self.spec = None if metadata is None else bundle_info(metadata).input
        self.pixel_mm = pixel_mm
        self.dtype = np.dtype(dtype)

    def __call__(self, data: Mapping[Hashable, Any], reader: Any = None) -> dict[Hashable, Any]:
        """Returns the case with its images read."""
        case = dict(data)
        for key in self.key_iterator(case):
            image = self._image(case[key], case.get("pixel_mm") if self.pixel_mm is None else self.pixel_mm)
            if self.spec is not None and (warnings := image.check(self.spec)):
                case["warnings"] = [*case.get("warnings", []), *warnings]
            case[key] = self._tensor(image)
            if not self._loader.image_only:  # older clients ask for the metadata beside the image
                case[f"{key}_meta_dict"] = dict(case[key].meta)
        return case

    def _image(self, item: Any, pixel_mm: float | Sequence[float] | None) -> Image:
        if isinstance(item, np.ndarray | torch.Tensor):
            return image_in_memory(item, pixel_mm)
        return io.read_image(item, pixel_mm=pixel_mm)

    def _tensor(self, image: Image) -> MetaTensor:
        meta = {
            "filename_or_obj": str(image.source),
            "spatial_shape": np.array(image.shape),
            "original_affine": image.affine.copy(),
            "original_channel_dim": 0,
            "space": SpaceKeys.RAS,
            "spacing": [float(s) for s in image.spacing],
            "calibrated": bool(image.calibrated),
            "calibration": image.calibration,
            "modality": image.modality or "",
        }
        pixels = torch.from_numpy(np.ascontiguousarray(image.array.astype(self.dtype)))
        return MetaTensor(pixels, affine=torch.from_numpy(image.affine.copy()), meta=meta)


def image_in_memory(
    array: np.ndarray | torch.Tensor, pixel_mm: float | Sequence[float] | None = None
) -> Image:
    """Returns the image in a channel-first array; its `meta`, if it has one, gives the geometry."""
    meta = getattr(array, "meta", {})
    pixels = array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else array
    affine = np.eye(4)
    given = np.asarray(meta.get("affine", np.diag([-1.0, -1.0, 1.0, 1.0])), float)
    if given.shape == (3, 3):  # a client's 2D affine
        affine[np.ix_([0, 1, 3], [0, 1, 3])] = given
    else:
        affine = given
    image = Image(
        array=pixels,
        affine=affine,
        calibrated=bool(meta.get("calibrated", "affine" in meta)),
        calibration=meta.get("calibration", "the caller" if "affine" in meta else "none"),
        modality=meta.get("modality") or None,
        source=Path(str(meta.get("filename_or_obj", "image in memory"))),
    )
    return io.with_pixel_size(image, pixel_mm)


class SavePreviewd(PreviewWriter):
    """Writes `<case>_preview.png`: the input with contours, values, scale bar, bundle name and version.

    The picture shows the input as it was read, not as the network saw it, and upright as its header says.

    Args:
        keys: the label map, already on the input's grid; further keys are not used.
        output_dir: the folder.
        metadata: path or content of metadata.json.
        image_key: drawn if the input cannot be read again from its file.
    """

    def _draw(self, case: Mapping[Hashable, Any]) -> Any:
        from medbundles.previews import Captions, Panel, draw_preview, upright, volume_panels

        key = self.keys[0]
        labels, affine = array_of(case[key])[0], affine_of(case[key])
        image = self._original(case, key, labels.shape)
        calibrated = bool(case[key].meta.get("calibrated", False))
        captions = Captions(
            title=Path(self._source(case, key)).name,
            footer=f"{self.info.name} {self.info.version} - {RESEARCH}",
            unit="mm" if calibrated else "px",
            label_names=self.info.label_names,
            lines=[measurement_text(m) for m in case.get("measurements", [])],
        )
        if labels.ndim == 3:
            return draw_preview(volume_panels(image, labels, affine, oriented=calibrated), captions)
        panel = Panel(image, labels, spacing_of(affine, 2), case.get("drawing", ()))
        return draw_preview(upright(panel, affine), captions)

    def _original(self, case: Mapping[Hashable, Any], key: Hashable, shape: tuple[int, ...]) -> np.ndarray:
        source = self._source(case, key)
        if Path(source).exists() or ".zip" in source:
            return io.read_image(source).array[0]
        image = array_of(case[self.image_key])[0]
        return image if image.shape == shape else np.zeros(shape, np.uint8)


def measurement_text(measurement: Mapping[str, Any]) -> str:
    """Returns e.g. `AC 258.3 mm`, or `AC not measured`."""
    value = measurement.get("value")
    if value is None:
        return f"{measurement['name']} not measured"
    text = f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    unit = measurement.get("unit") or ""
    return f"{measurement['name']} {text} {'' if unit == '1' else unit}".rstrip()
