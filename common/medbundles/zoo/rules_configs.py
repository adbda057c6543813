"""Rules for the JSON configs: each readable from top to bottom, complete, and without a dead key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medbundles.zoo.source import (
    REFERENCE,
    WORKFLOWS,
    BundleSource,
    Problem,
    as_dict,
    complete_overlays,
    lookup,
    references,
    strings,
    walk,
)

MAX_OVERLAY_LINES = 60
KNOBS_ANYWHERE = ("bundle_root", "dataset_dir", "output_dir", "device", "amp", "seed")
KNOBS = {
    "inference.json": (*KNOBS_ANYWHERE, "overwrite", "progress", "output_ext", "output_format"),
    "train.json": (
        *(*KNOBS_ANYWHERE, "epochs", "batch_size", "learning_rate", "resume", "val_interval", "num_workers"),
    ),
}
READ_BY_MONAI = {"imports", "initialize", "run", "finalize", "displayable_configs"}
CHOOSER = "medbundles.devices.choose_device"
MACHINE_PATH = re.compile(
    r"(^|['\"\s])(~|/(home|root|Users|tmp|mnt|media|workspace|opt|var|scratch|data)\b/?|[A-Za-z]:\\)"
)
OTHER_FILE = re.compile(r"%[^\s'\"]*\.(json|ya?ml)")


def json_valid(bundle: BundleSource) -> Iterator[Problem]:
    """Every JSON file can be read, and no key stands in it twice."""
    for path in bundle.json_files():
        doubled: list[str] = []
        try:
            json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_collector(doubled))
        except (OSError, ValueError) as error:
            yield bundle.problem(path, f"cannot be read as JSON: {error}", "correct the syntax")
        for key in doubled:
            yield bundle.problem(path, f"the key '{key}' stands twice, the last one would win", "delete one")


def _collector(doubled: list[str]) -> Any:
    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        doubled.extend(sorted({key for key in keys if keys.count(key) > 1}))
        return dict(pairs)

    return collect


def json_formatted(bundle: BundleSource) -> Iterator[Problem]:
    """Configs are laid out alike: innermost lists and objects on one line, 110 columns."""
    from medbundles.zoo.format_json import format_text

    for path in bundle.json_files():
        if path.parent.name != "configs" or not bundle.read(path):
            continue
        text = path.read_text(encoding="utf-8")
        try:
            formatted = format_text(text)
        except ValueError:
            continue  # `json_valid` says why
        if formatted != text:
            advice = f"python -m medbundles.zoo.format_json {bundle.name}/configs/{path.name}"
            yield bundle.problem(path, "the file is not formatted", f"run {advice}")


def knobs_present(bundle: BundleSource) -> Iterator[Problem]:
    """Every workflow has the knobs that users know from the other bundles."""
    for name, config in bundle.workflows.items():
        for knob in KNOBS[name]:
            if knob not in config:
                yield bundle.problem(f"configs/{name}", f"the knob '{knob}' is missing", "add it at the top")
        device = config.get("device")
        if device is not None and not (isinstance(device, dict) and device.get("_target_") == CHOOSER):
            yield bundle.problem(f"configs/{name}", "device is chosen in another way", f"let it be {CHOOSER}")


def knobs_first(bundle: BundleSource) -> Iterator[Problem]:
    """Plain values come before the components that use them."""
    for name, config in bundle.workflows.items():
        component = None
        for key, value in config.items():
            if component and not isinstance(value, dict | list) and not key.startswith("_"):
                yield bundle.problem(
                    f"configs/{name}", f"'{key}' stands below '{component}'", "move it up to the knobs"
                )
            if isinstance(value, dict) and key != "device":
                component = component or key


def knobs_described(bundle: BundleSource) -> Iterator[Problem]:
    """Every knob has a meaning in words, for the help and the model card."""
    from medbundles.errors import InputError
    from medbundles.zoo.knobs import knobs

    stages = as_dict(bundle.block.get("stages")).values()
    for names in [*((name,) for name in bundle.workflows), *stages]:
        try:
            found = knobs(bundle.folder, names)
        except (InputError, KeyError):
            continue  # `json_valid` and the rules for metadata say why
        for knob in found:
            if not knob.meaning:
                advice = f"say what it does in metadata.json, medbundles.knobs.{knob.name}"
                file = f"configs/{names[-1]}"
                yield bundle.problem(file, f"the knob '{knob.name}' is not described", advice)


def keys_used(bundle: BundleSource) -> Iterator[Problem]:
    """A key that nothing refers to does nothing, and would mislead whoever sets it."""
    for name, config, own in _complete(bundle):
        used = references(config)
        roots = {reference.split("#")[0] for reference in used}
        for key in own:
            top = key.split("#")[0]
            if "#" not in key and top not in roots | READ_BY_MONAI and not top.startswith("_"):
                yield bundle.problem(f"configs/{name}", f"nothing uses '{key}'", "use it or delete it")
        for key in _unused_sections(config, used) if name in bundle.workflows else ():
            yield bundle.problem(f"configs/{name}", f"nothing uses '{key}'", "use it or delete it")


def _unused_sections(config: dict[str, Any], used: set[str]) -> Iterator[str]:
    """Entries of `train` and `validate`, which are folders of components, that nothing refers to."""
    for section in ("train", "validate"):
        content = config.get(section)
        if not isinstance(content, dict) or "_target_" in content or section in used:
            continue
        for key in content:
            dotted = f"{section}#{key}"
            if not any(reference == dotted or reference.startswith(dotted + "#") for reference in used):
                yield dotted


def references_resolve(bundle: BundleSource) -> Iterator[Problem]:
    """Each workflow is complete by itself: nothing in another file, nothing in the metadata."""
    for name, config, _ in _complete(bundle):
        for where, text in strings(config):
            if OTHER_FILE.search(text):
                yield bundle.problem(
                    f"configs/{name}", f"{where} refers to another file", "write the value here"
                )
        for reference in sorted(references(config)):
            if reference.startswith("_meta_"):
                advice = "write the value here: MONAI Label does not read the metadata"
                yield bundle.problem(f"configs/{name}", f"'@{reference}' refers to the metadata", advice)
            elif not _resolves(config, reference):
                yield bundle.problem(
                    f"configs/{name}", f"'@{reference}' does not exist", "correct the reference"
                )


def _resolves(config: dict[str, Any], reference: str) -> bool:
    try:
        lookup(config, reference)
    except KeyError:
        return False
    return True


def _has_parts(config: dict[str, Any], reference: str) -> bool:
    """Whether there is a list or an object that an overlay can change a part of."""
    return _resolves(config, reference) and isinstance(lookup(config, reference), dict | list)


def overlays_apply(bundle: BundleSource) -> Iterator[Problem]:
    """Overlays are short, and change keys that their base has."""
    for name, overlay in bundle.overlays.items():
        file = f"configs/{name}"
        lines = len((bundle.folder / file).read_text(encoding="utf-8").splitlines())
        if lines > MAX_OVERLAY_LINES:
            yield bundle.problem(
                file, f"{lines} lines, the limit is {MAX_OVERLAY_LINES}", "move logic into the package"
            )
        for key in overlay:
            parent = "#".join(key.replace("::", "#").split("#")[:-1])
            if parent and not _has_parts(bundle.configs.get(bundle.base_of(name), {}), parent):
                yield bundle.problem(
                    file, f"'{key}' changes what {bundle.base_of(name)} does not have", "correct it"
                )


def _complete(bundle: BundleSource) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
    """File name, merged config, and the keys that stand in this very file."""
    for name, config in bundle.workflows.items():
        yield name, config, list(config)
    for name, config in complete_overlays(bundle):
        yield name, config, list(bundle.overlays[name])


def no_machine_paths(bundle: BundleSource) -> Iterator[Problem]:
    """No path of somebody's computer."""
    for path in bundle.json_files():
        for where, text in strings(bundle.read(path)):
            # `@bundle_root + '/data'` is relative to the bundle.
            if "://" not in text and MACHINE_PATH.search(re.sub(r"\+\s*(['\"])/", r"+ \1", text)):
                yield bundle.problem(
                    path, f"{where} is a path of one computer: {text}", "make it relative to bundle_root"
                )


def run_steps(bundle: BundleSource) -> Iterator[Problem]:
    """`run` begins with the check of the command line; inference ends with the exit status."""
    for name, config in bundle.workflows.items():
        run = config.get("run")
        steps = (
            [s.get("_target_") if isinstance(s, dict) else s for s in run] if isinstance(run, list) else []
        )
        if not steps or steps[0] != "medbundles.overrides.begin":
            advice = 'begin run with {"_target_": "medbundles.overrides.begin"}'
            yield bundle.problem(f"configs/{name}", "mistyped options are not refused", advice)
        if name == WORKFLOWS[0] and (not steps or steps[-1] != "medbundles.engines.exit_status"):
            advice = "end run with medbundles.engines.exit_status"
            yield bundle.problem(f"configs/{name}", "failed cases do not set the exit status", advice)


def initialize_plain(bundle: BundleSource) -> Iterator[Problem]:
    """`initialize` uses monai and torch only: MONAI makes the bundle's package importable after it."""
    for name, config in bundle.workflows.items():
        reached = _reached(config, config.get("initialize"))
        targets = [v for node in reached for w, v in walk({"": node}) if w.endswith("_target_")]
        names = {str(t).split(".")[0] for t in targets if "." in str(t)} - {"monai", "torch"}
        texts = " ".join(text for node in reached for _, text in strings({"": node}))
        names |= {n for n in (bundle.package, "medbundles") if n and re.search(rf"\b{n}\.", texts)}
        for found in sorted(names):
            advice = "do it in handlers or in run"
            yield bundle.problem(f"configs/{name}", f"initialize uses {found}", advice)


def _reached(config: dict[str, Any], node: Any) -> list[Any]:
    """A piece of config and everything that it refers to."""
    reached, todo, seen = [], [node], set()
    while todo:
        node = todo.pop()
        reached.append(node)
        for match in (
            m["id"].replace("::", "#") for _, t in strings({"": node}) for m in REFERENCE.finditer(t)
        ):
            if match not in seen and _resolves(config, match):
                seen.add(match)
                todo.append(lookup(config, match))
    return reached


def logging_config(bundle: BundleSource) -> Iterator[Problem]:
    """logging.conf names the root logger, as Python's `fileConfig` needs."""
    import configparser

    path: Path = bundle.folder / "configs" / "logging.conf"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except configparser.Error as error:
        yield bundle.problem(path, f"cannot be read: {error.message}", "copy it from another bundle")
        return
    if path.is_file() and not parser.has_section("logger_root"):
        yield bundle.problem(path, "the root logger is missing", "copy it from another bundle")


RULES = (
    json_valid,
    json_formatted,
    knobs_present,
    knobs_first,
    knobs_described,
    keys_used,
    references_resolve,
    overlays_apply,
    no_machine_paths,
    run_steps,
    initialize_plain,
    logging_config,
)
