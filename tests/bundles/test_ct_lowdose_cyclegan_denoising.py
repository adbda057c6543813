"""What is particular to the CT denoising bundle: bypass, strength, patches, domains, lesions, guard."""

import contextlib
import csv
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd

BUNDLE = Path(__file__).parents[2] / "bundles" / "ct_lowdose_cyclegan_denoising"
sys.path.insert(0, str(BUNDLE))

from ct_cyclegan.anatomy import Anatomy, chosen_slices, find_cases, heart_phases, slices_of  # noqa: E402
from ct_cyclegan.cases import _phases, paired, training_cases  # noqa: E402
from ct_cyclegan.guard import GuardNoised  # noqa: E402
from ct_cyclegan.judge import NoiseJudge  # noqa: E402
from ct_cyclegan.network import DenoisingGenerator  # noqa: E402
from ct_cyclegan.patches import RandLesionsd, RandPatchesd  # noqa: E402
from ct_cyclegan.scans import lesion_stack as lesion_stack_of  # noqa: E402
from ct_cyclegan.scans import routine_dose  # noqa: E402
from ct_cyclegan.scores import MeanScore, case_scores, lesion_responses, quality  # noqa: E402
from ct_cyclegan.simulator import write_cases  # noqa: E402
from ct_cyclegan.terms import LesionsKeptTerm  # noqa: E402
from ct_cyclegan.transforms import BlendStrengthd, ScaleHud, blend  # noqa: E402
from medbundles.checks import DatasetError, OverrideError  # noqa: E402
from medbundles.image_quality import body_mask  # noqa: E402
from medbundles.inferers import SlicewiseInferer  # noqa: E402
from medbundles.io import read_image, write_image  # noqa: E402
from medbundles.noise import noise_level  # noqa: E402
from medbundles.reports import read_report  # noqa: E402
from medbundles.simulators import ct  # noqa: E402
from medbundles.weights import load_weights  # noqa: E402
from medbundles.zoo.workflows import EVALUATE, INFERENCE, run_workflow  # noqa: E402


@pytest.fixture
def dicom_slice() -> Callable[..., Path]:
    """Writes one axial CT slice (X, Y) in HU as DICOM."""
    return write_dicom


def write_dicom(
    path: Path, hu: np.ndarray, *, patient: str, position: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Path:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = CTImageStorage
    item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    item.StudyInstanceUID, item.SeriesInstanceUID = (
        generate_uid(entropy_srcs=[patient, kind]) for kind in ("study", "series")
    )
    item.FrameOfReferenceUID = generate_uid(entropy_srcs=[patient])
    item.Modality, item.PatientID, item.PatientName = "CT", patient, "nobody"
    item.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    item.Rows, item.Columns = hu.shape[1], hu.shape[0]
    item.PixelSpacing, item.SliceThickness = [0.7, 0.7], 5.0
    item.ImageOrientationPatient, item.ImagePositionPatient = [1, 0, 0, 0, 1, 0], list(position)
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated = item.BitsStored = 16
    item.HighBit, item.PixelRepresentation = 15, 1
    item.RescaleSlope, item.RescaleIntercept = 1, -1024
    item.PixelData = np.ascontiguousarray((np.rint(hu) + 1024).astype(np.int16).T).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    item.save_as(path, enforce_file_format=True)
    return path


def phantom(size: int = 96) -> np.ndarray:
    """A body of water with a piece of lung and of bone in air, HU (X, Y)."""
    x, y = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    hu = np.full((size, size), -1000.0)
    hu[np.hypot(x - size / 2, (y - size / 2) * 1.2) < 0.44 * size] = 40
    hu[np.hypot(x - size / 3, y - size / 2) < 0.12 * size] = -850
    hu[np.hypot(x - 2 * size / 3, y - size / 2) < 0.08 * size] = 500
    return hu.astype(np.float32)


def tensor(array: np.ndarray, **meta: object) -> MetaTensor:
    """An image (1, X, Y[, Z]) with 0.7 mm pixels."""
    affine = torch.diag(torch.tensor([-0.7, -0.7, 3.0, 1.0], dtype=torch.float64))
    pixels = torch.as_tensor(np.asarray(array)[None], dtype=torch.float32)
    return MetaTensor(pixels, affine=affine, meta={"filename_or_obj": "scan.nii.gz", **meta})


# --- network ---


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_the_network_begins_near_the_identity(norm: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 1, 24, 20)
    change = DenoisingGenerator(width=8, norm=norm).eval()(x) - x
    assert 0 < change.std() < 0.3


def test_the_bypass_carries_metal_and_padding_whole() -> None:
    torch.manual_seed(0)
    network = DenoisingGenerator(width=8, modules=2, norm="none").eval()
    plain, metal = torch.zeros(1, 1, 21, 21), torch.zeros(1, 1, 21, 21)
    plain[..., 10, 10], metal[..., 10, 10] = 7.68, 70.0
    difference = network(metal) - network(plain)
    assert difference[..., 10, 10].item() == pytest.approx(70.0 - 7.68, abs=1e-4)
    difference[..., 10, 10] = 0
    assert difference.abs().max() < 1e-5  # the modules did not see how bright it is


def test_without_bypass_the_input_does_not_pass_by_itself() -> None:
    network = DenoisingGenerator(width=8, modules=2, norm="none", bypass=False)
    torch.nn.init.zeros_(network.last.weight)
    assert network(torch.randn(1, 1, 8, 8)).abs().max() == 0


def test_all_modules_and_the_first_convolution_are_joined() -> None:
    network = DenoisingGenerator(width=6, modules=4, convolutions=2)
    assert network.join[0].in_channels == 5 * 6
    assert len(network.stages) == 4
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in network.stages[0].body) == 2


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="batch, instance, none"):
        DenoisingGenerator(norm="layer")


# --- units and strength ---


def test_hounsfield_units_return_exactly_from_the_networks_scale() -> None:
    pipeline = Compose([ScaleHud("image")])
    image = tensor(np.array([[-2000.0, -1000.0], [40.0, 30000.0]]))
    case = pipeline({"image": image})
    assert case["image"].as_tensor()[0, 1, 0] == 40 / 400
    back = Invertd("image", pipeline)(case)["image"]
    assert torch.allclose(back.as_tensor(), image.as_tensor(), rtol=1e-6)


@pytest.mark.parametrize("strength, expected", [(0, 100.0), (0.25, 90.0), (1, 60.0)])
def test_strength_blends_between_input_and_output(strength: float, expected: float) -> None:
    case = {"image": tensor(np.full((2, 2), 100.0)), "pred": tensor(np.full((2, 2), 60.0))}
    assert BlendStrengthd("pred", strength)(case)["pred"].unique().item() == expected


def test_padding_stays_as_it_is() -> None:
    before, after = torch.tensor([-2000.0, -1100.0, 40.0]), torch.tensor([-1990.0, -1000.0, 30.0])
    assert blend(before, after, 1.0).tolist() == [-2000.0, -1000.0, 30.0]


@pytest.mark.parametrize("strength", [-0.1, 1.5, "much", None, float("nan")])
def test_a_strength_outside_0_to_1_is_refused(strength: object) -> None:
    with pytest.raises(OverrideError, match=r"from 0 .* to 1"):
        BlendStrengthd("pred", strength)


def test_whole_slices_and_windows_give_nearly_the_same() -> None:
    torch.manual_seed(0)
    network = DenoisingGenerator(width=8, modules=2, norm="none").eval()
    slices = torch.randn(1, 1, 80, 72, 2)
    with torch.no_grad():
        whole, windows = (
            SlicewiseInferer(window=w, overlap=0.5)(slices, network) - slices for w in (None, 64)
        )
    assert (whole - windows).abs().mean() < 0.05 * whole.abs().mean()


# --- the judge ---


def noisy_slopes(sd: float) -> torch.Tensor:
    """Slopes of 600 HU in all directions, with noise: what the judge must see through, in HU / 400."""
    generator = torch.Generator().manual_seed(int(sd))
    across = torch.linspace(-0.75, 0.75, 64)
    slopes = torch.stack([across.expand(64, 64), across.expand(64, 64).T, -across.expand(64, 64)])[:, None]
    return slopes + torch.randn(slopes.shape, generator=generator) * sd / 400


def test_the_judge_sees_noise_but_not_the_slopes_of_anatomy() -> None:
    judge = NoiseJudge(8)
    quiet, loud = (judge.seen(noisy_slopes(sd))[:, 0] for sd in (12, 48))
    assert judge.seen(noisy_slopes(0))[:, 0, 8:-8, 8:-8].abs().max() < 0.01
    assert loud.std() > 3 * quiet.std()


def test_a_shift_of_all_values_is_seen_in_the_window_alone() -> None:
    judge = NoiseJudge(8)
    before, after = judge.seen(noisy_slopes(20)), judge.seen(noisy_slopes(20) + 0.1)
    torch.testing.assert_close(after[:, 0], before[:, 0], atol=1e-5, rtol=0)
    assert (after[:, 1] - before[:, 1]).mean() > 0.05


def test_the_judge_learns_the_level_of_noise_within_a_few_steps() -> None:
    torch.manual_seed(0)
    judge = NoiseJudge(8)
    optimizer = torch.optim.Adam(judge.parameters(), 2e-3, betas=(0.5, 0.999))
    for step in range(30):
        quiet, loud = judge(noisy_slopes(15 + step % 2)), judge(noisy_slopes(40 + step % 2))
        loss = ((quiet - 1) ** 2).mean() + (loud**2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert judge(noisy_slopes(14)).mean() > judge(noisy_slopes(44)).mean() + 0.5


def test_the_judge_scores_patches_not_images() -> None:
    assert NoiseJudge(8, layers=2)(torch.zeros(2, 1, 64, 64)).shape == (2, 1, 14, 14)
    assert NoiseJudge(8, layers=3)(torch.zeros(2, 1, 64, 64)).shape == (2, 1, 6, 6)


# --- patches and lesions ---


def item() -> dict[str, MetaTensor]:
    return {key: tensor(phantom()[..., None] / 400) for key in ("image", "routine")}


def test_patches_show_the_patient_and_each_image_has_its_own_place() -> None:
    cut = RandPatchesd(["image", "routine"], size=24, samples=20).set_random_state(0)
    patches = cut(item())
    assert len(patches) == 20
    assert {p["image"].shape for p in patches} == {(1, 24, 24)}
    assert min(p[key].mean() for p in patches for key in p) > -2.35
    assert any(not torch.equal(p["image"], p["routine"]) for p in patches)


def test_patches_follow_the_seed() -> None:
    runs = [RandPatchesd(["image"], size=24, samples=3).set_random_state(5)(item()) for _ in range(2)]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(*runs, strict=True))


def test_patches_larger_than_the_slice_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        RandPatchesd(["image"], size=97)(item())


def test_lesions_in_soft_tissue_are_faint_and_small() -> None:
    add = RandLesionsd(["image"], prob=1.0, most=1, contrast_hu=(10, 90)).set_random_state(1)
    for _ in range(20):
        change = 400 * add({"image": torch.full((1, 64, 64), 0.1)})["image"] - 40
        assert 0 < change.abs().max() <= 90.01
        assert (change.abs() > 5).float().mean() < 0.1


def test_lesions_in_the_lung_are_dense() -> None:
    add = RandLesionsd(["image"], prob=1.0, most=1).set_random_state(1)
    change = torch.stack([add({"image": torch.full((1, 64, 64), -2.1)})["image"] + 2.1 for _ in range(20)])
    assert change.min() > -1e-4 and 400 * change.max() > 300


def test_no_lesions_are_added_when_none_are_wanted() -> None:
    patch = torch.rand(1, 32, 32)
    assert torch.equal(RandLesionsd(["image"], prob=0.0)({"image": patch})["image"], patch)


def test_the_same_patch_without_lesions_is_kept() -> None:
    patch = torch.rand(1, 48, 48)
    found = RandLesionsd(["image"], prob=1.0).set_random_state(0)({"image": patch})
    assert torch.equal(found["image_bare"], patch) and not torch.equal(found["image"], patch)


def lesions_lost(network: torch.nn.Module) -> float:
    """What the term says of a generator that is given two noisy patches, half of them with a lesion."""
    bare = torch.randn(2, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    image = bare.clone()
    image[0, 0, 8:14, 8:14] += 0.1
    images = {"image": image, "image_bare": bare, "fake": network(image)}
    return float(LesionsKeptTerm("denoise", "image", "image_bare", "fake")(images, {"denoise": network}))


def test_lesions_that_come_out_as_they_went_in_cost_nothing() -> None:
    class Shift(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 3 * torch.sign(torch.arange(24) - 12.0)  # whatever else it does to the slice

    assert lesions_lost(torch.nn.Identity()) == pytest.approx(0, abs=1e-6)
    assert lesions_lost(Shift()) == pytest.approx(0, abs=1e-4)


def test_lesions_that_are_erased_or_smeared_cost() -> None:
    assert lesions_lost(torch.nn.Conv2d(1, 1, 1).requires_grad_(False).apply(_to_zero)) == pytest.approx(0.5)
    assert 0.05 < lesions_lost(torch.nn.AvgPool2d(5, 1, 2)) < 0.5


def test_a_faint_lesion_counts_as_much_as_a_dense_one() -> None:
    class Cap(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.clamp(max=0.15)

    bare = torch.zeros(2, 1, 8, 8)
    image = bare.clone()
    image[0, 0, 3, 3], image[1, 0, 3, 3] = 0.1, 1.5
    term = LesionsKeptTerm("denoise", "image", "bare", "fake")
    lost = term({"image": image, "bare": bare, "fake": Cap()(image)}, {"denoise": Cap()})
    assert lost == pytest.approx((0 + 0.9**2) / 2, rel=1e-5)


def _to_zero(layer: torch.nn.Module) -> None:
    layer.weight.zero_()


def test_a_batch_without_lesions_counts_as_nothing_lost() -> None:
    still = torch.rand(1, 1, 8, 8)
    images = {"image": still, "bare": still, "fake": still}
    term = LesionsKeptTerm("denoise", "image", "bare", "fake")
    assert term(images, {"denoise": torch.nn.Identity()}) == 0


# --- scores ---


def lesion_stack(kept: float = 1.0, noise: float = 20.0) -> tuple[np.ndarray, np.ndarray]:
    """A stack with a lesion of which a part is kept, and without; and the truth, HU (X, Y, 2)."""
    clean = phantom()
    lesion = np.zeros_like(clean)
    lesion[44:50, 60:66] = 30
    grain = np.random.default_rng(0).normal(0, noise, clean.shape)
    return np.stack([clean + grain + kept * lesion, clean + grain], -1), np.stack([clean + lesion, clean], -1)


@pytest.mark.parametrize("kept", [1.0, 0.5, 0.0])
def test_the_part_of_a_lesion_that_is_left_is_measured_free_of_noise(kept: float) -> None:
    output, truth = lesion_stack(kept)
    assert lesion_responses(output, truth) == [pytest.approx(kept, abs=1e-6)]


def test_halved_noise_is_six_decibels() -> None:
    image, truth = lesion_stack(noise=20)
    output, _ = lesion_stack(noise=10)
    scores = case_scores(output, image, truth, lesions=True)
    assert scores["PSNR gain dB"] == pytest.approx(6.02, abs=0.02)
    assert scores["RMSE of the input HU"] == pytest.approx(20, rel=0.03)
    assert scores["lesion contrast kept"] == pytest.approx(1.0)


def test_a_shift_is_seen_as_bias_of_the_tissue() -> None:
    _, truth = lesion_stack()
    scores = case_scores(truth + 3.0, truth + np.random.default_rng(0).normal(0, 20, truth.shape), truth)
    assert scores["bias water HU"] == pytest.approx(3.0)
    assert scores["bias lung HU"] == pytest.approx(3.0)


def test_erased_lesions_outweigh_decibels_when_weights_are_chosen() -> None:
    keeps = quality({"PSNR gain dB": 5.0, "lesion contrast kept": 0.97})
    assert keeps == 5.0
    assert quality({"PSNR gain dB": 6.5, "lesion contrast kept": 0.55}) < keeps


def test_the_mean_of_a_score_leaves_out_cases_without_it() -> None:
    metric = MeanScore("lesion contrast kept")
    metric.update([{"lesion contrast kept": 0.5, "PSNR gain dB": 1.0}, {"PSNR gain dB": 2.0}])
    metric.update([{"lesion contrast kept": 1.0}])
    assert metric.compute() == 0.75


# --- guard ---


def denoised(grain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A body in noise, and without the noise, HU (X, Y)."""
    clean = phantom(192)
    return (clean + grain).astype(np.float32), clean


def ramp_noise(sd: float, size: int = 192) -> np.ndarray:
    """Noise (X, Y) with the spectrum of a reconstruction."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij"))
    transfer = np.sqrt(frequency) * np.cos(np.pi * np.minimum(frequency, 0.5)) ** 2
    white = np.random.default_rng(3).standard_normal((size, size))
    grain = np.fft.ifft2(np.fft.fft2(white) * transfer).real
    return sd * grain / grain.std()


def guarded(before: np.ndarray, after: np.ndarray) -> dict:
    return GuardNoised("pred")({"image": tensor(before), "pred": tensor(after)})


def test_removing_noise_alone_is_explained() -> None:
    case = guarded(*denoised(ramp_noise(30)))
    rows = {row["name"]: row for row in case["measurements"]}
    assert rows["unexplained change"]["value"] < 0.1
    assert rows["noise after"]["value"] < 0.2 * rows["noise before"]["value"]
    assert {row["unit"] for row in rows.values()} == {"HU", "%"}


@pytest.mark.parametrize("invented", [80.0, -80.0])
def test_an_invented_or_removed_lesion_is_marked_and_warned_about(invented: float) -> None:
    before, after = denoised(ramp_noise(30))
    after = after.copy()
    after[104:116, 128:140] += invented
    case = guarded(before, after)
    assert case["guard"].shape == (1, 192, 192)
    assert case["guard"][0, 110, 134] == 1
    assert case["guard"][0, 60, 60] == 0
    assert any("1 place changed by more than the noise explains" in warning for warning in case["warnings"])


def test_the_mask_lies_on_the_grid_of_the_input_whatever_its_orientation() -> None:
    before, after = denoised(ramp_noise(30))
    after = after.copy()
    after[104:116, 128:140] += 80
    expected = guarded(before, after)["guard"][0].numpy()
    affine = torch.tensor([[0, 0, -0.7, 0], [-0.7, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 0, 1]]).double()
    stored = [
        np.moveaxis(np.stack([a, b], -1), (0, 1, 2), (2, 0, 1))
        for a, b in ((before, before), (after, before))
    ]
    image, pred = (MetaTensor(torch.tensor(s[None]), affine=affine) for s in stored)
    mask = GuardNoised("pred")({"image": image, "pred": pred})["guard"]
    assert mask.shape == image.shape
    assert np.array_equal(mask[0, :, 0].numpy(), expected.T)
    assert not mask[0, :, 1].any()


def test_an_image_of_air_has_no_noise_figure_but_a_reason() -> None:
    air = np.full((64, 64), -1000, np.float32) + np.random.default_rng(0).normal(0, 5, (64, 64))
    for row in guarded(air, air)["measurements"]:
        assert row["value"] is None and "body" in row["reason"]


def test_a_quiet_input_and_odd_pixels_are_warned_about() -> None:
    image = tensor(denoised(ramp_noise(2))[0])
    image.affine = torch.diag(torch.tensor([-0.2, -0.2, 1.0, 1.0], dtype=torch.float64))
    warnings = GuardNoised("pred")({"image": image, "pred": image.clone()})["warnings"]
    assert any("little to gain" in text for text in warnings)
    assert any("pixels of 0.2 x 0.2 mm" in text for text in warnings)


# --- cases ---


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen simulated cases."""
    folder = tmp_path_factory.mktemp("data") / "cases"
    write_cases(folder, 12, 0)
    return folder


def test_a_simulated_case_is_noisy_by_what_it_says_and_unbiased(simulated: Path) -> None:
    entry = json.loads((simulated / "cases.json").read_text())["cases"][0]
    image, truth = (read_image(simulated / entry[key]).array[0] for key in ("image", "label"))
    noise = (image.astype(float) - truth)[body_mask(truth)]
    assert noise.std() == pytest.approx(entry["expected"][0]["value"], rel=0.2)
    assert abs(noise.mean()) < 1.0


def test_a_simulated_case_does_not_depend_on_how_many_there_are(simulated: Path, tmp_path: Path) -> None:
    write_cases(tmp_path, 2, 0)
    for name in ("images/simulated_0_0001.nii.gz", "labels/simulated_0_0001.nii.gz"):
        here, there = (read_image(folder / name).array for folder in (simulated, tmp_path))
        assert np.array_equal(here, there)


def test_patients_are_in_one_split_and_in_one_domain(simulated: Path, tmp_path: Path) -> None:
    splits = {
        name: {case["subject"] for case in find_cases(simulated, name)}
        for name in ("train", "validation", "test")
    }
    assert sum(len(subjects) for subjects in splits.values()) == len(set.union(*splits.values())) == 12
    training_cases(simulated, tmp_path, slices_per_case=1, simulated_patients=0)
    entries = json.loads((tmp_path / "index.json").read_text())["cases"]
    domains = {name: {e["subject"] for e in entries if e["domain"] == name} for name in ("low", "routine")}
    assert domains["low"] and domains["routine"] and not domains["low"] & domains["routine"]
    assert domains["low"] | domains["routine"] == splits["train"]


def test_the_low_domain_is_noisier_than_the_routine_domain(simulated: Path, tmp_path: Path) -> None:
    items = training_cases(simulated, tmp_path, slices_per_case=1, simulated_patients=0)
    levels = {
        key: np.median([noise_level(read_image(entry[key]).array[0]) for entry in items])
        for key in ("image", "routine")
    }
    assert levels["image"] > 1.5 * levels["routine"]


def test_a_higher_routine_dose_makes_simulated_slices_quieter_and_leaves_real_ones_alone() -> None:
    (simulated_slice,) = heart_phases(1, [3], seed=0, domain="routine")
    real_slice = replace(simulated_slice, noise_free=False)

    def noise(anatomy: Anatomy, dose: float) -> float:
        return noise_level(routine_dose(anatomy, dose, np.random.default_rng(0)))

    assert noise(simulated_slice, 4.0) == pytest.approx(0.5 * noise(simulated_slice, 1.0), rel=0.15)
    assert noise(real_slice, 4.0) == noise(real_slice, 1.0)


def test_scans_are_made_once_unless_what_they_depend_on_changes(simulated: Path, tmp_path: Path) -> None:
    def times() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.nii")}

    options = {"slices_per_case": 1, "simulated_patients": 0}
    first = training_cases(simulated, tmp_path, **options)
    before = times()
    assert training_cases(simulated, tmp_path, **options) == first
    assert times() == before
    training_cases(simulated, tmp_path, seed=1, **options)
    assert times() != before


def test_a_simulated_heart_shows_the_phases_of_its_domain() -> None:
    low, routine = ([*_phases(patient, 0)] for patient in (0, 1))
    assert {s.domain for s in low} == {"low"} and {s.domain for s in routine} == {"routine"}
    assert [s.name[-2:] for s in low] == ["01", "02"]
    assert len(routine) == 3 and {int(s.name[-2:]) for s in routine} <= set(range(3, 11))
    assert not {s.subject for s in low} & {s.subject for s in routine}


def test_a_stack_has_the_same_noise_with_lesions_and_without() -> None:
    anatomy = Anatomy("slice", "patient", 0.9, phantom(256), noise_free=True)
    image, truth = lesion_stack_of(anatomy, ct.TRAINED, 0.1, np.random.default_rng(0))
    np.testing.assert_allclose(image[..., 0] - truth[..., 0], image[..., 1] - truth[..., 1], atol=0.05)
    lesions = truth[..., 0] - truth[..., 1]
    assert 10 < np.abs(lesions).max() < 60
    assert lesion_responses(image, truth) == pytest.approx([1.0] * len(lesion_responses(image, truth)))


def test_own_unpaired_scans_belong_to_the_domain_of_their_folder(
    tmp_path: Path, dicom_slice: Callable[..., Path]
) -> None:
    for index in range(8):
        for domain in ("low", "routine"):
            dicom_slice(tmp_path / domain / f"{index}.dcm", phantom(64), patient=f"{domain}{index}")
    found = find_cases(tmp_path)
    assert {case["domain"] for case in found} == {"low", "routine"}
    assert all((case["low"] is None) == (case["domain"] == "routine") for case in found)
    low = next(case for case in found if case["domain"] == "low")
    (anatomy,) = slices_of(low, 3)
    assert anatomy.routine is None
    assert np.array_equal(anatomy.low, np.rint(phantom(64)))


def test_slices_are_taken_from_the_middle_of_a_volume() -> None:
    assert chosen_slices(1, 4) == [0]
    assert chosen_slices(101, 1) == [50]
    assert chosen_slices(101, 4) == [20, 40, 60, 80]
    assert chosen_slices(3, 10) == [0, 1, 2]


def test_a_domain_without_patients_is_refused() -> None:
    with pytest.raises(DatasetError, match="routine dose"):
        paired([{"domain": "low", "file": "a.nii", "subject": "x"}], "folder")


# --- whole runs ---


def run(source: Path, output: Path, **options: object) -> dict:
    """Runs inference and returns the only case of the report."""
    knobs = {"dataset_dir": str(source), "output_dir": str(output), "device": "cpu", **options}
    with contextlib.suppress(SystemExit):
        run_workflow(BUNDLE, INFERENCE, knobs, logging_file=False)
    (case,) = read_report(output)["cases"]
    return case


@pytest.fixture
def series(tmp_path: Path, dicom_slice: Callable[..., Path]) -> Path:
    """A DICOM series of three slices of 64 x 64."""
    for z in range(3):
        noisy = phantom(64) + np.random.default_rng(z).normal(0, 30, (64, 64))
        dicom_slice(tmp_path / "series" / f"{z}.dcm", noisy, patient="p", position=(-20.0, -30.0, 5.0 * z))
    return tmp_path / "series"


def test_a_dicom_series_comes_back_as_a_series_with_the_pixels_of_the_nifti(
    series: Path, tmp_path: Path
) -> None:
    case = run(series, tmp_path / "dicom")
    assert case["status"] == "ok", case["error"]
    same = run(series, tmp_path / "nifti", output_ext=".nii.gz")
    dicom, nifti = (
        read_image(folder / c["outputs"]["pred"])
        for folder, c in ((tmp_path / "dicom", case), (tmp_path / "nifti", same))
    )
    assert np.array_equal(dicom.array, nifti.array)
    np.testing.assert_allclose(dicom.affine, read_image(series).affine, atol=1e-4)
    np.testing.assert_allclose(dicom.affine, nifti.affine, atol=1e-4)


def test_strength_zero_gives_the_input_back(series: Path, tmp_path: Path) -> None:
    case = run(series, tmp_path / "out", strength=0, output_ext=".nii.gz")
    result = read_image(tmp_path / "out" / case["outputs"]["pred"])
    assert np.array_equal(result.array, read_image(series).array)
    assert {m["name"]: m["value"] for m in case["measurements"]}["unexplained change"] == 0


def test_a_picture_is_refused_because_it_is_not_in_hounsfield_units(tmp_path: Path) -> None:
    picture = np.clip(phantom(64) / 8 + 128, 0, 255).astype(np.uint8)
    write_image(picture[None], tmp_path / "slice.png", affine=np.eye(4))
    case = run(tmp_path / "slice.png", tmp_path / "out", pixel_mm=0.7)
    assert case["status"] == "failed"
    assert "rescale slope" in case["error"]


def test_evaluation_finds_less_noise_and_the_lesions_still_there(simulated: Path, tmp_path: Path) -> None:
    knobs = {"dataset_dir": str(simulated), "output_dir": str(tmp_path), "device": "cpu"}
    sizes = {"evaluation_slices": 1, "evaluation_doses": [0.1]}
    with contextlib.suppress(SystemExit):
        run_workflow(BUNDLE, EVALUATE, knobs | sizes, logging_file=False)
    with (tmp_path / "evaluation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows and all(float(row["PSNR gain dB"]) > 1 for row in rows)
    assert all(float(row["lesion contrast kept"]) > 0.8 for row in rows if row["lesion contrast kept"])
    assert all(abs(float(row["bias water HU"])) < 5 for row in rows)


def test_validation_in_training_scores_hounsfield_units(simulated: Path, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "train.json"))
    knobs = {"bundle_root": str(BUNDLE), "dataset_dir": str(simulated), "output_dir": str(tmp_path)}
    parser.update(knobs | {"device": "cpu", "validation_slices": 1, "weights": str(tmp_path / "best.pt")})
    load_weights(parser.get_parsed_content("average").network, BUNDLE / "models" / "model.pt")
    evaluator = parser.get_parsed_content("validate#evaluator")
    evaluator.run(global_epoch=1)
    assert evaluator.state.metrics["val_psnr_gain"] > 1
    assert 0.8 < evaluator.state.metrics["val_lesion_contrast_kept"] < 1.2
