"""Closing the gap to real frames: their look for simulated ones, and labels that a network is sure of."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image
from torch import Tensor, nn

BUNDLE = Path(__file__).parents[2] / "bundles" / "amniotic_fluid_us_segmentation"
sys.path.insert(0, str(BUNDLE))

from amniotic_fluid.cases import find_cases, read_outlines  # noqa: E402
from amniotic_fluid.look import LookGenerator, LookJudge, RandInsided, RandLookd  # noqa: E402
from amniotic_fluid.look_match import LookMatch, features  # noqa: E402
from amniotic_fluid.losses import NOT_FLUID, UNDIVIDED_FLUID, UNKNOWN  # noqa: E402
from amniotic_fluid.self_training import Teacher, beside_real, real_frames, thin  # noqa: E402
from amniotic_fluid.specks import RandSpecksd  # noqa: E402
from medbundles.checks import DatasetError  # noqa: E402
from medbundles.ellipse import Ellipse  # noqa: E402
from medbundles.io import read_image  # noqa: E402
from medbundles.sector import StandardiseSectord  # noqa: E402
from medbundles.transforms import LoadImageCheckedd  # noqa: E402
from medbundles.weights import read_tensors, write_tensors  # noqa: E402
from medbundles.zoo.workflows import run_workflow, training_stages  # noqa: E402

HEAD = Ellipse((70.0, 60.0), (30.0, 22.0), 0.5)
SIZE = (150, 130)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny copy of HC18: three subjects, one of them with two frames; the heads are `HEAD`, and bright."""
    root = tmp_path_factory.mktemp("real")
    folder = root / "training_set"
    folder.mkdir()
    lines = ["filename,pixel size(mm),head circumference (mm)"]
    rng = np.random.default_rng(0)
    for name in ("010_HC", "010_2HC", "011_HC", "012_HC"):
        contour = np.zeros(SIZE, np.uint8)
        place = HEAD.points(2000).round().astype(int)
        contour[place[:, 0], place[:, 1]] = 255
        Image.fromarray(contour.T).save(folder / f"{name}_Annotation.png")
        grey = rng.integers(60, 110, SIZE).astype(np.uint8)
        grey[100:140, 70:120] = rng.integers(1, 6, (40, 50))  # echoes, if faint ones
        grey[10:40, 100:125] = 0  # a box that hides a name
        Image.fromarray(grey.T).save(folder / f"{name}.png")
        lines.append(f"{name}.png,0.5,{HEAD.scaled(0.5).circumference():.2f}")
    (root / "training_set_pixel_size_and_HC.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Outlines of one of the two frames of subject 010."""
    path = tmp_path_factory.mktemp("outlines") / "reader.json"
    path.write_text(json.dumps({"frames": {"010_HC.png": {"fluid": [[[1, 1], [5, 1], [5, 5]]]}}}))
    return str(path)


def frame(side: int = 48) -> Tensor:
    """A frame (4, X, Y) of noise whose left third is outside the sector."""
    x = torch.rand(4, side, side, generator=torch.Generator().manual_seed(0))
    x[1] = (torch.arange(side) >= side // 3).float()[:, None].expand(side, side)
    return x


def stirred() -> LookGenerator:
    """A generator with weights that change a lot."""
    torch.manual_seed(0)
    network = LookGenerator(width=8).eval()
    for weight in network.parameters():
        weight.data += 0.2 * torch.randn_like(weight)
    return network


def test_the_look_changes_grey_values_in_the_sector_and_nothing_else() -> None:
    x = frame()[None]
    with torch.no_grad():
        y = stirred()(x)
    assert torch.equal(y[:, 1:], x[:, 1:])
    assert torch.equal(y[0, 0, :16], x[0, 0, :16])
    assert (y - x)[0, 0, 16:].abs().mean() > 0.01


def test_a_generator_begins_near_the_identity() -> None:
    torch.manual_seed(0)
    x = frame()[None]
    with torch.no_grad():
        assert (LookGenerator()(x) - x).abs().max() < 0.2


def test_a_pixel_depends_on_a_neighbourhood_too_small_for_a_pocket() -> None:
    x = frame()[None].requires_grad_()
    stirred()(x)[0, 0, 30, 24].backward()
    touched = (x.grad[0].abs().sum(dim=0) > 0).nonzero() - torch.tensor([30, 24])
    assert 4 <= int(touched.abs().max()) <= 10


def test_a_mirrored_frame_gets_the_mirrored_look() -> None:
    x = frame()[None]
    other = torch.cat([x[:, :3], -x[:, 3:]], dim=1)
    with torch.no_grad():
        assert torch.equal(stirred()(x)[:, 0], stirred()(other)[:, 0])


def test_the_judge_sees_no_geometry() -> None:
    torch.manual_seed(0)
    judge, x = LookJudge(width=8).eval(), frame()[None]
    other = torch.cat([x[:, :1], torch.rand(1, 3, 48, 48)], dim=1)
    with torch.no_grad():
        assert torch.equal(judge(x), judge(other))
        assert not torch.equal(judge(x), judge(x * 0.5))


def test_squares_are_cut_where_the_sector_is() -> None:
    x = torch.zeros(4, 100, 80)
    x[1, 60:] = 1
    cut = RandInsided("image", size=30, tries=200)
    cut.set_random_state(0)
    shares = [float(cut({"image": x})["image"][1].mean()) for _ in range(5)]
    assert min(shares) >= 0.9


def test_what_looks_alike_matches_and_what_is_blurred_does_not() -> None:
    frames = [torch.rand(4, 64, 64, generator=torch.Generator().manual_seed(i)) for i in range(8)]
    for number, x in enumerate(frames):
        x[0] *= 0.5 + 0.05 * number
        x[1] = 1
    blurred = [x.clone() for x in frames]
    for x in blurred:
        x[0] = torch.nn.functional.avg_pool2d(x[None, :1], 5, 1, 2)[0, 0]
    metric = LookMatch()
    metric.update((frames, frames))
    assert metric.compute() == pytest.approx(0, abs=1e-6)
    metric.reset()
    metric.update((blurred, frames))
    assert metric.compute() < -1


def test_what_lies_outside_the_sector_says_nothing_of_the_look() -> None:
    x = frame(64)
    other = x.clone()
    other[0, :16] = 0
    assert torch.allclose(features(x), features(other), atol=1e-5)


def test_all_frames_of_a_subject_that_was_outlined_are_kept_aside(real: Path, drawn: str) -> None:
    assert {case["subject"] for case in real_frames(str(real), [])} == {"HC18-010", "HC18-011", "HC18-012"}
    assert {case["subject"] for case in real_frames(str(real), [drawn])} == {"HC18-011", "HC18-012"}


def test_no_frame_left_to_learn_from_is_an_error(real: Path, tmp_path: Path) -> None:
    names = [f"{name}.png" for name in ("010_HC", "011_HC", "012_HC")]
    path = tmp_path / "all.json"
    path.write_text(json.dumps({"frames": {name: {} for name in names}}))
    assert len(read_outlines(path)) == 3
    with pytest.raises(DatasetError, match="no real frame is left"):
        real_frames(str(real), [str(path)])


def test_every_simulated_frame_gets_a_real_one_and_all_real_ones_are_used(real: Path, drawn: str) -> None:
    cases = [{"image": f"{i}.nii.gz", "label": ""} for i in range(7)]
    pairs = beside_real(cases, str(real), [drawn], seed=3)
    assert [pair["image"] for pair in pairs] == [case["image"] for case in cases]
    counts = [sum(name in pair["real"] for pair in pairs) for name in ("011_HC", "012_HC")]
    assert sorted(counts) == [3, 4]
    assert pairs == beside_real(cases, str(real), [drawn], seed=3)


class Darkness(nn.Module):
    """Calls what is dark fluid: surely, or, on the right of column 115 of the stored frame, with doubt."""

    def __init__(self) -> None:
        super().__init__()
        self.doubt = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        dark = torch.nn.functional.avg_pool2d(x[:, :1], 3, 1, 1) < 0.2
        columns = torch.arange(x.shape[2], device=x.device)[:, None] > x.shape[2] * 0.765
        fluid = torch.where(dark, torch.where(columns, self.doubt, 0.99), 0.005)
        none = torch.full_like(fluid, 1e-6)
        return torch.cat([1 - fluid, fluid, none, none], dim=1).log()


def teacher_of(folder: Path, **settings: float) -> Teacher:
    """A teacher whose network is `Darkness`."""
    write_tensors(Darkness().state_dict(), folder / "teacher.pt")
    metadata = str(BUNDLE / "configs" / "metadata.json")
    return Teacher(
        Darkness(),
        folder / "teacher.pt",
        LoadImageCheckedd("image", metadata=metadata),
        StandardiseSectord("image", (150, 130)),
        lambda x, network: network(x),
        **settings,
    )


def test_a_teacher_labels_what_it_is_sure_of_and_never_the_fetus(real: Path, tmp_path: Path) -> None:
    teacher = teacher_of(tmp_path)
    (case,) = [case for case in real_frames(str(real), []) if case["subject"] == "HC18-011"]
    labels = teacher.label(case)
    assert isinstance(labels, MetaTensor) and labels.shape == (1, *SIZE)
    assert labels[0, 108, 95] == UNDIVIDED_FLUID
    assert labels[0, 128, 95] == UNKNOWN
    assert labels[0, 120, 20] == labels[0, 20, 90] == NOT_FLUID
    assert (labels[0, 10:40, 100:125] == NOT_FLUID).all(), "as black as fluid, but painted over"
    outline = Ellipse(HEAD.centre, tuple(axis + 1.5 for axis in HEAD.axes), HEAD.angle)  # 0.75 mm more
    assert (labels[0][torch.from_numpy(outline.mask(SIZE))] == NOT_FLUID).all()


def test_a_teacher_may_leave_open_where_there_is_no_fluid(real: Path, tmp_path: Path) -> None:
    case = real_frames(str(real), [])[0]
    bold, careful = (teacher_of(tmp_path, clear=clear).label(case)[0] for clear in (0.1, -1.0))
    assert bold[120, 20] == NOT_FLUID and careful[120, 20] == UNKNOWN
    assert careful[70, 60] == NOT_FLUID, "in the fetus"
    assert torch.equal(bold == UNDIVIDED_FLUID, careful == UNDIVIDED_FLUID)


def test_the_skin_is_not_fluid_and_a_rim_is_not_believed() -> None:
    fluid = np.zeros((60, 40), bool)
    fluid[10:16, 5:35] = True  # 3 mm wide
    fluid[30:50, 5:35] = True
    fluid[57:, :] = True  # goes on beyond the frame
    spacing = np.array([0.5, 0.5])
    rims = thin(fluid, spacing)
    assert rims[10:16, 5:35].all() and not rims[32:48, 7:33].any() and not rims[58:, 10:30].any()
    assert not (rims & ~fluid).any()
    assert thin(fluid[:20], spacing)[10:16, 5:35].all(), "nothing in the frame is wide"
    assert not thin(fluid, spacing * 2)[11:15, 10:30].any(), "twice as wide in mm"


def test_streaks_lie_in_the_fluid_across_the_beam_and_darken_nothing() -> None:
    x = torch.full((4, 96, 64), 0.1)
    labels = torch.zeros(1, 96, 64, dtype=torch.uint8)
    labels[0, :32], labels[0, 32:64], labels[0, 64:] = 1, 2, UNDIVIDED_FLUID
    specks, brightest, steep = RandSpecksd(["image", "label"], prob=1.0), [], []
    for seed in range(12):
        specks.set_random_state(seed)
        data = specks({"image": x, "label": labels})
        grey = data["image"][0]
        assert torch.equal(data["image"][1:], x[1:]) and torch.equal(data["label"], labels)
        assert torch.equal(grey[32:64], x[0, 32:64]) and (grey >= x[0]).all() and grey.max() <= 1
        brightest.append(float(grey.max()))
        steep.append([float(grey[:32].diff(dim=axis).abs().mean()) for axis in (0, 1)])
    assert np.median(brightest) > 0.3 and np.ptp(brightest) > 0.2
    across, along = np.mean(steep, axis=0)
    assert along > 1.2 * across, "streaks are wide and low"
    assert RandSpecksd(["image", "label"], prob=0.0)({"image": x, "label": labels})["image"] is x


def tiny(folder: Path, real: Path, drawn: str, cases: Path) -> dict:
    """Overrides of a very short training."""
    return {
        "dataset_dir": str(cases),
        "real_dir": str(real),
        "outlines": [drawn],
        "output_dir": str(folder),
        "epochs": 1,
        "schedule_epochs": 1,
        "val_interval": 1,
        "frame_size": [80, 56],
        "device": "cpu",
    }


def test_both_stages_run_one_after_the_other(
    real: Path, drawn: str, fluid_examinations: Path, tmp_path: Path
) -> None:
    look, adapted = tmp_path / "look", tmp_path / "adapted"
    options = tiny(look, real, drawn, fluid_examinations) | {"constant_epochs": 1, "look_px": 32}
    run_workflow(BUNDLE, training_stages(BUNDLE, "look")["look"], options, logging_file=False)
    shown = RandLookd("image", look / "look.pt", LookGenerator(16), prob=1.0)({"image": frame()})["image"]
    assert torch.isfinite(shown).all() and not torch.equal(shown, frame())

    options = tiny(adapted, real, drawn, fluid_examinations) | {"look_weights": str(look / "look.pt")}
    run_workflow(BUNDLE, training_stages(BUNDLE, "adapt")["adapt"], options, logging_file=False)
    labels = sorted(path.name for path in (adapted / "self_labelled").iterdir())
    assert labels == ["011_HC.nii.gz", "012_HC.nii.gz"]
    values = np.unique(read_image(adapted / "self_labelled" / labels[0]).array)
    assert set(values.tolist()) <= {UNDIVIDED_FLUID, NOT_FLUID, UNKNOWN}
    before, after = (
        read_tensors(path, "cpu") for path in (BUNDLE / "models" / "model.pt", adapted / "model.pt")
    )
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert find_cases(str(fluid_examinations), "train")
