"""CollaGAN and the segmenter: what they look at, what they learn, and what of them is shipped."""

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedTrainer
from monai.losses import DiceLoss
from monai.transforms import RandFlipd
from monai.utils import set_determinism
from torch import Tensor, nn

BUNDLE = Path(__file__).parents[2] / "bundles" / "brats_mri_collagan_segmentation"
sys.path.insert(0, str(BUNDLE))

from brats_collagan.collagan import CollaGenerator, impute, with_neighbours  # noqa: E402
from brats_collagan.judge import CollaJudge  # noqa: E402
from brats_collagan.losses import ContrastTerm, RegionLoss, SsimTerm, mean_ssim  # noqa: E402
from brats_collagan.segmenter import Segmenter, SegmenterVAE  # noqa: E402
from brats_collagan.translation import CollaTranslation, complete, middle  # noqa: E402
from medbundles.adversarial import (  # noqa: E402
    AdversarialTerm,
    AdversarialTrainer,
    Judgement,
    L1Term,
    parameters,
)
from medbundles.checks import BundleError  # noqa: E402
from medbundles.handlers import ResumableCheckpoint  # noqa: E402
from medbundles.image_quality import ssim  # noqa: E402
from medbundles.inferers import AutocastInferer, SlicewiseInferer  # noqa: E402
from medbundles.weights import load_weights, write_tensors  # noqa: E402

torch.set_num_threads(1)

PATTERNS = [p for p in itertools.product([True, False], repeat=4) if any(p)]


def generator(**options: Any) -> CollaGenerator:
    torch.manual_seed(0)
    return CollaGenerator(**({"width": 4, "levels": 2} | options))


def brains(count: int = 2, size: int = 40, *, seed: int = 0) -> Tensor:
    """Smooth z-scored contrasts (B, 4, X, Y) in a disc; any two of the four give the others.

    With two hidden tissues u and v they are u, v, u + v and u - v.
    """
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 2, 8, 8, generator=draw)
    tissue = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    u, v = tissue.unbind(1)
    axis = torch.linspace(-1, 1, size)
    disc = axis[:, None] ** 2 + axis[None] ** 2 < 0.8
    return torch.stack([u, v, (u + v) / 2**0.5, (u - v) / 2**0.5], 1) * disc


def spheres(count: int = 2, size: int = 16) -> tuple[Tensor, Tensor]:
    """Volumes (B, 4, X, Y, Z) with three nested balls in noise, and the balls (B, 3, X, Y, Z)."""
    draw = torch.Generator().manual_seed(1)
    axis = torch.arange(size) - size / 2 + 0.5
    distance = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    regions = (
        torch.stack([distance < r * size / 16 for r in (6, 4.5, 3)]).float().expand(count, -1, -1, -1, -1)
    )
    signal = torch.cat([regions, regions.sum(1, keepdim=True)], 1)
    return signal + 0.3 * torch.randn(count, 4, size, size, size, generator=draw), regions


# The generator


@pytest.mark.parametrize("size", [(40, 40), (37, 50), (16, 33)])
def test_a_contrast_of_any_size_comes_on_the_grid_of_the_rest(size: tuple[int, int]) -> None:
    assert generator()(torch.randn(2, 4, *size), 1).shape == (2, 1, *size)


@pytest.mark.parametrize("present", PATTERNS)
def test_with_any_contrasts_missing_the_answer_is_finite(present: tuple[bool, ...]) -> None:
    network = generator()
    for target in range(4):
        assert network(brains(), target, present).isfinite().all()


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("rubbish", [1e6, float("nan")])
def test_what_stands_in_place_of_a_missing_contrast_is_not_looked_at(norm: str, rubbish: float) -> None:
    network, images = generator(norm=norm).eval(), brains()
    soiled = images.clone()
    soiled[:, [1, 2]] = rubbish
    present = [True, True, False, True]  # 1 is the target
    assert torch.equal(network(images, 1, present), network(soiled, 1, present))


def test_every_contrast_that_is_present_has_an_influence() -> None:
    network, images = generator(), brains().requires_grad_()
    network(images, 2).square().sum().backward()
    influence = images.grad.abs().sum((0, 2, 3))
    assert (influence[[0, 1, 3]] > 0).all()
    assert influence[2] == 0


@pytest.mark.parametrize("attention", [True, False])
def test_the_network_hears_which_contrast_is_wanted(attention: bool) -> None:
    network, images = generator(attention=attention).eval(), brains()
    right, wrong = network(images, 1), network(images, 1, told=2)
    assert (right - wrong).abs().mean() > 0.01 * right.abs().mean()


def test_images_of_one_batch_may_lack_different_contrasts() -> None:
    network, images = generator().eval(), brains(3)
    present = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 1, 1]]).bool()
    together = network(images, torch.tensor([0, 2, 3]), present)
    alone = [network(images[[i]], target, present[i]) for i, target in enumerate((0, 2, 3))]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_there_is_nothing_outside_the_brain() -> None:
    images = brains()
    made = generator()(images, 0)
    assert (made[images[:, [1]] == 0] == 0).all()
    assert (made[images[:, [1]] != 0] != 0).float().mean() > 0.99
    assert not generator()(torch.zeros(1, 4, 40, 40), 0).any()


def test_imputed_values_may_be_negative() -> None:
    made = generator()(brains(), 0)
    assert made.min() < 0 < made.max()


def test_every_weight_of_every_encoder_learns() -> None:
    network = generator()
    loss = sum(network(brains(), target).square().mean() for target in range(4))
    loss.backward()
    blocks = network.encoders
    for branch in range(4):
        for block in blocks:
            grads = block.second.weight.grad.chunk(4)[branch], block.first.weight.grad.chunk(4)[branch]
            assert all(grad.abs().sum() > 0 for grad in grads)
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_half_precision_gives_the_same_contrast() -> None:
    network, images = generator().eval(), brains()
    exact = network(images, 3)
    close = AutocastInferer(amp=True)(images, network, 3)
    assert close.dtype == torch.float32
    assert (exact - close).abs().max() < 0.05 * exact.std() + 0.02


def test_neighbouring_slices_are_channels_beside_their_slice() -> None:
    volume = torch.arange(2 * 5.0).view(1, 2, 1, 1, 5)
    around = with_neighbours(volume, 3)
    assert around.shape == (1, 6, 1, 1, 5)
    assert around[0, :, 0, 0].T.tolist() == [
        [0, 0, 1, 5, 5, 6],
        [0, 1, 2, 5, 6, 7],
        [1, 2, 3, 6, 7, 8],
        [2, 3, 4, 7, 8, 9],
        [3, 4, 4, 8, 9, 9],
    ]
    assert torch.equal(middle(around[..., 2], 3), volume[..., 2])


def test_neighbouring_slices_are_looked_at_and_those_of_the_missing_contrast_are_not() -> None:
    network = generator(slices=3).eval()
    images = torch.randn(1, 12, 24, 24).requires_grad_()
    network(images, 1).square().sum().backward()
    influence = images.grad.abs().sum((0, 2, 3))
    assert (influence[[0, 1, 2, 6, 7, 8, 9, 10, 11]] > 0).all()
    assert not influence[3:6].any()


@pytest.mark.parametrize("slices", [1, 3])
def test_a_volume_is_completed_slice_by_slice(slices: int) -> None:
    network = generator(slices=slices).eval()
    volume = torch.stack([brains(1, seed=n)[0] for n in range(5)], -1)[None]
    whole = impute(network, volume, [True, False, True, False], inferer=SlicewiseInferer(2))
    assert torch.equal(whole[:, [0, 2]], volume[:, [0, 2]])
    for target in (1, 3):
        slab = with_neighbours(volume, slices)[..., 4]
        alone = network(slab, target, [True, False, True, False])
        assert torch.allclose(whole[:, [target], :, :, 4], alone, atol=1e-5)
    assert torch.equal(impute(network, volume, [True] * 4), volume)
    with_header = impute(network, MetaTensor(volume), [True, False, True, False])
    assert torch.allclose(with_header.as_tensor(), whole, atol=1e-5)


@pytest.mark.parametrize("options", [{"norm": "layer"}, {"slices": 2}, {"slices": 0}])
def test_a_generator_that_cannot_be_built_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        generator(**options)


# The judge


@pytest.mark.parametrize("size", [(32, 32), (61, 47), (240, 240)])
def test_the_judge_is_not_tied_to_a_size(size: tuple[int, int]) -> None:
    with torch.no_grad():
        verdict = CollaJudge(2).eval()(torch.randn(2, 1, *size))
    assert verdict.contrast.shape == (2, 4)
    assert verdict.score.shape[2:] == tuple(length // 16 for length in size)


def test_the_judge_says_that_a_slice_is_too_small() -> None:
    with pytest.raises(ValueError, match="31 x 40"):
        CollaJudge(2)(torch.zeros(1, 1, 31, 40))


def test_both_heads_of_the_judge_reach_all_three_paths() -> None:
    judge = CollaJudge(2).eval()
    for head in (0, 1):
        judge.zero_grad()
        judge(torch.randn(2, 1, 48, 48))[head].square().sum().backward()
        assert all(path[0][0].weight.grad.abs().sum() > 0 for path in judge.paths)


# The step


class Named(nn.Module):
    """A generator that says what it was asked: target + 10 * (a number for each contrast that it saw)."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: Tensor, target: Tensor, present: Tensor | None = None) -> Tensor:
        self.calls += 1
        shown = torch.ones(images.shape[:2]).bool() if present is None else present.clone()
        shown[torch.arange(len(images)), target] = False
        seen = (images.amax((2, 3)) * shown).sum(1)
        return (target + 10 * seen)[:, None, None, None].expand(-1, 1, *images.shape[2:]).float()


def constant(values: list[float], size: int = 8) -> Tensor:
    """One image whose contrasts are constants."""
    return torch.tensor(values)[None, :, None, None].expand(1, -1, size, size).clone()


def test_the_multiple_cycle_leaves_out_each_other_contrast_beside_the_imputed_one() -> None:
    step = CollaTranslation(targets=[1])
    images = step.images({"image": constant([1.0, 2.0, 4.0, 8.0])}, {"imputer": Named()})
    imputed = 1 + 10 * (1 + 4 + 8)
    assert images["original"].unique().item() == 2
    assert images["imputed"].unique().item() == imputed
    assert images["others"].tolist() == [[0, 2, 3]]
    assert images["rest"][0, :, 0, 0].tolist() == [1, 4, 8]
    cycled = [0 + 10 * (imputed + 4 + 8), 2 + 10 * (imputed + 1 + 8), 3 + 10 * (imputed + 1 + 4)]
    assert images["cycled"][0, :, 0, 0].tolist() == cycled
    assert images["fakes"].shape == images["reals"].shape == (4, 1, 8, 8)
    assert images["fakes"][:, 0, 0, 0].tolist() == [imputed, *cycled]
    assert images["fake_contrasts"].tolist() == [1, 0, 2, 3]
    assert images["reals"][:, 0, 0, 0].tolist() == [1, 2, 4, 8]
    assert images["real_contrasts"].tolist() == [0, 1, 2, 3]


def test_only_what_is_read_is_computed() -> None:
    network = Named()
    images = CollaTranslation().images({"image": brains(2)}, {"imputer": network})
    assert network.calls == 0
    assert images["imputed"].shape == (2, 1, 40, 40)
    assert network.calls == 1
    assert images["fakes"].shape == (8, 1, 40, 40)
    assert network.calls == 2  # all cycles in one batch


def test_targets_and_further_missing_contrasts_are_drawn_as_often_as_asked() -> None:
    torch.manual_seed(0)
    step = CollaTranslation(dropout=0.25)
    images = step.images({"image": torch.zeros(4000, 4, 1, 1)}, {"imputer": Named()})
    target, present = images["target"], images["present"]
    assert torch.bincount(target).tolist() == pytest.approx([1000] * 4, abs=100)
    assert not present[torch.arange(4000), target].any()
    shown = present.sum(1)
    assert shown.unique().tolist() == [2, 3]
    assert (shown == 2).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (~present).sum(0).tolist() == pytest.approx([1250] * 4, abs=120)


def test_the_generators_first_answer_lacks_what_was_dropped() -> None:
    step = CollaTranslation(targets=[0], dropout=1.0)
    images = step.images({"image": constant([1.0, 2.0, 4.0, 8.0])}, {"imputer": Named()})
    dropped = {1: 2.0, 2: 4.0, 3: 8.0}[int((~images["present"][0, 1:]).nonzero()) + 1]
    assert images["imputed"].unique().item() == 10 * (14 - dropped)
    assert images["cycled"].isfinite().all()


def test_an_imputed_slice_stands_for_its_neighbours_too() -> None:
    images = torch.arange(12.0)[None, :, None, None].expand(2, -1, 3, 3)
    made = complete(images, torch.tensor([0, 3]), torch.full((2, 1, 3, 3), 99.0), slices=3)
    assert made[0, :, 0, 0].tolist() == [99, 99, 99, *range(3, 12)]
    assert made[1, :, 0, 0].tolist() == [*range(9), 99, 99, 99]


def test_a_step_without_its_generator_says_so() -> None:
    with pytest.raises(BundleError, match="'imputer'"):
        CollaTranslation().images({"image": brains()}, {"imptuer": Named()})


# Losses


def test_the_similarity_is_that_of_the_brain_alone() -> None:
    target = brains(1, 64)[:, :2]
    image = target + 0.3 * torch.randn(target.shape, generator=torch.Generator().manual_seed(5)) * (
        target != 0
    )
    for n, found in enumerate(mean_ssim(image, target, 5.0)):
        one, other, brain = image[0, n] + 2.5, target[0, n] + 2.5, target[0, n] != 0
        assert float(found) == pytest.approx(ssim(one, other, data_range=5, mask=brain), abs=1e-3)


def test_the_similarity_term_is_zero_for_equals_large_for_opposites_and_zero_for_no_brain() -> None:
    x = torch.randn(2, 4, 32, 32)
    images = {"x": x, "same": x.clone(), "opposite": -x, "nothing": torch.zeros_like(x)}
    assert SsimTerm("same", "x")(images, {}).item() == pytest.approx(0, abs=1e-5)
    assert SsimTerm("opposite", "x")(images, {}).item() > 2
    assert SsimTerm("nothing", "nothing")(images, {}).item() == 0


def test_a_dark_area_is_not_similar_to_a_bright_one() -> None:
    """Without an offset z-scores of opposite sign would have the similarity of equals, twice negative."""
    x = brains(1, 48)
    assert SsimTerm("opposite", "x")({"x": x, "opposite": -x}, {}).item() > 0.3


def test_the_similarity_term_is_stricter_on_a_smaller_range() -> None:
    x = brains(2, 48)
    images = {"x": x, "y": x + 0.2 * torch.randn_like(x)}
    narrow, wide = (SsimTerm("y", "x", data_range=r)(images, {}) for r in (1.0, 20.0))
    assert narrow > 2 * wide > 0


def test_the_contrast_term_is_the_entropy_of_the_class_head() -> None:
    judge = CollaJudge(2).eval()
    images = {"x": torch.randn(4, 1, 32, 32), "which": torch.arange(4)}
    logits = judge(images["x"]).contrast
    expected = -logits.log_softmax(1).diagonal().mean()
    assert ContrastTerm("judge", "x", "which")(images, {"judge": judge}).item() == pytest.approx(
        expected.item()
    )


def test_dice_has_squared_denominators() -> None:
    _, regions = spheres(1)
    logits = torch.linspace(-4, 4, 16).expand(regions.shape)
    p = logits.sigmoid()
    overlap, total = (p * regions).sum((2, 3, 4)), (p**2 + regions**2).sum((2, 3, 4))
    expected = 1 - ((2 * overlap + 1) / (total + 1)).mean()
    assert RegionLoss()(logits, regions).item() == pytest.approx(expected.item(), abs=1e-6)


def test_the_branch_adds_its_losses_with_their_weights() -> None:
    _, regions = spheres(2)
    logits = torch.zeros(regions.shape)
    answer = (logits, torch.tensor([1.0, 3.0]), torch.tensor([10.0, 30.0]))
    alone, all_three = RegionLoss()(logits, regions), RegionLoss(0.1, 0.05)(answer, regions)
    assert (all_three - alone).item() == pytest.approx(0.1 * 2 + 0.05 * 20)
    with_entropy = RegionLoss(0, 0, 2.0)(answer, regions)
    assert (with_entropy - alone).item() == pytest.approx(2 * torch.tensor(2.0).log().item(), abs=1e-5)


# The segmenter


@pytest.mark.parametrize("size", [(16, 16, 16), (17, 24, 30)])
def test_regions_come_on_the_grid_of_the_volume(size: tuple[int, int, int]) -> None:
    assert Segmenter(8).eval()(torch.randn(1, 4, *size)).shape == (1, 3, *size)


def test_what_is_shipped_has_nothing_of_the_branch_and_answers_the_same(tmp_path: Path) -> None:
    network = SegmenterVAE(Segmenter(8), (16, 16, 16)).eval()
    x, _ = spheres(1)
    write_tensors(network.segmenter.state_dict(), tmp_path / "model.pt")
    shipped = load_weights(Segmenter(8), tmp_path / "model.pt").eval()
    assert torch.equal(shipped(x), network(x))
    own = sum(p.numel() for p in shipped.parameters())
    assert own < sum(p.numel() for p in network.parameters())
    with pytest.raises(BundleError, match="branch"):
        write_tensors(network.state_dict(), tmp_path / "all.pt")
        load_weights(nn.ModuleDict({"segmenter": Segmenter(8)}), tmp_path / "all.pt")


def test_the_branch_trains_the_encoder_and_all_of_itself() -> None:
    network = SegmenterVAE(Segmenter(8), (16, 16, 16), latent=8)
    x, _ = spheres()
    _, error, divergence = network(x)
    assert error.shape == divergence.shape == (2,)
    (error.sum() + divergence.sum()).backward()
    branch = network.branch.parameters()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in branch)
    assert network.segmenter.convInit.conv.weight.grad.abs().sum() > 0
    assert network.segmenter.conv_final[-1].conv.weight.grad is None


def test_the_divergence_is_the_known_one_per_voxel() -> None:
    network = SegmenterVAE(Segmenter(8), (16, 16, 16), latent=4)
    last = network.branch.down[-1]
    nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([2.0] * 4 + [0.0] * 4)  # mean 2, variance 1: mean^2 for each of 4
    _, _, divergence = network(spheres()[0])
    assert divergence.tolist() == pytest.approx([4 * 4 / 16**3] * 2)


@pytest.mark.parametrize(
    ("patch", "message"), [((24, 16, 16), "multiples of 16"), ((32, 32, 32), "32, 32, 32")]
)
def test_patches_that_do_not_fit_the_branch_are_refused(patch: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegmenterVAE(Segmenter(8), patch)(spheres(1)[0])


def test_contrasts_are_left_out_in_training_only() -> None:
    torch.manual_seed(0)
    network = SegmenterVAE(Segmenter(8), contrast_dropout=0.5, most_missing=3)
    seen: list[Tensor] = []
    network.segmenter.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    x = torch.ones(400, 4, 1, 1, 1)
    network.segmenter.forward = lambda given: given
    network(x)
    missing = (seen[0] == 0).flatten(1).sum(1)
    assert torch.bincount(missing).tolist() == pytest.approx([200, 67, 67, 67], abs=35)
    network.eval()(x)
    assert torch.equal(seen[1], x)


def test_the_segmenter_learns_nested_regions_with_its_branch() -> None:
    torch.manual_seed(0)
    x, regions = spheres(2)
    network = SegmenterVAE(Segmenter(8, blocks=(1, 1)), (16, 16, 16), latent=8)
    losses: list[float] = []
    engine = SupervisedTrainer(
        "cpu",
        1,
        [{"image": x, "label": regions}] * 30,
        network,
        torch.optim.Adam(network.parameters(), lr=0.01),
        RegionLoss(),
    )
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(e.state.output[0]["loss"]))
    engine.run()
    network.eval()
    found = (network(x) > 0).float()
    dice = 1 - DiceLoss(reduction="none")(found, regions)
    assert losses[-1] < 0.5 * losses[0]
    assert dice.min() > 0.8


def test_the_segmenter_in_half_precision_finds_the_same_regions() -> None:
    torch.manual_seed(0)
    network, (x, _) = Segmenter(8).eval(), spheres(1)
    exact, close = network(x), AutocastInferer(amp=True)(x, network)
    assert (exact - close).abs().max() < 0.05 * exact.std() + 0.02


# Training CollaGAN


def parts(**options: Any) -> dict[str, Any]:
    """All of CollaGAN's training as its configuration composes it, small."""
    torch.manual_seed(0)
    generators, judges = {"imputer": CollaGenerator(6, 2)}, {"judge": CollaJudge(2)}
    return {
        "generators": generators,
        "discriminators": judges,
        "generator_optimizer": torch.optim.Adam(parameters(generators), lr=0.004, betas=(0.5, 0.999)),
        "discriminator_optimizer": torch.optim.Adam(parameters(judges), lr=0.0005, betas=(0.5, 0.999)),
        "step": CollaTranslation(dropout=0.3),
        "terms": {
            "fool": AdversarialTerm("judge", "fakes", weight=0.1),
            "cycle": L1Term("cycled", "rest", weight=10),
            "similarity": SsimTerm("cycled", "rest"),
            "contrast": ContrastTerm("judge", "fakes", "fake_contrasts", weight=0.1),
            "direct": L1Term("imputed", "original", weight=10),
        },
        "judgements": {
            "judged": Judgement("judge", "reals", "fakes"),
            "taught": ContrastTerm("judge", "reals", "real_contrasts"),
        },
    } | options


def error_of(network: nn.Module, images: Tensor, **options: Any) -> list[float]:
    """Normalised squared error of each imputed contrast."""
    with torch.no_grad():
        made = torch.cat([network(images, target, **options) for target in range(4)], 1)
    return ((made - images).square().sum((0, 2, 3)) / images.square().sum((0, 2, 3))).tolist()


class MeanOfTheRest(nn.Module):
    def forward(self, images: Tensor, target: int) -> Tensor:
        return images[:, [i for i in range(4) if i != target]].mean(1, keepdim=True)


def test_collagan_learns_to_impute_each_contrast_from_the_rest() -> None:
    network = generator()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, betas=(0.5, 0.999))
    data = [{"image": brains(4, 32, seed=seed)} for seed in range(60)]
    options = parts(generators={"imputer": network}, generator_optimizer=optimizer)
    AdversarialTrainer("cpu", 1, data, **options).run()
    network, held_out = network.eval(), brains(8, 32, seed=1000)
    errors, simple = error_of(network, held_out), error_of(MeanOfTheRest(), held_out)
    assert max(errors) < 0.6 * min(simple)
    misled = error_of(network, held_out, told=3)  # it still sees what is missing, hence guesses some
    assert sum(misled[:3]) > 1.5 * sum(errors[:3])
    from_two = error_of(network, held_out, present=[True, False, True, True])
    assert max(from_two[0], from_two[2]) < 0.6  # 1 without any image


def resumable(folder: Path, epochs: int, *, resume: bool = False) -> AdversarialTrainer:
    set_determinism(3)
    dataset = Dataset(
        [{"image": image} for image in brains(5, 32)], RandFlipd("image", prob=0.5, spatial_axis=0)
    )
    options = parts()
    loader = DataLoader(dataset, batch_size=3, shuffle=True)
    engine = AdversarialTrainer("cpu", epochs, loader, **options)
    objects = engine.generators | engine.discriminators
    objects |= {f"{side}_optimizer": optimizer for side, optimizer in engine.optimizers.items()}
    ResumableCheckpoint(folder, objects, resume=resume, seed=3).attach(engine)
    return engine


def test_two_plus_two_epochs_of_collagan_are_four(tmp_path: Path) -> None:
    for name, stages in (("whole", [4]), ("parts", [2, 4])):
        for number, epochs in enumerate(stages):
            torch.manual_seed(number)
            resumable(tmp_path / name, epochs, resume=number > 0).run()
    whole, halves = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["objects"]
        for name in ("whole", "parts")
    )
    for network in ("imputer", "judge"):
        assert all(torch.equal(value, halves[network][key]) for key, value in whole[network].items())


def test_terms_without_weight_spare_their_networks() -> None:
    options = parts()
    for name in ("fool", "cycle", "similarity", "contrast"):
        options["terms"][name].weight = 0
    engine = AdversarialTrainer("cpu", 1, [{"image": brains(2, 32)}], **(options | {"judgements": {}}))
    engine.run()
    assert "imputed" in engine.state.output
    assert not {"cycled", "fakes", "reals"} & engine.state.output.keys()


def test_collagan_trains_in_half_precision_as_in_full() -> None:
    losses = []
    for amp in (False, True):
        engine = AdversarialTrainer(
            "cpu", 1, [{"image": brains(2, 32, seed=n)} for n in range(6)], amp=amp, **parts()
        )
        engine.run()
        losses.append(engine.state.output["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
