"""Refuses mistyped options of `python -m monai.bundle run`, which MONAI itself accepts without a word.

`begin` is the first step of `run` in every config: it compares the options on the command line with the keys
of the configs, and makes an `InputError` end the program with its own few lines, not with pages of traceback.
"""

import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from medbundles.config_keys import MONAI_OPTIONS, SEPARATOR, checked, child
from medbundles.errors import root_input_error

if TYPE_CHECKING:
    from monai.bundle import ConfigWorkflow

__all__ = ["begin", "check_overrides", "checked"]

logger = logging.getLogger(__name__)

COMMANDS = ("run", "run_workflow")
MAIN_MODULE = ("monai", "bundle", "__main__.py")
TRACKING_OPTIONS = {"output_dir", "tracking_uri", "experiment_name", "run_name", "save_execute_config"}
NEGATIVE_NUMBER = re.compile(r"-\.?\d")


def begin() -> None:
    """Checks the command line and shortens the report of input errors; does nothing in any other program."""
    if _options_of(sys.argv) is None:
        return
    if not getattr(sys.excepthook, "shows_input_errors", False):
        sys.excepthook = _short_report(sys.excepthook)
    _apply(check_overrides())


def check_overrides(
    config_files: str | Path | Sequence[str | Path] | None = None, argv: Sequence[str] | None = None
) -> dict[str, Any]:
    """Compares the overrides of a `monai.bundle run` command line with the keys of its configs.

    Args:
        config_files: the configs; by default those that the command line names.
        argv: the command line as in `sys.argv`, which is the default.

    Returns:
        The overrides whose value the shell and MONAI would have misread, corrected: `--resume false` is
        text to MONAI, and text is true; `--output_dir 2024` is a number.

    Raises:
        OverrideError: an option does not exist, or its value is of another type than the config's.
    """
    options = _options_of(sys.argv if argv is None else argv)
    if not options:
        return {}
    from monai.bundle import ConfigParser

    values = {key: _parsed(text) for key, (text, _) in options.items()}
    if isinstance(values.get("args_file"), str):
        defaults = ConfigParser.load_config_file(values["args_file"])
        values = {**defaults, **values}
    files = config_files or values.get("config_file")
    if not files:
        return {}
    files = [str(f) for f in files] if isinstance(files, list | tuple) else str(files)
    known = MONAI_OPTIONS | (TRACKING_OPTIONS if values.get("tracking") else set())
    overrides = {key: value for key, value in values.items() if key not in known}
    return checked(
        ConfigParser.load_config_files(files),
        overrides,
        source=files if isinstance(files, str) else ", ".join(files),
        texts={key: text for key, (text, _) in options.items()},
        flags={key: flag for key, (_, flag) in options.items()},
    )


def _options_of(argv: Sequence[str]) -> dict[str, tuple[str, str]] | None:
    """{id: (value as text, flag as typed)} as python-fire reads them; None if this is another program."""
    if len(argv) < 2 or Path(argv[0]).parts[-3:] != MAIN_MODULE or argv[1] not in COMMANDS:
        return None
    tokens = list(argv[2:])
    tokens = tokens[: tokens.index("--")] if "--" in tokens else tokens
    options: dict[str, tuple[str, str]] = {}
    for token, following in zip(tokens, [*tokens[1:], None], strict=False):  # of no tokens, none follow
        if not _is_flag(token):
            continue
        name, equals, text = token.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if equals:
            options[name] = (text, token.partition("=")[0])
        elif following is not None and not _is_flag(following):
            options[name] = (following, token)
        elif name.startswith("no") and name not in MONAI_OPTIONS:
            options[name.removeprefix("no")] = ("False", token)
        else:
            options[name] = ("True", token)
    return options


def _is_flag(token: str) -> bool:
    return token.startswith("-") and token != "-" and not NEGATIVE_NUMBER.match(token)


def _parsed(text: str) -> Any:
    """The value that python-fire makes of a text."""
    from fire.parser import DefaultParseValue

    return DefaultParseValue(text)


def _apply(corrected: dict[str, Any]) -> None:
    """Gives the corrected values to the workflow that is running this very step.

    MONAI offers no way to ask for it, so it is looked up among the callers. The items are changed in place,
    because setting them through the parser would forget what `initialize` has built.
    """
    if not corrected or (workflow := _running_workflow()) is None:
        return
    parser = workflow.parser
    for key, value in corrected.items():
        *parents, name = SEPARATOR.split(key)
        node = parser.get()
        for parent in parents:
            node = child(node, parent)
        node[name if isinstance(node, dict) else int(name)] = value
        item = parser.ref_resolver.get_item("::".join([*parents, name]))
        if item is not None:
            item.update_config(value)
        if item is not None and item.get_id() in parser.ref_resolver.resolved_content:
            parser.ref_resolver.resolved_content[item.get_id()] = value
        logger.debug("read --%s as %r", key, value)


def _running_workflow() -> "ConfigWorkflow | None":
    from monai.bundle import ConfigWorkflow

    frame = sys._getframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, ConfigWorkflow):
            return owner
        frame = frame.f_back
    return None


def _short_report(previous: Callable) -> Callable:
    def report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        known = root_input_error(error)
        if known is None:
            previous(kind, error, traceback)
            return
        logger.debug("stopped by an input error", exc_info=(kind, error, traceback))
        sys.stderr.write(f"{known}\n")

    report.shows_input_errors = True  # type: ignore[attr-defined]
    return report
