"""Rules for the `$` expressions of configs: short, one operation, no logic."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from medbundles.zoo.source import REFERENCE, BundleSource, Problem, strings

MAX_LENGTH = 80
OPERATIONS = (ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp)
LOGIC = (ast.Lambda, ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp, ast.NamedExpr)


def expressions(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The id and text of every expression."""
    return ((where, text) for where, text in strings(config) if text.startswith("$"))


def expressions_short(bundle: BundleSource) -> Iterator[Problem]:
    """No expression is longer than 80 characters."""
    for name, config in bundle.configs.items():
        for where, text in expressions(config):
            if len(text) > MAX_LENGTH:
                text = f"{where} is an expression of {len(text)} characters"
                yield bundle.problem(
                    f"configs/{name}", text, f"name a tested function; the limit is {MAX_LENGTH}"
                )


def expressions_plain(bundle: BundleSource) -> Iterator[Problem]:
    """An expression is one operation; logic belongs into a function that can be tested."""
    for name, config in bundle.configs.items():
        for where, text in expressions(config):
            found = _logic(text)
            if found:
                yield bundle.problem(
                    f"configs/{name}", f"{where} holds {found}", "name a tested function instead"
                )


def _logic(text: str) -> str:
    code = REFERENCE.sub(lambda match: re.sub(r"\W+", "_", match["id"]), text[1:])
    if re.match(r"\s*(import|from)\s", code):
        return "an import (a failed one stays broken)"
    try:
        nodes = list(ast.walk(ast.parse(code.strip(), mode="eval")))
    except SyntaxError:
        return "an expression that Python cannot read"
    if any(isinstance(node, LOGIC) for node in nodes):
        return "a function or loop in a string"
    count = sum(isinstance(node, OPERATIONS) for node in nodes)
    return f"{count} operations in one expression" if count > 1 else ""


RULES = (expressions_short, expressions_plain)
