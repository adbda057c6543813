"""Real frames without labels: paired with simulated ones to learn their look, and labelled by a network.

What the network is sure of becomes a label, and what it doubts stays unknown. One thing is known of every
real frame of the public sets without asking it: where the fetal head or abdomen is, there is no fluid. And
one thing it is not believed, however sure it is: a thin rim of fluid, since scalp and muscle look like one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn
from tqdm import tqdm

from amniotic_fluid.cases import REAL, find_cases, read_outlines, training_cases
from amniotic_fluid.losses import NOT_FLUID, UNDIVIDED_FLUID, UNKNOWN
from amniotic_fluid.pockets import WET
from medbundles.blanked import blanked_boxes
from medbundles.checks import DatasetError
from medbundles.datasets.discovery import load_all
from medbundles.datasets.records import Case
from medbundles.io import write_image
from medbundles.sector import StandardiseSectord
from medbundles.weights import load_weights

logger = logging.getLogger(__name__)

SELF_LABELLED = "self-labelled"
RIM_MM = 5.0  # width up to which fluid is not believed
SKIN_MM = 1.0  # published outlines run along the middle of a bright line, which is about twice as thick


def real_frames(real_dir: str, outlines: Sequence[str]) -> list[Case]:
    """The real frames of a folder, without all frames of subjects of whom any was outlined for testing.

    Raises:
        DatasetError: there is none.
    """
    found = load_all(real_dir, kinds=REAL)[0]
    drawn = set().union(*(read_outlines(path) for path in outlines)) if outlines else set()
    kept_aside = {case["subject"] for case in found if Path(case["image"]).name in drawn}
    frames = [case for case in found if case["subject"] not in kept_aside]
    if not frames:
        raise DatasetError(
            "no real frame is left to learn from",
            expected="HC18, or abdomens of FETAL_PLANES_DB with UCL landmarks",
            source=real_dir,
            advice="point --real_dir at the folder of the data sets",
        )
    logger.info("%d real frames; %d subjects are kept aside for testing", len(frames), len(kept_aside))
    return frames


def training_pairs(
    *args: Any, real_dir: str, outlines: Sequence[str], seed: int = 0, **options: Any
) -> list[dict[str, Any]]:
    """The frames of `training_cases` and its arguments, each beside a real frame."""
    return beside_real(training_cases(*args, seed=seed, **options), real_dir, outlines, seed)


def validation_pairs(
    dataset_dir: str, split: str, *, real_dir: str, outlines: Sequence[str]
) -> list[dict[str, Any]]:
    """The frames of a split, each beside a real frame."""
    return beside_real(find_cases(dataset_dir, split), real_dir, outlines)


def beside_real(
    cases: Sequence[Mapping[str, Any]], real_dir: str, outlines: Sequence[str], seed: int = 0
) -> list[dict[str, Any]]:
    """The images of cases, each with a real one of another anatomy under `real`, drawn without order."""
    frames = real_frames(real_dir, outlines)
    rng = np.random.default_rng(seed)
    chosen = [i for _ in range(-(-len(cases) // len(frames))) for i in rng.permutation(len(frames))]
    return [
        {"image": case["image"], "real": str(frames[i]["image"])}
        for case, i in zip(cases, chosen, strict=False)
    ]


class Teacher:
    """A trained network that says of frames what it is sure of.

    Args:
        network: for standardised frames.
        weights: its weights file.
        load: loads the frame of a case.
        standardise: puts it on the network's grid.
        inferer: runs the network.
        sure: probability from which a pixel is taken for fluid.
        clear: probability up to which it is taken for anything else; below 0: such pixels stay unknown.
    """

    def __init__(
        self,
        network: nn.Module,
        weights: str | Path,
        load: Callable[[dict], dict],
        standardise: StandardiseSectord,
        inferer: Callable[..., Tensor],
        sure: float = 0.9,
        clear: float = 0.1,
    ) -> None:
        load_weights(network, Path(weights))
        self.network, self.inferer = network.eval(), inferer
        self.load, self.standardise = load, standardise
        self.sure, self.clear = float(sure), float(clear)

    def label(self, case: Case) -> MetaTensor:
        """A label map (1, X, Y) on the grid of a frame."""
        loaded = self.load({"image": case["image"], "pixel_mm": case["spacing_mm"]})
        shown = self.standardise(loaded)["image"]
        device = next(self.network.parameters()).device
        with torch.no_grad():
            logits = self.inferer(shown.as_subclass(Tensor)[None].to(device), self.network)[0].cpu()
        fluid = logits.softmax(dim=0)[list(WET)].sum(dim=0, keepdim=True)
        fluid = MetaTensor(fluid, meta=dict(shown.meta), applied_operations=list(shown.applied_operations))
        probability = self.standardise.inverse({"image": fluid})["image"]
        spacing = np.asarray(case["spacing_mm"], float)
        labels = self._sure(probability.as_subclass(Tensor)[0].numpy())
        labels[thin(labels == UNDIVIDED_FLUID, spacing)] = UNKNOWN
        fetus = case["truth"]["ellipse"].mask(labels.shape)
        labels[distance_transform_edt(~fetus, sampling=spacing) <= SKIN_MM] = NOT_FLUID
        for x0, y0, x1, y1 in blanked_boxes(loaded["image"].as_subclass(Tensor)[0].numpy()):
            labels[x0:x1, y0:y1] = NOT_FLUID
        return MetaTensor(torch.from_numpy(labels[None]), affine=loaded["image"].affine)

    def _sure(self, fluid: NDArray[np.floating]) -> NDArray[np.uint8]:
        labels = np.full(fluid.shape, UNKNOWN, np.uint8)
        labels[fluid >= self.sure] = UNDIVIDED_FLUID
        labels[fluid <= self.clear] = NOT_FLUID
        return labels


def thin(fluid: NDArray[np.bool_], spacing: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Returns the fluid (X, Y) that no disc of `RIM_MM` which lies in the fluid reaches.

    Where fluid meets the border of the frame it goes on beyond it.
    """
    beyond = [(math.ceil(RIM_MM / step),) * 2 for step in spacing]
    centres = distance_transform_edt(np.pad(fluid, beyond, mode="edge"), sampling=spacing) >= RIM_MM / 2
    if not centres.any():
        return fluid
    to_centre = distance_transform_edt(~centres, sampling=spacing)
    inside = tuple(slice(margin, -margin) for margin, _ in beyond)
    return fluid & (to_centre[inside] > RIM_MM / 2)


def adaptation_cases(
    *args: Any, real_dir: str, folder: str, outlines: Sequence[str], teacher: Teacher, **options: Any
) -> list[dict[str, Any]]:
    """The frames of `training_cases` and its arguments, and real ones that a teacher labels in a folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    cases = training_cases(*args, **options)
    for frame in tqdm(real_frames(real_dir, outlines), unit="frame", disable=None):
        labels = teacher.label(frame)
        path = Path(folder) / f"{Path(frame['image']).stem}.nii.gz"
        write_image(labels.numpy(), path, affine=np.asarray(labels.affine), description=SELF_LABELLED)
        cases.append(_labelled(frame, path))
    return cases


def _labelled(frame: Case, labels: Path) -> dict[str, Any]:
    return {
        "image": str(frame["image"]),
        "label": str(labels),
        "kind": SELF_LABELLED,
        "subject": frame["subject"],
        "name": Path(frame["image"]).stem,
        "pixel_mm": frame["spacing_mm"],
    }
