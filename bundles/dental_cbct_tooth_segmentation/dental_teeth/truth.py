"""The truth for all three networks from the labels of a scan: seen along the rays of its panoramas."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray

from dental_teeth.border import Volume
from dental_teeth.boxes import Box, box_of
from dental_teeth.frame import Array, shrunk, towards_left_back_up
from dental_teeth.jaws import COARSE_MM, Finder, split_jaws
from dental_teeth.panorama import LOWER_QUADRANTS, UPPER_QUADRANTS, Mask, View, panorama, project_labels
from dental_teeth.reading import normalised, views_with_teeth
from medbundles.saving import affine_of, array_of

logger = logging.getLogger(__name__)

LEAST_PIXELS = 40  # of a tooth on the panorama; what is cut off by the field of view may show less


@dataclass(frozen=True)
class JawTruth:
    """The panorama of a jaw with what is on it.

    Attributes:
        view: how it was made.
        shown: (columns, rows), as the networks see it.
        masks: of each tooth, by FDI number.
    """

    view: View
    shown: NDArray[np.float32]
    masks: Mapping[int, Mask]

    @property
    def boxes(self) -> dict[int, Box]:
        """The box of each tooth."""
        return {code: box_of(mask) for code, mask in self.masks.items()}


def truth_of(volume: NDArray, labels: NDArray, affine: Array) -> tuple[JawTruth, ...]:
    """Returns the panoramas of a scan (X, Y, Z), and the teeth of a map of FDI numbers on them."""
    jaws = split_jaws(volume, affine, finder_in(labels, affine))
    found = []
    for view in views_with_teeth(jaws).values():
        masks = project_labels(labels, affine, view)
        masks = {code: mask for code, mask in masks.items() if mask.sum() >= LEAST_PIXELS}
        found.append(JawTruth(view, normalised(panorama(volume, affine, view, jaws)), masks))
    return tuple(found)


def finder_in(labels: NDArray, affine: Array) -> Finder:
    """Returns how to mark the teeth of a scan whose FDI numbers are known."""

    def find(small: Volume, place: Array) -> Volume:
        quadrants, turned = towards_left_back_up(labels // 10, affine)
        own = [np.isin(quadrants, jaw) for jaw in (UPPER_QUADRANTS, LOWER_QUADRANTS)]
        return np.stack([shrunk(one, turned, COARSE_MM)[0] for one in own])

    return find


class ReadTruthd(MapTransform):
    """Adds `truth`, a `JawTruth` of each jaw, to a case with a scan and labels.

    Args:
        keys: FDI numbers (1, X, Y, Z).
        image_key: the scan on the same grid.
    """

    def __init__(self, keys: KeysCollection, image_key: str = "image") -> None:
        super().__init__(keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            scan, labels = (array_of(data[name])[0] for name in (self.image_key, key))
            data["truth"] = truth_of(scan, labels, affine_of(data[self.image_key]))
        return data
