"""B-mode of a convex array by convolution in beam space.

Speckle is complex white noise weighted by the tissue maps and blurred by the pulse; interfaces answer where
they face the beam; absorption and transmission are summed along each line, so shadows and enhancement follow
from the maps. Lengths are millimetres, the origin is the middle of the probe's surface,
arrays are (depth, line).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from medbundles.simulators.ultrasound_maps import Floats, Maps, Scene

Echo = NDArray[np.complex64]

SOUND_SPEED = 1.54  # mm per microsecond
# A smooth interface answers only where it faces the beam, a rough one fades slowly as it turns away.
SMOOTH_EXPONENT, ROUGH_EXPONENT = 14.0, 2.5
SURFACE_MM = 0.35  # over which an interface is spread before its direction is taken
SMOOTH_GAIN, ROUGH_GAIN = 22.0, 4.0  # amplitude of a facing interface per unit of relative impedance per mm
APERTURE_LINES = 3.0  # over which an aperture averages what lies in its way
CLUTTER_LINES = 9.0  # lateral reach of the side lobes, in lines
BLOCKED = 60.0  # dB of two-way loss beyond which nothing more needs to be told apart


@dataclass(frozen=True)
class Probe:
    """A convex array and its receive settings.

    Args:
        radius: of the array's surface, mm.
        half_angle: rad.
        depth: of the scan below the surface, mm.
        frequency: MHz.
        bandwidth: relative to the frequency.
        focus: depth at which the beam is narrowest, mm.
        f_number: focal depth over aperture.
        lines, samples: size of the beam grid.
        tgc: gain over depth, dB per cm and MHz one way; 0.5 levels ordinary soft tissue.
        noise: electronic noise before gain, dB under a 0 dB tissue at the surface.
        clutter: side-lobe level in dB under the echo, -inf for none.
        slice_mm: thickness of the imaged slice, which blurs oblique borders; 0 for none.
        unevenness: dB by which the layers at the surface weaken some lines more than others.
    """

    radius: float = 50.0
    half_angle: float = 0.6
    depth: float = 140.0
    frequency: float = 3.5
    bandwidth: float = 0.6
    focus: float = 70.0
    f_number: float = 2.2
    lines: int = 400
    samples: int = 960
    tgc: float = 0.5
    noise: float = -90.0
    clutter: float = -28.0
    slice_mm: float = 0.0
    unevenness: float = 0.0

    def depths(self) -> Floats:
        """Depth of the samples below the surface, mm."""
        return np.linspace(0, self.depth, self.samples, dtype=np.float32)

    def angles(self) -> Floats:
        """Angle of the lines from straight down, rad."""
        return np.linspace(-self.half_angle, self.half_angle, self.lines, dtype=np.float32)

    def grid(self) -> tuple[Floats, Floats]:
        """x and z of the beam grid (depth, line)."""
        r, t = self.radius + self.depths()[:, None], self.angles()[None]
        return r * np.sin(t), r * np.cos(t) - np.float32(self.radius)

    def beam_coordinates(self, x: Floats, z: Floats) -> tuple[Floats, Floats]:
        """Depth in mm and angle in rad of points (x, z)."""
        return np.hypot(x, z + self.radius) - self.radius, np.arctan2(x, z + self.radius)

    def samples_of(self, length: float) -> tuple[float, float]:
        """A length in mm as samples and, halfway down, as lines; enough of them for smooth borders."""
        line = 2 * self.half_angle / (self.lines - 1) * (self.radius + 0.5 * self.depth)
        return length * (self.samples - 1) / self.depth, max(length / line, 0.9)

    def axial_sigma(self) -> float:
        """Standard deviation of the pulse's envelope in depth, samples."""
        # A Gaussian spectrum of width B at half its height has an envelope of deviation 0.375 / B.
        duration = 0.375 / (self.bandwidth * self.frequency)
        return duration * SOUND_SPEED / 2 * (self.samples - 1) / self.depth

    def lateral_sigma(self) -> Floats:
        """Standard deviation of the beam's width at each depth, lines: widest away from the focus."""
        r = self.depths()
        spread = np.clip(r / self.focus, 0.5, None) ** 0.3
        diffraction = 0.9 * SOUND_SPEED / self.frequency * self.f_number * spread
        width = np.hypot(diffraction, np.abs(r - self.focus) * 0.1 / self.f_number) / 2
        return (width / (self.radius + r) / (2 * self.half_angle / (self.lines - 1))).astype(np.float32)


@dataclass(frozen=True)
class Echoes:
    """Detected amplitude on the beam grid (depth, line) after gain, and the maps it came from."""

    amplitude: Floats
    probe: Probe
    maps: Maps = field(repr=False)


def render(scene: Scene, probe: Probe, rng: np.random.Generator) -> Echoes:
    """Returns the detected echoes of a scene: speckle, interfaces, attenuation, side lobes, noise, gain."""
    x, z = probe.grid()
    maps = scene.paint(x, z, surface=probe.radius)
    wave = np.sqrt(_through_slice(maps.echo, probe)) * complex_normal(rng, x.shape)
    wave += interfaces(maps.impedance, probe) * _rough_surface(rng, x.shape)
    wave *= 10 ** (-(two_way_loss(maps, probe) + _uneven(rng, probe)) / 20)
    wave = blur_pulse(wave, probe)
    if np.isfinite(probe.clutter):
        wave += _side_lobes(wave, probe, rng)
    wave += 10 ** (probe.noise / 20) * complex_normal(rng, x.shape)
    gain = 10 ** (2 * probe.tgc * probe.frequency * probe.depths() / 10 / 20)
    return Echoes((np.abs(wave) * gain[:, None]).astype(np.float32), probe, maps)


def two_way_loss(maps: Maps, probe: Probe) -> Floats:
    """Returns the loss to each sample and back in dB: absorption and transmission along the line.

    An aperture looks around a small obstacle, so the loss is averaged over neighbouring lines.
    """
    step = probe.depth / (probe.samples - 1) / 10
    loss = np.cumsum(maps.attenuation, axis=0) * np.float32(2 * probe.frequency * step)
    above, below = maps.impedance[:-1], maps.impedance[1:]
    transmitted = 4 * above * below / (above + below) ** 2
    loss[1:] -= np.cumsum(20 * np.log10(transmitted), axis=0)
    return gaussian_filter1d(
        np.minimum(loss, loss.min(axis=1, keepdims=True) + BLOCKED), APERTURE_LINES, axis=1
    )


def interfaces(impedance: Floats, probe: Probe) -> Floats:
    """Returns the specular amplitude: impedance gradient, weighted by how squarely the beam meets it."""
    logs = gaussian_filter(np.log(impedance), probe.samples_of(SURFACE_MM))
    along = np.gradient(logs, axis=0) / (probe.depth / (probe.samples - 1))
    arc = (probe.radius + probe.depths()) * (2 * probe.half_angle / (probe.lines - 1))
    across = np.gradient(logs, axis=1) / arc[:, None]
    size = np.hypot(along, across) + 1e-9
    facing = np.abs(along) / size
    answer = SMOOTH_GAIN * facing**SMOOTH_EXPONENT + ROUGH_GAIN * facing**ROUGH_EXPONENT
    return (answer * size).astype(np.float32)


def _through_slice(echo: Floats, probe: Probe) -> Floats:
    """Backscattered power; the slice is thick, so a border oblique to it mixes the tissues on both sides."""
    power = 10 ** (echo / 10)
    if probe.slice_mm == 0:
        return power
    return gaussian_filter(power, probe.samples_of(probe.slice_mm))


def _uneven(rng: np.random.Generator, probe: Probe) -> Floats:
    """Two-way loss per line in dB from fat and muscle above, smooth along the probe."""
    loss = np.zeros(probe.lines, np.float32)
    for lines in (10, 30, 80):
        wave = gaussian_filter1d(rng.standard_normal(probe.lines), lines, mode="reflect")
        loss += probe.unevenness * np.float32(0.58) * (wave / wave.std()).astype(np.float32)
    return loss


def blur_pulse(echoes: Echo, probe: Probe) -> Echo:
    """Convolves with the pulse: one length in depth, a width that follows the beam.

    The widths come from a short bank; every row blends the two nearest. Power of a uniform speckle is kept.
    """
    out = _unit_power_blur(echoes, probe.axial_sigma(), axis=0)
    sigma = probe.lateral_sigma()
    bank = np.geomspace(sigma.min(), sigma.max() * 1.0001, 6)
    place = np.interp(np.log(sigma), np.log(bank), np.arange(len(bank)))
    result = np.zeros_like(out)
    for index, width in enumerate(bank):
        weight = np.clip(1 - np.abs(place - index), 0, 1).astype(np.float32)
        rows = np.flatnonzero(weight)
        result[rows] += weight[rows, None] * _unit_power_blur(out[rows], width, axis=1)
    return result


def _unit_power_blur(values: Echo, sigma: float, axis: int) -> Echo:
    """Gaussian blur scaled so that white noise keeps its variance."""
    taps = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
    kernel = np.exp(-0.5 * (taps / max(sigma, 1e-3)) ** 2)
    kernel /= kernel.sum()
    blurred = gaussian_filter1d(values, max(sigma, 1e-3), axis=axis, mode="nearest")
    return (blurred / np.sqrt((kernel**2).sum())).astype(np.complex64)


def _side_lobes(echoes: Echo, probe: Probe, rng: np.random.Generator) -> Echo:
    """Off-axis echoes at the same depth: they fill fluid and shadows with haze."""
    spread = gaussian_filter(np.abs(echoes), (2.0, CLUTTER_LINES), truncate=3.0)
    return (10 ** (probe.clutter / 20) * spread).astype(np.float32) * complex_normal(rng, echoes.shape)


def complex_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Echo:
    """Circular complex noise of unit power."""
    noise = rng.standard_normal((*shape, 2), dtype=np.float32) * np.float32(np.sqrt(0.5))
    return noise.view(np.complex64)[..., 0]


def _rough_surface(rng: np.random.Generator, shape: tuple[int, ...]) -> Echo:
    """Phase and size of an interface's echo, wandering along it as tissue surfaces are rough."""
    coarse = complex_normal(rng, (shape[0] // 6 + 2, shape[1] // 3 + 2))
    rows = np.linspace(0, coarse.shape[0] - 1.001, shape[0])
    columns = np.linspace(0, coarse.shape[1] - 1.001, shape[1])
    near = coarse[np.round(rows).astype(int)][:, np.round(columns).astype(int)]
    return (0.6 + 0.5 * near).astype(np.complex64)
