"""Scaffolding: a new bundle is a copy of one that works, with every name changed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from medbundles.errors import BundleError
from medbundles.metadata import NOT_TRAINED
from medbundles.zoo.card import write_card
from medbundles.zoo.find import bundle_folders, find_bundle, load_object, read_metadata
from medbundles.zoo.format_json import format_text
from medbundles.zoo.rules_names import RULES as NAME_RULES
from medbundles.zoo.source import IGNORED_FOLDERS, BundleSource
from medbundles.zoo.workflows import build_network

TEMPLATE = Path(__file__).parent / "template" / "disc_phantom_segmentation"
TEXT_FILES = {".py", ".json", ".md", ".txt", ".conf"}
VERSION = "0.1.0"
NOT_COPIED = {"docs": ("preview.png", "evaluation.json", "evaluation.csv"), "models": ("model.pt",)}
UNTRAINED = "The weights are random: this bundle has not been trained yet."


def new_bundle(name: str, home: Path, *, like: str | Path | None = None, package: str | None = None) -> Path:
    """Writes the folder of a new bundle into `home` and returns it; it passes the check as it is.

    Args:
        name: <anatomy>_<modality>_<task>.
        like: the bundle to copy; None for the smallest complete one, whose weights are trained.
        package: the name of its Python package; by default the name without its last word.

    Raises:
        BundleError: the name is not a good one, or is taken.
    """
    source = find_bundle(like) if like else TEMPLATE
    package = package or name.rpartition("_")[0]
    target = home / name
    _refuse_bad_name(target, package)
    old = BundleSource(source)
    words = {old.name: name, old.package: package}
    try:
        _copy(old, target, words)
        _fresh_metadata(target, copied_from=old.name if like else "")
        _weights(source, target, trained=not like)
        _preview(target)
        if like:
            for name_of_old in ("README.md", "golden.json"):
                (target / "docs" / name_of_old).unlink(missing_ok=True)
        write_card(target)
        if like:
            _add_note(target)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)  # half a bundle would be found, and fail everywhere
        raise
    return target


def _refuse_bad_name(target: Path, package: str) -> None:
    if target.exists():
        advice = "choose another name, or delete the folder"
        raise BundleError(f"{target.name} exists already", source=target, advice=advice)
    taken = {folder.name: BundleSource(folder).package for folder in bundle_folders()}
    bundle = BundleSource(target, taken)
    bundle.__dict__["metadata"] = {"version": VERSION, "medbundles": {"package": package}}
    ignored = "the package is missing"
    problems = [p for rule in NAME_RULES for p in rule(bundle) if p.text != ignored]
    if problems:
        raise BundleError(problems[0].text, source=target, advice=problems[0].advice)


def _copy(old: BundleSource, target: Path, words: dict[str, str]) -> None:
    """Copies the files of a bundle with names and packages replaced in paths and texts."""
    pattern = re.compile("|".join(rf"\b{re.escape(word)}\b" for word in sorted(words, key=len, reverse=True)))

    def renamed(text: str) -> str:
        return pattern.sub(lambda match: words[match[0]], text)

    for path in old.files():
        relative = path.relative_to(old.folder)
        if path.name in NOT_COPIED.get(relative.parts[0], ()) or IGNORED_FOLDERS & set(relative.parts):
            continue
        copy = target / renamed(relative.as_posix())
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in TEXT_FILES:
            copy.write_text(renamed(path.read_text(encoding="utf-8")), encoding="utf-8")
        else:
            shutil.copyfile(path, copy)


def _fresh_metadata(target: Path, copied_from: str) -> None:
    """Resets what is the old bundle's history: version, changelog, figures."""
    path = target / "configs" / "metadata.json"
    metadata: dict[str, Any] = read_metadata(target)
    note = (
        f"Scaffolded from {copied_from}; {NOT_TRAINED}" if copied_from else "Scaffolded; trained on phantoms"
    )
    metadata.update(version=VERSION, changelog={VERSION: note}, eval_metrics={})
    if copied_from:
        words = target.name.replace("_", " ")
        metadata["name"] = metadata["medbundles"]["title"] = f"{words[0].upper()}{words[1:]} ({NOT_TRAINED})"
    path.write_text(format_text(json.dumps(metadata, ensure_ascii=False)), encoding="utf-8")


def _weights(source: Path, target: Path, *, trained: bool) -> None:
    """The template keeps its weights; those of another bundle would claim to know the new task."""
    path = target / "models" / "model.pt"
    path.parent.mkdir(exist_ok=True)
    if trained:
        shutil.copyfile(source / "models" / "model.pt", path)
        return
    import torch

    from medbundles.weights import write_tensors

    with torch.random.fork_rng():
        torch.manual_seed(0)
        write_tensors(build_network(target).state_dict(), path)


def _preview(target: Path) -> None:
    """A picture of one simulated case with its exact labels."""
    import tempfile

    from medbundles.io import read_image
    from medbundles.metadata import bundle_info
    from medbundles.previews import Captions, Panel, draw_preview, volume_panels

    info = bundle_info(target / "configs" / "metadata.json")
    block = read_metadata(target)["medbundles"]
    with tempfile.TemporaryDirectory() as folder:
        case = load_object(target, block["simulator"])(folder, 1, block["demo"]["seed"])[0]
        image, labels = (read_image(Path(folder) / case[key]) for key in ("image", "label"))
    captions = Captions(
        title="simulated case with its exact labels",
        footer=f"{info.name} {info.version}",
        unit="mm" if image.calibrated else "px",
        label_names=info.label_names,
        lines=[],
    )
    if image.ndim == 2:
        panels = Panel(image.array[0], labels.array[0], image.spacing, ())
    else:
        panels = volume_panels(image.array[0], labels.array[0], image.affine, oriented=True)
    (target / "docs").mkdir(exist_ok=True)
    draw_preview(panels, captions).save(target / "docs" / "preview.png")


def _add_note(target: Path) -> None:
    path = target / "docs" / "README.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\n\n", f"\n\n{UNTRAINED}\n\n", 1), encoding="utf-8")
