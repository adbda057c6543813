"""Random fields, sampling and warps on grids in millimetres."""

import numpy as np
import pytest
import torch

from medbundles.simulators.fields import Draws, Grid, along, exponential, gradient, smooth

GRID = Grid.centred((60, 48, 40), 2.0)


def ramp(grid: Grid) -> torch.Tensor:
    x, y, z = grid.points()
    return 2 * x - y + 0.5 * z


def test_centred_grid_has_its_middle_at_the_origin() -> None:
    assert GRID.shape == (30, 24, 20)
    for axis in GRID.axes():
        assert float(axis.mean()) == pytest.approx(0, abs=1e-5)
        assert float(axis[1] - axis[0]) == 2.0


def test_cropped_grid_keeps_the_places_of_its_points() -> None:
    part = GRID.crop((3, 4, 5), (10, 12, 9))
    assert torch.equal(part.points(), GRID.points()[:, 3:10, 4:12, 5:9])


def test_sampling_a_ramp_between_its_points_is_exact() -> None:
    other = Grid.centred((20, 20, 20), 1.3)
    torch.testing.assert_close(
        GRID.sample(ramp(GRID)[None], other.points())[0], ramp(other), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(GRID.resample(ramp(GRID), other), ramp(other), atol=1e-3, rtol=0)


def test_sampling_beyond_the_edge_continues_it() -> None:
    far = torch.tensor([1000.0, 0, 0])[:, None, None, None]
    edge = torch.tensor([GRID.axes()[0][-1], 0, 0])[:, None, None, None]
    volume = ramp(GRID)[None]
    torch.testing.assert_close(GRID.sample(volume, far), GRID.sample(volume, edge))


@pytest.mark.parametrize("length", [3.0, 10.0, 25.0])
def test_field_has_unit_variance_and_its_length(length: float) -> None:
    grid = Grid.centred((180, 180, 180), 3.0)
    field = Draws(1, "field").field(grid, length)[0]
    assert float(field.std()) == pytest.approx(1, abs=0.3)
    shift = round(2 * length / 3)
    far = np.corrcoef(field[shift:].flatten(), field[:-shift].flatten())[0, 1]
    assert abs(far) < 0.35
    if length > 3:
        near = np.corrcoef(field[1:].flatten(), field[:-1].flatten())[0, 1]
        assert near > 0.8


def test_field_is_the_same_on_a_finer_grid() -> None:
    coarse, fine = Grid((10, 10, 10), 4.0, (-20.0, -20, -20)), Grid((37, 37, 37), 1.0, (-20.0, -20, -20))
    a, b = (Draws(3, "field").field(grid, 12.0)[0] for grid in (coarse, fine))
    torch.testing.assert_close(a, b[::4, ::4, ::4], atol=1e-4, rtol=0)


def test_parts_of_a_subject_draw_independently() -> None:
    assert Draws(0, "tumour").uniform(0, 1) == Draws(0, "tumour").uniform(0, 1)
    assert Draws(0, "tumour").uniform(0, 1) != Draws(0, "anatomy").uniform(0, 1)
    assert Draws(0, "tumour").uniform(0, 1) != Draws(1, "tumour").uniform(0, 1)


def test_log_uniform_draws_have_the_geometric_middle() -> None:
    draws = Draws(0, "x")
    values = [draws.log_uniform(1, 100) for _ in range(2000)]
    assert min(values) >= 1 and max(values) <= 100
    assert np.median(values) == pytest.approx(10, rel=0.2)


def test_choice_follows_the_weights() -> None:
    draws = Draws(0, "x")
    drawn = [draws.choice({"a": 3, "b": 1, "never": 0}) for _ in range(800)]
    assert "never" not in drawn
    assert drawn.count("a") / 800 == pytest.approx(0.75, abs=0.06)


def test_smoothing_keeps_a_constant_and_spreads_a_point_by_sigma() -> None:
    torch.testing.assert_close(smooth(torch.ones(8, 8, 8), 3.0, 1.0), torch.ones(8, 8, 8))
    point = torch.zeros(41, 3, 3)
    point[20, 1, 1] = 1
    profile = smooth(point, 6.0, 2.0).sum(dim=(1, 2))
    place = 2.0 * (torch.arange(41) - 20)
    assert float((profile * place**2).sum() / profile.sum()) ** 0.5 == pytest.approx(6.0, rel=0.02)


def test_gradient_is_per_millimetre() -> None:
    expected = torch.tensor([2.0, -1.0, 0.5])[:, None, None, None].expand(3, *GRID.shape)
    torch.testing.assert_close(gradient(ramp(GRID), GRID.spacing), expected, atol=1e-3, rtol=0)


def test_matrix_acts_along_its_axis_only() -> None:
    volume = torch.arange(24.0).reshape(2, 3, 4)
    swapped = along(volume, torch.eye(3)[[2, 1, 0]], 1)
    assert torch.equal(swapped, volume.flip(1))


def test_exponential_of_a_constant_velocity_is_a_shift_and_of_a_rough_one_never_folds() -> None:
    constant = torch.full((3, *GRID.shape), 1.5)
    torch.testing.assert_close(exponential(constant, GRID), constant)
    velocity = 9 * Draws(2, "warp").field(GRID, 14.0, 3)
    jacobian = torch.stack(
        [gradient(d, GRID.spacing) for d in GRID.points() + exponential(velocity, GRID, 6)]
    )
    plain = torch.stack([gradient(d, GRID.spacing) for d in GRID.points() + velocity])
    inner = (slice(None), slice(None), *[slice(4, -4)] * 3)
    determinants = [torch.linalg.det(j[inner].permute(2, 3, 4, 0, 1)) for j in (jacobian, plain)]
    assert float(determinants[0].min()) > 0
    assert float(determinants[1].min()) < 0  # the same velocity, simply added, folds
