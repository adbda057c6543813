"""Turns a network's answer into labels, measurements and a drawing, and compares them with the truth."""

from collections.abc import Hashable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from torch import Tensor

from fetal_biometry.biometry import Outline, find_outline, label_map, plane_score, spine_direction
from fetal_biometry.labels import ABDOMEN_PARTS, HEAD, LABELS, whole_abdomen
from medbundles.ellipse import Ellipse
from medbundles.images import spacing_of
from medbundles.measure import Calibration, diameter, gestational_age, measurement
from medbundles.metrics import dice

NO_SPINE = "the spine was not found, so front and back of the abdomen are not known"
FLATTEST = 0.65  # heads are about 0.75 to 0.85 as wide as long, abdomens rounder
DERIVED = "derived from the circumference by the regression of Hadlock et al. 1984, not measured"
GREEN, ORANGE, WHITE = "#39d353", "#ff9f1c", "#ffffff"


class MeasureBiometryd(MapTransform):
    """Replaces label probabilities (6, X, Y) on the frame's own grid by labels (1, X, Y), and measures.

    Adds `measurements`, `warnings` and `drawing` to the data. Lengths are in millimetres when the frame is
    calibrated and in pixels when it is not; anything that was not found is null with its reason.

    Args:
        keys: the probabilities.
        image_key: the frame, whose header says whether it is calibrated.
    """

    def __init__(
        self, keys: KeysCollection, image_key: str = "image", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            prediction: MetaTensor = data[key]
            calibrated = bool(data[self.image_key].meta.get("calibrated", False))
            spacing = spacing_of(prediction.affine, 2) if calibrated else (1.0, 1.0)
            found = Biometry(prediction.as_subclass(Tensor).float().cpu().numpy(), spacing, calibrated)
            data[key] = MetaTensor(torch.from_numpy(found.labels[None]), meta=dict(prediction.meta))
            data[key].affine = prediction.affine
            data["measurements"] = found.measurements()
            data["warnings"] = [*data.get("warnings", []), *found.warnings()]
            data["drawing"] = found.drawing()
        return data


class Biometry:
    """Everything measured on one frame.

    Args:
        probabilities: (6, X, Y) of the labels on the grid of the frame.
        spacing: size of a pixel along x and y, 1 without calibration.
        calibrated: whether `spacing` is in millimetres.
    """

    def __init__(
        self, probabilities: NDArray[np.floating], spacing: tuple[float, float], calibrated: bool
    ) -> None:
        self.spacing, self.calibrated = spacing, calibrated
        self.unit = "mm" if calibrated else "px"
        self.abdomen = find_outline(probabilities[list(ABDOMEN_PARTS)].sum(axis=0), spacing)
        self.head = find_outline(probabilities[HEAD], spacing)
        self.labels = label_map(probabilities, self.abdomen, self.head)

    def measurements(self) -> list[dict[str, Any]]:
        """Circumferences, diameters, gestational ages and the plane score, in that order."""
        return [
            self._circumference("AC", self.abdomen),
            *self._abdominal_diameters(),
            self._circumference("HC", self.head),
            *self._head_diameters(),
            self._age("AC", self.abdomen),
            self._age("HC", self.head),
            self._plane_score(),
        ]

    def _circumference(self, name: str, outline: Outline | None) -> dict[str, Any]:
        if outline is None:
            return measurement(name, None, self.unit, _absent(name))
        return measurement(name, outline.scaled.circumference(), self.unit)

    def _abdominal_diameters(self) -> list[dict[str, Any]]:
        """Along the line from the spine to the front of the abdomen, and across it."""
        names = ("APAD", "TAD")
        if self.abdomen is None:
            return [measurement(name, None, self.unit, _absent("AC")) for name in names]
        to_spine = spine_direction(self.labels, self.abdomen, self.spacing)
        if to_spine is None:
            return [measurement(name, None, self.unit, NO_SPINE) for name in names]
        across = np.array([-to_spine[1], to_spine[0]])
        calibration = Calibration(self.spacing if self.calibrated else None)
        directions = (direction / np.asarray(self.spacing) for direction in (to_spine, across))
        return [
            diameter(name, self.abdomen.pixels, direction, calibration)
            for name, direction in zip(names, directions, strict=True)
        ]

    def _head_diameters(self) -> list[dict[str, Any]]:
        names = ("OFD", "BPD")
        if self.head is None:
            return [measurement(name, None, self.unit, _absent("HC")) for name in names]
        axes = self.head.scaled.axes
        return [measurement(name, 2 * axis, self.unit) for name, axis in zip(names, axes, strict=True)]

    def _age(self, source: str, outline: Outline | None) -> dict[str, Any]:
        name = f"GA from {source}"
        if outline is None:
            return measurement(name, None, "weeks", _absent(source))
        age = gestational_age(source, outline.scaled.circumference() if self.calibrated else None, name=name)
        return age if age["value"] is None else {**age, "reason": DERIVED}

    def _plane_score(self) -> dict[str, Any]:
        if self.abdomen is None:
            return measurement("abdominal plane score", None, "1", _absent("AC"))
        score, reasons = plane_score(self.labels, self.abdomen)
        return measurement("abdominal plane score", score, "1", reasons)

    def warnings(self) -> list[str]:
        """What a reader should know before trusting the numbers."""
        found = [(name, o) for name, o in (("abdomen", self.abdomen), ("head", self.head)) if o is not None]
        if not found:
            return ["neither abdomen nor head was found in this frame"]
        notes = []
        for name, outline in found:
            if outline.cut:
                notes.append(
                    f"the {name} runs out of the frame: the missing part of its outline is extrapolated"
                )
            if outline.closed < 0.7:
                notes.append(f"only {100 * outline.closed:.0f} % of the outline of the {name} was seen")
            if outline.scaled.axes[1] < FLATTEST * outline.scaled.axes[0]:
                notes.append(
                    f"the {name} is flatter than one should be: the outline may hold more than the {name}"
                )
            if outline.agreement < 0.9:
                notes.append(f"the {name} is far from an ellipse (overlap {100 * outline.agreement:.0f} %)")
        return notes

    def drawing(self) -> list[dict[str, Any]]:
        """The ellipses and the measured diameters for the preview, in pixels of the frame."""
        shapes: list[dict[str, Any]] = []
        for name, outline, colour in (("AC", self.abdomen, GREEN), ("HC", self.head, ORANGE)):
            if outline is None:
                continue
            text = f"{name} {outline.scaled.circumference():.1f} {self.unit}"
            shapes.append(_ellipse(outline.pixels, colour, text))
            for ends in outline.pixels.endpoints():
                first, second = (tuple(float(v) for v in end) for end in ends)
                shapes.append({"kind": "line", "from": first, "to": second, "colour": colour, "label": ""})
        return shapes


class CompareBiometryd(MapTransform):
    """Compares the labels and measurements of a case with its truth; adds `scores` and `group`.

    Args:
        keys: the predicted labels (1, X, Y).
        label_key: the true label map on the same grid.
        expected_key: true lengths in millimetres by name, where the case has them.
        simulated: the name of the group of simulated cases, which are never mixed with real ones.
    """

    def __init__(
        self, keys: KeysCollection, label_key: str = "label", expected_key: str = "expected"
    ) -> None:
        super().__init__(keys)
        self.label_key, self.expected_key = label_key, expected_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        measured = {m["name"]: m["value"] for m in data.get("measurements", [])}
        for key in self.key_iterator(data):
            truth = torch.as_tensor(data[self.label_key]).as_subclass(Tensor)[0].long()
            answer = torch.as_tensor(data[key]).as_subclass(Tensor)[0].long()
            data["group"] = str(data.get("kind", "labelled"))
            data["scores"] = _overlaps(answer, truth) | _errors(measured, data.get(self.expected_key) or {})
            if (outline := data.get("outline")) is not None:
                data["drawing"] = [*data.get("drawing", []), _ellipse(outline, WHITE, "")]
        return data


def _ellipse(ellipse: Ellipse, colour: str, text: str) -> dict[str, Any]:
    return {"kind": "ellipse", **asdict(ellipse), "colour": colour, "label": text}


def _overlaps(answer: Tensor, truth: Tensor) -> dict[str, float]:
    """Dice of each outline and structure in the truth; undivided abdomens say nothing about structures."""
    scores = {}
    if whole_abdomen(truth).any():
        scores["Dice abdomen"] = dice(whole_abdomen(answer).numpy(), whole_abdomen(truth).numpy())
    for label in [label for label in LABELS if label != ABDOMEN_PARTS[0]]:
        if (truth == label).any():
            scores[f"Dice {LABELS[label]}"] = dice((answer == label).numpy(), (truth == label).numpy())
    return scores


def _errors(measured: Mapping[str, float | None], expected: Mapping[str, float]) -> dict[str, float]:
    """For each expected length the measured and true value in mm; nothing measured is not-a-number."""
    scores: dict[str, float] = {}
    for name, truth in expected.items():
        value = measured.get(name)
        scores[f"{name} measured mm"] = float("nan") if value is None else value
        scores[f"{name} true mm"] = float(truth)
    return scores


def _absent(name: str) -> str:
    return f"no {'head' if name == 'HC' else 'abdomen'} was found in this frame"
