"""Adversarial losses against numbers worked by hand, for every form of discriminator."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from monai.losses import PatchAdversarialLoss
from monai.networks.nets import MultiScalePatchDiscriminator, PatchDiscriminator

from medbundles.adversarial_images import ImagePool
from medbundles.adversarial_terms import (
    AdversarialTerm,
    Criterion,
    FunctionTerm,
    Judgement,
    L1Term,
    scores_of,
)
from medbundles.checks import BundleError

torch.set_num_threads(1)

SCORES = torch.tensor([-1.0, 0.5])


class Echo(torch.nn.Module):
    """A discriminator whose score is the image itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class TwoHeads(torch.nn.Module):
    """Scores, and logits of a classification."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"score": x, "contrast": x * 100}


def log_sigmoid(x: float) -> float:
    return -math.log(1 + math.exp(-x))


@pytest.mark.parametrize(
    ("name", "real", "value"),
    [
        ("least_squares", True, (4 + 0.25) / 2),
        ("least_squares", False, (1 + 0.25) / 2),
        ("hinge", True, ((1 - math.tanh(-1)) + (1 - math.tanh(0.5))) / 2),
        ("hinge", False, ((1 + math.tanh(-1)) + (1 + math.tanh(0.5))) / 2),
        ("bce", True, -(log_sigmoid(-1) + log_sigmoid(0.5)) / 2),
        ("bce", False, -(log_sigmoid(1) + log_sigmoid(-0.5)) / 2),
    ],
)
def test_each_criterion_has_the_value_worked_by_hand(name: str, real: bool, value: float) -> None:
    assert Criterion(name)(SCORES, real=real, judging=True).item() == pytest.approx(value, rel=1e-5)


def test_fakes_scored_far_below_zero_keep_their_whole_gradient() -> None:
    """d (s - 1)^2 / ds = 2 (s - 1); through MONAI's default leaky ReLU a twentieth of about half is left."""
    gradients = []
    for loss in (lambda s: Criterion()(s, real=True, judging=False), leaky):
        score = torch.tensor([-3.0], requires_grad=True)
        loss(score).backward()
        gradients.append(score.grad.item())
    assert gradients[0] == -8
    assert abs(gradients[1]) < 0.2


def leaky(score: torch.Tensor) -> torch.Tensor:
    return PatchAdversarialLoss(criterion="least_squares")(score, True, False)


@pytest.mark.parametrize("name", ["least_squares", "hinge", "bce"])
def test_criteria_run_inside_autocast_and_answer_in_float32(name: str) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = Criterion(name)(SCORES.bfloat16(), real=True, judging=True)
    assert loss.dtype == torch.float32
    assert loss.item() == Criterion(name)(SCORES, real=True, judging=True).item()


def test_an_unknown_criterion_is_refused() -> None:
    with pytest.raises(ValueError, match="least_squares, hinge, bce"):
        Criterion("wasserstein")


def test_a_judgement_is_the_mean_of_the_losses_on_real_and_fake() -> None:
    images = {"photo": torch.tensor([[0.5]]), "painted": torch.tensor([[0.2]])}
    loss = Judgement("judge", "photo", "painted")(images, {"judge": Echo()})
    assert loss.item() == pytest.approx((0.25 + 0.04) / 2)


def test_a_judgement_sends_no_gradient_to_the_generator() -> None:
    fake = torch.ones(1, 1, requires_grad=True)
    judge = torch.nn.Linear(1, 1)
    Judgement("judge", "real", "fake")({"real": torch.ones(1, 1), "fake": fake}, {"judge": judge}).backward()
    assert fake.grad is None
    assert judge.weight.grad is not None


def test_a_judgement_with_a_pool_also_judges_earlier_fakes() -> None:
    torch.manual_seed(0)
    judgement = Judgement("judge", "real", "fake", pool=ImagePool(1))
    real = torch.ones(1, 1)
    losses = set()
    for fake in (0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5):
        images = {"real": real, "fake": torch.full((1, 1), fake)}
        losses.add(judgement(images, {"judge": Echo()}).item())
    assert losses == {0.0, 0.125}  # the first fake returns once


def test_the_generator_is_asked_to_be_called_real() -> None:
    fake = torch.tensor([[0.25]], requires_grad=True)
    loss = AdversarialTerm("judge", "fake")({"fake": fake}, {"judge": Echo()})
    loss.backward()
    assert loss.item() == 0.5625
    assert fake.grad.item() == -1.5  # a step downhill raises the score


@pytest.mark.parametrize("head", ["score", "contrast"])
def test_a_head_is_chosen_by_its_key(head: str) -> None:
    networks, images = {"judge": TwoHeads()}, {"fake": torch.tensor([[0.02]]), "real": torch.tensor([[1.0]])}
    score = 0.02 if head == "score" else 2.0
    term = AdversarialTerm("judge", "fake", head=head)
    assert term(images, networks).item() == pytest.approx((score - 1) ** 2)
    truth = (score**2 + (0 if head == "score" else 99**2)) / 2
    judgement = Judgement("judge", "real", "fake", head=head)
    assert judgement(images, networks).item() == pytest.approx(truth)


def patch_discriminator(**options: Any) -> PatchDiscriminator:
    """The discriminator that `medbundles.adversarial` describes, narrow."""
    torch.manual_seed(0)
    return PatchDiscriminator(
        spatial_dims=2, in_channels=1, **({"channels": 4, "norm": "INSTANCE"} | options)
    )


def test_the_scores_of_monais_discriminators_are_found() -> None:
    x = torch.rand(2, 1, 64, 64)
    network = patch_discriminator()
    assert scores_of(network(x)) is not network(x)[-1]
    assert torch.equal(scores_of(network(x)), network(x)[-1])
    many = MultiScalePatchDiscriminator(2, 2, 2, 4, 1, norm="INSTANCE", minimum_size_im=64)
    scores = scores_of(many(x))
    assert [score.shape[1] for score in scores] == [1, 1]
    images = {"fake": x, "real": x}
    expected = sum(((score - 1) ** 2).mean() for score in scores) / 2
    assert torch.isclose(AdversarialTerm("many", "fake")(images, {"many": many}), expected)


def test_monais_discriminator_has_the_layers_of_the_papers() -> None:
    network = patch_discriminator(channels=64)
    layers = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in layers] == [64, 128, 256, 512, 1]
    assert {layer.kernel_size for layer in layers} == {(4, 4)}
    assert [layer.stride[0] for layer in layers] == [2, 2, 2, 1, 1]
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(("layers", "field"), [(2, 34), (3, 70)])
def test_monais_discriminator_sees_as_far_as_is_said(layers: int, field: int) -> None:
    network = patch_discriminator(num_layers_d=layers, norm=None)
    x = torch.rand(1, 1, 160, 160, requires_grad=True)
    score = scores_of(network(x))
    score[0, 0, score.shape[2] // 2, score.shape[3] // 2].backward()
    rows = x.grad[0, 0].abs().sum(1).nonzero()
    assert int(rows.max() - rows.min()) + 1 == field


def test_batch_norm_judges_an_image_by_its_company_and_instance_norm_does_not() -> None:
    x = torch.rand(2, 1, 64, 64)
    for norm, same in (("BATCH", False), ("INSTANCE", True)):
        network = patch_discriminator(norm=norm).train()
        alone, among = scores_of(network(x[:1])), scores_of(network(x))[:1]
        assert torch.allclose(alone, among, atol=1e-5) == same


def test_l1_is_the_mean_absolute_difference_and_asks_for_its_gradient() -> None:
    a = torch.tensor([1.0, 4.0], requires_grad=True)
    loss = L1Term("a", "b", weight=10)({"a": a, "b": torch.tensor([2.0, 0.0])}, {})
    assert loss.item() == 2.5  # the weight is applied in the sum
    loss.backward()
    assert a.grad.tolist() == [-0.5, 0.5]


def test_any_loss_function_is_a_term_also_one_with_a_value_per_image() -> None:
    images = {"a": torch.tensor([1.0, 4.0]), "b": torch.tensor([2.0, 0.0])}
    assert FunctionTerm(torch.nn.MSELoss(), "a", "b")(images, {}).item() == 8.5
    assert FunctionTerm(torch.nn.MSELoss(reduction="none"), "a", "b")(images, {}).item() == 8.5


def test_a_mistyped_discriminator_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BundleError, match="did you mean 'routine'"):
        AdversarialTerm("rotine", "fake")({"fake": SCORES}, {"routine": Echo()})
