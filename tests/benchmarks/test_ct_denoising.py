"""The CT denoising benchmark: its scenes and scores, its variants, and all of it on two tiny slices."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from ct_denoising import measure
from ct_filters import FILTERS
from ct_measure import filter_method
from ct_scenes import BUNDLE, KINDS, MAIN_KIND, Scene, scenes
from ct_scores import GAIN, INPUT, RECOVERY, Method, score_scene
from ct_variants import RandPairedPatchesd, paired_cases, train_config, variants

from ct_cyclegan.anatomy import SHARES, Anatomy
from ct_cyclegan.network import DenoisingGenerator
from medbundles.config_keys import checked
from medbundles.datasets.split import split_of
from medbundles.images import upright_affine
from medbundles.io import read_image, write_image
from medbundles.simulators import ct

SIZE, PIXEL_MM = 160, 1.5


def body(seed: int = 0) -> np.ndarray:
    """A water-like ellipse with a bone in it."""
    x, y = (np.indices((SIZE, SIZE)) - (SIZE - 1) / 2) * PIXEL_MM
    hu = np.where((x / 100) ** 2 + (y / 75) ** 2 < 1, 50.0 + seed, -1000.0)
    hu[np.hypot(x, y - 50) < 12] = 600
    return hu.astype(np.float32)


@pytest.fixture(scope="module")
def scene() -> Scene:
    anatomy = Anatomy("slice", "patient", PIXEL_MM, body(), noise_free=True)
    return next(scenes(anatomy, ct.TRAINED, (0.1,), 0))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated patients without noise: one to train on, two for the test."""
    root = tmp_path_factory.mktemp("data") / "tiny"
    splits = {f"case{i}": split_of(f"case{i}", fractions=SHARES) for i in range(99)}
    names = [[name for name, found in splits.items() if found == split] for split in ("train", "test")]
    entries = []
    for seed, name in enumerate(names[0][:1] + names[1][:2]):
        entry = {"name": name}
        for key in ("image", "label"):
            entry[key] = f"{key}s/{name}.nii"
            (root / f"{key}s").mkdir(parents=True, exist_ok=True)
            affine = upright_affine((PIXEL_MM, PIXEL_MM))
            write_image(body(seed)[None].astype(np.int16), root / entry[key], affine=affine)
        entries.append(entry)
    (root / "cases.json").write_text(json.dumps({"cases": entries}))
    return root


def scored(method: Method, scene: Scene) -> dict:
    rows, _ = score_scene(method, scene, sweep=False, probes=True)
    return rows[0]


def test_lesions_of_every_kind_lie_apart_in_even_tissue(scene: Scene) -> None:
    kinds = [lesion.kind for lesion in scene.lesions]
    assert set(kinds) == set(KINDS) and kinds.count(MAIN_KIND) >= len(kinds) / 2 - 1
    touched = sum((lesion.signal != 0).astype(int) for lesion in scene.lesions)
    assert touched.max() == 1
    assert all(abs(scene.truth[lesion.mask].mean() - 50) < 5 for lesion in scene.lesions)


def test_realisations_have_other_noise_on_the_same_anatomy(scene: Scene) -> None:
    first, second = ((one - scene.truth)[40:120, 50:110].ravel() for one in scene.noisy[:2])
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    assert first.std() == pytest.approx(scene.noise, rel=0.5)


def test_input_keeps_everything_and_gains_nothing(scene: Scene) -> None:
    row = scored(INPUT, scene)
    assert (row[GAIN], row[RECOVERY], row["lesion response"]) == pytest.approx((0, 1, 1), abs=1e-4)
    assert row["edge width ratio"] == pytest.approx(1, abs=1e-3)
    assert row["shift water HU"] == 0 and abs(row["bias water HU"]) < 2
    assert row["noise HU"] == pytest.approx(scene.noise, rel=0.35)


def test_a_method_that_halves_all_contrast_recovers_half_and_shifts_the_mean(scene: Scene) -> None:
    halved = Method("half", {"": lambda image, noise: 0.5 * image + 35.0}, "")
    row = scored(halved, scene)
    assert row[RECOVERY] == pytest.approx(0.5, abs=1e-4)
    assert row["lesion response"] == pytest.approx(0.5, abs=1e-4)
    assert row["edge width ratio"] == pytest.approx(1, abs=1e-3)
    assert row["shift water HU"] == pytest.approx(10, abs=1.5)  # 50 becomes 60


def test_perfect_denoiser_shows_no_noise_and_all_of_the_lesions(scene: Scene) -> None:
    noise = [one - scene.truth for one in scene.noisy]

    def remove(image: np.ndarray, level: float) -> np.ndarray:
        if image.shape != scene.truth.shape:
            return image
        return image - noise[0]

    rows, _ = score_scene(Method("perfect", {"": remove}, ""), scene, sweep=False, probes=False)
    assert rows[0]["RMSE HU"] < 0.01 and rows[0][GAIN] > 60
    assert rows[0][RECOVERY] == pytest.approx(1, abs=1e-3)


def test_blends_run_evenly_from_the_input_to_the_filter(scene: Scene) -> None:
    rows, _ = score_scene(filter_method(FILTERS["gaussian"]), scene, sweep=True, probes=False)
    strong = {row["strength"]: row for row in rows if row["parameter"] == "1.6"}
    lost = {strength: 1 - row[RECOVERY] for strength, row in strong.items()}
    assert lost[0.5] == pytest.approx(0.5 * lost[1.0]) and lost[1.0] > 0.1
    assert {row["parameter"] for row in rows} == {"0.5", "0.7", "0.9", "1.2", "1.6"}


def test_blur_widens_the_edge_and_lowers_the_frequency_of_the_noise(scene: Scene) -> None:
    before, after = scored(INPUT, scene), scored(filter_method(FILTERS["gaussian"]), scene)
    assert after["edge width ratio"] > 1.1
    assert after["NPS mean 1/mm"] < before["NPS mean 1/mm"]
    assert after["noise HU"] < before["noise HU"]


def test_variants_override_what_train_json_has_and_differ_in_one_thing() -> None:
    config = train_config()
    found = variants(config)
    for overrides in found.values():
        checked(config, overrides, source="train.json")
    assert found["no_identity"] == {"identity_weight": 0.0}
    assert found["no_bypass"] == {"network_def#bypass": False, "reverse_def#bypass": False}
    assert list(found["gan"]["train#terms"]) == ["fool_routine"]
    assert found["full"] == {}


def test_pairs_stay_pairs_when_cut_turned_and_given_lesions() -> None:
    routine = torch.randn(1, 50, 60, 3)
    cut = RandPairedPatchesd(size=16, samples=20).set_random_state(seed=0)
    for item in cut({"routine": routine, "image": routine + 0.25}):
        assert item["image"].shape == (1, 16, 16)
        torch.testing.assert_close(item["image"], item["routine"] + 0.25)


def test_twin_is_given_two_doses_of_each_slice_and_its_truth(dataset: Path, tmp_path: Path) -> None:
    pairs = paired_cases(str(dataset), str(tmp_path / "scans"), simulated_patients=0)
    assert len(pairs) == 2 and pairs[0]["routine"] == pairs[1]["routine"]
    truth, *low = (read_image(path).array[0] for path in (pairs[0]["routine"], *(p["image"] for p in pairs)))
    inside = (slice(60, 100), slice(60, 80))
    assert truth[inside].std() < 2
    assert all(image[inside].std() > 10 and abs(image[inside].mean() - 50) < 5 for image in low)


def test_measuring_two_slices_writes_tables_page_and_picture(dataset: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "tiny.pt"
    torch.save(DenoisingGenerator(4, norm="none").state_dict(), weights)
    measure(
        str(dataset),
        f"full={weights}",
        doses=(0.1,),
        filters="gaussian",
        out=str(tmp_path / "out"),
        crop=120,
        jobs=1,
    )
    with open(tmp_path / "out" / "ct_denoising.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {"input", "Gaussian", "full"}
    assert len({row["case"] for row in rows}) == 2
    page = (tmp_path / "out" / "ct_denoising.md").read_text()
    assert "Gaussian blended" in page and "edge width ratio" in page
    assert (tmp_path / "out" / "ct_denoising_curve.png").stat().st_size > 1000


def test_unknown_options_are_refused_before_any_work() -> None:
    with pytest.raises(SystemExit, match="limit"):
        measure("nowhere", "full=a.pt", limits=3)
    with pytest.raises(SystemExit, match="bm3d"):
        measure("nowhere", "full=a.pt", filters="gauss")


def test_bundle_is_the_one_that_is_measured() -> None:
    assert (BUNDLE / "configs" / "train.json").is_file()
