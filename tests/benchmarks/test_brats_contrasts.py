"""The benchmark of missing contrasts: its methods, its scores, and all of it on tiny phantoms."""

import csv
import json
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from brats_contrasts import measure, train
from brats_measure import image_scores, named_cases
from brats_methods import WITHHELD, WRONG_CODE, Imputed, Rival, as_mean, as_zeros, weights_of
from brats_report import falls, page, summarise
from brats_variants import DirectUNets, load_imputer, load_segmenter

from brats_collagan.collagan import CollaGenerator
from brats_collagan.network import CollaInferer, CollaSegmenter
from brats_collagan.segmenter import Segmenter
from medbundles.contrasts import CONTRASTS
from medbundles.weights import write_tensors

SHAPE, VOXEL_MM = (22, 24, 18), 7.0
KNOBS = {"device": "cpu", "spacing_mm": VOXEL_MM, "amp": False}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five eggs with shells of tumour as simulated patients, three of them to train on."""
    folder = tmp_path_factory.mktemp("data") / "cases"
    axes = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SHAPE], indexing="ij")
    egg = sum((a / (0.45 * n)) ** 2 for a, n in zip(axes, SHAPE, strict=True)) < 1
    entries = []
    for number in range(5):
        depth = np.sqrt((axes[0] - 4) ** 2 + (axes[1] - number) ** 2 + axes[2] ** 2)
        labels = np.select([depth < 2, depth < 4, depth < 6], [1, 3, 2], 0).astype(np.uint8) * egg
        grain = np.random.default_rng(number).normal(300, 20, (len(CONTRASTS), *SHAPE))
        stored = np.moveaxis(np.where(egg, grain + 60 * labels, 0), 0, -1)
        name = f"simulated_0_{number:04d}"
        entry = {"name": name, "image": f"images/{name}.nii.gz", "label": f"labels/{name}.nii.gz"}
        affine = np.diag([-VOXEL_MM, -VOXEL_MM, VOXEL_MM, 1.0])
        for part, array in (("image", stored.astype(np.int16)), ("label", labels)):
            (folder / entry[part]).parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, affine), folder / entry[part])
        entries.append({**entry, "expected": []})
    (folder / "cases.json").write_text(json.dumps({"cases": entries}), encoding="utf-8")
    return folder


def imputer(**options: Any) -> CollaGenerator:
    torch.manual_seed(0)
    return CollaGenerator(2, slices=3, **options).eval()


def write(network: torch.nn.Module, path: Path) -> None:
    """Weights of an imputer beside those of a segmenter, as a training writes them."""
    torch.manual_seed(1)
    state = {f"imputer.{key}": value for key, value in network.state_dict().items()}
    state |= {f"segmenter.{key}": value for key, value in Segmenter(8).state_dict().items()}
    write_tensors(state, path)


def volume(*missing: str) -> torch.Tensor:
    torch.manual_seed(2)
    x = torch.zeros(1, 4, 20, 24, 6)
    x[..., 2:18, 2:22, :] = torch.randn(1, 4, 16, 20, 6)
    x[:, [CONTRASTS.index(name) for name in missing]] = 0
    return x


def table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- ways of coping ---


FOLDED = {"levels": 3, "norm": "none", "fold": 2}


@pytest.mark.parametrize(
    "made",
    [
        imputer(),
        imputer(attention=False),
        imputer(**FOLDED),
        DirectUNets(4, slices=3),
        DirectUNets(4, slices=3, fold=2),
    ],
)
def test_networks_are_built_from_their_weights_alone(made: torch.nn.Module, tmp_path: Path) -> None:
    write(made, tmp_path / "model.pt")
    found = load_imputer(tmp_path / "model.pt")
    assert type(found) is type(made) and found.slices == 3 and found.fold == made.fold
    x = torch.randn(1, 12, 64, 64)
    torch.testing.assert_close(found(x, 1), made.eval()(x, 1))
    assert load_segmenter(tmp_path / "model.pt").init_filters == 8


def test_the_mean_of_the_rest_is_put_where_a_contrast_is_missing() -> None:
    x = volume("t2")
    whole = Rival(Segmenter(8), as_mean).complete(x)
    torch.testing.assert_close(whole[:, 2], x[:, [0, 1, 3]].mean(1))
    assert torch.equal(whole[:, [0, 1, 3]], x[:, [0, 1, 3]])
    assert torch.equal(Rival(Segmenter(8), as_zeros).complete(x), x)
    assert torch.equal(Rival(Segmenter(8), as_mean).complete(volume()), volume())


@torch.no_grad()
def test_collagan_is_run_as_the_bundle_runs_it() -> None:
    torch.manual_seed(0)
    whole = CollaSegmenter(imputer(), Segmenter(8)).eval()
    rival = Rival(whole.segmenter, Imputed(whole.imputer)).eval()
    inferer = CollaInferer([16, 16, 16])
    torch.testing.assert_close(inferer(volume("flair"), rival), inferer(volume("flair"), whole))


@torch.no_grad()
def test_the_wrong_code_is_that_of_the_contrast_after_the_missing_one() -> None:
    network, x = imputer(), volume("flair")
    around = x.repeat_interleave(3, 1)[..., 0]  # the first slice stands for what is below it
    around[:, 2::3] = x[..., 1]
    expected = network(around, 3, present=[True, True, True, False], told=0)
    there = [True, True, True, False]
    torch.testing.assert_close(Imputed(network, misled=True)(x, there)[:, [3]][..., 0], expected)
    assert not torch.allclose(Imputed(network)(x, there)[:, [3]][..., 0], expected)


# --- scores ---


def test_image_scores_are_what_one_gets_by_hand() -> None:
    original = np.zeros((30, 30, 2), np.float32)
    original[4:26, 4:26] = np.random.default_rng(0).normal(0, 1, (22, 22, 2))
    tumour = np.zeros(original.shape, bool)
    tumour[10:15, 10:15, 0] = True
    found = image_scores(np.where(original, original + 0.5, 0), original, tumour)
    assert found["NMSE brain"] == pytest.approx(0.25 * (original != 0).sum() / (original**2).sum())
    assert found["NMSE tumour"] == pytest.approx(0.25 * 25 / (original[tumour] ** 2).sum())
    assert found["PSNR brain dB"] == pytest.approx(20) == found["PSNR tumour dB"]
    assert 0.5 < found["SSIM brain"] < 1


def test_scores_that_do_not_exist_are_left_out() -> None:
    original = np.ones((30, 30, 2), np.float32)
    found = image_scores(original, original, np.zeros(original.shape, bool))
    assert found == {"SSIM brain": pytest.approx(1)}  # no error, so no finite PSNR; no tumour


def score(run: str, case: str, method: str, withheld: str, et: float) -> dict:
    return {
        **{"run": run, "case": case, "subject": case, "method": method, "withheld": withheld},
        **{"WT Dice": 0.9, "TC Dice": 0.8, "ET Dice": et},
    }


def scores() -> list[dict]:
    """Two runs of three cases; imputing T1Gd costs 0.4 and 0.2 of the enhancing tumour, FLAIR 0.1."""
    rows = []
    for run, loss in (("seed_0", 0.4), ("seed_1", 0.2)):
        for case, et in (("a", 0.9), ("b", 0.8), ("c", 0.7)):
            rows.append(score(run, case, "original", "", et))
            rows.append(score(run, case, "full", "t1gd", et - loss))
            rows.append(score(run, case, "full", "flair", et - 0.1))
            rows.append(score(run, case, "zeros", "t1gd", et - 0.6))
    rows[1]["ET HD95 mm"] = 4.0  # defined in one run of one case
    return rows


def test_a_case_counts_once_however_many_runs_there_are() -> None:
    found = {(r["method"], r["withheld"], r["score"]): r for r in summarise(scores())}
    row = found["full", "t1gd", "ET Dice"]
    assert (row["n"], row["runs"]) == (3, 2)
    assert row["mean"] == pytest.approx(0.5) and row["sd"] == pytest.approx(0.1)
    assert row["sd of runs"] == pytest.approx(0.2 / math.sqrt(2))  # means 0.4 and 0.6
    assert row["p against original"] == pytest.approx(0.25) and row["p against full"] == ""
    assert found["zeros", "t1gd", "ET Dice"]["p against full"] == pytest.approx(0.25)
    distance = found["full", "t1gd", "ET HD95 mm"]
    assert (distance["n"], distance["mean"], distance["p against original"]) == (1, 4.0, "")


def test_falls_are_paired_and_the_worst_contrast_is_marked_in_each_run() -> None:
    found = {(row["run"], row["imputed"]): row for row in falls(scores())}
    assert found["seed_0", "T1Gd"]["ET falls by"] == pytest.approx(0.4)
    assert found["seed_1", "FLAIR"]["ET falls by"] == pytest.approx(0.1)
    assert found["seed_1", "T1Gd"]["WT falls by"] == pytest.approx(0)
    assert {key[1] for key, row in found.items() if row["ET falls most"]} == {"T1Gd"}
    text = page(summarise(scores()), falls(scores()))
    assert "T1Gd in 2 of 2 runs" in text and "0.500 ± 0.100" in text


# --- all of it ---


def test_trained_variants_are_measured_and_what_is_known_is_not_measured_again(
    dataset: Path, tmp_path: Path
) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    small = {
        "imputer_width": 2,
        "imputer_fold": 1,
        "segmenter_width": 8,
        "slice_px": 32,
        "slices_per_case": 1,
    }
    small["validation_cases"] = 1
    train(str(dataset), str(work), 1, only="unet", **small, **KNOBS)
    for name in ("segmenter", "dropout"):
        shutil.copytree(work / "seed_0" / "unet", work / "seed_0" / name)
    write(imputer(), work / "seed_0" / "full" / "model.pt")
    options = {"split": "all", "limit": 1, "out": str(out), **KNOBS}
    measure(str(dataset), str(work), **options)
    rows = table(out / "brats_contrasts.csv")
    by_method = {name: [row for row in rows if row["method"] == name] for name in {r["method"] for r in rows}}
    assert set(by_method) == {"original", "zeros", "mean of the rest", "dropout", "full", WRONG_CODE, "unet"}
    assert [row["withheld"] for row in by_method["unet"]] == list(WITHHELD)
    assert [row["withheld"] for row in by_method["dropout"]] == ["", *WITHHELD]
    assert all(float(row["NMSE brain"]) > 0 for row in by_method["full"])
    assert "T1Gd" in (out / "brats_contrasts.md").read_text(encoding="utf-8")

    (kept,) = (work / "measured" / "seed_0").glob("*.json")
    content = json.loads(kept.read_text())
    for name in ("zeros", "full"):
        content[name]["rows"][0]["WT Dice"] = 0.123
    kept.write_text(json.dumps(content))
    write(imputer(attention=False), work / "seed_0" / "full" / "model.pt")  # new weights
    measure(str(dataset), str(work), **options)
    again = table(out / "brats_contrasts.csv")
    marked = {row["method"] for row in again if row["WT Dice"] == "0.123"}
    assert marked == {"zeros"} and len(again) == len(rows)


def test_the_shipped_weights_have_both_networks(tmp_path: Path) -> None:
    files = weights_of("shipped", tmp_path)
    assert set(files) == {"segmenter", "full"} and all(path.is_file() for path in files.values())


def test_two_cases_of_one_name_are_refused(dataset: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(dataset, tmp_path / name)
    with pytest.raises(SystemExit, match="simulated_0_0000"):
        named_cases(str(tmp_path), "all", 0)


def test_misspelt_options_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="slice_pix"):
        train("nowhere", str(tmp_path), 1, slice_pix=3)
    with pytest.raises(SystemExit, match="no_ssim"):
        train("nowhere", str(tmp_path), 1, only="nossim")
    with pytest.raises(SystemExit, match="overlap"):
        measure("nowhere", str(tmp_path), overlaps=3)
    with pytest.raises(SystemExit, match="train first"):
        measure("nowhere", str(tmp_path))
