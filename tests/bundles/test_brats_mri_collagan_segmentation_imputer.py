"""CollaGAN's generator and judge: what they look at, and what they answer."""

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "brats_mri_collagan_segmentation"))

from brats_phantoms import brains

from brats_collagan.collagan import CollaGenerator, impute, with_neighbours
from brats_collagan.judge import CollaJudge
from brats_collagan.translation import middle
from medbundles.inferers import AutocastInferer, SlicewiseInferer

PATTERNS = [p for p in itertools.product([True, False], repeat=4) if any(p)]


def generator(**options: Any) -> CollaGenerator:
    torch.manual_seed(0)
    return CollaGenerator(**({"width": 4, "levels": 2} | options))


@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize("size", [(40, 40), (37, 50), (16, 33)])
def test_a_contrast_of_any_size_comes_on_the_grid_of_the_rest(size: tuple[int, int], fold: int) -> None:
    assert generator(fold=fold)(torch.randn(2, 4, *size), 1).shape == (2, 1, *size)


def test_a_new_network_that_folds_answers_alike_for_the_pixels_of_a_block() -> None:
    answer = generator(fold=2)(torch.randn(1, 4, 32, 32), 2)
    assert answer.std() > 0
    for corner in (answer[..., 1::2, ::2], answer[..., ::2, 1::2], answer[..., 1::2, 1::2]):
        torch.testing.assert_close(corner, answer[..., ::2, ::2])


@pytest.mark.parametrize("present", PATTERNS)
def test_with_any_contrasts_missing_the_answer_is_finite(present: tuple[bool, ...]) -> None:
    network = generator()
    for target in range(4):
        assert network(brains(), target, present).isfinite().all()


@pytest.mark.parametrize(
    "options", [{"norm": "instance"}, {"norm": "batch"}, {"norm": "none"}, {"slices": 1, "fold": 2}]
)
@pytest.mark.parametrize("rubbish", [1e6, float("nan")])
def test_what_stands_in_place_of_a_missing_contrast_is_not_looked_at(
    options: dict[str, Any], rubbish: float
) -> None:
    network, images = generator(**options).eval(), brains()
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
