"""The segmenter and the branch that it trains with."""

import sys
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.losses import DiceLoss
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "brats_mri_collagan_segmentation"))

from brats_phantoms import spheres

from brats_collagan.losses import RegionLoss
from brats_collagan.segmenter import Segmenter, SegmenterVAE
from medbundles.checks import BundleError
from medbundles.inferers import AutocastInferer
from medbundles.weights import load_weights, write_tensors


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


def test_folding_answers_for_every_voxel_and_sees_an_eighth_of_them() -> None:
    torch.manual_seed(0)
    network = SegmenterVAE(Segmenter(8, blocks=(1, 1), fold=2), (16, 16, 16), latent=8)
    x, regions = spheres(2)
    sizes: list[tuple[int, ...]] = []
    network.segmenter.convInit.register_forward_pre_hook(lambda module, given: sizes.append(given[0].shape))
    logits, error, _ = network(x)
    assert logits.shape == regions.shape and sizes == [(2, 32, 8, 8, 8)]
    assert network.segmenter(x[..., :13, :11, :15]).shape == (2, 3, 13, 11, 15)
    torch.testing.assert_close(logits[..., 1::2, ::2, 1::2], logits[..., ::2, 1::2, ::2])  # when it is new
    for parameter in network.branch.up[-1].parameters():
        nn.init.zeros_(parameter)  # an empty reconstruction
    _, error, _ = network(x)
    torch.testing.assert_close(error, x.square().flatten(1).mean(1))


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
        [{"image": x, "label": regions}] * 60,
        network,
        torch.optim.Adam(network.parameters(), lr=0.01),
        RegionLoss(entropy_weight=1.0),
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
