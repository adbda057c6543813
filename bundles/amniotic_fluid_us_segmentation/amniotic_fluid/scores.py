"""How well fluid was found and measured: frames against their truth, patients against their true index."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray
from torch import Tensor

from amniotic_fluid.losses import UNDIVIDED_FLUID, UNKNOWN
from amniotic_fluid.measure import COUNT, DEEPEST, UNSURE
from amniotic_fluid.network import LABELS, averaged
from amniotic_fluid.pockets import PARTS, REVERBERATION, WET
from amniotic_fluid.study import AFI, MOST_FRAMES
from medbundles.evaluation import MEASURED, TRUE, ScoreTable
from medbundles.metrics import dice

if TYPE_CHECKING:
    from ignite.engine import Engine

HAZY_SHARE = 0.05  # of a frame's fluid that lies under reverberation, from which the frame counts as hazy
HAZY, PATIENTS = "{}, with reverberation", "{}, patients"
FAR_OFF_MM = 10.0
CLEAR_SHARE = 0.02  # of a head or an abdomen that may be called fluid: its skin is not a sharp line


def fluid_of(labels: Tensor) -> Tensor:
    """True where a label map, or a truth with undivided fluid, is amniotic fluid."""
    return torch.isin(labels, torch.tensor([*WET, UNDIVIDED_FLUID], device=labels.device))


class Fluidd(MapTransform):
    """Reduces logits ([S,] 4, X, Y) or label maps (1, X, Y) to masks (1, X, Y) of all fluid."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            image = torch.as_tensor(data[key]).as_subclass(Tensor)
            data[key] = fluid_of(image) if image.shape[-3] == 1 else _from_logits(image)
        return data


def _from_logits(logits: Tensor) -> Tensor:
    maps = averaged(logits) if logits.ndim == 4 else logits
    return maps.float().softmax(dim=0)[list(WET)].sum(dim=0, keepdim=True) > 0.5


class CompareFluidd(MapTransform):
    """Compares the labels and the deepest pocket of a frame with its truth; adds `scores` and `group`.

    Args:
        keys: the predicted labels (1, X, Y).
        label_key: the true label map on the same grid.
    """

    def __init__(self, keys: KeysCollection, label_key: str = "label") -> None:
        super().__init__(keys)
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            truth, answer = (
                torch.as_tensor(data[name]).as_subclass(Tensor)[0].long().numpy()
                for name in (self.label_key, key)
            )
            data["group"] = str(data["kind"])
            scores = {**overlaps(answer, truth), **_depths(data), **_warnings(data)}
            scores |= fetus_scores(answer, data.get("fetus"))
            rows = [scores]
            if data.get("source"):
                rows.append({"group": f"{data['group']}, {data['source']}", **scores})
            if is_hazy(truth):
                rows.append({"group": HAZY.format(data["group"]), **scores})
            data["scores"] = rows
        return data


def overlaps(answer: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    """Dice of all fluid and of each label in the truth, over the pixels where the truth is known."""
    known = truth != UNKNOWN
    found, true = np.isin(answer, WET) & known, np.isin(truth, (*WET, UNDIVIDED_FLUID))
    scores = {"Dice fluid": dice(found, true)} if true.any() else {}
    divided = not np.isin(truth, range(LABELS, UNKNOWN)).any()
    for name, label in (("fetal parts", PARTS), ("reverberation band", REVERBERATION)):
        if divided and (truth == label).any():
            scores[f"Dice {name}"] = dice(answer == label, truth == label)
    return scores


def is_hazy(truth: NDArray[Any]) -> bool:
    """Whether a good part of a frame's fluid lies under reverberation."""
    return bool((truth == REVERBERATION).sum() > HAZY_SHARE * max(1, np.isin(truth, WET).sum()))


def _depths(case: Mapping[Hashable, Any]) -> dict[str, float]:
    """The deepest pocket, measured and true; without any, whether that was said; {} where nobody knows."""
    if case["depth_mm"] is None:
        return {}
    if case["depth_mm"] == 0:
        return {"no pocket seen where there is none": float(_measured(case, COUNT) == 0)}
    return {DEEPEST + MEASURED: _measured(case, DEEPEST), DEEPEST + TRUE: float(case["depth_mm"])}


def _warnings(case: Mapping[Hashable, Any]) -> dict[str, float]:
    """Whether the deepest pocket was said to be uncertain: apart for those far off and the right ones."""
    measured = _measured(case, DEEPEST)
    if case["depth_mm"] is None or not np.isfinite(measured):
        return {}
    far = abs(measured - case["depth_mm"]) > FAR_OFF_MM
    name = f"off by more than {FAR_OFF_MM:g} mm" if far else "right"
    return {f"said to be uncertain, of pockets {name}": float(UNSURE in case["warnings"])}


def _measured(case: Mapping[Hashable, Any], name: str) -> float:
    values = [item["value"] for item in case["measurements"] if item["name"] == name]
    return float("nan") if not values or values[0] is None else float(values[0])


def fetus_scores(answer: NDArray[Any], fetus: Any) -> dict[str, float]:
    """How much of a real head or abdomen, an ellipse or None, was called fluid, and if that is little."""
    if fetus is None:
        return {}
    share = float(np.isin(answer, WET)[fetus.mask(answer.shape)].mean())
    return {"share of the fetus called fluid": share, "fetus kept clear": float(share <= CLEAR_SHARE)}


class IndexScores:
    """Adds a row for each patient to a table of scores: the index, measured and true, when a run has ended.

    Attach it before the table. Patients of whom not all four frames were seen give no row; a frame without a
    pocket counts as 0 mm.

    Args:
        table: where the rows go.
    """

    def __init__(self, table: ScoreTable) -> None:
        self.table = table
        self.depths: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)

    def attach(self, engine: Engine) -> None:
        """Registers collecting with every iteration of an evaluator and adding with its end."""
        from ignite.engine import Events

        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.add)

    def collect(self, engine: Engine) -> None:
        """Keeps the depths of the frames of the current batch that have a true one."""
        for case in engine.state.batch:
            if isinstance(case, Mapping) and "scores" in case and case["depth_mm"] is not None:
                measured = np.nan_to_num(_measured(case, DEEPEST))
                self.depths[case["group"], case["subject"]].append((float(measured), case["depth_mm"]))

    def add(self, engine: Engine) -> None:
        """Adds the rows."""
        for (group, patient), depths in self.depths.items():
            measured, true = (sum(values) for values in zip(*depths, strict=True))
            if len(depths) == MOST_FRAMES and true > 0:
                lengths = {AFI + MEASURED: measured, AFI + TRUE: true}
                self.table.rows.append({"group": PATIENTS.format(group), "case": patient, **lengths})
