"""Labels that users have saved, as the training of a bundle reads them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medbundles.datasets.brain_labels import OURS
from medbundles.errors import DatasetError
from medbundles.images import Image
from medbundles.io import read_image, write_image
from medbundles.label_app.options import label_block
from medbundles.label_app.pictured import case_of
from medbundles.metadata import BundleInfo, bundle_info
from medbundles.zoo.find import load_object
from medbundles.zoo.workflows import INFERENCE, read_config

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Saved:
    """A label map that a user saved.

    Attributes:
        name: of the image, unique among the images.
        image: its file or folder.
        label: the file of the label map.
        segments: name and value of each segment, as the client sent them; None if it sent none.
    """

    name: str
    image: Path
    label: Path
    segments: Sequence[Mapping[str, Any]] | None = None


def training_cases(folder: Path, saved: Sequence[Saved], place: Path) -> list[dict[str, Any]]:
    """Returns the cases of a bundle's training, with label maps in the numbers that it trains on.

    A client numbers segments by their order, and shows those of all bundles: their names decide. Label
    maps without any segment of the bundle are of another bundle and are left out.

    Args:
        folder: of the bundle.
        saved: what users saved.
        place: where the label maps are written.

    Raises:
        DatasetError: nothing is left.
    """
    info, config = bundle_info(folder / "configs" / "metadata.json"), read_config(folder, INFERENCE)
    numbers = training_numbers(folder, info)
    cases = []
    for item in saved:
        mapping = _mapping(item.segments, info.label_names, numbers)
        if not mapping:
            logger.info("%s: labels of other structures, left out", item.name)
            continue
        label = place / f"{item.name.replace('/', '_')}.nii.gz"
        image = case_of(config, item.image)
        _write(read_image(item.label), label, mapping, info)
        facts = {"kind": "labelled", "subject": item.name, "name": item.name, "convention": OURS}
        cases.append({"image": image, "label": str(label), **facts})
    if not cases:
        raise DatasetError(
            "nobody has saved labels of this bundle's structures",
            expected=", ".join(info.label_names.values()),
            source=info.name,
            advice="outline some images in the viewer, submit the labels, then train",
        )
    return cases


def training_numbers(folder: Path, info: BundleInfo) -> dict[int, int]:
    """The number that training knows each label by; in results labels are numbered without gaps."""
    values, name = sorted(info.label_names), label_block(folder).get("training_labels")
    return dict(zip(values, load_object(folder, name) if name else values, strict=True))


def split_cases(
    cases: Sequence[dict[str, Any]], share: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Cases to train on and to validate on, evenly spread; a single case is both, as there is no other."""
    count = min(max(round(share * len(cases)), 1), len(cases) - 1)
    chosen = {i * len(cases) // count for i in range(count)} if count else {0}
    kept = [case for i, case in enumerate(cases) if i in chosen]
    return [case for i, case in enumerate(cases) if i not in chosen] or kept, kept


def _mapping(
    segments: Sequence[Mapping[str, Any]] | None, names: Mapping[int, str], numbers: Mapping[int, int]
) -> dict[int, int]:
    """From the numbers in a saved label map to those of training."""
    if not segments:
        return dict(numbers)
    values = {name.lower(): value for value, name in names.items()}
    known = [(int(s["idx"]), values.get(str(s["name"]).lower())) for s in segments if "idx" in s]
    return {index: numbers[value] for index, value in known if value is not None}


def _write(saved: Image, path: Path, mapping: Mapping[int, int], info: BundleInfo) -> None:
    labels = saved.array
    if info.input.get("spatial_dims") == 2 and labels.ndim == 4 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    mapped = np.zeros(labels.shape, np.uint8)
    for value, number in mapping.items():
        mapped[labels == value] = number
    write_image(mapped, path, affine=saved.affine, description=f"{info.name} {info.version}: a user's labels")
