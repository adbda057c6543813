"""What a folder of results must be at any moment, and whether two folders hold the same results."""

import csv
import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from medbundles import io
from medbundles.reports import COLUMNS, CSV_NAME, JSON_NAME

PAGE, EVENTS = "index.html", "events"
NOT_COMPARED = {JSON_NAME, CSV_NAME, PAGE}  # they hold times
PREVIOUS = "checkpoint_previous.pt"
PNG_END = b"IEND\xaeB`\x82"


@dataclass
class Reference:
    """What undisturbed runs gave.

    Attributes:
        files: digest of each file, by its name in the folder.
        cases: measurements and digests of the outputs, by input and by the fingerprint of the run.
    """

    files: dict[str, str] = field(default_factory=dict)
    cases: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    """Sha256 and time of every file in a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in files}


def touched(before: Mapping[str, tuple[str, int]], folder: Path) -> list[str]:
    """Files that were changed, made or removed since a snapshot."""
    now = snapshot(folder)
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def unsound(folder: Path, reference: Reference | None = None) -> list[str]:
    """What is wrong with a folder of results, at whatever moment: files that do not read back whole, and
    entries of the report whose files are missing or, where a reference knows them, of another run."""
    problems = []
    for path in _finals(folder):
        try:
            digest(path)
        except Exception as error:  # whatever a reader raises means that the file is not whole
            problems.append(f"{path.name}: {type(error).__name__}: {str(error)[:120]}")
    if problems or not (folder / JSON_NAME).is_file():
        return problems
    for case in json.loads((folder / JSON_NAME).read_text(encoding="utf-8"))["cases"]:
        missing = [path for path in case["outputs"].values() if not (folder / path).exists()]
        problems += [f"the report lists {path}, which is not there" for path in missing]
        known = reference and reference.cases.get((case["input"], case["fingerprints"].get("run", "")))
        if known and not missing and case["status"] != "failed" and known != _entry(case, folder):
            problems.append(f"the report's entry of {Path(case['input']).name} has files of another run")
    return problems


def hidden(folder: Path) -> int:
    """How many unfinished files killed processes left behind."""
    return sum(path.name.startswith(".") for path in folder.rglob("*"))


def reference_of(*folders: Path) -> Reference:
    """The results of undisturbed runs; the files are those of the first folder."""
    found = Reference(contents(folders[0]))
    for folder in folders:
        if (folder / JSON_NAME).is_file():
            for case in json.loads((folder / JSON_NAME).read_text(encoding="utf-8"))["cases"]:
                found.cases[case["input"], case["fingerprints"].get("run", "")] = _entry(case, folder)
    return found


def contents(folder: Path) -> dict[str, str]:
    """Digests of all results: files, and the report's entries but for times."""
    names = {str(path.relative_to(folder)): path for path in _finals(folder)}
    found = {name: digest(path) for name, path in names.items() if path.name not in NOT_COMPARED}
    if (folder / JSON_NAME).is_file():
        for case in json.loads((folder / JSON_NAME).read_text(encoding="utf-8"))["cases"]:
            facts = {"outputs": case["outputs"], "measured": case["measurements"], "error": case["error"]}
            found[f"report: {case['input']}"] = json.dumps(facts, sort_keys=True)
    return found


def digest(path: Path) -> str:
    """Reads a file to its end and returns the sha256 of what it says, whatever its packing.

    Raises:
        Exception: it is not whole.
    """
    name, sha = path.name.lower(), hashlib.sha256()
    if name.endswith(".pt"):
        _update(sha, torch.load(path, map_location="cpu", weights_only=True))
    elif name.endswith(".dcm"):
        image = io.read_image(path)  # identifiers are new in each run, pixels are not
        sha.update(image.array.tobytes() + image.affine.tobytes())
    elif name.endswith(".gz"):
        io.read_image(path)
        sha.update(gzip.decompress(path.read_bytes()))
    elif name.endswith((".png", ".mha", ".nrrd", ".nii")):
        if name.endswith(".png"):
            Image.open(path).load()
            if not path.read_bytes().endswith(PNG_END):  # which the reader does not ask for
                raise ValueError("a picture that ends too early")
        else:
            io.read_image(path)
        sha.update(path.read_bytes())
    else:
        _check_text(path)
    return sha.hexdigest()


def _check_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        json.loads(text)
    elif path.name == CSV_NAME:
        rows = list(csv.reader(text.splitlines(keepends=True)))
        if rows[0] != COLUMNS or any(len(row) != len(COLUMNS) for row in rows) or not text.endswith("\n"):
            raise ValueError("a table that ends too early")
    elif path.suffix == ".html":
        if not text.rstrip().endswith("</html>"):
            raise ValueError("a page that ends too early")
    else:
        raise ValueError("a file of no known kind")


def _finals(folder: Path) -> list[Path]:
    """Files with final names. TensorBoard's events are a log, to which a killed run may owe its last line."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") for part in parts) and EVENTS not in parts:
            found.append(path)
    return [path for path in found if path.name != PREVIOUS]


def _entry(case: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    digests = {}
    for role, name in case["outputs"].items():
        path = folder / name
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        digests[role] = [(file.name, digest(file)) for file in files]
    return {"measurements": case["measurements"], "outputs": digests}


def _update(sha: Any, item: Any) -> None:
    if isinstance(item, torch.Tensor):
        sha.update(str(item.dtype).encode() + item.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(item, Mapping):
        for key, value in item.items():
            sha.update(repr(key).encode())
            _update(sha, value)
    elif isinstance(item, list | tuple):
        for value in item:
            _update(sha, value)
    else:
        sha.update(repr(item).encode())
