"""Task01_BrainTumour of the Medical Segmentation Decathlon: one 4D file per case, and dataset.json.

Which of its labels 2 and 3 is the enhancing tumour is said differently in different places. It is decided
here by the images: the label whose voxels gain most from the agent.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from medbundles.checks import DatasetError, InputError
from medbundles.datasets.brain_labels import enhancement, label_convention
from medbundles.datasets.records import Case, LoadReport, RejectedRow
from medbundles.volume_order import TABLE, channel_names, read_table

PROBED = 5  # cases read to decide the meaning of the labels; they agree


def load(root: str | Path, *, probe: int = PROBED) -> tuple[list[Case], LoadReport]:
    """Reads the training set, and the images of the test set as cases without truth.

    A case has `order`, the contrasts of its channels, and `convention`, one for the whole set.

    Args:
        root: the folder with dataset.json.
        probe: how many labelled cases are read to decide which label enhances; with 0 it is what
            dataset.json says.
    """
    root = Path(root)
    order = channel_names(root / TABLE)
    if order is None:
        raise DatasetError(
            f"{TABLE} is missing or does not list FLAIR, T1w, t1gd and T2w.",
            expected="dataset.json as published, beside imagesTr and labelsTr",
            source=root,
            advice="Unpack Task01_BrainTumour.tar and give its folder.",
        )
    report, cases = LoadReport("Decathlon brain tumours"), []
    for entry in _entries(root):
        report.rows += 1
        try:
            cases.append(_case(entry, root, order))
        except RejectedRow as reason:
            report.reject(Path(entry["image"]).name, str(reason))
    convention = _convention(cases, order, probe, report)
    for case in cases:
        case["convention"] = convention
    report.notes["without a segmentation"] += sum(not case["truth"] for case in cases)
    report.notes += Counter()  # drops zero counts
    report.kept = len(cases)
    return cases, report


def is_root(folder: Path, files: list[str]) -> bool:
    """Whether a folder has the table of a data set of these four channels."""
    return TABLE in files and channel_names(folder / TABLE) is not None


def _entries(root: Path) -> list[dict[str, str]]:
    table = read_table(root / TABLE)
    entries = [entry for entry in table.get("training") or [] if isinstance(entry, dict) and "image" in entry]
    tests = [entry if isinstance(entry, dict) else {"image": entry} for entry in table.get("test") or []]
    return [*entries, *tests]


def _case(entry: dict[str, Any], root: Path, order: tuple[str, ...]) -> Case:
    image, label = root / entry["image"], root / entry["label"] if entry.get("label") else None
    if not image.is_file() or (label is not None and not label.is_file()):
        raise RejectedRow("the image or label file is missing")
    name = image.name.removesuffix(".gz").removesuffix(".nii")
    return {
        "image": str(image),
        "order": list(order),
        "subject": f"MSD-{name}",
        "source": "MSD",
        "kind": "brain tumour",
        "spacing_mm": None,
        "truth": {"mask": str(label)} if label else {},
        "expected": [],
        "name": name,
    }


def _convention(cases: list[Case], order: tuple[str, ...], probe: int, report: LoadReport) -> str:
    votes: Counter[str] = Counter()
    for case in cases:
        if votes.total() >= probe:
            break
        if "mask" in case["truth"] and (vote := _vote(case, order)):
            votes[vote] += 1
    chosen = votes.most_common(1)[0][0] if votes else "msd"
    enhancing = {"msd": 3, "msd_swapped": 2}[chosen]
    how = f"{votes[chosen]} of {votes.total()} cases read" if votes else "dataset.json, no case read"
    report.notes[f"label {enhancing} taken as enhancing tumour, by {how}"] = len(cases)
    return chosen


def _vote(case: Case, order: tuple[str, ...]) -> str | None:
    """Returns what one case says, if it has both labels in question."""
    from medbundles.io import read_image

    try:
        labels = read_image(case["truth"]["mask"]).array[0]
        channels = read_image(case["image"]).array
    except InputError:
        return None  # reading it again as a case says what is wrong
    if labels.shape != channels.shape[1:] or len(channels) != len(order):
        return None
    gain = enhancement(channels[order.index("t1")], channels[order.index("t1gd")], labels)
    if not {2, 3} <= set(gain):
        return None
    return label_convention(gain, layout="msd", gain=gain)
