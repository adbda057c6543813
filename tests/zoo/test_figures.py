"""Figures of evaluations, the weights that they belong to, and those that the metadata quote."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medbundles.errors import InputError
from medbundles.evaluation import write_rows
from medbundles.zoo.check import check_bundle
from medbundles.zoo.figures import (
    EVALUATION,
    METADATA,
    ROWS,
    WEIGHTS,
    headline,
    keep,
    weights_sum,
    write_headline,
)
from medbundles.zoo.find import read_json, read_metadata

DICE = {"n": 4, "mean": 0.987654, "median": 0.99}
WANTED = {"dice_mean": ["simulated", "Dice", "mean"]}


@pytest.fixture
def results(tmp_path: Path) -> Callable[..., Path]:
    """Writes what an evaluation leaves."""

    def write(**groups: dict[str, Any]) -> Path:
        path = tmp_path / "evaluation.json"
        path.write_text(json.dumps({"split": "test", "groups": groups}))
        rows = [{"group": name, "case": "a", "Dice": group["Dice"]["mean"]} for name, group in groups.items()]
        write_rows(rows, path.with_suffix(".csv"))
        return path

    return write


def problems(bundle: Path) -> list[str]:
    return [str(problem) for problem in check_bundle(bundle)]


def test_groups_of_the_same_weights_stay_beside_each_other(
    bundle: Path, results: Callable[..., Path]
) -> None:
    keep(results(simulated={"Dice": DICE}), bundle)
    keep(results(real={"Dice": DICE | {"mean": 0.5}}), bundle)
    found = read_json(bundle / EVALUATION)
    assert found["weights"] == weights_sum(bundle / WEIGHTS) and found["split"] == "test"
    assert {name: group["Dice"]["mean"] for name, group in found["groups"].items()} == {
        "real": 0.5,
        "simulated": 0.987654,
    }


def test_groups_of_other_weights_do_not(bundle: Path, results: Callable[..., Path]) -> None:
    keep(results(simulated={"Dice": DICE}), bundle)
    (bundle / WEIGHTS).write_bytes(b"other weights")
    keep(results(real={"Dice": DICE}), bundle)
    assert list(read_json(bundle / EVALUATION)["groups"]) == ["real"]


def test_rows_of_cases_go_with_their_groups(bundle: Path, results: Callable[..., Path]) -> None:
    keep(results(simulated={"Dice": DICE}, real={"Dice": DICE}), bundle)
    keep(results(real={"Dice": DICE | {"mean": 0.5}}), bundle)
    assert (bundle / ROWS).read_text().split() == ["group,case,Dice", "simulated,a,0.987654", "real,a,0.5"]
    (bundle / WEIGHTS).write_bytes(b"other weights")
    keep(results(other={"Dice": DICE}), bundle)
    assert (bundle / ROWS).read_text().split() == ["group,case,Dice", "other,a,0.987654"]


def test_figures_of_a_file_that_is_not_the_bundles_own_are_a_problem(
    bundle: Path, results: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "tried.pt").write_bytes(b"other weights")
    keep(results(simulated={"Dice": DICE}), bundle, tmp_path / "tried.pt")
    assert any("measured with other weights" in line for line in problems(bundle))


def test_the_metadata_quote_the_figures_that_they_name(
    bundle: Path, results: Callable[..., Path], edit: Callable[..., None]
) -> None:
    edit(bundle / METADATA, lambda m: m["medbundles"].update(headline=WANTED))
    assert headline(bundle) is None  # nothing was measured yet
    keep(results(simulated={"Dice": DICE}), bundle)
    assert any("eval_metrics are not those" in line for line in problems(bundle))
    write_headline(bundle)
    assert read_metadata(bundle)["eval_metrics"] == {"dice_mean": 0.9877}
    assert not any("eval_metrics" in line for line in problems(bundle))


def test_figures_of_other_weights_are_a_problem(bundle: Path, results: Callable[..., Path]) -> None:
    keep(results(simulated={"Dice": DICE}), bundle)
    assert not any("other weights" in line for line in problems(bundle))
    (bundle / WEIGHTS).write_bytes((bundle / WEIGHTS).read_bytes() + b" ")
    assert any("measured with other weights" in line for line in problems(bundle))


def test_a_headline_without_its_figure_names_it(
    bundle: Path, results: Callable[..., Path], edit: Callable[..., None]
) -> None:
    edit(bundle / METADATA, lambda m: m["medbundles"].update(headline=WANTED))
    keep(results(real={"Dice": DICE}), bundle)
    with pytest.raises(InputError, match="no figure 'mean' of 'Dice' for 'simulated'"):
        headline(bundle)
    assert any("no figure 'mean' of 'Dice'" in line for line in problems(bundle))
