"""Runs every way of coping with a missing contrast over test patients, and keeps what was measured.

Shapes: X, Y and Z the axes of a volume.
"""

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from brats_methods import Method, methods_of
from brats_variants import BUNDLE
from monai.bundle import ConfigParser
from numpy.typing import NDArray
from paired_tables import Row
from torch import Tensor, nn

from brats_collagan.cases import find_cases  # found since brats_variants is
from brats_collagan.network import CLASSES, present
from brats_collagan.recipe import DATA_RANGE
from brats_collagan.scores import region_scores
from brats_collagan.transforms import without_specks
from medbundles.config_keys import checked
from medbundles.contrasts import CONTRASTS
from medbundles.devices import choose_device
from medbundles.image_quality import ssim_map
from medbundles.io import atomic_path, case_name
from medbundles.regions import MM3_PER_ML, merge_regions
from medbundles.studies import study_name
from medbundles.zoo.workflows import TRAIN, config_files, read_config

logger = logging.getLogger(__name__)

KNOBS = ("spacing_mm", "window", "overlap", "batch_slices", "device", "amp")
SMALLEST_ML, SMALLEST_OEDEMA_ML = 0.1, 1.0
VERSION = 1  # of what is measured; another one measures again

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Bench:
    """The bundle's preprocessing and inferer, with the knobs of a measurement."""

    prepare: Callable[[Mapping[str, Any]], dict[str, Any]]
    inferer: Callable[[Tensor, nn.Module], Tensor]
    device: torch.device
    spacing_mm: float
    key: str


def bench(knobs: Mapping[str, Any]) -> Bench:
    """What train.json validates with.

    Raises:
        SystemExit: a knob that does not belong to a measurement.
    """
    if unknown := [name for name in knobs if name not in KNOBS]:
        raise SystemExit(f"unknown option --{unknown[0]}: one of {', '.join(KNOBS)}")
    config = read_config(BUNDLE, TRAIN)
    knobs = dict(knobs) | checked(config, knobs, source="train.json")
    parser = ConfigParser()
    parser.read_config(config_files(BUNDLE, TRAIN))
    for name, value in {"bundle_root": str(BUNDLE), **knobs}.items():
        parser[name] = value
    spacing = float(parser["spacing_mm"])
    settings = [VERSION, *((name, parser[name]) for name in KNOBS if name != "device")]
    return Bench(
        prepare=parser.get_parsed_content("validate#preprocessing"),
        inferer=parser.get_parsed_content("validate#inferer"),
        device=choose_device(parser.get_parsed_content("device")),
        spacing_mm=spacing,
        key=json.dumps(settings),
    )


def named_cases(dataset_dir: str, split: str, limit: int) -> dict[str, dict[str, Any]]:
    """The cases of a split by name, at most `limit` of them if that is not 0.

    Raises:
        SystemExit: two have the same name.
    """
    cases = {}
    for entry in find_cases(dataset_dir, split, most=limit or None):
        name = f"{entry['kind']} {case_name(study_name(entry['image']))}"
        if name in cases:
            raise SystemExit(f"two cases are called {name}: they could not be told apart in pairs")
        cases[name] = entry
    return cases


def measured(
    run: str, cases: Mapping[str, Mapping[str, Any]], work: Path, tools: Bench
) -> Iterator[list[Row]]:
    """The rows of each case; what was measured before with the same weights is read, not measured again."""
    methods = methods_of(run, work)
    for number, (name, entry) in enumerate(cases.items(), start=1):
        path = work / "measured" / run / f"{name}.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        keys = {method.name: f"{tools.key} {method.key}" for method in methods}
        missing = [m for m in methods if kept.get(m.name, {}).get("key") != keys[m.name]]
        for method, rows in _tried(missing, entry, tools):
            kept[method.name] = {"key": keys[method.name], "rows": rows}
            _write(kept, path)
        logger.info("%s: %d of %d, %s", run, number, len(cases), name)
        about = {"run": run, "case": name, "subject": entry["subject"]}
        yield [about | row for m in methods for row in kept.get(m.name, {}).get("rows", [])]


def _tried(
    methods: Sequence[Method], entry: Mapping[str, Any], tools: Bench
) -> Iterator[tuple[Method, list[Row]]]:
    """The rows of each method; none of a case that lacks a contrast itself."""
    if not methods:
        return
    case = tools.prepare(dict(entry))
    images = torch.as_tensor(case["image"]).as_subclass(Tensor)
    if not all(present(images)):
        logger.warning("a case without all contrasts is left out: %s", entry["image"])
        return
    truth = merge_regions(torch.as_tensor(case["label"]).as_subclass(Tensor).float()).numpy()
    for method in methods:
        yield method, [_row(method, withheld, images, truth, tools) for withheld in method.withheld]


@torch.no_grad()
def _row(method: Method, withheld: str, images: Tensor, truth: NDArray[Any], tools: Bench) -> Row:
    seen = images.clone()
    if withheld:
        seen[CONTRASTS.index(withheld)] = 0
    network = method.network.to(tools.device)
    answer = tools.inferer(seen[None].to(tools.device), network)[0].float().cpu()
    labels = answer[:CLASSES].argmax(0).numpy().astype(np.uint8) * (seen != 0).any(0).numpy()
    voxels_per_ml = MM3_PER_ML / tools.spacing_mm**3
    labels = without_specks(labels, SMALLEST_ML * voxels_per_ml, SMALLEST_OEDEMA_ML * voxels_per_ml)
    row: Row = {"method": method.name, "withheld": withheld}
    row |= region_scores(labels, truth, (tools.spacing_mm,) * 3)
    if withheld and method.makes_images:
        index = CONTRASTS.index(withheld)
        row |= image_scores(answer[CLASSES + index].numpy(), images[index].numpy(), truth > 0)
    return row


def image_scores(made: NDArray[Any], original: NDArray[Any], tumour: Mask) -> Row:
    """Error, peak signal-to-noise ratio and structural similarity of a z-scored contrast (X, Y, Z).

    In the brain (where the original is not 0), and in the tumour. A figure that does not exist is left out.
    """
    brain = original != 0
    raised = (image + DATA_RANGE / 2 for image in (made, original))  # SSIM is made for brightness from 0 up
    similarity = ssim_map(*raised, data_range=DATA_RANGE)
    square = np.square(made.astype(np.float64) - original)
    row: Row = {}
    for name, region in (("brain", brain), ("tumour", brain & tumour)):
        error, power = float(square[region].sum()), float(np.square(original[region], dtype=np.float64).sum())
        if error and power:
            row[f"NMSE {name}"] = error / power
            row[f"PSNR {name} dB"] = 10 * math.log10(DATA_RANGE**2 * region.sum() / error)
        windows = region & np.isfinite(similarity)
        if windows.any():
            row[f"SSIM {name}"] = float(similarity[windows].mean())
    return row


def _write(content: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
