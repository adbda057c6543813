"""The benchmark of the amniotic fluid index: its variants, rules on true labels, its tables, all of it."""

import csv
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose
from PIL import Image
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from afi import measure, outlines, train
from afi_measure import DEPTH, DICE, Bench, frame_row, named_cases
from afi_outlines import agreement
from afi_report import CLINICIAN, RELATIVE
from afi_variants import BUNDLE, SWITCHES, VARIANTS, load_network, overrides, switches

from amniotic_fluid.cases import OTHER, SIMULATED, find_cases
from amniotic_fluid.measure import DEEPEST
from amniotic_fluid.pockets import RULES
from amniotic_fluid.simulator import DOTTED_NAME, OTHER_NAME, write_cases
from medbundles.config_keys import checked
from medbundles.datasets.simulated import write_table
from medbundles.ellipse import Ellipse
from medbundles.evaluation import MEASURED, TRUE
from medbundles.weights import write_tensors
from medbundles.zoo.workflows import EVALUATE, TRAIN, build_network, config_files, read_config

KNOBS = {"device": "cpu", "frame_size": [80, 56]}
HAZY = f"{OTHER}, with reverberation"
HEAD = Ellipse((70.0, 60.0), (40.0, 30.0), 0.0)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patient without fluid, one to train on, a hazy frame; the last two also as of the other renderer."""
    folder = tmp_path_factory.mktemp("data") / "cases"
    entries = write_cases(folder, 9, 0)
    twins = [
        entry | {key: entry[key].replace("simulated_", OTHER_NAME) for key in ("name", "patient")}
        for entry in entries[4:]
    ]
    entries[8]["patient"] = "simulated_0_0003"  # which falls into the validation part
    write_table(folder, DOTTED_NAME, 0, entries + twins)
    return folder


@pytest.fixture(scope="module")
def work(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants, trained for an epoch."""
    folder = tmp_path_factory.mktemp("work")
    train(str(dataset), str(folder), 1, only="unet,atrous", device="cpu", frame_size=(80, 56))
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Dark(nn.Module):
    """Calls dark places of the sector fluid, and the brightest fetal parts."""

    def forward(self, x: Tensor) -> Tensor:
        grey, sector = x[:, 0], x[:, 1]
        zero = torch.zeros_like(grey)
        return torch.stack([zero, 20 * (0.15 - grey) * sector, 20 * (grey - 0.8), zero - 5], dim=1)


# --- variants ---


def test_each_variant_adds_its_part_to_the_last_and_the_last_is_the_bundles(tmp_path: Path) -> None:
    config = read_config(BUNDLE, TRAIN)
    parts = [switches(variant) for variant in VARIANTS]
    assert not any(parts[0].values())
    assert parts[-1] == {switch: config[switch] for switch in SWITCHES} == switches("shipped")
    for number, switch in enumerate(SWITCHES):
        assert VARIANTS[number + 1] == switch.replace("_", " ")
        assert parts[number + 1] == parts[number] | {switch: True} != parts[number]
    whole = build_network(BUNDLE, "train.json").state_dict()
    write_tensors(whole, tmp_path / "model.pt")
    for key, value in load_network(VARIANTS[-1], tmp_path / "model.pt").state_dict().items():
        assert torch.equal(value, whole[key])


def test_variants_and_seeds_differ_in_their_parts_and_share_the_rest(tmp_path: Path) -> None:
    config, knobs = read_config(BUNDLE, TRAIN), {"epochs": 2, "simulated_cases": 8}
    one, other = (overrides(variant, 0, tmp_path, knobs) for variant in VARIANTS[1:3])
    checked(config, one, source="train.json")
    assert {key for key in one if one[key] != other[key]} == {"side_input", "output_dir", "weights"}
    seeds = [overrides("unet", seed, tmp_path, knobs) for seed in (0, 1)]
    assert {k for k in seeds[0] if seeds[0][k] != seeds[1][k]} == {"seed", "output_dir", "weights"}
    assert (one["schedule_epochs"], one["val_interval"]) == (2, 2)


# --- frames ---


def test_a_network_is_measured_as_the_bundle_measures_it(dataset: Path) -> None:
    parser = ConfigParser()
    parser.read_config(config_files(BUNDLE, EVALUATE))
    for name, value in {"bundle_root": str(BUNDLE), **KNOBS}.items():
        parser[name] = value
    steps = Compose(parser.get_parsed_content("validate#postprocessing").transforms[:-1])  # but the picture
    bench = Bench(KNOBS)
    for entry in find_cases(str(dataset), "test")[-2:]:
        row = frame_row(bench.labels(Dark(), frame := bench.read(entry)), frame)
        case = parser.get_parsed_content("validate#preprocessing")(dict(entry))
        image = case["image"]
        logits = bench.inferer(image.as_tensor()[None], Dark())[0]
        pred = MetaTensor(logits, meta=dict(image.meta), applied_operations=list(image.applied_operations))
        scores = steps(case | {"pred": pred})["scores"]
        assert row[DICE] == scores[0][DICE] and row["hazy"] == (len(scores) == 2)
        assert row[DEPTH.format(CLINICIAN)] == pytest.approx(np.nan_to_num(scores[0][DEEPEST + MEASURED]))
        assert row[DICE] > 0.1 and row[DEPTH.format(CLINICIAN)] > 10
    assert row["hazy"]


def test_the_clinicians_rule_reads_the_exact_index_off_true_labels(dataset: Path, tmp_path: Path) -> None:
    measure(str(dataset), str(tmp_path), runs="truth", split="all", out=str(tmp_path), device="cpu")
    found = {(row["kind"], row["patient"], row["rule"]): row for row in table(tmp_path / "afi_patients.csv")}
    assert len(found) == 3 * len(RULES)  # not of the patient with one frame
    for kind, patient in {key[:2] for key in found}:
        row = found[kind, patient, CLINICIAN]
        assert float(row["AFI" + MEASURED]) == pytest.approx(float(row["AFI" + TRUE]), abs=3)
        assert (row[RELATIVE] == "") == (float(row["AFI" + TRUE]) == 0)
        by_rule = [float(found[kind, patient, rule]["AFI" + MEASURED]) for rule in RULES]
        assert by_rule == sorted(by_rule, reverse=True)
    assert "truth | and free of cord and limbs | 2 |" in (tmp_path / "afi.md").read_text(encoding="utf-8")


def test_limit_takes_whole_patients_of_both_renderers(dataset: Path) -> None:
    cases = named_cases(str(dataset), "all", 2)
    assert [(c["kind"], c["subject"]) for c in cases.values()] == [
        *[(SIMULATED, "simulated_0_0000")] * 4,
        *[(OTHER, "simulated_other_0_0001")] * 4,
    ]


# --- all of it ---


def test_trained_variants_are_measured_and_what_is_known_is_not_measured_again(
    dataset: Path, work: Path, tmp_path: Path
) -> None:
    options = {"split": "validation", "out": str(tmp_path), **KNOBS}
    measure(str(dataset), str(work), **options)
    rows = table(tmp_path / "afi_frames.csv")
    found = [f"{row['run']} {row['variant']}" for row in rows]
    assert found == ["seed_0 unet", "seed_0 atrous", "truth truth"]
    assert all(0 <= float(row[DICE]) < 1 for row in rows[:2])
    kinds = [row["frames"] for row in table(tmp_path / "afi_dice.csv")]
    assert kinds == [*[SIMULATED] * 2, *[f"{SIMULATED}, with reverberation"] * 2]

    (kept,) = (work / "measured" / "seed_0").glob("*.json")
    content = json.loads(kept.read_text())
    for variant in content.values():
        variant["row"]["hazy"] = "kept"
    kept.write_text(json.dumps(content))
    own = work / "seed_0"
    shutil.copy(own / "unet" / "model.pt", own / "atrous" / "model.pt")  # they have the same weights' names
    measure(str(dataset), str(work), **options)
    again = table(tmp_path / "afi_frames.csv")
    assert {row["variant"] for row in again if row["hazy"] == "kept"} == {"unet"}
    assert len(again) == len(rows)


def reader(path: Path, *polygons: list[list[int]], unsure: list[list[int]]) -> str:
    """A file of outlines of one frame."""
    drawn = {"fluid": list(polygons), "unsure": [unsure]}
    path.write_text(json.dumps({"frames": {"010_HC.png": drawn}}))
    return str(path)


def box(x: int, y: int, width: int, height: int) -> list[list[int]]:
    """The corners of width x height pixels."""
    right, low = x + width - 1, y + height - 1
    return [[x, y], [right, y], [right, low], [x, low]]


def test_networks_and_readers_are_compared_where_both_readers_know(work: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hc18" / "training_set"
    folder.mkdir(parents=True)
    contour = np.zeros((150, 130), np.uint8)
    place = HEAD.points(2000).round().astype(int)
    contour[place[:, 0], place[:, 1]] = 255
    Image.fromarray(contour.T).save(folder / "010_HC_Annotation.png")
    Image.linear_gradient("L").resize((150, 130)).save(folder / "010_HC.png")
    sizes = f"010_HC.png,0.5,{HEAD.scaled(0.5).circumference():.2f}"
    (tmp_path / "hc18" / "training_set_pixel_size_and_HC.csv").write_text(
        f"filename,pixel size(mm),head circumference (mm)\n{sizes}\n"
    )
    first = reader(tmp_path / "first.json", box(0, 0, 20, 10), unsure=box(100, 100, 20, 20))
    second = reader(tmp_path / "second.json", box(0, 0, 10, 10), box(60, 50, 20, 20), unsure=box(0, 5, 20, 5))
    outlines(
        str(tmp_path), first=first, second=second, runs="seed_0", work=str(work), out=str(tmp_path), **KNOBS
    )
    rows = {row["outlined by"]: row for row in table(tmp_path / "afi_outlines.csv")}
    assert set(rows) == {"unet", "atrous", "first reader", "second reader"}
    known = 2 * 50 / (100 + 50 + 400)  # 20 x 5 and 10 x 5 pixels and the box in the head
    assert float(rows["first reader"]["Dice against second reader"]) == pytest.approx(known)
    assert float(rows["second reader"]["Dice against first reader"]) == pytest.approx(known)
    assert rows["first reader"]["Dice against first reader"] == ""
    assert [rows[name]["fetus kept clear"] for name in ("first reader", "second reader")] == ["1.0", "0.0"]
    summary = table(tmp_path / "afi_outlines_summary.csv")
    assert {row["frames"] for row in summary} == {"all", "HC18"}
    assert f"{known:.3f} (n 1)" in (tmp_path / "afi_outlines.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="one of seed_0, shipped"):
        outlines(str(tmp_path), first=first, second=second, runs="truth", work=str(work))


def test_no_fluid_on_either_side_gives_no_dice() -> None:
    empty, full = np.zeros((4, 4), int), np.ones((4, 4), int)
    assert agreement(empty, {"a": empty, "b": full}, full == 1) == {"Dice against b": 0.0}


def test_misspelt_options_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="frame_sise"):
        train("nowhere", str(tmp_path), 1, frame_sise=3)
    with pytest.raises(SystemExit, match="atrous"):
        train("nowhere", str(tmp_path), 1, atrous=False)
    with pytest.raises(SystemExit, match="'side' is not one of unet, atrous, side input"):
        train("nowhere", str(tmp_path), 1, only="side")
    with pytest.raises(SystemExit, match="overlap"):
        measure("nowhere", str(tmp_path), overlap=3)
    with pytest.raises(SystemExit, match="train first"):
        measure("nowhere", str(tmp_path))
    with pytest.raises(SystemExit, match="seed_7"):
        measure("nowhere", str(tmp_path), runs="seed_7")
