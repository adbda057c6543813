"""Rules that compare inference.json with train.json: what was trained must be what runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from medbundles.zoo.source import BundleSource, Problem, complete_overlays, lookup

# They choose, convert or move entries and do not change the image that the network sees.
HOUSEKEEPING = {
    "SelectItemsd",
    "DeleteItemsd",
    "CopyItemsd",
    "EnsureTyped",
    "ToTensord",
    "ToDeviced",
    "Identityd",
}
SILENT = {"_desc_", "allow_missing_keys", "progress"}


def networks_equal(bundle: BundleSource) -> Iterator[Problem]:
    """`network_def` is the same in training and inference."""
    nets = {name: config.get("network_def") for name, config in bundle.workflows.items()}
    for name, net in nets.items():
        if net is None:
            yield bundle.problem(
                f"configs/{name}", "network_def is missing", "add it: clients build the network from it"
            )
    resolved = [_plain(bundle.workflows[name], net) for name, net in nets.items() if net is not None]
    if len(resolved) == 2 and resolved[0] != resolved[1]:
        yield bundle.problem(
            "configs/train.json", "network_def differs from inference.json", "make them equal"
        )


def preprocessing_equal(bundle: BundleSource) -> Iterator[Problem]:
    """What happens to the image before the network is the same in training, validation and inference."""
    inference, train = (bundle.workflows.get(name, {}) for name in ("inference.json", "train.json"))
    if not inference or not train:
        return
    expected = _image_steps(inference, "preprocessing#transforms")
    places = [("train.json", train, "train#deterministic_transforms")]
    places.append(("train.json", train, "validate#preprocessing#transforms"))
    for name, config in complete_overlays(bundle):
        if any(key.startswith("validate#preprocessing") for key in bundle.overlays[name]):
            places.append((name, config, "validate#preprocessing#transforms"))
    for name, config, dotted in places:
        found = _image_steps(config, dotted)
        if found is None:
            advice = "keep the deterministic transforms there"
            yield bundle.problem(f"configs/{name}", f"{dotted} is missing", advice)
        elif not _equal(found, expected or []):
            advice = "make them equal to preprocessing in inference.json"
            yield bundle.problem(f"configs/{name}", f"{dotted}: {_difference(expected, found)}", advice)


def _image_steps(config: dict[str, Any], dotted: str) -> list[Any] | None:
    """The transforms that act on the image, in a form that can be compared."""
    try:
        steps = _plain(config, lookup(config, dotted))
    except KeyError:
        return None
    if not isinstance(steps, list):
        return None
    return [s for s in _from_loading(steps) if _acts_on_image(s)]


def _from_loading(steps: list[Any]) -> list[Any]:
    """The steps from the one that reads the image on; those before it choose what is read."""
    loads = [i for i, s in enumerate(steps) if isinstance(s, dict) and "LoadImage" in str(s.get("_target_"))]
    return steps[loads[0] :] if loads else steps


def _acts_on_image(step: Any) -> bool:
    if not isinstance(step, dict):
        return True
    return "image" in _keys(step) and str(step.get("_target_")).rpartition(".")[2] not in HOUSEKEEPING


def _keys(step: dict[str, Any]) -> list[Any]:
    keys = step.get("keys", "image")
    return keys if isinstance(keys, list) else [keys]


def _equal(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(_same_step(a, b) for a, b in zip(first, second, strict=True))


def _same_step(first: Any, second: Any) -> bool:
    """Whether two transforms do the same to the image; null is the default of an argument."""
    if not isinstance(first, dict) or not isinstance(second, dict):
        return bool(first == second)
    names = (set(first) | set(second)) - SILENT - {"keys"}
    return all(_readings(first, name) & _readings(second, name) for name in names)


def _readings(step: dict[str, Any], name: str) -> set[str]:
    """What an argument may mean for the image: a list as long as the keys may hold a value for each key."""
    value, keys = step.get(name), _keys(step)
    readings = [value]
    if isinstance(value, list) and len(keys) > 1 and len(value) == len(keys):
        readings.append(value[keys.index("image")])
    return {json.dumps(reading, sort_keys=True) for reading in readings}


def _plain(config: dict[str, Any], node: Any, depth: int = 20) -> Any:
    """The node with `@` and `%` references replaced by what they stand for."""
    if isinstance(node, str) and node[:1] in "@%" and depth:
        try:
            return _plain(config, lookup(config, node[1:].replace("::", "#")), depth - 1)
        except KeyError:
            return node
    if isinstance(node, dict):
        return {key: _plain(config, value, depth) for key, value in node.items() if key not in SILENT}
    if isinstance(node, list):
        return [_plain(config, value, depth) for value in node]
    return node


def _difference(expected: list[Any] | None, found: list[Any]) -> str:
    for i, step in enumerate(expected or []):
        if i >= len(found):
            return f"lacks {_name(step)}"
        if not _same_step(found[i], step):
            return f"step {i + 1} is {_short(found[i])}, in inference.json {_short(step)}"
    return f"has {_name(found[len(expected or [])])} in addition"


def _name(step: Any) -> str:
    return str(step.get("_target_")) if isinstance(step, dict) else str(step)


def _short(step: Any) -> str:
    text = json.dumps(step)
    return text if len(text) < 160 else text[:157] + "..."


RULES = (networks_equal, preprocessing_equal)
