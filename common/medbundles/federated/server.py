"""The part of NVFLARE that runs at the server: federated averaging of a bundle's networks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import FLContextKey, FLMetaKey
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.workflows.model_controller import ModelController
from torch import Tensor

from medbundles.errors import InputError
from medbundles.federated.exchange import (
    mean_metrics,
    mean_weights,
    numbers,
    packed,
    steps_of,
    unpacked,
)
from medbundles.federated.names import (
    ALL_WEIGHTS,
    FIRST_WEIGHTS,
    RESULTS,
    ROUNDS,
    TRAIN,
    VALIDATE,
    WEIGHTS,
)
from medbundles.federated.networks import write_weights
from medbundles.federated.plan import Plan
from medbundles.federated.site import read_site
from medbundles.io import atomic_path
from medbundles.weights import read_tensors, write_tensors
from medbundles.zoo.workflows import open_workflow


class FederatedAveraging(ModelController):
    """Sends weights to all sites, takes the mean of what they make of them, and so on.

    The weights with the best mean metric are kept, as a training alone keeps those of its best epoch.

    Args:
        plan: as for `Plan`.
        task_check_period: seconds between two looks at whether all sites have answered.
    """

    def __init__(self, plan: Mapping[str, Any], task_check_period: float = 0.5) -> None:
        super().__init__(persistor_id="", task_check_period=task_check_period)
        self.plan = Plan(**plan)
        self.rounds: list[dict[str, Any]] = []
        self.done = 0
        self.best: tuple[float, dict[str, Tensor]] | None = None

    def run(self) -> None:
        """Trains; ends the job when somebody sends what does not belong to it."""
        try:
            weights = self._first()
            for number in range(1, self.plan.rounds + 1):
                weights = self._round(number, weights)
                if weights is None or self.abort_signal.triggered:
                    return
            self._judge(weights, self._answers(VALIDATE, weights, self.plan.rounds + 1))
            self._write()
        except InputError as error:
            self.panic(str(error))

    def _first(self) -> dict[str, Tensor]:
        config = Path(self.fl_ctx.get_prop(FLContextKey.APP_ROOT)) / "config"
        return read_tensors(config / FIRST_WEIGHTS, "cpu")

    def _round(self, number: int, weights: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """One round; None if it was broken off."""
        answers = self._answers(TRAIN, weights, number)
        if not answers:
            return None
        self._judge(weights, answers)
        received = [
            (unpacked(answer.params, weights, sender=site), self._steps(site, answer))
            for site, answer in answers.items()
        ]
        steps = {site: count for site, (_, count) in zip(answers, received, strict=True)}
        self.rounds.append({"round": number, "steps": steps})
        self.done = number
        self.info(f"round {number} of {self.plan.rounds}: {len(answers)} sites, {sum(steps.values())} steps")
        return mean_weights(received)

    def _answers(self, task: str, weights: Mapping[str, Tensor], number: int) -> dict[str, FLModel]:
        message = FLModel(
            params=packed(weights), current_round=number - 1, start_round=0, total_rounds=self.plan.rounds
        )
        answers = self.send_model_and_wait(task_name=task, data=message)
        return {str(answer.meta.get("client_name")): answer for answer in answers}

    @staticmethod
    def _steps(site: str, answer: FLModel) -> int:
        return steps_of(answer.meta.get(FLMetaKey.NUM_STEPS_CURRENT_ROUND), sender=site)

    def _judge(self, weights: dict[str, Tensor], answers: Mapping[str, FLModel]) -> None:
        """Remembers the weights if no earlier ones had a better metric at the sites."""
        found = {site: numbers(answer.metrics) for site, answer in answers.items()}
        means = mean_metrics([(metrics, 1) for metrics in found.values()]) if found else {}
        for name, value in means.items():
            self.info(f"{name} of the weights after round {self.done}: {value:.4f}")
            row = {"after_round": self.done, "metric": name, "mean": value}
            self.rounds.append(row | {"sites": {site: m[name] for site, m in found.items()}})
        value = next(iter(means.values()), float("-inf"))
        if self.best is None or value >= self.best[0]:
            self.best = value, weights

    def _write(self) -> None:
        workspace = self.fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT)
        place = Path(workspace.get_run_dir(self.fl_ctx.get_job_id())) / RESULTS
        folder = read_site(Path(workspace.get_site_config_dir()), "server").folder(self.plan.bundle)
        self.plan.check(folder)
        configs, overrides = self.plan.configs(folder), self.plan.overrides(folder)
        weights = self.best[1]
        write_tensors(weights, place / ALL_WEIGHTS)
        workflow = open_workflow(folder, configs, overrides, logging_file=False)
        write_weights(workflow, weights, place / WEIGHTS)
        with atomic_path(place / ROUNDS) as temporary:
            temporary.write_text(json.dumps(self.rounds, indent=1) + "\n", encoding="utf-8")
        self.info(f"written: {place / WEIGHTS}")
