"""The ablation of the fetal biometry bundle: the wedge, the summary and the equal budget."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from fetal_ablation import variants, weights_by_name
from fetal_occlusion import Frame, beam_through, blacked_out, fit_moments, score
from paired_tables import summarise

from medbundles.ellipse import Ellipse
from medbundles.sector_beam import Beam

SHAPE = (320, 224)
SPACING = (0.5, 0.25)
STRUCTURE = Ellipse((170.0, 130.0), (70.0, 50.0), 0.3)


def white_frame() -> torch.Tensor:
    """Grey value 1 everywhere, with the geometry of a probe above the middle."""
    depth, angle = Beam((160.0, -60.0), math.radians(32), found=True).depth_and_angle(SHAPE)
    return torch.from_numpy(np.stack([np.ones_like(depth), np.ones_like(depth), depth, angle]))


def row(weights: str, fit: str, case: str, error: float | None) -> dict:
    """A row of the table per case; error None stands for nothing found."""
    return {
        **{"weights": weights, "kind": "head", "occlusion": "none", "fit": fit, "case": case},
        **{"Dice": 0.0 if error is None else 0.9, "relative error %": 100.0 if error is None else error},
        "measured mm": "" if error is None else 100.0 + error,
    }


def test_wedge_blacks_out_thirty_degrees_and_nothing_else() -> None:
    frame, centre = white_frame(), math.radians(-7)
    x, y = np.meshgrid(np.arange(SHAPE[0]), np.arange(SHAPE[1]), indexing="ij")
    degrees = np.degrees(np.arctan2(x - 160.0, y + 60.0))
    changed = blacked_out(frame, centre)
    hidden = changed[0].numpy() == 0
    edge = np.minimum(np.abs(degrees + 22), np.abs(degrees - 8)) < 1e-3  # float32 may fall on either side
    np.testing.assert_array_equal(hidden[~edge], ((degrees > -22) & (degrees < 8))[~edge])
    assert (changed[0].numpy()[~hidden] == 1).all()
    assert torch.equal(changed[1:], frame[1:])


def test_beam_of_the_wedge_passes_through_the_structure() -> None:
    frame, truth = white_frame(), torch.from_numpy(STRUCTURE.mask(SHAPE))
    for seed in range(20):
        beam = beam_through(frame, truth, np.random.default_rng(seed))
        along = np.linspace(0, 400, 4000)[:, None] * [math.sin(beam), math.cos(beam)] + [160.0, -60.0]
        assert STRUCTURE.radius(along).min() < 1.02  # a mask of pixels is a little rough at its edge


def test_summary_is_what_one_gets_by_hand() -> None:
    errors = {"a": 1.0, "b": 2.0, "c": None, "d": 5.0}
    rows = [row("full", "robust", case, error) for case, error in errors.items()]
    rows += [row("full", "moments", case, 101.0 + (error or 0)) for case, error in errors.items()]
    rows += [row("no_beam", "robust", case, error) for case, error in errors.items()]
    table = {(r["weights"], r["fit"]): r for r in summarise(rows) if r["score"] == "relative error %"}
    full = table["full", "robust"]
    assert (full["n"], full["mean"], full["median"], full["not measured"]) == (4, 27.0, 3.5, 1)
    # deviations -26, -25, 73, -22 from the mean
    assert full["sd"] == pytest.approx(math.sqrt((26**2 + 25**2 + 73**2 + 22**2) / 3))
    assert (full["p against robust"], full["p against full"]) == ("", "")
    # all four differences have one sign: 2 of the 16 assignments of signs are as extreme
    assert table["full", "moments"]["p against robust"] == pytest.approx(0.125)
    assert table["no_beam", "robust"]["p against full"] == 1.0


def test_nothing_found_counts_as_wholly_wrong_and_a_perfect_answer_as_right() -> None:
    truth = STRUCTURE.mask(SHAPE)
    length = STRUCTURE.scaled(SPACING).circumference()
    frame = Frame("case", "head", white_frame(), np.eye(3), truth, length, SPACING, 0.0)
    missed = score(fit_moments(np.zeros(SHAPE), SPACING), frame)
    assert (missed["Dice"], missed["relative error %"], missed["measured mm"]) == (0.0, 100.0, "")
    found = score(fit_moments(truth.astype(float), SPACING), frame)
    assert found["Dice"] > 0.99 and found["relative error %"] < 0.2


def test_variants_share_frames_and_steps_and_differ_in_one_thing() -> None:
    changes = variants(Path("work"), steps=7)
    shared = ("train#trainer#epoch_length", "train#dataset#data#simulated_dir", "resume")
    assert len({tuple(change[key] for key in shared) for change in changes.values()}) == 1
    own = {
        name: {key: change[key] for key in change if key not in (*shared, "output_dir", "weights")}
        for name, change in changes.items()
    }
    assert own == {
        "full": {},
        "no_beam": {"network_def#beam_channels": False},
        "no_simulated": {"simulated_cases": 0},
    }


def test_weights_without_a_path_are_refused() -> None:
    assert list(weights_by_name("full=a.pt,no_beam=b.pt")) == ["full", "no_beam"]
    with pytest.raises(SystemExit, match="name=path"):
        weights_by_name("full")
