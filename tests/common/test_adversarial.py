"""Adversarial training learns what is known and is, number for number, the algorithm written by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import MetaTensor

from medbundles.adversarial import (
    AdversarialTerm,
    AdversarialTrainer,
    CycleTranslation,
    DivergenceError,
    FunctionTerm,
    ImagePool,
    Judgement,
    L1Term,
    parameters,
)
from medbundles.checks import BundleError
from medbundles.handlers import ExponentialMovingAverage

torch.set_num_threads(1)


class Line(torch.nn.Conv2d):
    """A generator that is a straight line: factor * x + offset in each pixel."""

    def __init__(self, factor: float = 1.0, offset: float = 0.0) -> None:
        super().__init__(1, 1, 1)
        torch.nn.init.constant_(self.weight, factor)
        torch.nn.init.constant_(self.bias, offset)

    @property
    def line(self) -> tuple[float, float]:
        return self.weight.item(), self.bias.item()

    def at(self, x: float) -> float:
        return self.weight.item() * x + self.bias.item()


class Unusable(Line):
    """A generator that must not be run."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("this network was not needed")


def judge(width: int = 16) -> torch.nn.Module:
    """A discriminator of single intensities."""
    layers = [torch.nn.Conv2d(1, width, 1), torch.nn.LeakyReLU(0.2), torch.nn.Conv2d(width, 1, 1)]
    return torch.nn.Sequential(*layers)


def batches(count: int, low: float, high: float, *, spread: float = 1.0) -> list[dict[str, torch.Tensor]]:
    """Unpaired batches: `a` uniform over `spread` from `low`, `b` over `spread` from `high`."""
    draw = torch.Generator().manual_seed(7)
    shape = (4, 1, 8, 8)
    return [
        {key: start + spread * torch.rand(shape, generator=draw) for key, start in (("a", low), ("b", high))}
        for _ in range(count)
    ]


def adam(networks: dict[str, torch.nn.Module], rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters(networks), lr=rate, betas=(0.5, 0.999))


def cycle_parts(identity: float = 0.0, cycle: float = 10.0) -> dict[str, Any]:
    """Step, terms and judgements of a CycleGAN between `a` and `b`."""
    return {
        "step": CycleTranslation(forward="there", backward="back"),
        "terms": {
            "fool_a": AdversarialTerm("judge_a", "fake_a"),
            "fool_b": AdversarialTerm("judge_b", "fake_b"),
            "cycle_a": L1Term("cycled_a", "a", weight=cycle),
            "cycle_b": L1Term("cycled_b", "b", weight=cycle),
            "identity_a": L1Term("same_a", "a", weight=identity),
            "identity_b": L1Term("same_b", "b", weight=identity),
        },
        "judgements": {
            "judged_a": Judgement("judge_a", "a", "fake_a", pool=ImagePool(50)),
            "judged_b": Judgement("judge_b", "b", "fake_b", pool=ImagePool(50)),
        },
    }


def trainer(data: Any, there: torch.nn.Module, back: torch.nn.Module, **options: Any) -> AdversarialTrainer:
    """A CycleGAN of two generators; any part can be replaced."""
    torch.manual_seed(0)
    generators = {"there": there, "back": back}
    discriminators = {"judge_a": judge(), "judge_b": judge()}
    parts = cycle_parts() | {
        "generators": generators,
        "discriminators": discriminators,
        "generator_optimizer": adam(generators, 0.005),
        "discriminator_optimizer": adam(discriminators, 0.02),
    }
    return AdversarialTrainer("cpu", options.pop("max_epochs", 1), data, **(parts | options))


def averaged_run(engine: AdversarialTrainer, *networks: Line) -> list[Line]:
    """Trains and returns the generators averaged over the last steps: adversaries circle round the answer."""
    averages = [ExponentialMovingAverage(network, decay=0.98) for network in networks]
    for average in averages:
        average.attach(engine)
    engine.run()
    return [average.network for average in averages]


def test_a_constant_offset_is_learned_in_both_directions() -> None:
    there, back = Line(), Line()
    engine = trainer(batches(600, 0.0, 0.5), there, back, **cycle_parts(cycle=1))
    there, back = averaged_run(engine, there, back)
    assert there.at(0.5) == pytest.approx(1.0, abs=0.05)  # the middle of one domain goes to that of the other
    assert back.at(1.0) == pytest.approx(0.5, abs=0.05)
    assert there.line == pytest.approx((1, 0.5), abs=0.25)
    assert back.line == pytest.approx((1, -0.5), abs=0.25)


def test_the_identity_term_keeps_intensities_from_being_turned_round() -> None:
    """Between two equal, symmetric domains x and -x are perfect cycles, and no discriminator objects."""
    for identity, factor in ((0.0, -1), (5.0, 1)):
        there, back = Line(-0.3), Line(-0.3)
        data = batches(300, -1.0, -1.0, spread=2.0)
        trainer(data, there, back, **cycle_parts(identity, cycle=1)).run()
        assert there.line == pytest.approx((factor, 0), abs=0.1)
        assert back.line == pytest.approx((factor, 0), abs=0.1)


def test_a_plain_gan_learns_the_offset_and_never_runs_the_backward_generator() -> None:
    there = Line()
    parts = {
        "terms": {"fool_b": AdversarialTerm("judge_b", "fake_b")},
        "judgements": {"judged_b": Judgement("judge_b", "b", "fake_b", pool=ImagePool(50))},
    }
    (there,) = averaged_run(trainer(batches(600, 0.0, 0.5), there, Unusable(), **parts), there)
    assert there.at(0.5) == pytest.approx(1.0, abs=0.05)


def test_without_discriminators_it_is_a_supervised_trainer() -> None:
    data = [batch | {"truth": 3 * batch["a"] - 1} for batch in batches(300, 0.0, 0.0)]
    generator = Line()
    AdversarialTrainer(
        "cpu",
        1,
        data,
        generators={"denoise": generator},
        generator_optimizer=torch.optim.Adam(generator.parameters(), lr=0.05),
        step=CycleTranslation("a", "b", forward="denoise", backward=None),
        terms={"l2": FunctionTerm(torch.nn.MSELoss(), "fake_b", "truth")},
    ).run()
    assert generator.line == pytest.approx((3, -1), abs=0.02)


def hand_written(data: list, there: Line, back: Line, judges: dict[str, torch.nn.Module]) -> list[float]:
    """CycleGAN with identity as one writes it down, without pools: returns the losses of the generators."""
    ours = torch.optim.SGD([*there.parameters(), *back.parameters()], lr=0.02)
    theirs = torch.optim.SGD([p for network in judges.values() for p in network.parameters()], lr=0.05)
    found = []
    for batch in data:
        a, b = batch["a"], batch["b"]
        fake_b, fake_a = there(a), back(b)
        loss = ((judges["judge_a"](fake_a) - 1) ** 2).mean() + ((judges["judge_b"](fake_b) - 1) ** 2).mean()
        loss = loss + 10 * ((back(fake_b) - a).abs().mean() + (there(fake_a) - b).abs().mean())
        loss = loss + 5 * ((back(a) - a).abs().mean() + (there(b) - b).abs().mean())
        ours.zero_grad()
        loss.backward()
        ours.step()
        judged = 0
        for name, real, fake in (("judge_a", a, fake_a), ("judge_b", b, fake_b)):
            network = judges[name]
            judged = judged + 0.5 * (((network(real) - 1) ** 2).mean() + (network(fake.detach()) ** 2).mean())
        theirs.zero_grad()
        judged.backward()
        theirs.step()
        found.append(loss.item())
    return found


def test_training_is_the_algorithm_written_by_hand() -> None:
    data = batches(5, 0.0, 0.5)
    nets = {"there": Line(0.9, 0.1), "back": Line(1.1, 0.0)}
    parts = cycle_parts(identity=5)
    for judgement in parts["judgements"].values():
        judgement.pool = None
    judges = {"judge_a": judge(), "judge_b": judge()}
    expected_nets, expected_judges = copy.deepcopy((nets, judges))
    engine = trainer(
        data,
        nets["there"],
        nets["back"],
        discriminators=judges,
        generator_optimizer=torch.optim.SGD(parameters(nets), lr=0.02),
        discriminator_optimizer=torch.optim.SGD(parameters(judges), lr=0.05),
        **parts,
    )
    losses = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(e.state.output["loss"]))
    engine.run()
    assert losses == pytest.approx(hand_written(data, *expected_nets.values(), expected_judges), rel=1e-5)
    for ours, theirs in ((nets, expected_nets), (judges, expected_judges)):
        for one, other in zip(parameters(ours), parameters(theirs), strict=True):
            assert torch.allclose(one, other, atol=1e-6)


class Watch:
    """A term without influence that notes which parameters are part of the graph while it is computed."""

    weight = 1.0

    def __init__(self) -> None:
        self.learning: set[str] = set()

    def __call__(self, images: Any, networks: dict[str, torch.nn.Module]) -> torch.Tensor:
        nets = networks.items()
        self.learning = {name for name, net in nets if all(p.requires_grad for p in net.parameters())}
        return sum(0 * p.sum() for net in networks.values() for p in net.parameters())


def test_discriminators_are_frozen_while_generators_learn_and_only_then() -> None:
    parts, generators_turn, discriminators_turn = cycle_parts(), Watch(), Watch()
    parts["terms"]["watch"], parts["judgements"]["watch_too"] = generators_turn, discriminators_turn
    trainer(batches(1, 0.0, 0.5), Line(), Line(), **parts).run()
    assert generators_turn.learning == {"there", "back"}
    assert {"judge_a", "judge_b"} <= discriminators_turn.learning


def test_the_step_of_the_generators_leaves_no_gradient_in_a_discriminator() -> None:
    parts = cycle_parts() | {"judgements": {}}
    engine = trainer(batches(2, 0.0, 0.5), Line(), Line(), **parts)
    before = copy.deepcopy(engine.discriminators)
    engine.run()
    assert all(p.grad is None for p in parameters(engine.discriminators))
    pairs = zip(parameters(before), parameters(engine.discriminators), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_terms_of_weight_zero_are_not_computed() -> None:
    parts = cycle_parts()
    parts["terms"]["broken"] = FunctionTerm(Unusable(), "no such image", "nor this", weight=0)
    engine = trainer(batches(1, 0.0, 0.5), Line(), Line(), **parts)
    engine.run()
    assert "broken" not in engine.state.output
    assert not {"same_a", "same_b"} & engine.state.output.keys()  # identity has weight 0 here


def test_discriminators_can_be_trained_alone() -> None:
    parts = cycle_parts() | {"terms": {}}
    there, back = Line(), Line()
    engine = trainer(batches(200, 0.0, 2.0), there, back, **parts)
    engine.run()
    assert (there.line, back.line) == ((1, 0), (1, 0))
    assert engine.state.output["discriminator_loss"] < 0.05  # domains that do not overlap


def test_the_output_names_every_loss_and_every_image_that_was_made() -> None:
    engine = trainer(batches(1, 0.0, 0.5), Line(), Line(), **cycle_parts(identity=5))
    engine.run()
    output = engine.state.output
    numbers = {name: value for name, value in output.items() if isinstance(value, float)}
    images = {name: value for name, value in output.items() if isinstance(value, torch.Tensor)}
    names = ("fool", "cycle", "identity", "judged")
    named = {f"{name}_{side}" for name in names for side in "ab"}
    sums = {"loss", "discriminator_loss", "generator_gradient", "discriminator_gradient"}
    assert set(numbers) == named | sums
    assert set(images) == {"a", "b"} | {
        f"{kind}_{side}" for kind in ("fake", "cycled", "same") for side in "ab"
    }
    assert not any(image.requires_grad for image in images.values())
    weights = {"fool": 1, "cycle": 10, "identity": 5}
    total = sum(factor * numbers[f"{name}_{side}"] for name, factor in weights.items() for side in "ab")
    assert numbers["loss"] == pytest.approx(total, rel=1e-5)


def test_gradients_are_clipped_to_the_norm_asked_for() -> None:
    nets = {"there": Line(5.0), "back": Line(5.0)}
    before = torch.cat([p.detach().flatten().clone() for p in parameters(nets)])
    optimizer = torch.optim.SGD(parameters(nets), lr=1.0)
    options = {"generator_optimizer": optimizer, "clip_gradients": 0.01}
    engine = trainer(batches(1, 0.0, 0.5), *nets.values(), **options)
    engine.run()
    after = torch.cat([p.detach().flatten() for p in parameters(nets)])
    assert engine.state.output["generator_gradient"] > 1
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-2)


@pytest.mark.usefixtures("with_bfloat16")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_trains_as_float32_does(dtype: str) -> None:
    losses, lines = [], []
    for amp in (False, True):
        there, back = Line(), Line()
        engine = trainer(batches(60, 0.0, 0.5), there, back, amp=amp, amp_dtype=dtype, **cycle_parts(5))
        calls = []
        there.register_forward_hook(lambda net, given, made, calls=calls: calls.append(made.dtype))
        seen = []
        engine.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine, seen=seen: seen.append(engine.state.output["loss"])
        )
        engine.run()
        assert set(calls) == {getattr(torch, dtype) if amp else torch.float32}
        assert {p.dtype for p in parameters(engine.generators)} == {torch.float32}
        assert engine.state.output["cycled_a"].dtype == torch.float32
        losses.append(np.mean(seen[-30:]))
        lines.append(there.line)
    assert losses[1] == pytest.approx(losses[0], rel=0.15)
    assert lines[1] == pytest.approx(lines[0], abs=0.05)


def test_only_float16_scales_its_losses() -> None:
    for dtype, scaled in (("bfloat16", False), ("float16", True)):
        engine = trainer(batches(1, 0.0, 0.5), Line(), Line(), amp=True, amp_dtype=dtype)
        engine.run()
        assert (engine.scaler is not None) == scaled
    with pytest.raises(ValueError, match="int8"):
        trainer([], Line(), Line(), amp=True, amp_dtype="int8")


def test_a_loss_that_is_no_number_stops_training_before_the_weights_see_it() -> None:
    data = batches(5, 0.0, 0.5)
    data[3]["a"][0, 0, 0, 0] = float("nan")
    there, lines = Line(), []
    engine = trainer(data, there, Line(), max_epochs=2)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: lines.append(there.line))
    with pytest.raises(DivergenceError, match="epoch 1, iteration 4") as caught:
        engine.run()
    message = str(caught.value)
    assert "cycle_a is nan" in message
    assert "cycle_b" not in message
    assert len(message.splitlines()) <= 6
    assert there.line == lines[-1]


def test_a_gradient_that_is_no_number_stops_training_before_the_weights_see_it() -> None:
    parts = cycle_parts()
    parts["terms"]["root"] = FunctionTerm(
        lambda x, y: ((x - y) * 0).sqrt(), "fake_b", "a"
    )  # 0, slope infinite
    there = Line()
    with pytest.raises(DivergenceError, match="gradient of the generators is nan"):
        trainer(batches(1, 0.0, 0.5), there, Line(), **parts).run()
    assert there.line == (1, 0)


def test_metadata_is_left_behind_at_the_door() -> None:
    data = [{key: MetaTensor(image) for key, image in batch.items()} for batch in batches(1, 0.0, 0.5)]
    engine = trainer(data, Line(), Line())
    engine.run()
    assert {type(value) for value in engine.state.output.values()} == {float, torch.Tensor}


def test_stock_handlers_and_metrics_see_decollated_outputs_when_asked_to() -> None:
    engine = trainer(batches(1, 0.0, 0.5), Line(), Line(), decollate=True)
    engine.run()
    assert len(engine.state.output) == 4
    assert engine.state.output[0]["fake_b"].shape == (1, 8, 8)
    assert float(engine.state.output[0]["loss"]) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parts: parts["terms"].update(a=parts["terms"].pop("fool_a")), "a loss and an image"),
        (lambda parts: parts.update(discriminator_optimizer=None), "without a discriminator_optimizer"),
        (lambda parts: parts.update(discriminators={"there": judge()}), "both called there"),
        (
            lambda parts: parts.update(generator_optimizer=adam({"x": judge()}, 1)),
            "generator_optimizer has parameters that belong to no generator",
        ),
        (lambda parts: parts["terms"].update(typo=L1Term("cycled_aa", "a")), "did you mean 'cycled_a'"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(change: Callable, message: str) -> None:
    parts = cycle_parts()
    change(parts)
    with pytest.raises(BundleError, match=message):
        trainer(batches(1, 0.0, 0.5), Line(), Line(), **parts).run()
