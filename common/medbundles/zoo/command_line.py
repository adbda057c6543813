"""From a command line to one call: help, mistyped words refused, and errors of a few lines."""

from __future__ import annotations

import inspect
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import medbundles
from medbundles.config_keys import SWITCH
from medbundles.errors import InputError, OverrideError

if TYPE_CHECKING:
    from medbundles.zoo.knobs import Knob

logger = logging.getLogger(__name__)

Commands = Mapping[str, Callable[..., Any]]
ASSIGNMENT = re.compile(r"[A-Za-z_][\w#:]*=")
NEGATIVE_NUMBER = re.compile(r"-\.?\d")
HELP = {"--help", "-h", "help"}
ALMOST_THE_SAME = 0.85
KNOBS_OF = {"predict": ("inference.json",), "demo": ("inference.json",), "train": ("train.json",)}
KNOBS_OF["federate"] = ("train.json",)
KNOBS_OF["evaluate"] = ("train.json", "evaluate.json")


def run(commands: Commands, argv: list[str]) -> int:
    """Runs one command line and returns the exit status.

    Problems with what the user gave are printed to stderr in at most six lines; `--debug` shows where they
    come from.
    """
    debug = "--debug" in argv
    argv = [word for word in argv if word != "--debug"]
    try:
        return _run(commands, argv)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130
    except Exception as error:  # the last handler: our own errors in short, all others as they are
        from medbundles.problems import known_problem

        known = known_problem(error)
        if known is None or debug:
            raise
        sys.stdout.flush()
        sys.stderr.write(f"{known}\n")
        return 1


def _run(commands: Commands, argv: list[str]) -> int:
    name, words = (argv[0], argv[1:]) if argv else ("help", [])
    if name in ("--version", "version"):
        print(f"medbundles {medbundles.__version__}")
        return 0
    if name in HELP:
        name = next((word for word in words if word in commands), "")
    elif name not in commands:
        raise _unknown("command", name, commands)
    elif not HELP & set(words):
        return _call(name, commands[name], words)
    for line in command_help(name, commands[name], words) if name else overview(commands):
        print(line)
    return 0


def overview(commands: Commands) -> Iterator[str]:
    """The lines of `medbundles --help`."""
    yield "medbundles: MONAI bundles for clinical imaging tasks. Research use only, not a medical device."
    yield ""
    for name, function in commands.items():
        yield f"  medbundles {usage(name, function)}"
        yield f"      {_summary(function)}"
    yield ""
    yield "More on one command: medbundles predict --help"
    yield "The options of a bundle: medbundles predict BUNDLE --help"
    yield "Any command: --debug shows where an error comes from."


def command_help(name: str, function: Callable[..., Any], words: Sequence[str]) -> Iterator[str]:
    """The lines of `medbundles COMMAND [BUNDLE] --help`."""
    yield f"medbundles {usage(name, function)}"
    yield ""
    yield from inspect.cleandoc(function.__doc__ or "").splitlines()
    bundle = next((word for word in words if word not in HELP and not word.startswith("-")), None)
    if bundle and name in KNOBS_OF:
        from medbundles.zoo.find import find_bundle, read_metadata
        from medbundles.zoo.knobs import knobs

        folder = find_bundle(bundle)
        common = knobs(folder, KNOBS_OF[name])
        yield from _listed(f"Options of {bundle}:", common)
        stages = read_metadata(folder)["medbundles"].get("stages", {}) if name == "train" else {}
        for stage, configs in stages.items():
            own = [knob for knob in knobs(folder, configs) if knob not in common]
            yield from _listed(f"Of its stage {stage} (--stage {stage}), or with another default:", own)


def _listed(title: str, knobs: Sequence[Knob]) -> Iterator[str]:
    if knobs:
        yield from ("", title)
    for knob in knobs:
        yield f"  --{knob.name} {knob.shown_default}"
        yield f"      {knob.meaning}"


def usage(name: str, function: Callable[..., Any]) -> str:
    """The form of a command: `predict BUNDLE INPUT OUTPUT [--name value ...]`."""
    parts = [name]
    for key, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            parts.append("[--name value ...]")
        elif parameter.kind is parameter.KEYWORD_ONLY:
            word = _shown(key)
            value = "" if parameter.default is False else f" {parameter.default or word.upper()}"
            parts.append(f"[--{word}{value}]")
        else:
            parts.append(key.upper() if parameter.default is parameter.empty else f"[{key.upper()}]")
    return " ".join(parts)


def _call(name: str, function: Callable[..., Any], words: list[str]) -> int:
    import fire

    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        texts = {f"--{key}" for key, p in parameters.items() if isinstance(p.default, str)}
        words = [  # `--sites a=FOLDER`: what follows an option that takes a text is its value
            f"--{word}" if ASSIGNMENT.match(word) and before not in texts else word
            for before, word in zip(["", *words], words, strict=False)
        ]
    words = [_as_python(word, parameters) for word in words]
    refuse_misfit(name, function, words)
    status: list[Any] = []

    def bound(*args: Any, **options: Any) -> None:
        switched = {key: _switch(key, value, parameters) for key, value in options.items()}
        status.append(function(*args, **switched))

    bound.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    bound.__dict__.update(function.__dict__)
    fire.Fire(bound, command=words, name=f"medbundles {name}")
    return int(status[0] or 0)


def _switch(key: str, value: Any, parameters: Mapping[str, inspect.Parameter]) -> Any:
    """The value of an option; `false` is text to fire, and text is true.

    Raises:
        OverrideError: an option of a command that is true or false is given something else.
    """
    if key not in parameters or not isinstance(parameters[key].default, bool) or isinstance(value, bool):
        return value
    if (word := str(value).lower()) not in SWITCH:
        raise OverrideError(
            f"--{_shown(key)} {value}", expected="true or false", source=f"option {_shown(key)}"
        )
    return SWITCH[word]


def _shown(key: str) -> str:
    """An option as users write it: `for` is a word of Python, so that it is `for_` there."""
    return key.rstrip("_")


def _as_python(word: str, parameters: Mapping[str, inspect.Parameter]) -> str:
    """An option of a command line with the name that the function has for it."""
    name, equals, value = word.partition("=")
    key = name.removeprefix("--") + "_"
    return f"--{key}{equals}{value}" if name.startswith("--") and key in parameters else word


def refuse_misfit(name: str, function: Callable[..., Any], words: Sequence[str]) -> None:
    """Refuses what fire would notice only after the command has run, or not at all.

    Raises:
        OverrideError: a word is missing, is too many, or is no option of the command.
    """
    parameters = inspect.signature(function).parameters
    places = [p for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    options, given = _split(words)
    free = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for option in options:
        own = [key for key, p in parameters.items() if p.kind is not p.VAR_KEYWORD]
        nearly = free and get_close_matches(option, own, n=1, cutoff=ALMOST_THE_SAME)
        if option not in own and (nearly or not free):
            raise _unknown("option", f"--{option}", [f"--{_shown(key)}" for key in own])
    missing = [p.name for p in places[len(given) :] if p.default is p.empty and p.name not in options]
    if missing or len(given) > len(places):
        found = (
            f"{name}: {missing[0].upper()} is missing"
            if missing
            else f"{name}: '{given[len(places)]}' is too much"
        )
        raise OverrideError(
            found, expected=f"medbundles {usage(name, function)}", advice=f"medbundles {name} --help"
        )


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of the options, and the words that stand by themselves, as fire tells them apart."""
    options, given, follows = [], [], False
    for word in words:
        if word.startswith("-") and word != "-" and not NEGATIVE_NUMBER.match(word):
            name, equals, _ = word.lstrip("-").partition("=")
            options.append(name.replace("-", "_"))
            follows = not equals
        elif follows:
            follows = False
        else:
            given.append(word)
    return options, given


def _unknown(kind: str, word: str, known: Sequence[str] | Commands) -> InputError:
    near = get_close_matches(word, list(known), n=1, cutoff=0.5)
    hint = f": did you mean {near[0]}?" if near else ""
    expected = ", ".join(known) or "no option"
    return OverrideError(f"unknown {kind} {word}{hint}", expected=expected, advice="medbundles --help")


def _summary(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip().splitlines()[0]
