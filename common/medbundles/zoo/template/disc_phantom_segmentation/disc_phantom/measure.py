"""From the network's answer to a label map and its measurement, and the comparison with the truth."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray

from medbundles.contours import largest_component, outer_contour
from medbundles.ellipse import EllipseFitError, fit_ellipse
from medbundles.images import spacing_of
from medbundles.measure import Calibration, circumference, measurement
from medbundles.metrics import dice

NAME = "circumference"
NOT_FOUND = "no outline of an ellipse was found in this image"


class MeasureDiscd(MapTransform):
    """Replaces probabilities (2, X, Y) on the image's own grid by labels (1, X, Y), and measures them.

    Adds `measurements`, `warnings` and `drawing` to the case.

    Args:
        keys: the probabilities.
        image_key: the image, whose header says whether it is calibrated.
    """

    def __init__(
        self, keys: KeysCollection, image_key: str = "image", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        case = dict(data)
        for key in self.key_iterator(case):
            probabilities: MetaTensor = case[key]
            calibrated = bool(case[self.image_key].meta.get("calibrated", False))
            spacing = spacing_of(np.asarray(probabilities.affine), 2) if calibrated else None
            probability = probabilities[1].numpy()
            found, drawing = measure_disc(probability, Calibration(spacing))
            labels = torch.from_numpy(largest_component(probability > 0.5)[None].astype(np.uint8))
            case[key] = MetaTensor(labels, meta=dict(probabilities.meta))
            case[key].affine = probabilities.affine
            case["measurements"], case["drawing"] = [found], drawing
            if not calibrated:
                advice = "not calibrated: lengths are in pixels; give --pixel_mm to get millimetres"
                case["warnings"] = [*case.get("warnings", []), advice]
        return case


def measure_disc(
    probability: NDArray[np.floating], calibration: Calibration
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The circumference of the ellipse around a probability map (X, Y), and what to draw of it."""
    try:
        ellipse = fit_ellipse(outer_contour(probability))
    except (EllipseFitError, ValueError):
        return measurement(NAME, None, calibration.unit, NOT_FOUND), []
    found = circumference(NAME, ellipse, calibration)
    shape = {"kind": "ellipse", "centre": ellipse.centre, "axes": ellipse.axes, "angle": ellipse.angle}
    return found, [{**shape, "colour": "#39d353", "label": NAME}]


class CompareDiscd(MapTransform):
    """Compares labels and measurements with the truth of the case; adds `scores` and `group`."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        case = dict(data)
        measured = {item["name"]: item["value"] for item in case["measurements"]}
        for key in self.key_iterator(case):
            case["group"] = case["kind"]
            case["scores"] = {"Dice": dice(np.asarray(case[key]), np.asarray(case["label"]))}
            for name, value in case["expected"].items():
                found = measured.get(name)
                case["scores"][f"{name} measured mm"] = float("nan") if found is None else found
                case["scores"][f"{name} true mm"] = value
        return case
