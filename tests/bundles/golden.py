"""What a bundle finds on its simulated inputs, kept as `docs/golden.json`, and how near later runs must be.

`MEDBUNDLES_WRITE_GOLDEN=1 pytest tests/bundles/test_contract.py -k golden` writes the files anew, after a
change that is meant to change results. docs/reference/determinism.md states the tolerances.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medbundles.reports import read_report
from medbundles.zoo.format_json import format_text

WRITE = "MEDBUNDLES_WRITE_GOLDEN"
FILE = "docs/golden.json"
RELATIVE = 0.01  # of a measurement, a number of voxels, or the spread of an image
# Read from few voxels, or from what is left of noise: they differ between kinds of processors.
LOOSER = {" volume": 0.1, " length": 0.1, "noise after": 0.15}
ABSOLUTE = {"voxels": 20, "value": 0.05, "level": 0.5}  # where that is more


def facts(results: Path) -> dict[str, Any]:
    """What was found, by input: measurements, voxels of each label or mean and spread, and a hash."""
    return {Path(case["input"]).name: _of_case(case, results) for case in read_report(results)["cases"]}


def _of_case(case: Mapping[str, Any], results: Path) -> dict[str, Any]:
    array = np.asanyarray(nib.load(results / case["outputs"]["pred"]).dataobj)
    found: dict[str, Any] = {"measurements": {m["name"]: m["value"] for m in case["measurements"]}}
    if array.dtype == np.uint8:
        values, counts = np.unique(array, return_counts=True)
        found["voxels"] = {str(v): int(n) for v, n in zip(values, counts, strict=True)}
    else:
        found["level"] = {"mean": float(array.mean()), "sd": float(array.std())}
    found["sha256"] = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return found


def differences(golden: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """What is not as it was, beyond the tolerances; the hash is not compared, since it allows none."""
    for name in sorted({*golden, *found}):
        before, after = golden.get(name, {}), found.get(name, {})
        for kind, absolute in (("measurements", "value"), ("voxels", "voxels"), ("level", "level")):
            old, new = before.get(kind, {}), after.get(kind, {})
            for key in sorted({*old, *new}):
                relative = max([RELATIVE, *(share for end, share in LOOSER.items() if key.endswith(end))])
                if not _near(old.get(key), new.get(key), ABSOLUTE[absolute], relative):
                    yield f"{name}: {kind} {key}: {new.get(key)} instead of {old.get(key)}"


def _near(old: float | None, new: float | None, absolute: float, relative: float) -> bool:
    if old is None or new is None:
        return old == new or (old or new or 0) <= absolute == ABSOLUTE["voxels"]
    return abs(new - old) <= max(absolute, relative * abs(old))


def write(folder: Path, found: Mapping[str, Any]) -> None:
    """Keeps what was found."""
    (folder / FILE).write_text(format_text(json.dumps(found)), encoding="utf-8")
