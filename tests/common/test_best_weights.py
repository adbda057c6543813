"""Weights that are loaded, averaged, kept when they are the best, and waited for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from small_training import Net, build

from medbundles.checks import BundleError
from medbundles.handlers import (
    BestWeights,
    EarlyStop,
    ExponentialMovingAverage,
    WeightsLoader,
    load_weights,
)


def test_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    state = Net().state_dict()
    state["extra"] = state.pop("0.bias")
    state["4.weight"] = torch.zeros(2, 4, 1, 1)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(BundleError) as caught:
        load_weights(Net(), tmp_path / "model.pt")
    for word in ("0.bias", "extra", "4.weight", "model.pt"):
        assert word in str(caught.value)


def test_weights_load_from_both_usual_layouts_and_when_an_engine_starts(tmp_path: Path) -> None:
    trained = Net()
    torch.save({"model": trained.state_dict()}, tmp_path / "wrapped.pt")
    torch.save(trained.state_dict(), tmp_path / "model.pt")
    engine = Engine(lambda engine, batch: None)
    started = Net()
    WeightsLoader(started, tmp_path / "model.pt").attach(engine)
    engine.run([0])
    for network in (started, load_weights(Net(), tmp_path / "wrapped.pt")):
        assert torch.equal(network[0].weight, trained[0].weight)


def test_the_first_nan_is_not_the_best_for_ever(tmp_path: Path) -> None:
    best = BestWeights(Net(), tmp_path / "model.pt")
    trainer = build(tmp_path, 1)
    engine = trainer.best._engine
    engine.state.metrics["mae"] = float("nan")
    best(engine)
    assert best.best_metric is None
    assert not (tmp_path / "model.pt").exists()


def test_the_best_weights_are_chosen_anew_when_something_else_is_trained_for(tmp_path: Path) -> None:
    best, engine = BestWeights(Net(), tmp_path / "model.pt", anew=3), build(tmp_path, 1).best._engine
    for epoch, error, chosen in [
        (1, 0.5, 1),
        (2, 0.3, 2),
        (3, 0.4, 2),
        (5, 0.9, 5),
        (6, 0.95, 5),
        (7, 0.8, 7),
    ]:
        engine.state.epoch, engine.state.metrics["mae"] = epoch, error
        best(engine)
        assert best.best_epoch == chosen


def test_the_average_of_constant_weights_is_these_weights_and_lags_behind_a_jump() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    average = ExponentialMovingAverage(network, decay=0.5)
    torch.nn.init.constant_(network.weight, 1.0)
    for _ in range(20):
        average()
    assert average.network.weight.item() == 1.0
    torch.nn.init.constant_(network.weight, 3.0)
    average()
    assert average.network.weight.item() == 2.0


def test_training_ends_when_the_best_weights_are_old_and_goes_on_where_nothing_says_so(
    tmp_path: Path,
) -> None:
    """Errors fall to epoch 3 and rise from then on; validation is every second epoch, the odd ones."""
    for patience, last in ((2, 5), (3, 7), (None, 9)):
        best, evaluator = BestWeights(Net(), tmp_path / "model.pt"), build(tmp_path, 1).best._engine
        trainer = Engine(lambda engine, batch: None)

        def validate(engine: Engine, evaluator: Engine = evaluator, best: BestWeights = best) -> None:
            if engine.state.epoch % 2:
                evaluator.state.epoch, evaluator.state.metrics["mae"] = (
                    engine.state.epoch,
                    abs(engine.state.epoch - 3) + 0.5,
                )
                best(evaluator)

        trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
        EarlyStop(best, patience).attach(trainer)
        trainer.run([0], max_epochs=9)
        assert (trainer.state.epoch, best.best_epoch) == (last, 3)


def test_what_is_trained_for_anew_gets_its_own_patience(tmp_path: Path) -> None:
    best = BestWeights(Net(), tmp_path / "model.pt", anew=6)
    best.best_metric, best.best_epoch = 0.1, 2
    trainer = Engine(lambda engine, batch: setattr(best, "last_epoch", engine.state.epoch))
    EarlyStop(best, 3).attach(trainer)
    trainer.run([0], max_epochs=20)
    assert trainer.state.epoch == 9


def test_a_resumed_run_knows_how_old_its_best_weights_are(tmp_path: Path) -> None:
    """Nothing is ever better than an impossible best of epoch 1, which only the checkpoint knows of."""
    first = build(tmp_path, 2)
    first.add_event_handler(
        Events.EPOCH_COMPLETED(once=1),
        lambda: first.best.load_state_dict({"best_metric": -1.0, "best_epoch": 1}),
    )
    first.run()
    first.best.load_state_dict({"best_metric": -1.0, "best_epoch": 1})
    second = build(tmp_path, 9, resume=True)
    EarlyStop(second.best, 3).attach(second)
    second.run()
    assert second.best.best_metric == -1.0
    assert second.state.epoch == 4
