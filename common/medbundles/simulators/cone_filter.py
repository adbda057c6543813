"""Weights and ramp filter of Feldkamp's reconstruction, for full turns, short scans and offset detectors."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medbundles.simulators.cbct_scanner import Scanner


def ramp(count: int, pitch: float, end: float) -> NDArray[np.float64]:
    """The band-limited ramp filter at the frequencies of a real FFT, with a Hann window.

    Args:
        count: samples of the FFT, even.
        pitch: mm between samples.
        end: where the window ends, as part of the Nyquist frequency.
    """
    # Sampled in space, which keeps the mean value right; a sampled |f| would lower it.
    place = np.fft.fftfreq(count, 1 / count)
    odd = place % 2 == 1
    kernel = np.zeros(count)
    kernel[0] = 1 / (4 * pitch**2)
    kernel[odd] = -1 / (np.pi * place[odd] * pitch) ** 2
    frequency = np.linspace(0, 1, count // 2 + 1)
    window = np.where(frequency <= end, 0.5 + 0.5 * np.cos(np.pi * frequency / end), 0)
    return np.fft.rfft(kernel).real * pitch * window


def redundancy(scanner: Scanner) -> NDArray[np.float64]:
    """Weights (view, columns) of rays that may be measured twice: those of each line sum to two.

    A full turn measures each line twice, an offset detector only those near the axis, a short scan only some.
    """
    fan = np.arctan(scanner.u / scanner.source_detector_mm)
    if scanner.arc_deg < 360:
        return 2 * _short_scan(scanner.angles, fan, math.radians(scanner.arc_deg))
    weights = np.ones_like(fan)
    if scanner.offset_mm:
        side = math.copysign(1.0, scanner.offset_mm)
        narrow = (side * fan).min()  # negative: where the shorter side ends
        weights = 1 + np.sin(np.pi / 2 * np.clip(side * fan / abs(narrow), -1, 1))
    return np.tile(weights, (scanner.views, 1))


def _short_scan(angles: NDArray, fan: NDArray, arc: float) -> NDArray[np.float64]:
    """Parker's weights for any arc beyond half a turn; those of each line sum to one."""
    spare = (arc - np.pi) / 2
    start, end = (np.maximum(2 * (spare + sign * fan), 1e-9) for sign in (-1, 1))
    angle = angles[:, None]
    rise = np.sin(np.pi / 2 * np.clip(angle / start, 0, 1)) ** 2
    fall = np.sin(np.pi / 2 * np.clip((arc - angle) / end, 0, 1)) ** 2
    return np.minimum(rise, fall)


def filtered(projections: Tensor, scanner: Scanner) -> Tensor:
    """Returns projections (view, rows, columns) weighted and filtered for backprojection.

    Where the detector cuts the head off, its edge is continued and faded out, or the rim would shine. An
    offset detector gets the columns that it lacks: the filter spreads what it measured over them.
    """
    device = projections.device
    u, v = scanner.u, scanner.v
    slant = scanner.source_detector_mm / np.sqrt(scanner.source_detector_mm**2 + u**2 + v[:, None] ** 2)
    slant = torch.as_tensor(slant, dtype=torch.float32, device=device)
    twice = torch.as_tensor(redundancy(scanner), dtype=torch.float32, device=device)
    pad, missing = round(scanner.columns * scanner.padding), scanner.missing_columns
    left, right = (missing, 0) if scanner.offset_mm > 0 else (0, missing)
    count = 2 ** math.ceil(math.log2(2 * (scanner.columns + pad + missing)))
    pitch = scanner.pitch_mm * scanner.source_axis_mm / scanner.source_detector_mm
    # The turn's step, halved because each line counts twice.
    scale = math.radians(scanner.arc_deg) / scanner.views / 2
    response = torch.as_tensor(scale * ramp(count, pitch, scanner.hann), dtype=torch.float32, device=device)
    fade = torch.cos(torch.linspace(0, math.pi / 2, pad + 2, device=device)[1:-1]) ** 2
    result = projections.new_empty(len(projections), scanner.rows, scanner.columns + missing)
    for index, view in enumerate(projections):
        rows = view * slant * twice[index]
        rows = torch.cat([rows[:, :1] * fade.flip(0), rows, rows[:, -1:] * fade], dim=1)
        # The shorter side of an offset detector has no weight, so its continuation is nothing.
        rows = functional.pad(rows, (left, right))
        wide = torch.fft.irfft(torch.fft.rfft(rows, n=count) * response, n=count)
        result[index] = wide[:, pad : pad + result.shape[2]]
    return result
