"""Point scatterers of an ultrasound scene, and what sound loses on its way to each of them.

Speckle comes from points thrown at random; a smooth interface is a row of points along it, whose echoes add
up where it faces the aperture and cancel where it does not. Lengths are millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from medbundles.simulators.ultrasound import SOUND_SPEED, Probe
from medbundles.simulators.ultrasound_maps import Floats, Maps, Scene

POINTS_PER_CELL, MOST_POINTS = 4.0, 320_000
INTERFACE_LINES = 768
JUMP = 0.003  # relative change of impedance from which an interface answers
INTERFACE_GAIN = 70.0  # amplitude per relative change of impedance and mm of interface
ROUGHNESS_MM = 0.025  # how far points stand off a smooth interface
COARSE = (192, 72)  # grid (depth, line) on which losses are summed
STEPS = 64  # along each path
DEAF_DB = 60.0  # loss one way beyond which nothing more is told apart


@dataclass(frozen=True)
class Cloud:
    """Points (x, z) and the amplitudes of their echoes, all (n,)."""

    x: Floats
    z: Floats
    amplitude: Floats

    def __add__(self, other: Cloud) -> Cloud:
        """Both clouds together."""
        pairs = ((self.x, other.x), (self.z, other.z), (self.amplitude, other.amplitude))
        return Cloud(*(np.concatenate(pair).astype(np.float32) for pair in pairs))


def resolution_cells(probe: Probe) -> tuple[float, float]:
    """Returns how many widths of a point, at half its height, fit into the scan in depth and across."""
    axial = 2.355 * probe.axial_sigma() * probe.depth / (probe.samples - 1)
    lateral = SOUND_SPEED / probe.frequency * probe.f_number
    return probe.depth / axial, 2 * probe.half_angle * (probe.radius + 0.6 * probe.depth) / lateral


def speckle_cloud(scene: Scene, probe: Probe, rng: np.random.Generator) -> Cloud:
    """Returns points whose power per square millimetre is the scene's backscatter.

    They are as dense in depth and angle as the beam is: fewer per area where it is wide. One point lies
    somewhere in each box of a grid and amplitudes are evenly spread, which comes closest to the speckle of
    endlessly many points.
    """
    down, across = resolution_cells(probe)
    finer = min(POINTS_PER_CELL, MOST_POINTS / (down * across)) ** 0.5
    boxes = (int(finer * down), int(finer * across))
    half, count = 1.05 * probe.half_angle, boxes[0] * boxes[1]
    place = (np.indices(boxes).reshape(2, -1) + rng.random((2, count))) / np.array(boxes)[:, None]
    depth = (0.3 + place[0] * (probe.depth - 0.3)).astype(np.float32)
    angle = (half * (2 * place[1] - 1)).astype(np.float32)
    x, z = _point(probe, depth, angle)
    # The slice is thick: a point echoes as the tissue a little beside it does.
    beside = rng.normal(0, max(probe.slice_mm, 1e-6), (2, count)).astype(np.float32)
    echo = scene.paint(x + beside[0], z + beside[1], surface=probe.radius).echo
    density = count / (2 * half * (probe.depth - 0.3)) / (probe.radius + depth)
    size = np.sqrt(10 ** (echo / 10) / density) * rng.uniform(-(3**0.5), 3**0.5, count)
    return Cloud(x, z, size.astype(np.float32))


def interface_cloud(
    scene: Scene, probe: Probe, rng: np.random.Generator, lines: int = INTERFACE_LINES
) -> Cloud:
    """Returns points on the borders between impedances, found along many lines down from the probe."""
    step = 2 * probe.half_angle / (lines - 1)
    places = np.linspace(-probe.half_angle, probe.half_angle, lines) + rng.uniform(-0.5, 0.5, lines) * step
    depths = np.linspace(0, probe.depth, probe.samples, dtype=np.float32)
    grid = np.broadcast_arrays(depths[:, None], places.astype(np.float32)[None])

    def logs(depth: Floats, angle: Floats) -> Floats:
        return np.log(scene.paint(*_point(probe, depth, angle), surface=probe.radius).impedance)

    values = logs(*grid)
    row, line = np.nonzero(np.abs(np.diff(values, axis=0)) > JUMP)
    above, below, angle = depths[row], depths[row + 1], grid[1][0][line]
    before, jump = values[row, line], values[row + 1, line] - values[row, line]
    for _ in range(4):
        middle = (above + below) / 2
        still = np.abs(logs(middle, angle) - before) < np.abs(jump) / 2
        above, below = np.where(still, middle, above), np.where(still, below, middle)
    depth = (above + below) / 2 + rng.normal(0, ROUGHNESS_MM, len(row)).astype(np.float32)
    length = step * (probe.radius + depth)
    size = INTERFACE_GAIN * jump * length * rng.uniform(0.5, 1.5, len(row))
    return Cloud(*_point(probe, depth, angle), size.astype(np.float32))


def _point(probe: Probe, depth: Floats, angle: Floats) -> tuple[Floats, Floats]:
    r = probe.radius + depth
    return r * np.sin(angle), r * np.cos(angle) - np.float32(probe.radius)


def loss_per_mm(maps: Maps, probe: Probe) -> Floats:
    """Returns the one-way loss in dB per mm on the beam grid: absorption, and what interfaces send back."""
    loss = maps.attenuation * np.float32(probe.frequency / 10)
    above, below = maps.impedance[:-1], maps.impedance[1:]
    returned = -10 * np.log10(4 * above * below / (above + below) ** 2)
    loss[1:] += returned * np.float32((probe.samples - 1) / probe.depth)
    return loss


def path_amplitude(
    maps: Maps, probe: Probe, cloud: Cloud, angles: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Returns (angle, point): what is left of the amplitude on the straight way from places on the probe.

    Args:
        maps: on the grid of `probe`.
        angles: of the places on the probe's surface, rad.
    """
    loss = gaussian_filter(loss_per_mm(maps, probe), probe.samples_of(1.0))
    depth = np.linspace(0, probe.depth, COARSE[0], dtype=np.float32)[:, None]
    angle = np.linspace(-1.05, 1.05, COARSE[1], dtype=np.float32)[None] * probe.half_angle
    x, z = _point(probe, depth, angle)
    cloud_depth, cloud_angle = probe.beam_coordinates(cloud.x, cloud.z)
    rows = cloud_depth * ((COARSE[0] - 1) / probe.depth)
    columns = (cloud_angle / (1.05 * probe.half_angle) + 1) * ((COARSE[1] - 1) / 2)
    out = np.empty((len(angles), cloud.x.size), np.float32)
    for index, place in enumerate(angles):
        start = _point(probe, np.float32(0), np.float32(place))
        summed = np.minimum(_sum_along(loss, probe, start, (x, z)), DEAF_DB)
        decibel = map_coordinates(summed, [rows, columns], order=1, mode="nearest")
        out[index] = 10 ** (-decibel / 20)
    return out


def _sum_along(
    loss: Floats, probe: Probe, start: tuple[Floats, Floats], points: tuple[Floats, Floats]
) -> Floats:
    """The loss in dB from a start to each of many points, summed at `STEPS` places of the straight way."""
    total = np.zeros(points[0].shape, np.float32)
    dx, dz = points[0] - start[0], points[1] - start[1]
    for share in (np.arange(STEPS, dtype=np.float32) + 0.5) / STEPS:
        depth, angle = probe.beam_coordinates(start[0] + share * dx, start[1] + share * dz)
        row = np.clip(depth * ((probe.samples - 1) / probe.depth) + 0.5, 0, probe.samples - 1)
        line = (angle / probe.half_angle + 1) * ((probe.lines - 1) / 2) + 0.5
        total += loss[row.astype(np.intp), np.clip(line, 0, probe.lines - 1).astype(np.intp)]
    return total * np.hypot(dx, dz) / STEPS
