"""AF-net: what each switch does, how the maps are averaged and divided, and what its loss learns from."""

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

BUNDLE = Path(__file__).parents[2] / "bundles" / "amniotic_fluid_us_segmentation"
sys.path.insert(0, str(BUNDLE))

from amniotic_fluid.losses import NOT_FLUID, UNDIVIDED_FLUID, UNKNOWN, SideOutputLoss  # noqa: E402
from amniotic_fluid.network import AFNet, AtrousBlock, averaged, divided  # noqa: E402

SMALL = {"widths": (8, 12, 16), "reverberation_widths": (4, 8, 12)}
PLAIN = {"atrous": False, "side_input": False, "side_output": False, "reverberation": False}
SURE = 30.0


def small_network(**settings: Any) -> AFNet:
    """A network with random weights that are always the same."""
    torch.manual_seed(0)
    return AFNet(**(SMALL | settings)).eval()


def parameters(network: nn.Module) -> int:
    """How many numbers a network has learnt."""
    return sum(p.numel() for p in network.parameters())


def sure_of(label: int, count: int = 1) -> Tensor:
    """Logits (count, 4, 8, 8) that are sure of one label everywhere."""
    logits = torch.zeros(count, 4, 8, 8)
    logits[:, label] = SURE
    return logits


def fluid_of(logits: Tensor) -> Tensor:
    """The probability of fluid, clear or under reverberation."""
    p = logits.softmax(dim=1)
    return p[:, 1] + p[:, 3]


@pytest.mark.parametrize("size", [(64, 48), (67, 50)])
def test_answers_lie_on_the_grid_of_the_frame(size: tuple[int, int]) -> None:
    network, frame = small_network(), torch.rand(2, 4, *size)
    assert network(frame).shape == (2, 4, *size)
    assert network.train()(frame).shape == (2, 2, 4, *size)  # a map for each grid on the way up


def test_answer_is_the_average_of_the_maps_seen_in_training() -> None:
    network, frame = small_network(), torch.rand(1, 4, 64, 48)
    with torch.no_grad():
        answer = network(frame)
        network.training = True  # of the network alone: its norms and its dropout stay as they are
        maps = network(frame)
    assert torch.allclose(answer.softmax(1), maps.softmax(2).mean(1), atol=1e-6)
    assert not torch.allclose(maps[:, 0], maps[:, 1], atol=1e-2)


def test_average_is_that_of_probabilities_not_of_logits() -> None:
    maps = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]]).view(2, 2, 1, 1)
    assert averaged(maps).softmax(0).flatten().tolist() == pytest.approx([0.625, 0.375])


def test_band_divides_the_fluid_and_takes_nothing_from_it() -> None:
    maps, band = torch.randn(1, 2, 3, 4, 4), torch.randn(1, 1, 1, 4, 4)
    before, after = maps.softmax(2), divided(maps, band).softmax(2)
    assert torch.allclose(after[:, :, 1] + after[:, :, 3], before[:, :, 1], atol=1e-6)
    assert torch.allclose(after[:, :, [0, 2]], before[:, :, [0, 2]], atol=1e-6)
    share = after[:, :, 3] / before[:, :, 1]
    assert torch.allclose(share, band.sigmoid()[:, :, 0].expand_as(share), atol=1e-5)


def test_mirrored_frame_gives_the_mirrored_answer() -> None:
    """The geometry of a mirrored frame differs in the sign of the angle only, which must not matter."""
    network, frame = small_network(), torch.rand(1, 4, 64, 48)
    other = frame.clone()
    other[:, 3] *= -1
    with torch.no_grad():
        assert torch.equal(network(frame), network(other))


@pytest.mark.parametrize(("rates", "reach"), [((1, 2, 4), 8), ((1, 1, 1), 4)])
def test_rates_widen_what_a_pixel_sees(rates: tuple[int, ...], reach: int) -> None:
    torch.manual_seed(0)
    block = AtrousBlock(1, 16, rates).eval()
    for norm in (m for m in block.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.constant_(norm.bias, 1.0)  # keeps each ReLU open
    frame = torch.rand(1, 1, 41, 41, requires_grad=True)
    block(frame)[0, :, 20, 20].sum().backward()
    columns = frame.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert (columns.min(), columns.max()) == (20 - reach, 20 + reach)


def test_atrous_ablation_has_the_same_size() -> None:
    assert parameters(small_network(atrous=False)) == parameters(small_network())


def test_default_network_is_small() -> None:
    assert parameters(AFNet()) <= 2_500_000


def test_without_side_outputs_one_map_is_trained() -> None:
    network = small_network(side_output=False).train()
    assert network(torch.rand(2, 4, 64, 48)).shape == (2, 1, 4, 64, 48)


@pytest.mark.parametrize("part", ["side_input", "reverberation"])
def test_side_input_and_reverberation_reach_the_fluid_past_a_blind_stem(part: str) -> None:
    torch.manual_seed(0)
    frames, spread = torch.rand(2, 4, 64, 48), {}
    for name, settings in (("plain", PLAIN), ("with it", PLAIN | {part: True})):
        network = small_network(dropout=0.0, **settings).train()  # norms of this batch: nothing fades away
        nn.init.zeros_(network.stem[0].weight)
        with torch.no_grad():
            fluid = fluid_of(network(frames)[:, 0])
        spread[name] = (fluid[0] - fluid[1]).abs().max().item()
    assert spread["plain"] == 0
    assert spread["with it"] > 0.01


def test_every_weight_of_the_full_network_learns() -> None:
    network = small_network().train()
    label = torch.arange(4).repeat_interleave(12).expand(2, 1, 64, 48)
    SideOutputLoss()(network(torch.rand(2, 4, 64, 48)), label).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_loss_of_a_small_frame_is_what_one_gets_by_hand() -> None:
    """Even odds on pixels 0, 1, 1, 3: entropy ln 4; Dice of all fluid 3/5, of label 1 1/3, of label 3 1/4."""
    label = torch.tensor([0, 1, 1, 3]).view(1, 1, 4, 1)
    expected = math.log(4) + (2 / 5 + 2 / 3 + 3 / 4) / 3
    assert SideOutputLoss()(torch.zeros(1, 4, 4, 1), label).item() == pytest.approx(expected, abs=1e-4)


def test_side_outputs_weigh_the_same() -> None:
    torch.manual_seed(0)
    maps, label = torch.randn(2, 3, 4, 8, 8), torch.randint(0, 4, (2, 1, 8, 8))
    loss = SideOutputLoss()
    single = [loss(maps[:, side], label).item() for side in range(3)]
    assert loss(maps, label).item() == pytest.approx(sum(single) / 3, abs=1e-5)


@pytest.mark.parametrize(
    ("value", "right", "wrong"), [(UNDIVIDED_FLUID, (1, 3), (0, 2)), (NOT_FLUID, (0, 2), (1, 3))]
)
def test_outlined_frame_asks_for_fluid_or_none_and_not_for_more(
    value: int, right: tuple[int, ...], wrong: tuple[int, ...]
) -> None:
    loss, label = SideOutputLoss(), torch.full((1, 1, 8, 8), value)
    assert all(loss(sure_of(label_found), label) < 1e-3 for label_found in right)
    assert all(loss(sure_of(label_found), label) > 10 for label_found in wrong)


def test_divided_fluid_does_care_how_it_is_divided() -> None:
    assert SideOutputLoss()(sure_of(3), torch.ones(1, 1, 8, 8)) > 10


def test_unknown_pixels_count_as_if_they_were_not_there() -> None:
    torch.manual_seed(0)
    loss, logits, label = SideOutputLoss(), torch.randn(2, 4, 8, 8), torch.randint(0, 4, (2, 1, 8, 8))
    cropped = loss(logits[..., :5], label[..., :5])
    label[..., 5:] = UNKNOWN
    assert loss(logits, label).item() == pytest.approx(cropped.item(), abs=1e-5)


@pytest.mark.parametrize("value", [0, UNKNOWN])
def test_loss_is_finite_for_frames_without_fluid_or_without_labels(value: int) -> None:
    logits = torch.zeros(2, 4, 8, 8, requires_grad=True)
    loss = SideOutputLoss()(logits, torch.full((2, 1, 8, 8), value))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_fluid_where_there_is_none_costs() -> None:
    assert SideOutputLoss()(sure_of(1), torch.zeros(1, 1, 8, 8)) > 10


@pytest.mark.parametrize("label", [torch.full((1, 1, 8, 8), UNKNOWN + 1), torch.zeros(1, 1, 8, 9)])
def test_labels_that_mean_nothing_or_lie_elsewhere_are_refused(label: Tensor) -> None:
    with pytest.raises(ValueError, match="label maps"):
        SideOutputLoss()(sure_of(0), label)


def test_frames_and_labels_may_carry_headers() -> None:
    network = small_network().train()
    logits = network(MetaTensor(torch.rand(2, 4, 64, 48)))
    loss = SideOutputLoss()(logits, MetaTensor(torch.ones(2, 1, 64, 48)))
    assert type(loss) is Tensor and torch.isfinite(loss)


def test_dark_disc_is_learnt_in_a_few_steps() -> None:
    torch.manual_seed(0)
    x, y = torch.meshgrid(torch.arange(64), torch.arange(48), indexing="ij")
    centres = torch.randint(16, 32, (40, 4, 2))
    squared = (x - centres[..., :1, None]) ** 2 + (y - centres[..., 1:, None]) ** 2
    discs = squared < 10**2  # step frame X Y
    network = small_network().train()
    optimizer, loss = torch.optim.Adam(network.parameters(), 0.01), SideOutputLoss()
    for disc in discs:
        grey = torch.where(disc, 0.1, 0.7) * torch.rand(disc.shape)
        frames = torch.cat([grey[:, None], torch.rand(4, 3, 64, 48)], dim=1)
        optimizer.zero_grad()
        loss(network(frames), disc[:, None].long()).backward()
        optimizer.step()
    found = network.eval()(frames).argmax(dim=1) == 1
    assert 2 * (found & disc).sum() / (found.sum() + disc.sum()) > 0.8
