"""Which images a workflow sees, and the label map that each of them carries."""

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray

from fetal_biometry.labels import HEAD, UNDIVIDED_ABDOMEN
from fetal_biometry.simulator import write_cases
from medbundles.checks import DatasetError
from medbundles.datasets import simulated
from medbundles.datasets.discovery import load_all
from medbundles.datasets.split import split_by_group
from medbundles.ellipse import Ellipse
from medbundles.io import read_image

SHARES = {"train": 0.70, "validation": 0.08, "test": 0.22}
# A fifth of the real heads are of the first trimester and look unlike the rest: they are shown more often.
EARLY_HEAD_MM, EARLY_HEAD_SHOWN = 110.0, 3


def find_cases(dataset_dir: str, split: str, kinds: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The cases of every data set in a folder that fall into `split`: train, validation, test, or all.

    Subjects never cross the splits. Each case is a dictionary with `image`, `label` (an outline, or the file
    of a label map), `kind`, `subject` and `pixel_mm` (None without calibration).

    Args:
        kinds: only these kinds of case (abdomen, head, simulated); None for all.
    """
    found, _ = load_all(dataset_dir)
    if split != "all":
        found = split_by_group(found, fractions=SHARES)[split]
    cases = [_entry(case) for case in found if kinds is None or case["kind"] in kinds]
    if not cases:
        raise DatasetError(
            f"no case for the split '{split}'" + (f" of kind {', '.join(kinds)}" if kinds else ""),
            expected="FETAL_PLANES_DB with UCL landmarks, HC18, ACOUSLIC-AI or 10 or more simulated cases",
            source=dataset_dir,
            advice="point --dataset_dir at the folder of the data sets, or make cases: medbundles simulate",
        )
    return cases


def training_cases(
    dataset_dir: str, simulated_dir: str, simulated_cases: int, seed: int = 0
) -> list[dict[str, Any]]:
    """The training split of a folder plus simulated cases, which are made first if they are not there yet.

    Real heads of the first trimester are listed several times.
    """
    cases = find_cases(dataset_dir, "train")
    cases += early_heads(cases) * (EARLY_HEAD_SHOWN - 1)
    if simulated_cases > 0:
        found = simulated.made(simulated_dir, simulated_cases, partial(write_cases, seed=seed))
        cases += [_entry(case) for case in found]
    return cases


def early_heads(cases: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those cases that are real heads with a known circumference of the first trimester."""
    return [c for c in cases if c["kind"] == "head" and c["expected"].get("HC", np.inf) < EARLY_HEAD_MM]


def _entry(case: Mapping[str, Any]) -> dict[str, Any]:
    truth = case["truth"]
    return {
        "image": str(case["image"]),
        "label": truth.get("ellipse") or str(truth["mask"]),
        "kind": case["kind"],
        "subject": case["subject"],
        "pixel_mm": case["spacing_mm"],
        "expected": {e["name"]: e["value"] for e in case.get("expected", []) if e["unit"] == "mm"},
    }


class DrawTruthd(MapTransform):
    """Turns the truth of a case into a label map (1, X, Y) on the grid of its image.

    The truth is an outline, or a file: a full label map of a simulated or user-labelled case, or a mask of
    the abdomen alone (ACOUSLIC-AI, where 1 and 2 tell good planes from fair ones, not structures).
    An outline is kept as `outline`.
    """

    def __init__(
        self, keys: KeysCollection, image_key: str = "image", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        image: MetaTensor = data[self.image_key]
        for key in self.key_iterator(data):
            if isinstance(data[key], Ellipse):
                data["outline"] = data[key]
            drawn = draw_truth(data[key], data.get("kind", "labelled"), tuple(image.shape[1:]))
            data[key] = MetaTensor(torch.from_numpy(drawn[None]), affine=image.affine)
        return data


def draw_truth(truth: Ellipse | str, kind: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The label map (X, Y) of an outline, or of a label file."""
    if isinstance(truth, Ellipse):
        return truth.mask(shape).astype(np.uint8) * np.uint8(HEAD if kind == "head" else UNDIVIDED_ABDOMEN)
    labels = read_image(truth).array[0]
    if labels.shape != shape:
        raise DatasetError(
            f"a label map of {labels.shape} pixels",
            expected=f"{shape}, as its image",
            source=truth,
            advice="check the pair",
        )
    if kind == "abdomen":
        return (labels > 0).astype(np.uint8) * np.uint8(UNDIVIDED_ABDOMEN)
    return labels.astype(np.uint8)
