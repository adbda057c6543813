"""Asks every network about test frames, measures pockets by every rule, and keeps what was measured."""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from afi_variants import BUNDLE, TRUTH, load_network, weights_of
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from numpy.typing import NDArray
from paired_tables import Row
from torch import Tensor, nn

from amniotic_fluid.cases import find_cases  # found since afi_variants is
from amniotic_fluid.measure import find_geometry, label_map
from amniotic_fluid.pockets import RULES, Geometry
from amniotic_fluid.scores import is_hazy, overlaps
from medbundles.blanked import blanked
from medbundles.config_keys import checked
from medbundles.devices import choose_device
from medbundles.io import atomic_path
from medbundles.saving import affine_of, array_of
from medbundles.zoo.workflows import EVALUATE, config_files, read_config

logger = logging.getLogger(__name__)

KNOBS = ("frame_size", "mirror", "device", "amp")
DICE, TRUE_DEPTH = "Dice fluid", "true depth mm"
DEPTH = "{} mm"  # of a rule
VERSION = 1  # of what is measured; another one measures again


@dataclass(frozen=True)
class Frame:
    """A frame as the network sees it; its truth (X, Y) and its geometry are those of the stored one."""

    image: MetaTensor
    truth: NDArray[np.int_]
    geometry: Geometry


class Bench:
    """The bundle's way of reading a frame and of asking a network, and a key of all knobs.

    Args:
        knobs: of evaluate.json, those in `KNOBS`.

    Raises:
        SystemExit: a knob that does not belong to a measurement.
    """

    def __init__(self, knobs: Mapping[str, Any]) -> None:
        if unknown := [name for name in knobs if name not in KNOBS]:
            raise SystemExit(f"unknown option --{unknown[0]}: one of {', '.join(KNOBS)}")
        parser = _parser(knobs)
        self.prepare = parser.get_parsed_content("validate#preprocessing")
        self.inferer = parser.get_parsed_content("validate#inferer")
        self.device = choose_device(parser.get_parsed_content("device"))
        self.key = json.dumps([VERSION, *((name, parser[name]) for name in KNOBS if name != "device")])

    def read(self, entry: Mapping[str, Any]) -> Frame:
        """A case with its truth."""
        case = self.prepare(dict(entry))
        geometry, _ = find_geometry(case["image"], affine_of(case["label"]))
        return Frame(case["image"], array_of(case["label"])[0].astype(int), geometry)

    @torch.no_grad()
    def labels(self, network: nn.Module, frame: Frame) -> NDArray[np.uint8]:
        """What a network says (X, Y), on the grid of the stored frame."""
        seen = frame.image.as_subclass(Tensor)[None].to(self.device)
        probabilities = self.inferer(seen, network)[0].float().softmax(dim=0).cpu()
        answer = MetaTensor(
            probabilities,
            meta=dict(frame.image.meta),
            applied_operations=list(frame.image.applied_operations),
        )
        probabilities = array_of(self.prepare.inverse({"image": answer})["image"])
        return label_map(probabilities, blanked(probabilities.shape[1:], frame.image.meta))


def _parser(knobs: Mapping[str, Any]) -> ConfigParser:
    knobs = dict(knobs) | checked(read_config(BUNDLE, EVALUATE), knobs, source="evaluate.json")
    parser = ConfigParser()
    parser.read_config(config_files(BUNDLE, EVALUATE))
    for name, value in {"bundle_root": str(BUNDLE), **knobs}.items():
        parser[name] = value
    return parser


@dataclass(frozen=True)
class Method:
    """A way of outlining: its name in the tables, and a key that changes when its weights do."""

    name: str
    key: str
    labels: Callable[[Frame], NDArray[Any]]


def methods_of(run: str, work: Path, bench: Bench) -> list[Method]:
    """All networks that a run has weights for.

    Args:
        run: a folder in `work`, `shipped` for the bundle's own weights, or `truth`, which needs no network.
        work: the folder of the runs.
        bench: what to ask them with.
    """
    if run == TRUTH:
        return [Method(TRUTH, TRUTH, lambda frame: frame.truth)]
    found = []
    for name, path in weights_of(run, work).items():
        network = load_network(name, path).to(bench.device)
        key = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        found.append(Method(name, key, partial(bench.labels, network)))
    return found


def named_cases(dataset_dir: str, split: str, limit: int) -> dict[str, dict[str, Any]]:
    """The frames of a split by name, those of at most `limit` patients if that is not 0, evenly spread.

    Raises:
        SystemExit: two have the same name.
    """
    found = find_cases(dataset_dir, split)
    patients = sorted({(case["kind"], case["subject"]) for case in found})
    chosen = set(patients[:: math.ceil(len(patients) / limit)] if limit else patients)
    cases = {}
    for case in (case for case in found if (case["kind"], case["subject"]) in chosen):
        name = f"{case['kind']} {case['name']}"
        if name in cases:
            raise SystemExit(f"two frames are called {name}: they could not be told apart in pairs")
        cases[name] = case
    logger.info("%d frames of %d patients", len(cases), len(chosen))
    return cases


def measured(run: str, cases: Mapping[str, Mapping[str, Any]], work: Path, bench: Bench) -> Iterator[Row]:
    """A row per frame and network; what was measured before with the same weights is read, not measured."""
    methods = methods_of(run, work, bench)
    for number, (name, entry) in enumerate(cases.items(), start=1):
        path = work / "measured" / run / f"{name}.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        keys = {method.name: f"{bench.key} {method.key}" for method in methods}
        missing = [m for m in methods if kept.get(m.name, {}).get("key") != keys[m.name]]
        if missing:
            frame = bench.read(entry)
            kept |= {m.name: {"key": keys[m.name], "row": frame_row(m.labels(frame), frame)} for m in missing}
            _write(kept, path)
        logger.info("%s: %d of %d, %s", run, number, len(cases), name)
        about = {"run": run, "kind": entry["kind"], "patient": entry["subject"], "frame": name}
        about[TRUE_DEPTH] = entry["depth_mm"]
        yield from (about | {"variant": m.name} | kept[m.name]["row"] for m in methods)


def frame_row(labels: NDArray[Any], frame: Frame) -> Row:
    """Dice of all fluid, if there is any; whether the frame is hazy; the depth by each rule, 0 for none."""
    row: Row = {name: score for name, score in overlaps(labels, frame.truth).items() if name == DICE}
    row["hazy"] = is_hazy(frame.truth)
    for name, rule in RULES.items():
        pocket, _ = rule(labels, frame.geometry)
        row[DEPTH.format(name)] = pocket.depth if pocket else 0.0
    return row


def _write(content: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
