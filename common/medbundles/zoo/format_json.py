"""Writes JSON files in one layout: keys in their order, and on one line every inner list or object that fits.

Run as `python -m medbundles.zoo.format_json FILES`; with `--check` nothing is written and the exit status
says whether every file is formatted already.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WIDTH = 110
INDENT = 4


class _Literal(str):
    """A number as it stands in the file, so that 1e-4 does not become 0.0001."""


def format_text(text: str) -> str:
    """Returns JSON text in the layout of this project; refuses duplicate keys and what is no JSON."""
    value = json.loads(
        text, parse_float=_Literal, parse_int=_Literal, parse_constant=_no_constant, object_pairs_hook=_unique
    )
    return _render(value, 0, 0) + "\n"


def is_formatted(text: str) -> bool:
    """Returns whether the text is in the layout already."""
    return format_text(text) == text


def main(arguments: Sequence[str] | None = None) -> int:
    """Formats or checks the files given; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m medbundles.zoo.format_json", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="JSON files")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a file would change")
    options = parser.parse_args(arguments)
    return max([_process(path, check=options.check) for path in options.files])


def _process(path: Path, *, check: bool) -> int:
    try:
        text = path.read_text(encoding="utf-8")
        formatted = format_text(text)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{path}: {error}\n")
        return 2
    if formatted == text:
        return 0
    sys.stdout.write(f"{'would format' if check else 'formatted'} {path}\n")
    if not check:
        path.write_text(formatted, encoding="utf-8")
    return int(check)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    repeated = sorted({key for key in keys if keys.count(key) > 1})
    if repeated:
        raise ValueError(f"duplicate keys: {', '.join(repeated)}")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON; write null or a string")


def _render(value: Any, depth: int, used: int) -> str:
    """Returns the text of a value that begins `used` columns after the indent of `depth` levels."""
    if not isinstance(value, dict | list) or not value:
        return _scalar(value)
    line = _line(value)
    # One column is left for the comma that may follow. The file itself is always a block.
    if depth and INDENT * depth + used + len(line) + 1 <= WIDTH:
        return line
    if isinstance(value, dict):
        return _block("{}", [_member(key, item, depth + 1) for key, item in value.items()], depth)
    return _block("[]", [_render(item, depth + 1, 0) for item in value], depth)


def _line(value: Any) -> str:
    """Returns the text of a value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_name(key)}: {_line(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_line(item) for item in value) + "]"
    return _scalar(value)


def _member(key: str, item: Any, depth: int) -> str:
    name = f"{_name(key)}: "
    return name + _render(item, depth, len(name))


def _name(key: str) -> str:
    return json.dumps(key, ensure_ascii=False)


def _block(brackets: str, parts: list[str], depth: int) -> str:
    inner, outer = " " * INDENT * (depth + 1), " " * INDENT * depth
    return brackets[0] + "\n" + ",\n".join(inner + part for part in parts) + f"\n{outer}{brackets[1]}"


def _scalar(value: Any) -> str:
    return str(value) if isinstance(value, _Literal) else json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
