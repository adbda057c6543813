"""The variants that the benchmark of the panoramic prior trains, and the network that needs no panorama."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[1] / "bundles"))

from dental_direct import CLASSES, MIRRORED, DirectLoss, DirectNetwork, RandWhole, brought_back, direct_labels
from dental_phantom import Phantom
from dental_variants import BUNDLE, DIRECT, VARIANTS, load_direct, overrides, stage_of

from dental_teeth.network import ToothSegmenter
from dental_teeth.teeth import label_of, to_codes, to_labels
from medbundles.config_keys import checked
from medbundles.weights import write_tensors
from medbundles.zoo.workflows import TRAIN, read_config

TEETH = (16, 13, 11, 22, 26, 34, 36, 41, 44)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def phantom() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return Phantom(teeth=TEETH).build()


# --- variants ---


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_overrides_what_its_configs_have(name: str, tmp_path: Path) -> None:
    config = read_config(BUNDLE, stage_of(name))
    found = overrides(name, 3, tmp_path, {"epochs": 2, "patch": [16, 24, 32], "unknown": 1})
    checked(config, found, source="train.json")
    assert (found["seed"], found["epochs"], found["schedule_epochs"]) == (3, 2, 2)
    assert "unknown" not in found


def test_a_step_of_the_direct_network_has_as_many_voxels_as_one_of_the_segmenter(tmp_path: Path) -> None:
    config, found = read_config(BUNDLE, TRAIN), overrides(DIRECT, 0, tmp_path, {})
    shown = found["train#samples"]
    patches = config["teeth_per_case"] * math.prod(config["patch"])
    assert shown["views"] * math.prod(shown["size"]) == pytest.approx(patches, rel=0.02)


def test_the_direct_network_is_trained_without_panoramas(tmp_path: Path) -> None:
    steps = read_config(BUNDLE, TRAIN)["train"]["deterministic_transforms"]
    assert [step["_target_"].rpartition(".")[2] for step in steps[3:]] == ["ReadTruthd", "SelectItemsd"]
    found = overrides(DIRECT, 0, tmp_path, {})
    assert found["train#deterministic_transforms#3"]["_target_"] == "Identityd"
    assert found["train#deterministic_transforms#4"]["keys"] == ["image", "label"]


def test_the_direct_network_has_about_as_many_weights_as_the_segmenter() -> None:
    width = read_config(BUNDLE, TRAIN)["segmenter_width"]
    counts = [sum(p.numel() for p in net.parameters()) for net in (DirectNetwork(), ToothSegmenter(width))]
    assert counts[0] == pytest.approx(counts[1], rel=0.15)


def test_the_detector_of_positions_has_eight_kinds(tmp_path: Path) -> None:
    found = overrides("positions", 0, tmp_path, {})
    assert found["kinds"] == found["network_def#detector#kinds"] == 8


# --- the direct network ---


def test_mirrored_numbers_are_those_of_the_other_side() -> None:
    for code, other in ((11, 21), (28, 18), (31, 41), (46, 36)):
        assert MIRRORED[label_of(code)] == label_of(other)
    assert (MIRRORED[MIRRORED] == np.arange(CLASSES)).all()


def test_whole_scans_come_with_the_label_of_every_voxel(phantom: tuple) -> None:
    hu, codes, affine = phantom
    image, label = (
        MetaTensor(torch.from_numpy(a)[None], affine=torch.from_numpy(affine)) for a in (hu, codes)
    )
    case = {"image": image, "label": label}
    (plain,) = RandWhole(1, (84, 76, 62), 1.0, vary=0)(case)
    assert plain["image"].shape == plain["label"].shape == (1, 84, 76, 62)
    counts = np.bincount(plain["label"].numpy().astype(int).ravel(), minlength=CLASSES)
    assert (counts == np.bincount(to_labels(codes).ravel(), minlength=CLASSES))[1:].all()
    left = plain["label"][0] == label_of(26)
    assert np.argwhere(left.numpy())[:, 0].min() > 42  # axes run to the left, wherever the header's do
    varied = RandWhole(6, (84, 76, 62), 1.0).set_random_state(0)(case)
    sides = []
    for sample in varied:
        for code in (16, 26):
            where = np.argwhere(sample["label"][0].numpy() == label_of(code))
            sides.append((code == 26) == (where[:, 0].mean() > 42))
            assert float(sample["image"][0][tuple(where.T)].mean()) > 2  # teeth are where their labels are
    assert all(sides)


class Naming(nn.Module):
    """A direct network that knows the answer at 1 mm."""

    spacing_mm, size = 1.0, (90, 70, 65)

    def __init__(self, codes: np.ndarray) -> None:
        super().__init__()
        labels = np.pad(to_labels(codes), ((5, 5), (0, 0), (2, 3)))  # of 80 x 72 x 60 voxels
        hot = nn.functional.one_hot(torch.from_numpy(labels).long(), CLASSES)
        self.answer = 9 * hot.movedim(-1, 0).float()

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2:] == self.answer.shape[1:]
        return self.answer[None]


def test_direct_answers_come_back_to_the_grid_of_the_scan(phantom: tuple) -> None:
    hu, codes, affine = phantom
    assert (to_codes(direct_labels(torch.from_numpy(hu), affine, Naming(codes))) == codes).all()
    turned = np.ascontiguousarray(hu[::-1].swapaxes(0, 2))
    step = np.zeros((4, 4))
    step[0, 2], step[1, 1], step[2, 0], step[3, 3], step[0, 3] = -1, 1, 1, 1, hu.shape[0] - 1
    found = direct_labels(torch.from_numpy(turned), affine @ step, Naming(codes))
    assert (to_codes(found) == codes[::-1].swapaxes(0, 2)).all()


def test_answers_are_interpolated_between_their_points() -> None:
    logits = torch.zeros(CLASSES, 3, 3, 3)
    logits[5, 2] = 1.0
    logits[0, :2] = 1.0
    found = brought_back(logits, np.diag([0.25, 1.0, 1.0, 1.0]), (9, 3, 3))
    assert (found[:6] == 0).all() and (found[7:] == 5).all()


def test_the_loss_of_a_perfect_answer_is_none_and_teeth_weigh_as_much_as_the_rest() -> None:
    target = torch.zeros(1, 1, 10, 10, 10)
    target[..., :2, :2, :2] = 5
    right = 20 * nn.functional.one_hot(target[:, 0].long(), CLASSES).movedim(-1, 1).float()
    assert float(DirectLoss()(right, target)) == pytest.approx(0, abs=1e-5)
    background = 20 * nn.functional.one_hot(0 * target[:, 0].long(), CLASSES).movedim(-1, 1).float()
    assert float(DirectLoss()(background, target)) == pytest.approx(20 / 2 + 1, abs=1e-3)
    assert float(DirectLoss()(right, 0 * target)) > 0.1


def test_the_direct_network_is_built_from_its_weights_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = DirectNetwork(8, 1.6, (30, 20, 10)).eval()
    write_tensors({f"segmenter.{key}": value for key, value in made.state_dict().items()}, tmp_path / "m.pt")
    found, x = load_direct(tmp_path / "m.pt"), torch.randn(1, 1, 9, 10, 11)
    assert found.spacing_mm == 1.6 and found.size == (30, 20, 10)
    torch.testing.assert_close(found(x), made(x))
