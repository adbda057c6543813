"""Whether an override names something that exists in a config, and is of its type."""

import difflib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pydoc import ErrorDuringImport, locate
from typing import Any

from medbundles.errors import OverrideError

MONAI_OPTIONS = {
    *("config_file", "meta_file", "logging_file", "args_file", "run_id", "init_id", "final_id"),
    *("tracking", "workflow_name", "workflow_type", "properties_path", "bundle_root"),
}
COMPONENT_KEYS = {"_target_", "_disabled_", "_requires_", "_desc_", "_mode_"}
EXPRESSION = ("$", "@", "%")
SEPARATOR = re.compile(r"::|#")
SWITCH = {"true": True, "false": False, "1": True, "0": False}
WORKFLOW_STEPS = ("imports", "initialize", "run", "finalize")
MIN_LIKENESS = 0.6
ALMOST_THE_SAME = 0.8


def checked(
    config: dict,
    overrides: Mapping[str, Any],
    *,
    source: str | Path = "",
    texts: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Checks overrides against a config; returns those whose value had to be corrected to its type.

    Args:
        config: the merged config.
        overrides: values by id (`epochs`, `train#trainer#max_epochs`, `train::trainer::max_epochs`).
        source: the config file, for the message.
        texts: what the user typed, where it is known.
        flags: how the user wrote the option, where it is known.

    Raises:
        OverrideError: an id does not exist in the config, or a value cannot be of the config's type.
    """
    corrected = {}
    for key, value in overrides.items():
        flag = (flags or {}).get(key, f"--{key}")
        path = SEPARATOR.split(key.removeprefix("+"))
        if path[0] == "_meta_":
            continue
        if (missing := _missing(config, path)) is not None:
            raise _unknown(config, path, missing, flag, source)
        default = _value_at(config, path)
        fitting = _fitting(value, default, (texts or {}).get(key, str(value)), flag, source)
        if fitting is not value:
            corrected[key] = fitting
    return corrected


def child(node: Any, name: str) -> Any:
    """Returns the item `name` of a dict or list; KeyError if there is none."""
    if isinstance(node, dict) and name in node:
        return node[name]
    if isinstance(node, list) and name.isdigit() and int(name) < len(node):
        return node[int(name)]
    raise KeyError(name)


def _missing(config: dict, path: Sequence[str]) -> int | None:
    """The position of the first piece of an id that does not exist; None if all do."""
    node: Any = config
    for i, name in enumerate(path):
        try:
            node = child(node, name)
        except KeyError:
            arguments = _arguments(node) if i == len(path) - 1 else set()
            if arguments is None:  # the component takes anything, a misspelt argument too
                return i if difflib.get_close_matches(name, node, n=1, cutoff=ALMOST_THE_SAME) else None
            return None if name in arguments else i
    return None


def _value_at(config: dict, path: Sequence[str]) -> Any:
    """The value of an id; None for an argument that a component's config leaves at the default."""
    node: Any = config
    for name in path:
        try:
            node = child(node, name)
        except KeyError:
            return None
    return node


def _arguments(component: Any) -> set[str] | None:
    """Names of the arguments that a `_target_` takes, or None if it takes any or cannot be looked up."""
    from monai.bundle.config_item import ComponentLocator

    target = component.get("_target_") if isinstance(component, dict) else None
    if not isinstance(target, str):
        return set()
    module = ComponentLocator().get_component_module_name(target) if "." not in target else ""
    module = module[0] if isinstance(module, list) else module
    try:
        parameters = inspect.signature(locate(f"{module}.{target}" if module else target)).parameters
    except (ImportError, TypeError, ValueError, ErrorDuringImport):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    return {*parameters, *COMPONENT_KEYS}


def _unknown(config: dict, path: Sequence[str], missing: int, flag: str, source: str | Path) -> OverrideError:
    parent = _value_at(config, path[:missing])
    names = _names(parent, top=not missing)
    # A knob may be a component (device), so every key of this place can be what was meant.
    known = [*names, *(parent if isinstance(parent, dict) else ()), *_monai(missing)]
    near = difflib.get_close_matches(path[missing], known, n=1, cutoff=MIN_LIKENESS)
    ids = ["#".join([*path[:missing], *near, *path[missing + 1 :]])] if near else []
    ids = ids or [i for i in _leaf_ids(config) if i.rpartition("#")[2] == path[-1]][:1]
    hint = f": did you mean --{ids[0]}?" if ids else ""
    where = f" of {'#'.join(path[:missing])}" if missing else ""
    return OverrideError(
        f"unknown option {flag}{hint}",
        expected=f"an option{where}: {', '.join(names)}" if names else "",
        source=source,
        advice="correct the spelling; nothing was run",
    )


def _monai(missing: int) -> list[str]:
    return [] if missing else sorted(MONAI_OPTIONS)


def _names(parent: Any, *, top: bool) -> list[str]:
    """What may stand at this place; at the top only the knobs, not the components that they drive."""
    if isinstance(parent, list):
        return [str(i) for i in range(len(parent))]
    if not isinstance(parent, dict):
        return []
    if top:
        return [name for name, value in parent.items() if _is_knob(name, value)]
    names = dict.fromkeys([*parent, *sorted(_arguments(parent) or ())])
    return [name for name in names if not name.startswith("_")]


def _is_knob(name: str, value: Any) -> bool:
    if name in WORKFLOW_STEPS or isinstance(value, dict):
        return False
    if isinstance(value, list):
        return not any(isinstance(item, dict | list) for item in value)
    return not (isinstance(value, str) and value.startswith(EXPRESSION)) or name.endswith("_dir")


def _leaf_ids(node: Any, prefix: str = "") -> Iterator[str]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in items:
        yield f"{prefix}{name}"
        yield from _leaf_ids(value, f"{prefix}{name}#")


def _fitting(value: Any, default: Any, text: str, flag: str, source: str | Path) -> Any:
    """The value in the type of the config's default, where only the command line's reading of it differs."""
    if isinstance(default, str) and default.startswith(EXPRESSION):
        return value
    if isinstance(value, str) and value.startswith(EXPRESSION):
        return value
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        if str(value).lower() in SWITCH:
            return SWITCH[str(value).lower()]
        raise _wrong_type(flag, text, "true or false", source)
    if isinstance(default, int | float) and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise _wrong_type(flag, text, f"a number (now {default})", source)
    if isinstance(default, str) and not isinstance(value, str):
        if isinstance(value, bool):
            raise _wrong_type(flag, text, f"a text (now {default})", source)
        return text
    return value


def _wrong_type(flag: str, text: str, expected: str, source: str | Path) -> OverrideError:
    return OverrideError(
        f"the option {flag} got {text!r}",
        expected=expected,
        source=source,
        advice="give the option a value of this kind; nothing was run",
    )
