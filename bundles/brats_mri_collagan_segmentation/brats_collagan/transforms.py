"""From contrasts as they were read to what the networks see, and from their answer to a label map.

Shapes: C contrasts, K classes, R nested regions, X, Y and Z the axes of a volume.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import CropForegroundd, Invertd, InvertibleTransform, MapTransform, Spacingd
from monai.utils import ensure_tuple
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from brats_collagan.network import CLASSES
from medbundles.contrasts import CONTRASTS
from medbundles.multicontrast import LabelsToRegionsd, WithholdContrastsd
from medbundles.regions import MM3_PER_ML

OEDEMA = 2  # label

# Spacingd warns of its own default; that answers lie on the image, the contract tests.
warnings.filterwarnings("ignore", message="align_corners=False is not compatible with scale_extent")


class CropBraind(CropForegroundd):
    """Crops to where any contrast is not 0.

    Args:
        keys: what is cropped.
        source_key: the contrasts.
    """

    def __init__(
        self,
        keys: KeysCollection,
        source_key: str = "image",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(
            keys,
            source_key,
            select_fn=is_foreground,
            allow_smaller=True,
            allow_missing_keys=allow_missing_keys,
        )


class SpacingPastTextsd(Spacingd):
    """Resamples as MONAI's `Spacingd`, which takes everything called `image_...` for metadata of the image.

    Clients put texts there, such as the path as `image_path`.
    """

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        """Returns the case resampled, its texts untouched."""
        texts = {key: value for key, value in data.items() if isinstance(value, str)}
        return super().__call__({k: v for k, v in data.items() if k not in texts}, lazy) | texts


def is_foreground(image: Tensor) -> Tensor:
    """Where an image is not 0."""
    return image != 0


class WithholdNamedd(MapTransform):
    """Empties one contrast, for evaluation: it is then missing like one that was never measured.

    Args:
        keys: the name of the contrast, or None for none.
        image_key: the contrasts (C, X, Y, Z).
    """

    def __init__(self, keys: KeysCollection, image_key: str = "image") -> None:
        super().__init__(keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            if data[key] is not None:
                data = WithholdContrastsd(self.image_key, [data[key]])(data)
        return data


class RegionsOfAnswerd(MapTransform):
    """Turns what `CollaInferer` or the network gives (K or K + C, X, Y, Z) into nested regions, 0 or 1."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            data[key] = data[key].as_subclass(Tensor)[:CLASSES].argmax(0, keepdim=True)
        return LabelsToRegionsd(self.keys)(data)


class InvertAlld(Invertd):
    """Takes what `CollaInferer` gives apart and brings both parts back to the grid of the input.

    Margins remain under the key; the completed contrasts take the place of the input's, and
    `synthetic_inputs` names those that were imputed.

    Args:
        keys: the answer (K + C, X, Y, Z).
        transform: the preprocessing.
        image_key: the contrasts (C, X, Y, Z).
    """

    def __init__(
        self, keys: KeysCollection, transform: InvertibleTransform, image_key: str = "image"
    ) -> None:
        super().__init__([*ensure_tuple(keys), image_key], transform, image_key, nearest_interp=False)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        before = torch.as_tensor(data[self.image_key])
        (key,) = [name for name in self.keys if name != self.image_key]
        pixels = data[key].as_subclass(Tensor)
        after = pixels[CLASSES:].to(before.device)
        filled = ((before == 0).flatten(1).all(1) & (after != 0).flatten(1).any(1)).tolist()
        data["synthetic_inputs"] = [name for name, new in zip(CONTRASTS, filled, strict=True) if new]
        data[key] = _like(data[key], pixels[:CLASSES])
        data[self.image_key] = _like(data[self.image_key], after)
        return super().__call__(data)


class LabelTumourd(MapTransform):
    """Turns margins (K, X, Y, Z) into a label map (1, X, Y, Z): inside the brain, without specks.

    Args:
        keys: the margins, on the grid of the input.
        image_key: the contrasts on the same grid.
        smallest_ml: a tumour smaller than this is taken for a speck.
        smallest_oedema_ml: oedema smaller than this, with no tumour in it, for a lesion of age.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_key: str = "image",
        smallest_ml: float = 0.1,
        smallest_oedema_ml: float = 1.0,
    ) -> None:
        super().__init__(keys)
        self.image_key = image_key
        self.smallest_ml, self.smallest_oedema_ml = float(smallest_ml), float(smallest_oedema_ml)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        brain = (torch.as_tensor(data[self.image_key]).as_subclass(Tensor) != 0).any(0).numpy()
        for key in self.key_iterator(data):
            margins: MetaTensor = data[key]
            voxel_ml = abs(float(np.linalg.det(np.asarray(margins.affine, float)[:3, :3]))) / MM3_PER_ML
            labels = np.zeros(brain.shape, np.uint8)
            for box in ndimage.find_objects(brain.astype(np.uint8)):
                inside = margins.as_subclass(Tensor)[(slice(None), *box)].argmax(0).numpy() * brain[box]
                labels[box] = without_specks(
                    inside.astype(np.uint8), self.smallest_ml / voxel_ml, self.smallest_oedema_ml / voxel_ml
                )
            data[key] = _like(margins, torch.from_numpy(labels[None]))
        return data


def without_specks(
    labels: NDArray[np.uint8], smallest: float, smallest_oedema: float = 0.0
) -> NDArray[np.uint8]:
    """A label map without small connected tumours.

    Args:
        labels: 1 to 3, 0 where there is no tumour.
        smallest: voxels of a tumour, all labels together.
        smallest_oedema: voxels of one that is oedema throughout.
    """
    kept = np.zeros_like(labels)
    for box in ndimage.find_objects((labels > 0).astype(np.uint8)):
        parts, count = ndimage.label(labels[box] > 0, structure=np.ones((3, 3, 3)))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        solid = np.bincount(parts[(labels[box] > 0) & (labels[box] != OEDEMA)], minlength=count + 1)
        large = (sizes >= smallest) & ((solid > 0) | (sizes >= smallest_oedema))
        kept[box] = labels[box] * large[parts]
    return kept


def _like(reference: Tensor, values: Tensor) -> MetaTensor:
    """Values with the meta information of another tensor."""
    if not isinstance(reference, MetaTensor):
        return MetaTensor(values)
    return MetaTensor(
        values, meta=dict(reference.meta), applied_operations=list(reference.applied_operations)
    )
