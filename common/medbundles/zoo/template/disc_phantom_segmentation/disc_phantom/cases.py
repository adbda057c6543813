"""Which cases a workflow sees: simulated ones, until this file reads a data set of your own."""

from typing import Any

from medbundles.checks import DatasetError
from medbundles.datasets import simulated
from medbundles.datasets.split import split_by_group

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


def find_cases(dataset_dir: str, split: str) -> list[dict[str, Any]]:
    """The cases of a folder that fall into `split`: train, validation, test, or all.

    Each case is a dictionary with `image` and `label` (paths), `kind`, and `expected`, the true measurements.
    """
    found, _ = simulated.load(dataset_dir)
    if split != "all":
        found = split_by_group(found, fractions=SHARES)[split]
    if not found:
        raise DatasetError(
            f"no case for the split '{split}'",
            expected="20 cases or more",
            source=dataset_dir,
            advice="make cases: medbundles simulate disc_phantom_segmentation FOLDER --n 20",
        )
    return [
        {
            "image": case["image"],
            "label": str(case["truth"]["mask"]),
            "kind": case["kind"],
            "expected": {item["name"]: item["value"] for item in case["expected"]},
        }
        for case in found
    ]
