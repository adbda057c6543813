"""Options on the command line for the fuzz suite: names and values that a user may mistype."""

import json
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from robustness_samples import Kind, Sample

from medbundles.overrides import check_overrides
from medbundles.zoo.find import find_bundle

BUNDLES = (
    "fetal_us_biometry_segmentation",
    "ct_lowdose_cyclegan_denoising",
    "brats_mri_collagan_segmentation",
    "dental_cbct_tooth_segmentation",
    "amniotic_fluid_us_segmentation",
)
VALUES = (
    "0",
    "-1",
    "1e9",
    "nan",
    "true",
    "False",
    "[1,2]",
    "{'a':1}",
    "none",
    "None",
    "0.2",
    "../x",
    "''",
    "é",
    "1,2",
)
LETTERS = "abcdefghijklmnopqrstuvwxyz_"


@cache
def _config(bundle: str) -> Path:
    return find_bundle(bundle) / "configs" / "inference.json"


@cache
def _knobs(bundle: str) -> dict[str, Any]:
    content = json.loads(_config(bundle).read_text(encoding="utf-8"))
    return {
        k: v
        for k, v in content.items()
        if isinstance(v, bool | int | float | str) and not str(v).startswith("$")
    }


def make(rng: np.random.Generator) -> Sample:
    """One to three options; a truth is there for one option that exists and has a value of its type."""
    bundle = str(rng.choice(BUNDLES))
    names = sorted(_knobs(bundle))
    options = []
    for _ in range(int(rng.integers(1, 4))):
        name = str(rng.choice(names))
        typed = _mistyped(name, rng) if rng.random() < 0.5 else name
        options.append((typed, _value(_knobs(bundle)[name], rng)))
    sound = all(name in names for name, _ in options)
    line = " ".join(f"--{name} {shlex.quote(value)}" for name, value in options)
    known = {name: _knobs(bundle)[name] for name, _ in options} if sound else None
    return Sample(f"{bundle}\n{line}".encode(), known, line)


def _value(default: Any, rng: np.random.Generator) -> str:
    if isinstance(default, bool):
        return str(rng.choice(["true", "false", "True", "0"]))
    if isinstance(default, int | float):
        return str(rng.choice(["1", "2", "0.5"]))
    return str(rng.choice(["some/place", "2024", "auto", "a b"]))


def _mistyped(name: str, rng: np.random.Generator) -> str:
    place, letter = int(rng.integers(len(name))), str(rng.choice(list(LETTERS)))
    return str(
        rng.choice(
            [name[:place] + letter + name[place:], name[:place] + name[place + 1 :], name + "#x", "x" + name]
        )
    )


def answer(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The values that options get, by name, from a file of a bundle's name and a command line."""
    bundle, _, line = path.read_bytes().decode("utf-8", "replace").partition("\n")
    if bundle not in BUNDLES:
        return {}, ["not a bundle"]
    try:
        words = shlex.split(line)
    except ValueError:  # a quote that is never closed: no shell would pass it on
        return {}, ["not a command line"]
    place = str(Path("monai") / "bundle" / "__main__.py")
    corrected = check_overrides(_config(bundle), [place, "run", *words])
    return {"words": words, "corrected": corrected}, []


def same(found: dict[str, Any], truth: dict[str, Any]) -> bool:
    """Whether what was corrected has the type of the default."""
    return all(
        type(value) is type(truth[name])
        or (isinstance(value, int | float) and isinstance(truth[name], int | float))
        for name, value in found["corrected"].items()
    )


def judge(data: bytes) -> None:
    """A mutated command line may be another valid one; nothing is claimed."""


KIND = Kind(".txt", make, answer, judge, same)
