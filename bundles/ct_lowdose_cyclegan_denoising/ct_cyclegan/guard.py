"""Says how noisy a slice was and is, and marks where it was changed by more than its noise explains."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scipy import ndimage

from medbundles.image_quality import body_mask
from medbundles.images import spacing_of
from medbundles.measure import measurement
from medbundles.noise import noise_map, unexplained
from medbundles.slices import from_slices, slice_view, to_slices

THRESHOLD = 5.0
QUIET_HU = 6.0  # noise below which there is little to gain
TRAINED_PIXELS_MM = (0.45, 1.1)
NO_BODY = "no slice shows a body: everything is air, or what is shown is too small"

IN_PLANE = np.zeros((3, 3, 3), dtype=bool)  # neighbours that make one place
IN_PLANE[..., 1] = True

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Guard:
    """What was found in a stack of slices.

    Attributes:
        marks: (X, Y, N), True where the change is more than noise explains.
        before: typical noise of each slice with a body, in HU.
        after: the same after denoising.
        body: number of voxels in the body.
        pixel_mm: size of a pixel along X and Y.
    """

    marks: NDArray[np.bool_]
    before: list[float]
    after: list[float]
    body: int
    pixel_mm: tuple[float, float]

    def measurements(self) -> list[dict[str, Any]]:
        """The noise before and after, and how much of the body is marked."""
        if not self.before:
            rows = (("noise before", "HU"), ("noise after", "HU"), ("unexplained change", "%"))
            return [measurement(name, None, unit, NO_BODY) for name, unit in rows]
        return [
            measurement("noise before", float(np.median(self.before)), "HU"),
            measurement("noise after", float(np.median(self.after)), "HU"),
            measurement("unexplained change", 100 * float(self.marks.sum()) / self.body, "%"),
        ]

    def warnings(self) -> list[str]:
        """What a reader should know before trusting the result."""
        notes = []
        if self.marks.any():
            parts, count = ndimage.label(self.marks, IN_PLANE)
            areas = np.bincount(parts.ravel())[1:] * self.pixel_mm[0] * self.pixel_mm[1]
            z = int(np.argmax(self.marks.sum(axis=(0, 1)))) + 1
            where = "" if self.marks.shape[-1] == 1 else f", most in slice {z}"
            notes.append(
                f"{count} {'place' if count == 1 else 'places'} changed by more than the noise explains "
                f"(largest {areas.max():.0f} mm2{where}): compare with the input there"
            )
        if self.before and np.median(self.before) < QUIET_HU:
            notes.append(
                f"the noise of the input is {np.median(self.before):.1f} HU: there is little to gain"
            )
        low, high = TRAINED_PIXELS_MM
        if min(self.pixel_mm) < low or max(self.pixel_mm) > high:
            size = " x ".join(f"{mm:.2g}" for mm in self.pixel_mm)
            notes.append(f"pixels of {size} mm: the network learned from {low:g} to {high:g} mm")
        return notes


def guard(before: Array, after: Array, pixel_mm: tuple[float, float], threshold: float = THRESHOLD) -> Guard:
    """Compares two stacks of slices (X, Y, N) in HU.

    Args:
        threshold: of `medbundles.noise.unexplained`, in standard deviations.
    """
    marks = np.zeros(before.shape, dtype=bool)
    levels: tuple[list[float], list[float]] = ([], [])
    size, count = float(np.mean(pixel_mm)), 0
    for z in range(before.shape[-1]):
        old, new = before[..., z], after[..., z]
        body = body_mask(old)
        if not body.any():
            continue
        noise = noise_map(old, mask=body)
        marks[..., z] = unexplained(old, new, noise, threshold=threshold, pixel_mm=size, mask=body)
        levels[0].append(float(np.median(noise[body])))
        levels[1].append(float(np.median(noise_map(new, mask=body)[body])))
        count += int(body.sum())
    return Guard(marks, *levels, count, pixel_mm)


class GuardNoised(MapTransform):
    """Adds `guard`, a mask (1 where the change is more than noise explains), measurements and warnings.

    Args:
        keys: the denoised image, in HU on the input's grid.
        image_key: the input, likewise.
        guard_key: where the mask goes.
        threshold: in standard deviations of the smoothed noise; lower marks more.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_key: str = "image",
        guard_key: str = "guard",
        *,
        threshold: float = THRESHOLD,
    ) -> None:
        super().__init__(keys)
        self.image_key, self.guard_key, self.threshold = image_key, guard_key, float(threshold)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            image: MetaTensor = data[self.image_key]
            affine, ndim = np.asarray(image.affine, float), image.ndim - 1
            order, flips = slice_view(affine, image.shape[1:])
            before, after = (
                to_slices(torch.as_tensor(item).as_subclass(torch.Tensor), order, flips)[0].cpu().numpy()
                for item in (image, data[key])
            )
            spacing = np.array(spacing_of(affine, 3))[order[:2]]
            found = guard(before, after, (float(spacing[0]), float(spacing[1])), self.threshold)
            marks = torch.from_numpy(found.marks.astype(np.uint8)[None])
            meta = {name: value for name, value in image.meta.items() if name != "affine"}
            data[self.guard_key] = MetaTensor(
                from_slices(marks, order, flips, ndim), affine=image.affine, meta=meta
            )
            data["measurements"] = [*data.get("measurements", []), *found.measurements()]
            data["warnings"] = [*data.get("warnings", []), *found.warnings()]
        return data
