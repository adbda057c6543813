"""Rules that MONAI itself can tell: property ids, and components that exist and take their arguments."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pydoc import locate
from typing import Any

from medbundles.zoo.find import add_to_path
from medbundles.zoo.source import BundleSource, Problem, lookup, one_line, walk

COMPONENT_KEYS = {"_target_", "_disabled_", "_requires_", "_desc_", "_mode_"}
TYPES = {"inference.json": "infer", "train.json": "train"}


def property_ids(bundle: BundleSource) -> Iterator[Problem]:
    """MONAI's clients find everything under its id: none missing, none referred to by another name."""
    from monai.bundle.properties import InferProperties, TrainProperties
    from monai.utils import BundleProperty, BundlePropertyConfig

    for name, config in bundle.workflows.items():
        file = f"configs/{name}"
        properties = InferProperties if TYPES[name] == "infer" else TrainProperties
        for key, spec in properties.items():
            dotted = spec[BundlePropertyConfig.ID].replace("::", "#")
            if spec[BundleProperty.REQUIRED] and not _has(config, dotted):
                yield bundle.problem(file, f"MONAI's property '{key}' is missing", f"define {dotted}")
        yield from _optional_ids(bundle, name, properties)


def _optional_ids(bundle: BundleSource, name: str, properties: dict[str, Any]) -> Iterator[Problem]:
    """Asks MONAI, whose check stumbles over handlers that are references."""
    from monai.utils import BundleProperty

    from medbundles.errors import InputError
    from medbundles.zoo.workflows import open_workflow, quiet

    file = f"configs/{name}"
    try:
        with quiet():
            workflow = open_workflow(bundle.folder, (name,), logging_file=False)
            workflow.parser.parse(reset=True)  # brings ids into the form that MONAI compares
            optional = {k: p for k, p in properties.items() if not p[BundleProperty.REQUIRED]}
            wrong = [key for key, spec in optional.items() if not workflow._check_optional_id(key, spec)]
    except (InputError, KeyError, TypeError, AttributeError, ValueError, RuntimeError, OSError) as error:
        advice = "write every handler of train#handlers as a component, not as a reference"
        yield bundle.problem(file, f"MONAI's check_properties fails: {one_line(error)}", advice)
        return
    for key in wrong:
        yield bundle.problem(
            file, f"MONAI's property '{key}' is referred to by another id", "use the id of MONAI"
        )


def targets_exist(bundle: BundleSource) -> Iterator[Problem]:
    """Every `_target_` exists and takes the arguments that it is given."""
    add_to_path(bundle.folder)
    for name, config in bundle.configs.items():
        for where, node in walk(config):
            if isinstance(node, dict) and isinstance(node.get("_target_"), str):
                for text in _wrong(node):
                    yield bundle.problem(f"configs/{name}", f"{where}: {text}", "correct it")


def _wrong(node: dict[str, Any]) -> Iterator[str]:
    """What is wrong with one component."""
    target = node["_target_"]
    try:
        found = _find(target)
    except Exception as error:  # a module that fails while it is imported, for whatever reason
        yield f"{target} cannot be imported: {one_line(error)}"
        return
    if found is None:
        yield f"{target} does not exist"
        return
    try:
        parameters = inspect.signature(found).parameters
    except (TypeError, ValueError):
        return
    free = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in node:
        if not free and key not in COMPONENT_KEYS and key not in parameters:
            yield f"{target} takes no argument '{key}'"
    if "_mode_" in node:  # "partial" leaves arguments to whoever calls it
        return
    for key, parameter in parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )
        if needed and key not in node:
            yield f"{target} needs the argument '{key}'"


def _find(target: str) -> Any:
    from monai.bundle.config_item import ComponentLocator

    if "." in target:
        return locate(target)
    module = _LOCATOR.get_component_module_name(target) if _LOCATOR else None
    if module is None:
        globals()["_LOCATOR"] = ComponentLocator()
        module = _LOCATOR.get_component_module_name(target)
    module = module[0] if isinstance(module, list) else module
    return locate(f"{module}.{target}") if module else None


_LOCATOR: Any = None


def _has(config: dict[str, Any], dotted: str) -> bool:
    try:
        lookup(config, dotted)
    except KeyError:
        return False
    return True


RULES = (property_ids, targets_exist)
