"""How well the teeth of a label map agree with the truth: their numbers first, then every outline."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scipy import ndimage

from dental_teeth.teeth import FDI_CODES, to_labels
from medbundles.images import spacing_of
from medbundles.metrics import assd, dice, hausdorff
from medbundles.saving import affine_of, array_of

SAME = 0.5  # Dice from which on a tooth that was found is one that there is
LEAST_MM3 = 20.0  # less of a tooth than this is a sliver at the edge of the field of view
AROUND = 2  # voxels around a tooth that its distances are computed in

Labels = NDArray[np.integer]


def tooth_scores(found: Labels, truth: Labels, spacing: tuple[float, ...]) -> list[dict[str, Any]]:
    """Returns a row for each true tooth (X, Y, Z) that has one found at its place, whatever its number.

    Both maps have the values 1 to 32. `code` is the true FDI number, `numbered` whether the found one agrees.
    """
    rows = []
    volumes = np.bincount(truth.ravel(), minlength=len(FDI_CODES) + 1) * float(np.prod(spacing))
    boxes = ndimage.find_objects(truth)
    for label, box in enumerate(boxes, start=1):
        if box is None or volumes[label] < LEAST_MM3:
            continue
        counts = np.bincount(found[box][truth[box] == label], minlength=len(FDI_CODES) + 1)[1:]
        if not counts.any():
            continue
        nearest = 1 + int(counts.argmax())
        row = _agreement(found == nearest, truth == label, spacing)
        if row["Dice"] >= SAME:
            rows.append({"code": FDI_CODES[label - 1], "numbered": float(nearest == label), **row})
    return rows


def identification(
    found: Labels, truth: Labels, rows: list[dict[str, Any]], voxel_mm3: float
) -> dict[str, float]:
    """Returns precision, recall and F1 of teeth that are where their number says, of two label maps."""
    right = sum(row["numbered"] for row in rows)
    given, wanted = (
        int((np.bincount(labels.ravel())[1:] * voxel_mm3 >= LEAST_MM3).sum()) for labels in (found, truth)
    )
    return {
        "precision": right / given if given else float(not wanted),
        "recall": right / wanted if wanted else 1.0,
        "F1": 2 * right / (given + wanted) if given + wanted else 1.0,
    }


def _agreement(
    found: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: tuple[float, ...]
) -> dict[str, float]:
    """Dice and distances, computed in the part of the volume that holds both."""
    (box,) = ndimage.find_objects((found | truth).astype(np.uint8))
    box = tuple(slice(max(0, part.start - AROUND), part.stop + AROUND) for part in box)
    found, truth = found[box], truth[box]
    return {
        "Dice": dice(found, truth),
        "HD mm": hausdorff(found, truth, spacing=spacing),
        "ASSD mm": assd(found, truth, spacing=spacing),
    }


class ScoreTeethd(MapTransform):
    """Adds `scores` and `group` to a case whose truth is known: a row for the case and one for each tooth.

    Where the level of metal is known, the rows stand in its group and in that of all cases of the kind.

    Args:
        keys: the label map (1, X, Y, Z), values 1 to 32.
        label_key: FDI numbers on the same grid.
    """

    def __init__(self, keys: KeysCollection, label_key: str = "label") -> None:
        super().__init__(keys)
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            found = array_of(data[key])[0].astype(np.uint8)
            truth = to_labels(array_of(data[self.label_key])[0].astype(np.uint8))
            spacing = spacing_of(affine_of(data[key]), 3)
            rows = tooth_scores(found, truth, spacing)
            whole = identification(found, truth, rows, float(np.prod(spacing)))
            teeth = [{k: v for k, v in row.items() if k != "code"} for row in rows]
            data["group"] = group_of(data)
            groups = dict.fromkeys((kind_of(data), data["group"]))
            data["scores"] = [
                row
                for group in groups
                for row in ({"group": group, **whole}, *({"group": f"{group}: teeth", **t} for t in teeth))
            ]
        return data


def kind_of(case: Mapping[Hashable, Any]) -> str:
    """The kind of data that a case is of."""
    return str(case.get("kind") or "scans")


def group_of(case: Mapping[Hashable, Any]) -> str:
    """The row of the table that a case belongs to, such as `simulated, heavy metal`."""
    kind, metal = kind_of(case), case.get("metal")
    return f"{kind}, {'no' if metal == 'none' else metal} metal" if metal else kind
