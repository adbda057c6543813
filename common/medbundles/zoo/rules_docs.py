"""Rules for the model card: present, complete, and its factual half up to date."""

from __future__ import annotations

import re
from collections.abc import Iterator

from medbundles.zoo.figures import stale
from medbundles.zoo.source import BundleSource, Problem

CARD = "docs/README.md"
SECTIONS = ("Intended use", "Training data", "Results", "Limits")
HEADING = re.compile(r"^(#{1,6}) +(.+?) *$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
PLACEHOLDER = re.compile(r"\b(TODO|TBD|FIXME|lorem ipsum)\b", re.IGNORECASE)


def card_sections(bundle: BundleSource) -> Iterator[Problem]:
    """The card has the sections that users look for, and none is empty."""
    text = _text(bundle)
    if text is None:
        return
    sections = _sections(text)
    for wanted in SECTIONS:
        if not any(wanted.lower() == title.lower() for title, _, _ in sections):
            yield bundle.problem(CARD, f"the section '{wanted}' is missing", f"add '## {wanted}'")
    for title, level, body in sections:
        if level > 1 and not body:
            yield bundle.problem(CARD, f"the section '{title}' is empty", "write it or delete it")
    if match := PLACEHOLDER.search(FENCE.sub("", text)):
        yield bundle.problem(CARD, f"'{match[0]}' stands in the card", "write what is missing")


def card_links(bundle: BundleSource) -> Iterator[Problem]:
    """Files that the card links to exist."""
    for target in LINK.findall(_text(bundle) or ""):
        if not (bundle.folder / "docs" / target).exists():
            yield bundle.problem(CARD, f"links to '{target}', which does not exist", "correct the link")


def card_current(bundle: BundleSource) -> Iterator[Problem]:
    """The generated half of the card says what metadata, configs and weights say."""
    from medbundles.errors import InputError
    from medbundles.zoo.card import updated_card

    text = _text(bundle)
    if text is None:
        return
    try:
        current = updated_card(bundle.folder)
    except (InputError, KeyError, TypeError, ValueError, AttributeError, OSError):
        return  # the rules for metadata and configs say what is wrong
    if current != text:
        yield bundle.problem(CARD, "the generated half is out of date", f"run medbundles card {bundle.name}")


def figures_current(bundle: BundleSource) -> Iterator[Problem]:
    """Figures are those of the weights that are there, and the same in metadata and card."""
    for file, problem, advice in stale(bundle.folder):
        yield bundle.problem(file, problem, advice)


def _text(bundle: BundleSource) -> str | None:
    path = bundle.folder / CARD
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _sections(text: str) -> list[tuple[str, int, str]]:
    """Title, level and body of each section; the body of a section with subsections includes them."""
    hidden = FENCE.sub(lambda m: re.sub(r"[^\n]", "x", m[0]), text)
    found = list(HEADING.finditer(hidden))
    result = []
    for i, match in enumerate(found):
        level = len(match[1])
        end = next((m.start() for m in found[i + 1 :] if len(m[1]) <= level), len(hidden))
        body = re.sub(r"<!--.*?-->", "", hidden[match.end() : end], flags=re.DOTALL)
        result.append((match[2], level, body.strip()))
    return result


RULES = (card_sections, card_links, card_current, figures_current)
