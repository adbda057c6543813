"""What scanner and preprocessing do to a simulated image, on balls of known size."""

import numpy as np
import pytest
import torch

from medbundles.simulators import brain_faults as faults
from medbundles.simulators.fields import Draws, Grid

GRID = Grid.centred((80, 80, 80), 2.0)
RADIUS = GRID.points().norm(dim=0)


def ml(mask: torch.Tensor) -> float:
    return float(mask.sum()) * GRID.spacing**3 / 1000


def test_slices_average_over_their_thickness_and_keep_a_ramp() -> None:
    down, up = faults.slices(60, 1.0, 4.0, 0.3)
    ramp = torch.arange(60.0)
    torch.testing.assert_close((up @ (down @ ramp))[4:-10], ramp[4:-10], atol=1e-3, rtol=0)
    spike = torch.zeros(60)
    spike[30] = 1
    assert float((down @ spike).max()) <= 0.2501
    assert faults.slices(60, 2.0, 1.5, 0.1)[0].shape == (60, 60)


def plan(**changes: object) -> faults.Acquisition:
    still = {"shift_mm": (0.0, 0.0, 0.0), "turn_deg": (0.0, 0.0, 0.0), "gamma": 1.0, "scale": 1.0}
    values = {"bias": 0.0, "noise": 0.0, "axis": 2, "slice_mm": 1.0, "blur_mm": 0.0} | still
    return faults.Acquisition(**(values | changes))


def scan(image: torch.Tensor, **changes: object) -> torch.Tensor:
    return faults.acquire(image, RADIUS < 30, GRID, plan(**changes), Draws(0, "scan"))


def test_noise_without_signal_is_rayleigh_and_with_signal_gaussian() -> None:
    body = (RADIUS < 30).float()
    noisy = scan(body, noise=0.05)
    assert float(noisy[RADIUS > 34].mean()) == pytest.approx(0.05 * np.sqrt(np.pi / 2), rel=0.03)
    assert float(noisy[RADIUS < 26].std()) == pytest.approx(0.05, rel=0.05)


def test_shift_moves_the_image_by_its_millimetres() -> None:
    x = GRID.points()[0]
    image = torch.exp(-(RADIUS**2) / 200)
    moved = scan(image, shift_mm=(3.0, 0.0, 0.0))
    place = float((moved * x).sum() / moved.sum())
    assert place == pytest.approx(-3, abs=0.15)


def test_bias_is_smooth_and_leaves_the_mean() -> None:
    shaded = scan(torch.ones(GRID.shape), bias=0.15)
    assert float(shaded[RADIUS < 30].mean()) == pytest.approx(1, abs=0.02)
    assert float(shaded.std()) > 0.02
    assert float((shaded[1:] - shaded[:-1]).abs().max()) < 0.03


def strip(**changes: object) -> torch.Tensor:
    values = {"offset_mm": 0.0, "rough_mm": 0.0, "bites": 0, "remnants": 0.0, "sulci": False}
    parts = {"depth": 30 - RADIUS, "csf": (RADIUS > 28).float()}
    return faults.strip(parts, GRID, faults.Stripping(**(values | changes)), Draws(0, "mask"))


def test_perfect_stripping_gives_the_brain_and_every_fault_its_own_error() -> None:
    brain = RADIUS < 30
    assert torch.equal(strip(), brain)
    assert torch.equal(strip(offset_mm=2.5), RADIUS < 32.5)
    assert bool((strip(bites=3) <= brain).all()) and ml(brain) - ml(strip(bites=3)) > 0.2
    assert 0 < ml(strip(remnants=0.06) & ~brain) < 0.3 * ml(brain)
    assert torch.equal(strip(sulci=True), brain & ~((RADIUS > 28) & (RADIUS > 27)))
