"""The variants of the amniotic fluid network: a U-Net, and what AF-net adds to it, one part after another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from named_weights import SHIPPED
from paired_tables import Row
from torch import nn
from trained_runs import run_overrides

from medbundles.weights import load_weights
from medbundles.zoo.find import add_to_path, find_bundle
from medbundles.zoo.workflows import TRAIN, read_config

BUNDLE = find_bundle("amniotic_fluid_us_segmentation")
add_to_path(BUNDLE)

SWITCHES = ("atrous", "side_input", "side_output", "reverberation")  # knobs, in the order of the variants
VARIANTS = ("unet", *(switch.replace("_", " ") for switch in SWITCHES))
TRUTH = "truth"


def switches(variant: str) -> dict[str, bool]:
    """Which parts a variant has: its own and those of all before it. The bundle's weights have all."""
    added = len(SWITCHES) if variant == SHIPPED else VARIANTS.index(variant)
    return {switch: place < added for place, switch in enumerate(SWITCHES)}


def overrides(variant: str, seed: int, folder: Path, knobs: Mapping[str, Any]) -> Row:
    """All overrides of a training: the same patients and number of steps for all.

    Args:
        variant: its name.
        seed: of first weights, order and draws.
        folder: of all runs.
        knobs: of train.json, for all variants.
    """
    config = read_config(BUNDLE, TRAIN)
    return run_overrides(config, knobs, variant, seed, folder) | switches(variant)


def weights_of(run: str, work: Path) -> dict[str, Path]:
    """The weights files of a run by variant; the bundle's own, of the run `shipped`, stand for themselves.

    Raises:
        SystemExit: the run has none.
    """
    if run == SHIPPED:
        return {SHIPPED: BUNDLE / "models" / "model.pt"}
    files = {variant: work / run / variant / "model.pt" for variant in VARIANTS}
    found = {variant: path for variant, path in files.items() if path.is_file()}
    if not found:
        raise SystemExit(f"no weights to measure in {work / run}: train first")
    return found


def load_network(variant: str, path: Path) -> nn.Module:
    """The network of a variant with its weights."""
    parser = ConfigParser(read_config(BUNDLE, TRAIN) | switches(variant))
    return load_weights(parser.get_parsed_content("network_def"), path).eval()
