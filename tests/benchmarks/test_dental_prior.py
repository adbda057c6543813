"""The benchmark of the panoramic prior: what its methods are measured by, its tables, and what it keeps."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[1] / "bundles"))

import dental_measure
from dental_direct import DirectNetwork
from dental_methods import IN_ORDER, Method, Scan, methods_of, segmentation_rows, weights_of
from dental_numbers import Numbered, boxes_of, code_at_once, matched, number_row
from dental_phantom import Phantom, known_jaws
from dental_prior import measure, train
from dental_report import page, summarise, verdicts
from dental_variants import BUNDLE, DIRECT

from dental_teeth.boxes import Box
from dental_teeth.detector import Found
from dental_teeth.panorama import View, views
from dental_teeth.patches import BOTH
from dental_teeth.teeth import label_of, to_labels
from medbundles.weights import write_tensors
from medbundles.zoo.workflows import build_network

TEETH = (16, 13, 11, 22, 26, 34, 36, 41, 44)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def scan() -> Scan:
    hu, codes, affine = Phantom(teeth=TEETH).build()
    return Scan(torch.from_numpy(hu), affine, codes)


@pytest.fixture(scope="module")
def seen(scan: Scan) -> dict[str, View]:
    jaws = known_jaws(scan.volume.numpy(), scan.codes, scan.affine)
    return views(jaws, columns=320, rows=96, pitch_mm=0.5)


# --- scores ---


def test_a_tooth_under_another_number_counts_by_place_but_not_by_number(scan: Scan) -> None:
    labels = to_labels(scan.codes)
    labels[labels == label_of(16)] = label_of(17)
    labels[labels == label_of(44)] = 0
    whole, *teeth = segmentation_rows(labels, scan)
    rows = {row["tooth"]: row for row in teeth}
    assert sorted(rows) == sorted(TEETH)
    assert rows[11] == {"tooth": 11, "Dice by number": 1, "numbered": 1, "Dice": 1, "HD mm": 0, "ASSD mm": 0}
    assert (rows[16]["Dice"], rows[16]["Dice by number"], rows[16]["numbered"]) == (1, 0, 0)
    assert rows[44] == {"tooth": 44, "Dice by number": 0}
    right = len(TEETH) - 2
    assert (whole["recall"], whole["precision"]) == (right / len(TEETH), right / (len(TEETH) - 1))


def found_tooth(position: int, column: float) -> Found:
    kinds = tuple(0.9 if k == position - 1 else 0.01 for k in range(8))
    return Found(Box(column - 10, 20, column + 11, 90), kinds, 0.9)


def test_positions_get_their_quadrant_from_jaw_and_side(seen: dict[str, View]) -> None:
    last = seen["upper"].shape[0] - 30
    assert [code_at_once(found_tooth(4, at), seen["upper"]) for at in (30, last)] == [14, 24]
    assert [code_at_once(found_tooth(8, at), seen["lower"]) for at in (30, last)] == [48, 38]


def test_every_box_is_matched_once_and_the_surest_first() -> None:
    boxes = {11: Box(0, 0, 20, 50), 12: Box(30, 0, 50, 50)}
    teeth = [
        Numbered(21, boxes[11], 0.6),
        Numbered(11, boxes[11], 0.9),
        Numbered(12, Box(200, 0, 220, 50), 1.0),
    ]
    assert matched(teeth, boxes) == [(11, 11)]


def test_precision_recall_and_f1_of_numbers(scan: Scan, seen: dict[str, View]) -> None:
    known = {
        jaw: [
            Numbered(code, box, 0.9) for code, box in boxes_of(scan.codes, scan.affine, view, TEETH).items()
        ]
        for jaw, view in seen.items()
    }

    def row(**changes: list[Numbered]) -> dict[str, float]:
        teeth = [(view, changes.get(jaw, known[jaw])) for jaw, view in seen.items()]
        return number_row(scan.volume, scan.affine, scan.codes, lambda *_: teeth)

    assert set(row().values()) == {1.0}
    wrong = row(lower=[Numbered(38, tooth.box, 0.9) for tooth in known["lower"]])
    assert wrong["F1"] == wrong["precision"] == wrong["recall"] == pytest.approx(5 / 9)
    assert wrong["found"] == 1
    half = row(lower=[])
    assert (half["precision"], half["recall"], half["found"]) == pytest.approx((1, 5 / 9, 5 / 9))


# --- tables ---


def rows_of(run: str, method: str, f1: float, dice: float) -> list[dict[str, Any]]:
    """Three patients with heavy metal and two teeth each; the second patient is a tenth worse."""
    rows = []
    for index, case in enumerate("abc"):
        about = {"run": run, "case": case, "metal": "heavy", "method": method}
        worse = 0.1 * (index == 1) + 0.01 * index
        rows.append(about | {"F1": f1 - worse, "precision": f1, "recall": f1})
        rows += [about | {"tooth": t, "Dice by number": dice - worse, "Dice": dice} for t in (11, 12)]
    return rows


def test_teeth_and_patients_are_paired_and_runs_count_once() -> None:
    rows = [*rows_of("seed_0", "both", 0.9, 0.9), *rows_of("seed_1", "both", 1.0, 1.0)]
    rows += [*rows_of("seed_0", "direct", 0.6, 0.7)]
    del rows[-1]["Dice"]  # one tooth was not found
    found = {(r["metal"], r["method"], r["score"]): r for r in summarise(rows)}
    bundle, direct = (found["heavy", method, "Dice by number"] for method in ("both", "direct"))
    assert bundle["mean"] == pytest.approx(0.95 - 0.13 / 3) and bundle["n"] == 6 and bundle["patients"] == 3
    assert (direct["p over patients"], direct["p over teeth"]) == (0.25, pytest.approx(1 / 32))
    assert bundle["p over patients"] == "" and found["heavy", "direct", "F1"]["p over teeth"] == ""
    assert found["heavy", "direct", "Dice"]["n"] == 5 and found["all", "direct", "F1"]["n"] == 3
    (first, *_), text = verdicts(summarise(rows)), page(summarise(rows))
    assert "F1: the bundle 0.907" in first and "is above" in first and "p 0.25 over 3 patients" in first
    assert first in text and "Nothing was measured." in text  # of the numbering


def test_without_heavy_metal_nothing_is_claimed() -> None:
    assert "not both" in verdicts(summarise(rows_of("seed_0", "both", 0.9, 0.9)))[0]


# --- all of it ---


def test_the_bundle_can_be_measured_and_other_runs_use_its_prior(tmp_path: Path) -> None:
    tools = dental_measure.bench({"device": "cpu", "patch": [16, 24, 32]}).tools
    assert {name: one.regions for name, one in tools.inferers.items()} == {n: n for n in tools.inferers}
    names = [method.name for method in methods_of("shipped", tmp_path, tools)]
    assert names == [BOTH, IN_ORDER]
    network = build_network(BUNDLE, "train.json")
    network.segmenter = DirectNetwork(8)
    write_tensors(network.state_dict(), tmp_path / "seed_0" / "direct" / "model.pt")
    files = weights_of("seed_0", tmp_path)
    assert files["detector"] == weights_of("shipped", tmp_path)["detector"] and BOTH not in files
    assert [method.name for method in methods_of("seed_0", tmp_path, tools)] == [DIRECT, IN_ORDER]


def test_what_was_measured_is_kept_until_weights_change(
    scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def rows(name: str, method: str) -> list[dict[str, Any]]:
        asked.append(name)
        return [{"F1": 1.0 if method == BOTH else 0.5, "precision": 1.0, "recall": 1.0}]

    keys = {BOTH: "1", DIRECT: "1"}
    monkeypatch.setattr(
        dental_measure,
        "methods_of",
        lambda *_: [Method(m, key, lambda _, m=m: rows(m, m)) for m, key in keys.items()],
    )
    volume = MetaTensor(scan.volume[None], affine=torch.from_numpy(scan.affine))
    entry = {"image": "a", "kind": "simulated", "metal": "heavy", "name": "simulated_other_0_0000"}
    tools = dental_measure.Bench(lambda _: {"image": volume, "label": volume}, tools_on_cpu(), "knobs")
    for expected in ([BOTH, DIRECT], [], [DIRECT]):
        asked.clear()
        ((first, second),) = dental_measure.measured("seed_0", {"case": entry}, tmp_path, tools)
        assert asked == expected and (first["F1"], second["F1"]) == (1.0, 0.5)
        keys[DIRECT] = "2" if not expected else keys[DIRECT]
    (kept,) = (tmp_path / "measured" / "seed_0").glob("*.json")
    assert set(json.loads(kept.read_text())) == {BOTH, DIRECT}


def tools_on_cpu() -> Any:
    return dental_measure.Tools({}, answer=lambda network, x: network(x), least=0.5, device="cpu")


def test_misspelt_options_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="patsh"):
        train("nowhere", str(tmp_path), 1, patsh=3)
    with pytest.raises(SystemExit, match="positions"):
        train("nowhere", str(tmp_path), 1, only="position")
    with pytest.raises(SystemExit, match="overlap"):
        measure("nowhere", str(tmp_path), overlap=3)
    with pytest.raises(SystemExit, match="train first"):
        measure("nowhere", str(tmp_path))
    with pytest.raises(SystemExit, match="scanner"):
        dental_measure.named_cases("nowhere", "test", 0, "third")
