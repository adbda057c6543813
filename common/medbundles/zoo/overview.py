"""The table of bundles in README.md, written from their metadata.

Run as `python -m medbundles.zoo.overview README.md`; with `--check` nothing is written and the exit status
says whether the table is up to date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from medbundles.zoo.card import describe_input, label_names
from medbundles.zoo.find import bundle_folders, read_metadata

BEGIN = "<!-- bundles: written by `python -m medbundles.zoo.overview README.md`, do not edit -->"
END = "<!-- end of bundles -->"


def table(folders: Sequence[Path]) -> Iterator[str]:
    """Yields the lines of the table, one row per bundle."""
    yield "| bundle | what it does | input | labels | measured |"
    yield "| --- | --- | --- | --- | --- |"
    for folder in folders:
        metadata = read_metadata(folder)
        block = metadata.get("medbundles", {})
        labels = ", ".join(label_names(metadata).values()) or metadata.get("pred_classes", "")
        figures = metadata.get("eval_metrics", {}).items()
        measured = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in figures)
        title, given = block.get("title", metadata.get("task", "")), describe_input(block.get("input", {}))
        cells = (title, given, labels, measured)
        link = f"[{folder.name}](bundles/{folder.name}/docs/README.md)"
        yield f"| {link} | " + " | ".join(str(cell) for cell in cells) + " |"


def updated(text: str, folders: Sequence[Path]) -> str:
    """Returns the text with the table between its two markers as it should be now."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the two markers are missing: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n" + "\n".join(table(folders)) + f"\n\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes or checks the table in a file; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m medbundles.zoo.overview", description=__doc__)
    parser.add_argument("file", type=Path, help="a Markdown file with the two markers")
    parser.add_argument(
        "--check", action="store_true", help="write nothing, fail if the table is out of date"
    )
    options = parser.parse_args(arguments)
    text = options.file.read_text(encoding="utf-8")
    try:
        new = updated(text, bundle_folders())
    except ValueError as error:
        sys.stderr.write(f"{options.file}: {error}\n")
        return 2
    if new == text:
        return 0
    sys.stdout.write(f"{'out of date' if options.check else 'written'}: {options.file}\n")
    if not options.check:
        options.file.write_text(new, encoding="utf-8")
    return int(options.check)


if __name__ == "__main__":
    sys.exit(main())
