"""What is particular to the brain-tumour bundle: missing contrasts, margins, marks, stages of training."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Orientationd, Spacingd

BUNDLE = Path(__file__).parents[2] / "bundles" / "brats_mri_collagan_segmentation"
sys.path.insert(0, str(BUNDLE))

from brats_collagan.augment import (  # noqa: E402
    RandAppearanced,
    RandPatchesd,
    RandSlicesd,
    cut_or_pad,
    full_slices,
)
from brats_collagan.cases import evaluation_cases, evenly, find_cases  # noqa: E402
from brats_collagan.collagan import CollaGenerator  # noqa: E402
from brats_collagan.handlers import Halved, PartLoader, part_of  # noqa: E402
from brats_collagan.measure import MeasureTumourd, rests_on, unreliable_enhancement  # noqa: E402
from brats_collagan.network import CollaInferer, CollaSegmenter, margins, present  # noqa: E402
from brats_collagan.preview import tumour_panels  # noqa: E402
from brats_collagan.recipe import complete, judgements, terms  # noqa: E402
from brats_collagan.saving import grey_values  # noqa: E402
from brats_collagan.scores import group_of, region_scores  # noqa: E402
from brats_collagan.segmenter import Segmenter  # noqa: E402
from brats_collagan.transforms import (  # noqa: E402
    CropBraind,
    InvertAlld,
    LabelTumourd,
    RegionsOfAnswerd,
    WithholdNamedd,
    without_specks,
)
from medbundles.checks import DatasetError, OverrideError  # noqa: E402
from medbundles.contrasts import CONTRASTS  # noqa: E402
from medbundles.regions import merge_regions  # noqa: E402
from medbundles.reports import read_report  # noqa: E402
from medbundles.volume_order import DECATHLON_ORDER  # noqa: E402
from medbundles.weights import write_tensors  # noqa: E402
from medbundles.zoo.workflows import INFERENCE, run_workflow, training_stages  # noqa: E402

AFFINE = np.diag([-4.0, -4.0, 4.0, 1.0])
SHAPE = (30, 36, 26)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def phantom() -> tuple[np.ndarray, np.ndarray]:
    """Nested tumour shells in an egg, in four contrasts (4, X, Y, Z), and their labels (X, Y, Z)."""
    axes = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SHAPE], indexing="ij")
    egg = sum((a / (0.42 * n)) ** 2 for a, n in zip(axes, SHAPE, strict=True)) < 1
    depth = np.sqrt((axes[0] - 4) ** 2 + axes[1] ** 2 + axes[2] ** 2)
    labels = np.select([depth < 2, depth < 4, depth < 6], [1, 3, 2], 0).astype(np.uint8) * egg
    grain = np.random.default_rng(0).normal(0, 8, (4, *SHAPE))
    tissue = np.random.default_rng(1).choice([0.0, 60.0], (9, 9, 9)).repeat(4, 0).repeat(4, 1).repeat(4, 2)
    tissue = tissue[tuple(slice(n) for n in SHAPE)]
    level = {"t1": [40, -30, 0], "t1gd": [-40, -30, 200], "t2": [120, 90, 20], "flair": [60, 110, 30]}
    mixing = {"t1": 1.0, "t1gd": 0.8, "t2": -0.9, "flair": 0.3}
    images = []
    for index, name in enumerate(CONTRASTS):
        image = 300 + mixing[name] * tissue + grain[index]
        image += np.select([labels == 1, labels == 2, labels == 3], level[name], 0)
        images.append(np.where(egg, image, 0))
    return np.stack(images).astype(np.float32), labels


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Path]:
    """Writes the phantom as a folder of files; some contrasts may be left out."""

    def write(*left_out: str, name: str = "case_7") -> Path:
        folder = tmp_path / "studies" / name
        folder.mkdir(parents=True)
        for contrast, image in zip(CONTRASTS, phantom()[0], strict=True):
            if contrast not in left_out:
                nib.save(nib.Nifti1Image(image, AFFINE), folder / f"{name}_{contrast}.nii.gz")
        return folder

    return write


def predict(source: Path, output: Path, **knobs: Any) -> tuple[int, list[dict[str, Any]]]:
    overrides = {"dataset_dir": str(source), "output_dir": str(output), "device": "cpu", "spacing_mm": 4.0}
    try:
        run_workflow(BUNDLE, INFERENCE, overrides | knobs, logging_file=False)
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    return status, read_report(output)["cases"]


def small_network() -> CollaSegmenter:
    torch.manual_seed(0)
    return CollaSegmenter(CollaGenerator(width=2, levels=2, slices=3), Segmenter(width=8)).eval()


def volume(*missing: str) -> torch.Tensor:
    """Contrasts (1, 4, 20, 24, 16), z-scored in a box of brain."""
    torch.manual_seed(1)
    x = torch.zeros(1, 4, 20, 24, 16)
    x[..., 3:17, 3:21, 2:14] = torch.randn(1, 4, 14, 18, 12)
    x[:, [CONTRASTS.index(name) for name in missing]] = 0
    return x


# --- the network ---


def test_the_largest_margin_is_what_merging_the_regions_gives() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, 8)
    expected = torch.stack([merge_regions(item.sigmoid()) for item in logits])
    found = margins(logits)
    assert torch.equal(found.argmax(1), expected.long())
    assert (found.max(1).values > 0).all() and ((found > 0).sum(1) == 1).all()


def test_a_contrast_of_zeros_is_missing_and_imputed_and_the_others_are_kept() -> None:
    x = volume("t2")
    assert present(x[0]) == [True, True, False, True]
    with torch.no_grad():
        whole = small_network().complete(x)
    assert whole[:, 2].abs().sum() > 0
    assert torch.equal(whole[:, [0, 1, 3]], x[:, [0, 1, 3]])
    assert (whole[:, 2][(x == 0).all(1)] == 0).all()


def test_each_of_a_batch_has_its_own_contrasts() -> None:
    network = small_network()
    x = torch.cat([volume("t2"), volume(), torch.zeros(1, 4, 20, 24, 16)])
    with torch.no_grad():
        whole = network.complete(x)
        assert torch.equal(whole[:1], network.complete(x[:1]))
    assert torch.equal(whole[1:], x[1:])


def test_windows_and_the_whole_give_nearly_the_same_and_a_large_window_is_the_whole() -> None:
    network, x = small_network(), volume("flair")
    with torch.no_grad():
        whole = CollaInferer(None)(x, network)
        assert torch.equal(CollaInferer([160, 192, 160])(x, network), whole)
        parts = CollaInferer([16, 16, 16], overlap=0.5)(x, network)
    assert whole.shape == (1, 8, 20, 24, 16)
    assert torch.equal(parts[:, 4:], whole[:, 4:])
    assert torch.corrcoef(torch.stack([parts[:, :4].flatten(), whole[:, :4].flatten()]))[0, 1] > 0.8


def test_mirroring_makes_the_answer_independent_of_the_side() -> None:
    network, x = small_network(), volume()
    with torch.no_grad():
        one, other = (CollaInferer(mirror=True)(item, network)[:, :4] for item in (x, x.flip(2)))
    torch.testing.assert_close(one, other.flip(2), atol=1e-4, rtol=0)


def test_imputing_only_answers_background() -> None:
    answer = CollaInferer(impute_only=True)(volume("t1"), small_network())
    assert answer[:, :4].abs().max() == 0 and answer[:, 4].abs().max() > 0


# --- transforms ---


def tensor(array: np.ndarray | torch.Tensor, affine: np.ndarray = AFFINE, **meta: Any) -> MetaTensor:
    pixels = torch.as_tensor(array).float()
    return MetaTensor(
        pixels, affine=torch.from_numpy(affine), meta={"filename_or_obj": "case.nii.gz", **meta}
    )


def test_what_was_cropped_turned_and_resampled_returns_to_the_grid_of_the_input() -> None:
    images, _ = phantom()
    affine = np.array([[0, 4.0, 0, 9], [-4.0, 0, 0, 3], [0, 0, 4.0, 7], [0, 0, 0, 1]])
    pipeline = Compose(
        [
            Orientationd("image", axcodes="LPS"),
            CropBraind("image"),
            Spacingd("image", pixdim=2.0, mode="bilinear", scale_extent=True),
        ]
    )
    case = pipeline({"image": tensor(images, affine)})
    image = case["image"]
    answer = torch.cat([torch.zeros_like(image.as_tensor()), image.as_tensor()])
    case["pred"] = MetaTensor(answer, meta=image.meta, applied_operations=image.applied_operations)
    done = InvertAlld("pred", pipeline)(case)
    assert done["pred"].shape == done["image"].shape == images.shape
    np.testing.assert_allclose(done["image"].affine, affine)
    inside = images[0] > 0
    error = np.abs(done["image"].numpy() - images)[:, inside]
    assert np.median(error) < 25  # interpolated there and back
    assert done["synthetic_inputs"] == []


def test_imputed_contrasts_take_their_place_and_are_named() -> None:
    images, _ = phantom()
    images[1] = images[3] = 0
    pipeline = Compose([CropBraind("image")])
    case = pipeline({"image": tensor(images)})
    made = case["image"].as_tensor().clone()
    made[1] = made[0] * 2
    answer = torch.cat([torch.zeros_like(made), made])
    case["pred"] = MetaTensor(
        answer, meta=case["image"].meta, applied_operations=case["image"].applied_operations
    )
    done = InvertAlld("pred", pipeline)(case)
    assert done["synthetic_inputs"] == ["t1gd"]  # FLAIR was not made: it is still empty
    torch.testing.assert_close(done["image"].as_tensor()[1], 2 * torch.from_numpy(images[0]))


def test_specks_and_what_lies_outside_the_brain_are_no_tumour() -> None:
    images, labels = phantom()
    scores = np.stack([(labels == k).astype(np.float32) for k in range(4)])
    scores[3, 15, 30, 13], scores[2, 0, 0, 0] = 5, 5
    case = {"image": tensor(images), "pred": tensor(scores)}
    found = LabelTumourd("pred", smallest_ml=0.1)(case)["pred"]
    assert found.dtype == torch.uint8 and np.array_equal(found.numpy()[0], labels)
    kept = LabelTumourd("pred", smallest_ml=0.0)(case)["pred"].numpy()[0]
    assert kept[15, 30, 13] == 3 and kept[0, 0, 0] == 0


def test_a_tumour_of_exactly_the_smallest_size_is_kept() -> None:
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[1, 1, 1:4], labels[4, 4, 4] = 3, 1
    assert np.array_equal(without_specks(labels, 3) > 0, labels == 3)


def test_regions_of_an_answer_are_nested() -> None:
    answer = torch.zeros(8, 1, 1, 4)
    answer[[0, 1, 2, 3], 0, 0, [0, 1, 2, 3]] = 1.0  # background, core, oedema, enhancing
    found = RegionsOfAnswerd("pred")({"pred": answer})["pred"]
    assert found[:, 0, 0].tolist() == [[0, 1, 0, 1], [0, 1, 1, 1], [0, 0, 0, 1]]  # TC, WT, ET


@pytest.mark.parametrize("name", [None, "t2"])
def test_a_contrast_is_withheld_for_evaluation(name: str | None) -> None:
    images, _ = phantom()
    done = WithholdNamedd("withheld")({"image": tensor(images), "withheld": name})
    empty = [c for c, image in zip(CONTRASTS, done["image"], strict=True) if not image.any()]
    assert empty == ([] if name is None else [name])


# --- training data ---


def test_patches_are_of_one_size_and_most_lie_on_tumour() -> None:
    images, labels = phantom()
    item = {"image": torch.from_numpy(images), "label": torch.from_numpy(labels[None])}
    cut = RandPatchesd(["image", "label"], (16, 16, 32), 40, tumour_share=0.75).set_random_state(0)
    patches = cut(item)
    assert {p["image"].shape for p in patches} == {(4, 16, 16, 32)}  # padded along the last axis
    assert sum(bool(p["label"][0, 8, 8, 16] > 0) for p in patches) > 15
    for patch in patches:
        assert (patch["image"][:, patch["label"][0] > 0] != 0).all()  # cut and mirrored alike


def test_slices_have_their_neighbours_and_show_brain() -> None:
    volume = torch.zeros(2, 20, 20, 12)
    volume[0, 4:16, 4:16, 2:10] = torch.arange(1.0, 9.0)
    volume[1] = 100 * volume[0]
    cut = RandSlicesd(["image"], size=16, samples=30, slices=3).set_random_state(0)
    for item in cut({"image": volume}):
        x = item["image"]
        assert x.shape == (6, 16, 16)
        below, middle, above = x[:3].amax((1, 2)).tolist()
        assert 1 <= middle <= 8
        assert below == (middle - 1) and above == ((middle + 1) if middle < 8 else 0)
        assert torch.equal(x[3:], 100 * x[:3])


def test_slices_without_brain_are_not_chosen() -> None:
    volume = torch.zeros(1, 10, 10, 8)
    volume[..., 3:6], volume[:, 0, 0, 6] = 1.0, 1.0
    assert full_slices(volume) == [3, 4, 5]
    assert full_slices(torch.zeros(1, 10, 10, 8)) == [4]


@pytest.mark.parametrize("corner", [(0.0, 0.0), (0.999, 0.999)])
def test_cutting_and_padding_keep_the_middle_or_the_chosen_corner(corner: tuple[float, float]) -> None:
    image = torch.arange(12.0).view(1, 3, 4)
    assert cut_or_pad(image, 5, corner)[0, 1:4, 0:4].tolist() == image[0].tolist()
    first = 0 if corner[0] == 0 else 5
    assert cut_or_pad(image, 2, corner)[0, 0, 0] == (first if first == 0 else 6)


def test_another_appearance_keeps_the_background_and_what_is_bright() -> None:
    images = torch.randn(4, 12, 12, 12)
    images[:, :, :, :4] = 0
    change = RandAppearanced("image", prob=1.0).set_random_state(0)
    changed = change({"image": images})["image"]
    assert (changed[:, :, :, :4] == 0).all() and torch.isfinite(changed).all()
    assert not torch.allclose(changed, images)
    unchanged = RandAppearanced("image", prob=0.0)({"image": images})["image"]
    assert torch.equal(unchanged, images)


def test_cases_are_spread_evenly_and_each_is_evaluated_with_each_contrast_withheld(tmp_path: Path) -> None:
    assert evenly(list(range(10)), 3) == [0, 3, 6]
    assert evenly([1, 2], 5) == [1, 2]
    for number in range(3):
        folder = tmp_path / f"BraTS-GLI-{number:05d}-000"
        folder.mkdir()
        for ending in ("t1n", "t1c", "t2w", "t2f", "seg"):
            (folder / f"{folder.name}-{ending}.nii.gz").write_bytes(b"x")
    cases = evaluation_cases(str(tmp_path), split="all", withheld=[None, "t1"])
    assert [case["withheld"] for case in cases] == [None, "t1"] * 3
    assert set(cases[0]["image"]) == set(CONTRASTS) and cases[0]["label"].endswith("-seg.nii.gz")


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        find_cases(str(tmp_path), "train")


# --- what is reported ---


def test_without_t1gd_enhancement_is_not_reported_and_the_rest_is_marked() -> None:
    _, labels = phantom()
    case = {"pred": tensor(labels[None], calibrated=True), "synthetic_inputs": ["t1gd"]}
    metadata = {
        "eval_metrics": {
            "et_dice_with_all_contrasts_mean": 0.82,
            "et_dice_with_t1gd_imputed_mean": 0.31,
        }
    }
    done = MeasureTumourd("pred", metadata)(case)
    found = {item["name"]: item for item in done["measurements"]}
    assert found["ET volume"]["value"] is None and "0.82 to 0.31" in found["ET volume"]["reason"]
    assert found["WT volume"]["value"] == pytest.approx((labels > 0).sum() * 0.064)
    assert found["WT volume"]["reason"] == "rests on synthetic T1Gd"
    assert any("enhancing tumour is not reported" in note for note in done["warnings"])


def test_with_all_contrasts_nothing_is_marked() -> None:
    _, labels = phantom()
    done = MeasureTumourd("pred")({"pred": tensor(labels[None], calibrated=True), "synthetic_inputs": []})
    assert all(item["value"] and item["reason"] is None for item in done["measurements"])
    assert done["warnings"] == []
    assert rests_on(["t1", "t2"]) == "rests on synthetic T1 and T2"
    assert unreliable_enhancement({}).endswith("contrasts.")


def test_scores_follow_the_rules_for_empty_regions() -> None:
    truth = np.zeros((8, 8, 8), np.uint8)
    truth[2:6, 2:6, 2:6] = 2
    found = region_scores(truth, truth, (1, 1, 1))
    assert found == {
        **{"WT Dice": 1.0, "WT HD95 mm": 0.0, "TC Dice": 1.0, "TC HD95 mm": 0.0},
        **{"ET Dice": 1.0, "ET HD95 mm": 0.0},
    }
    wrong = truth.copy()
    wrong[3, 3, 3] = 3
    found = region_scores(wrong, truth, (1, 1, 1))
    assert found["ET Dice"] == 0.0 and "ET HD95 mm" not in found
    shifted = np.roll(truth, 1, axis=0)
    assert region_scores(shifted, truth, (3, 1, 1))["WT HD95 mm"] == 3.0
    assert group_of(["t2", "t1"], "simulated") == "simulated, T1 and T2 imputed"
    assert group_of([]) == "all contrasts"


def test_grey_values_are_positive_in_the_brain_and_zero_around_it() -> None:
    brain = np.array([True, True, False])
    assert grey_values(np.array([0.0, -99.0, 3.0]), brain).tolist() == [1000, 1, 0]


def test_the_preview_shows_the_diameters_where_they_are_largest_and_names_what_is_synthetic() -> None:
    images, labels = phantom()
    planes, contrasts = tumour_panels(images, labels, AFFINE, ["t2"])
    lines = [item for item in planes[0].drawing if item["kind"] == "line"]
    longest = max(np.hypot(*np.subtract(item["from"], item["to"])) for item in lines)
    assert longest == pytest.approx(8, abs=1)  # the enhancing shell has a radius of 4 voxels
    assert [("SYNTHETIC" in panel.drawing[0]["label"]) for panel in contrasts] == [False, False, True, False]
    without = tumour_panels(images, labels, AFFINE, ["t1gd"])[0][0]
    assert "of WT" in without.drawing[0]["label"]


def test_the_preview_is_the_same_however_the_voxels_are_stored() -> None:
    images, labels = phantom()
    turned = np.diag([4.0, -4.0, 4.0, 1.0])
    turned[0, 3] = -4.0 * (SHAPE[0] - 1)
    planes = tumour_panels(images, labels, AFFINE, [])[0]
    others = tumour_panels(images[:, ::-1], labels[::-1], turned, [])[0]
    for one, other in zip(planes, others, strict=True):
        assert np.array_equal(one.labels, other.labels) and np.array_equal(one.image, other.image)


# --- weights and training ---


def test_a_part_is_taken_from_the_file_of_both(tmp_path: Path) -> None:
    torch.manual_seed(5)
    other = CollaSegmenter(CollaGenerator(width=2, levels=2, slices=3), Segmenter(width=8))
    write_tensors(Halved(other).state_dict(), tmp_path / "model.pt")
    network = small_network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    PartLoader(network, tmp_path / "model.pt", ["imputer"])(None)
    after = network.state_dict()
    for key, value in part_of(other.state_dict(), "imputer").items():
        torch.testing.assert_close(after[f"imputer.{key}"], value, atol=1e-3, rtol=1e-3)
    for key in part_of(before, "segmenter"):
        assert torch.equal(after[f"segmenter.{key}"], before[f"segmenter.{key}"])
    PartLoader(network, tmp_path / "none.pt")(None)  # a first training has no file yet
    with pytest.raises(ValueError, match="imputer, segmenter"):
        PartLoader(network, None, ["judge"])


def test_without_a_cycle_no_cycled_image_is_asked_for() -> None:
    plain = {"cycle": 0.0, "similarity": 0.0}
    assert terms(plain)["fool"].image == "imputed" and judgements(plain)["judged"].fake == "imputed"
    assert terms()["fool"].image == "fakes" and judgements()["judged"].fake == "fakes"
    assert terms()["direct"].weight == 0
    with pytest.raises(OverrideError, match="cylce"):
        complete({"cylce": 1})


def test_the_stages_of_training_are_found_and_a_mistyped_one_is_refused() -> None:
    assert training_stages(BUNDLE) == {"": ("train.json",)}
    assert list(training_stages(BUNDLE, "all")) == ["imputer", "segmenter"]
    assert training_stages(BUNDLE, "imputer") == {"imputer": ("train.json", "train_imputer.json")}
    with pytest.raises(OverrideError, match="did you mean imputer"):
        training_stages(BUNDLE, "imputr")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five phantoms as simulated cases, three of them for training."""
    folder = tmp_path_factory.mktemp("data") / "cases"
    images, labels = phantom()
    entries = []
    for number in range(5):
        name = f"simulated_0_{number:04d}"
        entry = {"name": name, "image": f"images/{name}.nii.gz", "label": f"labels/{name}.nii.gz"}
        for part in ("images", "labels"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        shift = np.roll(images, number, axis=2)
        stored = np.stack([shift[CONTRASTS.index(c)] for c in DECATHLON_ORDER], -1)
        nib.save(nib.Nifti1Image(stored, AFFINE), folder / entry["image"])
        nib.save(nib.Nifti1Image(np.roll(labels, number, axis=1), AFFINE), folder / entry["label"])
        entries.append({**entry, "expected": []})
    (folder / "cases.json").write_text(json.dumps({"cases": entries}), encoding="utf-8")
    return folder


def train_imputer(cases: Path, output: Path, **knobs: Any) -> dict[str, Any]:
    options = {"dataset_dir": str(cases), "output_dir": str(output), "weights": str(output / "best.pt")}
    options |= {"device": "cpu", "spacing_mm": 4.0, "slice_px": 32, "slices_per_case": 1, "imputer_width": 2}
    options |= {"validation_cases": 1, "val_interval": 1, "segmenter_width": 8}
    run_workflow(BUNDLE, training_stages(BUNDLE, "imputer")["imputer"], options | knobs, logging_file=False)
    return torch.load(output / "checkpoint.pt", weights_only=True)


def test_the_imputer_trains_and_two_epochs_of_two_equal_one_of_one_and_one(
    cases: Path, tmp_path: Path
) -> None:
    straight = train_imputer(cases, tmp_path / "straight", epochs=2)
    train_imputer(cases, tmp_path / "parts", epochs=1)
    parts = train_imputer(cases, tmp_path / "parts", epochs=2, resume=True)
    for part in ("network", "judge"):
        for key, value in straight["objects"][part].items():
            assert torch.equal(value, parts["objects"][part][key]), key
    saved = torch.load(tmp_path / "straight" / "best.pt", weights_only=True)
    assert {key.split(".")[0] for key in saved} == {"imputer", "segmenter"}
    assert list((tmp_path / "straight").rglob("events.out.tfevents.*"))


# --- inference, file to file ---


def test_a_missing_contrast_is_imputed_written_and_marked_everywhere(
    study: Callable[..., Path], tmp_path: Path
) -> None:
    folder = study("t2")
    status, (case,) = predict(folder, tmp_path / "out")
    assert status == 0 and case["synthetic_inputs"] == ["t2"]
    assert case["outputs"]["pred"] == "case_7_synthetic_input_seg.nii.gz"
    assert case["outputs"]["t2_synthetic"] == "case_7_t2_synthetic.nii.gz"
    image = nib.load(tmp_path / "out" / "case_7_t2_synthetic.nii.gz")
    assert image.header["descrip"].item().startswith(b"SYNTHETIC T2")
    np.testing.assert_allclose(image.affine, AFFINE)
    brain = phantom()[0][0] > 0
    values = np.asanyarray(image.dataobj)
    assert (values[brain] > 0).mean() > 0.99 and (values[~brain] > 0).mean() < 0.05
    assert b"synthetic" in nib.load(tmp_path / "out" / case["outputs"]["pred"]).header["descrip"].item()
    assert all("synthetic T2" in m["reason"] for m in case["measurements"] if m["value"] is not None)
    assert any("T2 missing" in note for note in case["warnings"])


def test_two_may_be_missing_and_enhancement_is_then_null(study: Callable[..., Path], tmp_path: Path) -> None:
    status, (case,) = predict(study("t1gd", "flair"), tmp_path / "out")
    assert status == 0 and case["synthetic_inputs"] == ["t1gd", "flair"]
    enhancing = [m for m in case["measurements"] if m["name"].startswith("ET")]
    assert enhancing and all(m["value"] is None and "T1Gd" in m["reason"] for m in enhancing)


def test_impute_only_writes_the_contrast_and_no_segmentation(
    study: Callable[..., Path], tmp_path: Path
) -> None:
    status, (case,) = predict(study("flair"), tmp_path / "out", impute_only=True)
    assert status == 0 and set(case["outputs"]) == {"flair_synthetic", "preview"}
    assert case["measurements"] == [] and not list((tmp_path / "out").glob("*seg*"))


def test_a_folder_of_files_and_one_4d_file_give_the_same(study: Callable[..., Path], tmp_path: Path) -> None:
    images, _ = phantom()
    stored = np.stack([images[CONTRASTS.index(name)] for name in DECATHLON_ORDER], -1)
    nib.save(nib.Nifti1Image(stored, AFFINE), tmp_path / "all.nii.gz")
    results = []
    for source, out in ((study(), "a"), (tmp_path / "all.nii.gz", "b")):
        _, (case,) = predict(source, tmp_path / out)
        results.append(np.asanyarray(nib.load(tmp_path / out / case["outputs"]["pred"]).dataobj))
    assert np.array_equal(*results)


def test_studies_that_cannot_be_right_are_refused_and_the_others_done(
    study: Callable[..., Path], tmp_path: Path
) -> None:
    good, alone, twice, shifted, copied = (
        study(name=name) for name in ("good", "alone", "twice", "shifted", "copied")
    )
    for name in ("t1", "t2", "flair"):
        (alone / f"alone_{name}.nii.gz").unlink()
    shutil.copy(twice / "twice_t1.nii.gz", twice / "twice_T1w.nii.gz")
    image = nib.load(shifted / "shifted_t2.nii.gz")
    moved = nib.Nifti1Image(np.asanyarray(image.dataobj)[:-2], image.affine)
    nib.save(moved, shifted / "shifted_t2.nii.gz")
    shutil.copy(copied / "copied_t1.nii.gz", copied / "copied_flair.nii.gz")
    status, cases = predict(good.parent, tmp_path / "out")
    found = {Path(case["input"]).name: case for case in cases}
    assert status == 1 and found["good"]["status"] == "ok"
    expected = {"twice": "T1", "shifted": "grid", "copied": "same image"}
    for name, words in expected.items():
        assert found[name]["status"] == "failed" and words in found[name]["error"], name
    assert all(case["status"] == "failed" for name, case in found.items() if name not in ("good",))
