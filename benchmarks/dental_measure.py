"""Runs every way of finding teeth over test patients, and keeps what was measured."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dental_methods import Method, Scan, Tools, methods_of
from dental_variants import BUNDLE, REGIONS
from monai.bundle import ConfigParser
from paired_tables import Row

from dental_teeth.cases import evaluation_cases, evenly  # found since dental_variants is
from dental_teeth.simulator import OTHER_NAME
from medbundles.config_keys import checked
from medbundles.devices import choose_device
from medbundles.io import atomic_path
from medbundles.saving import affine_of, array_of
from medbundles.zoo.workflows import EVALUATE, config_files, read_config

logger = logging.getLogger(__name__)

KNOBS = ("patch", "patch_mm", "least_score", "batch_teeth", "device", "amp")
SCANNERS = ("other", "all")
WANTED = 12  # patients that a statement should rest on
VERSION = 1  # of what is measured; another one measures again


@dataclass(frozen=True)
class Bench:
    """The bundle's way of reading a case, what methods are run with, and a key of all knobs."""

    prepare: Callable[[Mapping[str, Any]], dict[str, Any]]
    tools: Tools
    key: str


def bench(knobs: Mapping[str, Any]) -> Bench:
    """What the bundle is evaluated with.

    Raises:
        SystemExit: a knob that does not belong to a measurement.
    """
    if unknown := [name for name in knobs if name not in KNOBS]:
        raise SystemExit(f"unknown option --{unknown[0]}: one of {', '.join(KNOBS)}")
    parsers = {regions: _parser({**knobs, "regions": regions}) for regions in REGIONS}
    parser = parsers[REGIONS[0]]
    inferers = {name: one.get_parsed_content("validate#inferer") for name, one in parsers.items()}
    autocast = inferers[REGIONS[0]].autocast
    return Bench(
        prepare=parser.get_parsed_content("validate#preprocessing"),
        tools=Tools(
            inferers,
            answer=lambda network, x: autocast(x, network),
            least=float(parser["least_score"]),
            device=choose_device(parser.get_parsed_content("device")),
        ),
        key=json.dumps([VERSION, *((name, parser[name]) for name in KNOBS if name != "device")]),
    )


def _parser(knobs: Mapping[str, Any]) -> ConfigParser:
    knobs = dict(knobs) | checked(read_config(BUNDLE, EVALUATE), knobs, source="evaluate.json")
    parser = ConfigParser()
    parser.read_config(config_files(BUNDLE, EVALUATE))
    for name, value in {"bundle_root": str(BUNDLE), **knobs}.items():
        parser[name] = value
    return parser


def named_cases(dataset_dir: str, split: str, limit: int, scanner: str) -> dict[str, dict[str, Any]]:
    """The cases of a split by name, at most `limit` of them if that is not 0, evenly over levels of metal.

    Raises:
        SystemExit: two have the same name, there is no such scanner, or nobody was scanned by the other one.
    """
    if scanner not in SCANNERS:
        raise SystemExit(f"--scanner is one of {', '.join(SCANNERS)}, not '{scanner}'")
    found = evaluation_cases(dataset_dir, split=split)
    if scanner == "other":
        found = [case for case in found if case["name"].startswith(OTHER_NAME)]
    if not found:
        raise SystemExit(
            "no patient of the other scanner: medbundles simulate --scanner other, or --scanner all"
        )
    cases = {}
    for entry in evenly(found, limit) if limit else found:
        name = f"{entry['kind']} {entry['name']}"
        if name in cases:
            raise SystemExit(f"two cases are called {name}: they could not be told apart in pairs")
        cases[name] = entry
    if len(cases) < WANTED:
        logger.warning("%d patients; %d or more should be measured", len(cases), WANTED)
    return cases


def measured(
    run: str, cases: Mapping[str, Mapping[str, Any]], work: Path, tools: Bench
) -> Iterator[list[Row]]:
    """The rows of each case; what was measured before with the same weights is read, not measured again."""
    methods = methods_of(run, work, tools.tools)
    for number, (name, entry) in enumerate(cases.items(), start=1):
        path = work / "measured" / run / f"{name}.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        keys = {method.name: f"{tools.key} {method.key}" for method in methods}
        missing = [m for m in methods if kept.get(m.name, {}).get("key") != keys[m.name]]
        for method, rows in _tried(missing, entry, tools):
            kept[method.name] = {"key": keys[method.name], "rows": rows}
            _write(kept, path)
        logger.info("%s: %d of %d, %s", run, number, len(cases), name)
        about = {"run": run, "case": name, "metal": entry["metal"] or "unknown"}
        yield [about | {"method": m.name} | row for m in methods for row in kept[m.name]["rows"]]


def _tried(
    methods: Sequence[Method], entry: Mapping[str, Any], tools: Bench
) -> Iterator[tuple[Method, list[Row]]]:
    if not methods:
        return
    case = tools.prepare(dict(entry))
    volume = torch.from_numpy(np.ascontiguousarray(array_of(case["image"])[0], np.float32))
    codes = array_of(case["label"])[0].astype(np.uint8)
    scan = Scan(volume.to(tools.tools.device), affine_of(case["image"]), codes)
    for method in methods:
        yield method, method.rows(scan)


def _write(content: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
