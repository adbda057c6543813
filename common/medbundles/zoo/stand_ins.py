"""A bundle's evaluation on simulated cases, with its networks listened to, or with others in their place.

Others take the place of `forward`, so that a part of a bundle keeps its other members. The scores are those
that `medbundles evaluate` writes; which of them judge stands in the metadata, as `medbundles.int8.scores`.
"""

from __future__ import annotations

import csv
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medbundles.errors import BundleError, ExportError
from medbundles.headers import plain
from medbundles.weights import unwrapped
from medbundles.zoo.demo import simulate
from medbundles.zoo.export_networks import WHOLE
from medbundles.zoo.find import read_metadata
from medbundles.zoo.source import as_dict
from medbundles.zoo.workflows import EVALUATE, open_workflow, quiet, read_config

Scores = dict[str, dict[str, float]]  # by score and case
Forward = Callable[..., Tensor]
KEPT = 24  # inputs of a network that are kept, evenly spread over all


@dataclass
class Plan:
    """How a bundle is judged in int8.

    Attributes:
        scores: of its evaluation.
        calibration: how many simulated cases scales are taken from.
        cases: how many others judge.
        simulate: options of its simulator.
        evaluate: options of its evaluation.
    """

    scores: Sequence[str]
    calibration: int = 8
    cases: int = 12
    simulate: Mapping[str, Any] = field(default_factory=dict)
    evaluate: Mapping[str, Any] = field(default_factory=dict)


def plan_of(folder: Path) -> Plan:
    """What the metadata say of int8.

    Raises:
        BundleError: they do not say which scores judge.
    """
    block = as_dict(as_dict(read_metadata(folder).get("medbundles")).get("int8"))
    if not block.get("scores"):
        raise BundleError(
            "nothing says by which scores int8 is judged",
            expected="medbundles.int8.scores, names of columns of evaluation.csv",
            source=folder / "configs" / "metadata.json",
            advice="name them, see docs/reference/metadata.md",
        )
    return Plan(**block)


class Record:
    """What a network is given, some of it kept, evenly spread over all that it was given.

    Args:
        names: of the arguments, in the order of `forward`.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.kept, self.step, self.seen = list(names), [], 1, 0

    def around(self, forward: Forward) -> Forward:
        """The same function, listened to."""
        signature = inspect.signature(forward)

        def listening(*args: Any, **kwargs: Any) -> Tensor:
            self.add(in_order(signature, args, kwargs))
            return forward(*args, **kwargs)

        return listening

    def add(self, inputs: Sequence[Tensor]) -> None:
        """Keeps every n-th, and where these become too many, every second of them."""
        if self.seen % self.step == 0:
            self.kept.append({n: as_array(x) for n, x in zip(self.names, inputs, strict=True)})
        self.seen += 1
        if len(self.kept) > KEPT:
            self.kept, self.step = self.kept[::2], 2 * self.step


class StandIn:
    """Answers in the place of a network, and counts how often it was asked."""

    def __init__(self, run: Forward) -> None:
        self.run, self.asked = run, 0

    def around(self, forward: Forward) -> Forward:
        """A function with the same arguments."""
        signature = inspect.signature(forward)

        def answering(*args: Any, **kwargs: Any) -> Tensor:
            self.asked += 1
            return self.run(*(x.contiguous() for x in map(plain, in_order(signature, args, kwargs))))

        return answering


def in_order(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors of a call in the order of `forward`; what is said once for a batch, for each of it."""
    given = [value for value in signature.bind(*args, **kwargs).arguments.values() if value is not None]
    size = next(len(value) for value in given if isinstance(value, Tensor))
    return [value if isinstance(value, Tensor) else _for_each(value, size) for value in given]


def _for_each(value: Any, size: int) -> Tensor:
    one = torch.tensor(value)
    return one.expand(size, *one.shape)


def as_array(x: Tensor) -> np.ndarray:
    """A copy of a tensor's values."""
    return plain(x).detach().cpu().contiguous().numpy().copy()


def evaluated(
    folder: Path, cases: Path, output: Path, plan: Plan, others: Mapping[str, Record | StandIn]
) -> Scores:
    """The scores of a bundle in float32 on simulated cases, with what is named recorded or replaced.

    Args:
        folder: the bundle.
        cases: what `simulated` wrote.
        output: a new folder.
        plan: which scores.
        others: by name of the network, `network` for the whole one.

    Raises:
        ExportError: a case failed, or a network that stands for another was never asked.
    """
    options = {"dataset_dir": str(cases), "output_dir": str(output), "device": "cpu", "split": "all"}
    if "amp" in read_config(folder, EVALUATE):
        options["amp"] = False
    with quiet():
        workflow = open_workflow(folder, EVALUATE, {**options, **plan.evaluate}, logging_file=False)
        workflow.initialize()
        evaluator = workflow.parser.get_parsed_content("validate#evaluator")
        for name, other in others.items():
            part = _part(unwrapped(evaluator.network), name)
            part.forward = other.around(part.forward)
        evaluator.run()
    if evaluator.failed:
        reason = next(case["error"] for case in evaluator.cases if case["status"] == "failed")
        raise ExportError(f"{evaluator.failed} cases fail: {reason.splitlines()[0]}")
    for name, other in others.items():
        if isinstance(other, StandIn) and not other.asked:
            raise ExportError(f"the evaluation never asks the network {name}, so that nothing judges it")
    return read_scores(output / "evaluation.csv", plan.scores)


def simulated(folder: Path, place: Path, count: int, seed: int, plan: Plan) -> Path:
    """Writes cases with exact truth, and returns where they are."""
    with quiet():
        simulate(folder, place, count, seed, **plan.simulate)
    return place


def read_scores(path: Path, names: Sequence[str]) -> Scores:
    """For each score its mean over the rows of each case; a case is a name within a group.

    Raises:
        ExportError: nothing was scored so.
    """
    found: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for name in names:
                if row.get(name, "") != "" and not math.isnan(value := float(row[name])):
                    found[name].setdefault(f"{row['group']}/{row['case']}", []).append(value)
    if missing := [name for name, values in found.items() if not values]:
        raise ExportError(f"no case has a score '{missing[0]}'", source=path.name)
    return {name: {case: float(np.mean(v)) for case, v in values.items()} for name, values in found.items()}


def _part(network: nn.Module, name: str) -> nn.Module:
    return network if name == WHOLE else getattr(network, name)
