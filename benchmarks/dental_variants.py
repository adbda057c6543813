"""The networks that are trained to see what the panoramic prior is worth, and networks from their weights."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from dental_bundle import BUNDLE
from dental_direct import CLASSES, SIZE, SPACING_MM, DirectNetwork
from paired_tables import Row
from torch import Tensor, nn
from trained_runs import run_overrides

from dental_teeth.detector import KIND, ToothDetector  # found since dental_bundle is
from dental_teeth.finder import JawFinder
from dental_teeth.network import ToothSegmenter
from dental_teeth.outliner import Outliner
from dental_teeth.patches import BOTH, LOOSE, TIGHT
from medbundles.parts import part_of
from medbundles.weights import load_state, read_tensors
from medbundles.zoo.workflows import read_config, training_stages

FINDER, DETECTOR, OUTLINER = "finder", "detector", "outliner"
PRIOR = (FINDER, DETECTOR, OUTLINER)
POSITIONS, DIRECT = "positions", "direct"
REGIONS = (BOTH, LOOSE, TIGHT)
VARIANTS = (*PRIOR, POSITIONS, *REGIONS, DIRECT)
STAGES = {**{name: name for name in PRIOR}, POSITIONS: DETECTOR}
POSITION_COUNT = 8
# Of the direct network: as many weights as the segmenter of the bundle's size, and a box that is two steps'
# worth of the bundle's voxels: 2 x 112 x 104 x 80 = 4 x 56 x 80 x 104. It holds most scans whole.
DIRECT_OPTIONS = {"direct_width": 32, "direct_mm": SPACING_MM, "direct_size": SIZE}

Network = TypeVar("Network", bound=nn.Module)


def stage_of(variant: str) -> tuple[str, ...]:
    """The configs that train a variant."""
    return training_stages(BUNDLE, "all")[STAGES.get(variant, "segmenter")]


def variants(config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Row]:
    """What each variant overrides in the configs of its stage.

    Args:
        config: `teeth_per_case` and `patch`, from which the budget of the direct network follows.
        options: of the direct network, as `DIRECT_OPTIONS`.
    """
    return {
        **{name: {} for name in PRIOR},
        POSITIONS: {"kinds": POSITION_COUNT, "network_def#detector#kinds": POSITION_COUNT},
        **{regions: {"regions": regions} for regions in REGIONS},
        DIRECT: _direct(config, {**DIRECT_OPTIONS, **options}),
    }


def _direct(config: Mapping[str, Any], options: Mapping[str, Any]) -> Row:
    size = [int(points) for points in options["direct_size"]]
    spacing = float(options["direct_mm"])
    shown = {"_target_": "dental_direct.RandWhole", "size": size, "spacing_mm": spacing}
    return {
        "network_def#segmenter": {
            "_target_": "dental_direct.DirectNetwork",
            "width": int(options["direct_width"]),
            "spacing_mm": spacing,
            "size": size,
        },
        "loss": {"_target_": "dental_direct.DirectLoss"},
        "train#deterministic_transforms#3": {"_target_": "Identityd", "keys": "label"},  # no panoramas
        "train#deterministic_transforms#4": {"_target_": "SelectItemsd", "keys": ["image", "label"]},
        "train#samples": {**shown, "views": views_per_case(config, size), "vary": "@vary"},
        "validate#samples": {**shown, "views": 1, "vary": 0.0},
        "validate#postprocessing#transforms": [
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True, "to_onehot": CLASSES},
            {"_target_": "AsDiscreted", "keys": "label", "to_onehot": CLASSES},
        ],
        "validate#key_metric#val_mean_dice#include_background": False,
    }


def views_per_case(config: Mapping[str, Any], size: list[int]) -> int:
    """How often a step shows a whole scan: with about as many voxels as the patches of a segmenter's step."""
    return max(1, round(config["teeth_per_case"] * math.prod(config["patch"]) / math.prod(size)))


def overrides(
    variant: str, seed: int, folder: Path, knobs: Mapping[str, Any], options: Mapping[str, Any] | None = None
) -> Row:
    """All overrides of a training: the same patients for all, equally many steps for all segmenters.

    Args:
        variant: its name.
        seed: of first weights, order and draws.
        folder: of all runs.
        knobs: of the training configs; those that the variant's own configs lack are left out.
        options: of the direct network.
    """
    config = read_config(BUNDLE, stage_of(variant))
    shared = {key: value for key, value in knobs.items() if key in config}
    return (
        run_overrides(config, shared, variant, seed, folder)
        | variants({**config, **shared}, options or {})[variant]
    )


def load_finder(path: Path) -> JawFinder:
    """The finder of a weights file."""
    state = _state(path, FINDER)
    return _loaded(JawFinder(len(state["convInit.conv.weight"])), state, path)


def load_detector(path: Path) -> ToothDetector:
    """The detector of a weights file; how many kinds it tells apart is read off the weights."""
    state = _state(path, DETECTOR)
    network = ToothDetector(len(state["last.bias"]) - KIND.start, len(state["stages.0.down.weight"]))
    return _loaded(network, state, path)


def load_outliner(path: Path) -> Outliner:
    """The outliner of a weights file."""
    state = _state(path, OUTLINER)
    return _loaded(Outliner(len(state["conv_0.conv_0.conv.weight"])), state, path)


def load_segmenter(path: Path) -> ToothSegmenter:
    """The segmenter of a weights file."""
    state = _state(path, "segmenter")
    width, planes = state["convInit.conv.weight"].shape[:2]
    return _loaded(ToothSegmenter(width, _side(planes / 2)), state, path)


def load_direct(path: Path) -> DirectNetwork:
    """The direct network of a weights file, which stands in the place of its segmenter."""
    state = _state(path, "segmenter")
    width, planes = state["convInit.conv.weight"].shape[:2]
    spacing, size = int(state["micrometres"]) / 1000, state["voxels"].tolist()
    return _loaded(DirectNetwork(width, spacing, size, _side(planes)), state, path)


def _state(path: Path, part: str) -> dict[str, Tensor]:
    return part_of(read_tensors(path, "cpu"), part)


def _side(voxels: float) -> int:
    return round(voxels ** (1 / 3))


def _loaded(network: Network, state: Mapping[str, Tensor], path: Path) -> Network:
    load_state(network, dict(state), source=str(path))
    return network.eval()
