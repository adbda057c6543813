"""Cone-beam projectors against line integrals that are known exactly, and against each other."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from medbundles.errors import PackageError
from medbundles.simulators import cone_rtk, cone_torch
from medbundles.simulators.cbct import _outside_lengths
from medbundles.simulators.cbct_scanner import Scanner
from medbundles.simulators.cbct_surroundings import Ellipsoid, Outside
from medbundles.simulators.cone_filter import ramp, redundancy
from medbundles.simulators.fields import Grid

SCANNER = Scanner(views=8, columns=48, rows=30, pitch_mm=3.0, offset_mm=6.0, surroundings=())
GRID = Grid.centred((60, 54, 42), 1.5)
BALL = Ellipsoid((9.0, -6.0, 4.0), (15.0, 12.0, 10.0), "soft", 1.0)
MOVED = (3.0, -2.0, 1.5)
STILL = (0.0, 0.0, 0.0)


def ball() -> torch.Tensor:
    """Part of each voxel in the ellipsoid (1, X, Y, Z)."""
    fine = Grid.centred((60, 54, 42), 0.5).points()
    centre, axes = (torch.tensor(values).view(3, 1, 1, 1) for values in (BALL.centre, BALL.axes))
    inside = (((fine - centre) / axes) ** 2).sum(dim=0) < 1
    return torch.nn.functional.avg_pool3d(inside.float()[None], 3)


def exact(pose: cone_torch.Pose) -> np.ndarray:
    """The ellipsoid's length along each ray."""
    nothing = Outside((900.0, 900.0, 900.0), (901.0, 901.0, 901.0), (BALL,))
    ((_, lengths),) = _outside_lengths(nothing, SCANNER, pose)
    return lengths


@pytest.mark.parametrize("pose", [(0.0, STILL), (2.3, STILL), (4.0, MOVED)])
def test_projection_of_an_ellipsoid_is_its_length_along_every_ray(pose: cone_torch.Pose) -> None:
    (view,) = cone_torch.project(ball(), GRID, SCANNER, [pose])
    truth = exact(pose)
    assert view[0].max() == pytest.approx(truth.max(), rel=0.02)
    assert view.sum() == pytest.approx(truth.sum(), rel=0.01)
    assert np.sqrt(np.mean((view[0].numpy() - truth) ** 2)) < 0.03 * truth.max()


@pytest.mark.parametrize(
    ("angle", "u", "v"),
    [(0.0, -6 * 680 / 489, 4 * 680 / 489), (np.pi / 2, -9 * 680 / 474, 4 * 680 / 474)],
)
def test_projection_falls_where_the_geometry_says(angle: float, u: float, v: float) -> None:
    (view,) = cone_torch.project(ball(), GRID, SCANNER, [(angle, STILL)])
    weight = view[0].numpy() / float(view.sum())
    assert (weight * SCANNER.u).sum() == pytest.approx(u, abs=0.2)
    assert (weight * SCANNER.v[:, None]).sum() == pytest.approx(v, abs=0.2)


def test_each_material_is_projected_on_its_own() -> None:
    both = torch.cat([ball(), 3 * ball().flip(3)])
    (view,) = cone_torch.project(both, GRID, SCANNER, [(0.5, STILL)])
    (first,) = cone_torch.project(both[:1], GRID, SCANNER, [(0.5, STILL)])
    assert torch.allclose(view[:1], first, atol=1e-4)
    assert view[1].sum() == pytest.approx(3 * float(view[0].sum()), rel=0.02)
    assert torch.allclose(view[1].flip(0), 3 * view[0], atol=0.05)


@pytest.mark.timeout(900)  # importing the toolkit alone takes long on a busy machine
def test_the_toolkit_and_torch_project_alike() -> None:
    # The second material fills the volume to its edges.
    volume = torch.cat([ball(), 1 - 0.5 * ball().flip(1)])
    poses = [(0.3, STILL), (1.9, STILL), (4.4, MOVED)]
    ours = torch.stack(list(cone_torch.project(volume, GRID, SCANNER, poses)))
    theirs = torch.stack(list(cone_rtk.project(volume, GRID, SCANNER, poses)))
    assert theirs.shape == ours.shape
    assert (ours - theirs).square().mean().sqrt() < 0.02 * ours.square().mean().sqrt()
    assert float(ours.sum()) == pytest.approx(float(theirs.sum()), rel=0.003)


def test_without_the_toolkit_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "itk", None)
    with pytest.raises(PackageError, match=r"medbundles\[sim\]"):
        list(cone_rtk.project(ball(), GRID, SCANNER, [(0.0, STILL)]))


def test_ramp_of_a_constant_row_is_nearly_nothing_and_grows_with_frequency() -> None:
    response = ramp(256, 0.5, 5.0)
    frequency = np.arange(129) / (256 * 0.5)
    assert response[0] < 0.01
    assert response[20:60] == pytest.approx(frequency[20:60], rel=0.03)
    assert ramp(256, 0.5, 0.5)[65:].max() == 0


@pytest.mark.parametrize("changes", [{"offset_mm": 40.0}, {"offset_mm": -40.0}, {"arc_deg": 225.0}, {}])
def test_weights_of_the_two_measurements_of_a_line_sum_to_two(changes: dict[str, float]) -> None:
    scanner = replace(SCANNER, views=3600, columns=101, pitch_mm=1.5, **{"offset_mm": 0.0, **changes})
    weights = redundancy(scanner)
    fan, turn = np.arctan(scanner.u / scanner.source_detector_mm), np.deg2rad(scanner.arc_deg)
    for view, column in ((100, 10), (700, 50), (1500, 85), (3300, 60)):
        opposite = (scanner.angles[view] + 2 * fan[column] + np.pi) % (2 * np.pi)
        other = np.interp(-fan[column], fan, weights[round(opposite / turn * 3600) % 3600], left=0, right=0)
        measured = opposite <= turn
        assert weights[view, column] + measured * other == pytest.approx(2, abs=0.03)
