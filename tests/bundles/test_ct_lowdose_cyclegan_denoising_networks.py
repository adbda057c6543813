"""The generator of the CT denoising bundle with its bypass, and the judge of noise."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "ct_lowdose_cyclegan_denoising"))

from ct_cyclegan.judge import NoiseJudge
from ct_cyclegan.network import DenoisingGenerator


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
