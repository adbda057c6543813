"""Which frames a workflow sees, and the label map of each: simulated, or outlined by hand."""

from __future__ import annotations

import json
import logging
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from amniotic_fluid.losses import NOT_FLUID, UNDIVIDED_FLUID, UNKNOWN
from amniotic_fluid.simulator import OTHER_NAME, write_cases
from medbundles.checks import DatasetError
from medbundles.datasets import simulated
from medbundles.datasets.discovery import load_all
from medbundles.datasets.records import Case
from medbundles.datasets.split import split_of
from medbundles.io import read_image

logger = logging.getLogger(__name__)

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
SPLIT_SEED = 78  # with it four simulated patients of seed 0, 1 or 2 are enough for all three parts
SIMULATED, OTHER, OUTLINED = "simulated", "simulated by the other renderer", "outlined"
REAL = ("abdomen_landmarks", "hc18")
# What a polygon of a file of outlines makes of the pixels inside it; later ones lie over earlier ones.
DRAWN = {"fluid": UNDIVIDED_FLUID, "not_fluid": NOT_FLUID, "unsure": UNKNOWN}

Polygons = Mapping[str, Sequence[Sequence[Sequence[float]]]]


def find_cases(dataset_dir: str, split: str, *, outlines: str | None = None) -> list[dict[str, Any]]:
    """The frames in a folder that fall into `split`: train, validation, test, or all.

    Patients never cross the splits; those of the other renderer and outlined frames are test cases. Each
    case is a dictionary with `image`, `label` (a file, or polygons), `kind`, `subject`, `name`, `pixel_mm`,
    `expected` (true lengths in mm), `depth_mm` (of the deepest pocket, None where nobody knows) and `fetus`
    (the ellipse of a real head or abdomen, or None).

    Args:
        dataset_dir: where the data sets are.
        split: the part.
        outlines: a file of outlines of real frames that are somewhere in the folder.

    Raises:
        DatasetError: there is none.
    """
    found = _outlined(dataset_dir, outlines) if outlines else _simulated(dataset_dir)
    cases = [case for case in found if split in ("all", part_of(case))]
    if not cases:
        raise DatasetError(
            f"no case for the split '{split}'",
            expected="16 or more simulated frames, or real frames with --outlines",
            source=dataset_dir,
            advice="point --dataset_dir at the folder of the data, or make cases: medbundles simulate",
        )
    return cases


def training_cases(
    dataset_dir: str, simulated_dir: str, simulated_cases: int, seed: int = 0
) -> list[dict[str, Any]]:
    """The training split of a folder plus that of simulated frames, made first if there are fewer."""
    cases = find_cases(dataset_dir, "train")
    if simulated_cases > 0:
        found = simulated.made(simulated_dir, simulated_cases, partial(write_cases, seed=seed))
        more = [_entry(case) for case in found]
        known = {case["name"] for case in cases}
        cases += [case for case in more if part_of(case) == "train" and case["name"] not in known]
    return cases


def part_of(case: Mapping[str, Any]) -> str:
    """The split that a case belongs to, whatever other cases there are."""
    if case["kind"] != SIMULATED:
        return "test"
    return split_of(case["subject"], fractions=SHARES, seed=SPLIT_SEED)


def _simulated(dataset_dir: str) -> list[dict[str, Any]]:
    cases = [_entry(case) for case in load_all(dataset_dir, kinds=[SIMULATED])[0]]
    return sorted(cases, key=lambda case: case["name"])


def _entry(case: Case) -> dict[str, Any]:
    expected = {item["name"]: item["value"] for item in case["expected"]}
    return {
        "image": str(case["image"]),
        "label": str(case["truth"]["mask"]),
        "kind": OTHER if case["name"].startswith(OTHER_NAME) else SIMULATED,
        "subject": case["subject"],
        "name": case["name"],
        "pixel_mm": case["spacing_mm"],
        "expected": expected,
        "depth_mm": next(iter(expected.values()), 0.0),
        "fetus": None,
        "source": None,
    }


def _outlined(dataset_dir: str, outlines: str) -> list[dict[str, Any]]:
    """The frames of a file of outlines; those that the folder lacks are named and left out."""
    drawn = read_outlines(outlines)
    frames = {Path(case["image"]).name: case for case in load_all(dataset_dir, kinds=REAL)[0]}
    if missing := sorted(set(drawn) - set(frames)):
        logger.warning("%d outlined frames are not in %s: %s", len(missing), dataset_dir, ", ".join(missing))
    return [_real(frames[name], drawn[name]) for name in sorted(set(drawn) & set(frames))]


def _real(case: Case, polygons: Polygons) -> dict[str, Any]:
    return {
        "image": str(case["image"]),
        "label": polygons,
        "kind": OUTLINED,
        "source": case["source"],
        "subject": case["subject"],
        "name": Path(case["image"]).stem,
        "pixel_mm": case["spacing_mm"],
        "expected": {},
        "depth_mm": None,
        "fetus": case["truth"]["ellipse"],
    }


def read_outlines(path: str | Path) -> dict[str, Polygons]:
    """The polygons of each frame by its file's name, in pixels (x, y) of the frame.

    Raises:
        DatasetError: the file is not one of outlines.
    """
    try:
        frames = json.loads(Path(path).read_text(encoding="utf-8"))["frames"]
        return {name: {kind: entry.get(kind, []) for kind in DRAWN} for name, entry in frames.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"the outlines cannot be read: {error}",
            expected='{"frames": {"<file name>": {"fluid": [[[x, y], ...], ...]}}}',
            source=path,
        ) from error


class DrawTruthd(MapTransform):
    """Turns the truth of a case, a file or polygons, into a label map (1, X, Y) on the grid of its image."""

    def __init__(
        self, keys: KeysCollection, image_key: str = "image", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        image: MetaTensor = data[self.image_key]
        shape = tuple(image.shape[1:])
        for key in self.key_iterator(data):
            truth = data[key]
            drawn = draw_polygons(truth, shape) if isinstance(truth, Mapping) else _read_labels(truth, shape)
            data[key] = MetaTensor(torch.from_numpy(drawn[None]), affine=image.affine)
        return data


def draw_polygons(polygons: Polygons, shape: Sequence[int]) -> NDArray[np.uint8]:
    """The label map (X, Y) of polygons: undivided fluid, not fluid (everywhere else, too), or not known."""
    canvas = Image.new("L", tuple(shape), NOT_FLUID)
    pen = ImageDraw.Draw(canvas)
    for kind, value in DRAWN.items():
        for polygon in polygons[kind]:
            pen.polygon([(float(x), float(y)) for x, y in polygon], fill=value)
    return np.asarray(canvas).T.copy()


def _read_labels(path: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    labels = read_image(path).array[0]
    if labels.shape != shape:
        raise DatasetError(
            f"a label map of {labels.shape} pixels",
            expected=f"{shape}, as its image",
            source=path,
            advice="check the pair",
        )
    return labels.astype(np.uint8)
