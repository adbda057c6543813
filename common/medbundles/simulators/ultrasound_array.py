"""Channel data of a convex array and their delay-and-sum beamforming.

Every shot leaves a part of the array as a circular wave from a point behind it; every element records what
comes back; images of all shots add up coherently. Sound travels in the plane at one speed. Times are
microseconds, lengths millimetres, frequencies MHz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter1d

from medbundles.simulators.ultrasound import SOUND_SPEED, Probe
from medbundles.simulators.ultrasound_maps import Floats
from medbundles.simulators.ultrasound_scatterers import Cloud

Complex = NDArray[np.complex64]

FAINT = 0.02  # share of its strongest direction below which a shot or an element is left out


@dataclass(frozen=True)
class ConvexArray:
    """Elements and shots of an array on the surface of a probe.

    Args:
        probe: surface, pulse and scan; its `f_number` is that of reception.
        elements: over the whole opening angle.
        shots: transmissions, their sources evenly spread along the array.
        behind: how far the source of a shot lies behind the surface.
        spread: standard deviation of a shot's strength around its direction, rad.
        widest: elements of the widest receiving aperture.
        rate: samples of the channels per microsecond.
        aberration: standard deviation of the elements' errors of delay, ns, from fat in the near wall.
    """

    probe: Probe
    elements: int = 128
    shots: int = 9
    behind: float = 18.0
    spread: float = 0.28
    widest: int = 64
    rate: float = 28.0
    aberration: float = 0.0

    @property
    def pitch(self) -> float:
        """Distance between neighbouring elements along the surface."""
        return 2 * self.probe.half_angle * self.probe.radius / self.elements

    def element_angles(self) -> Floats:
        """Of the elements from straight down, rad."""
        edge = self.probe.half_angle * (1 - 1 / self.elements)
        return np.linspace(-edge, edge, self.elements, dtype=np.float32)

    def shot_angles(self) -> Floats:
        """Directions of the shots, rad."""
        edge = self.probe.half_angle * (1 - 1 / self.shots)
        return np.linspace(-edge, edge, self.shots, dtype=np.float32)

    def on_circle(self, angle: float, radius: float) -> tuple[float, float]:
        """The point at an angle and a distance from the probe's centre of curvature."""
        return float(radius * np.sin(angle)), float(radius * np.cos(angle) - self.probe.radius)

    def shot(self, angle: float, x: Floats, z: Floats) -> tuple[Floats, Floats]:
        """How far a shot has travelled from the surface when it meets points, and how strong it is there."""
        sx, sz = self.on_circle(angle, self.probe.radius - self.behind)
        off = np.arctan2(x - sx, z - sz) - angle
        return np.hypot(x - sx, z - sz) - self.behind, np.exp(-0.5 * (off / self.spread) ** 2)

    def heard(self, angle: float, x: Floats, z: Floats) -> tuple[Floats, Floats]:
        """Distance of points from an element, and how well it hears them: it is as wide as the pitch."""
        ex, ez = self.on_circle(angle, self.probe.radius)
        distance = np.maximum(np.hypot(x - ex, z - ez), 1e-3)
        off = np.arctan2(x - ex, z - ez) - angle
        wide = self.pitch * self.probe.frequency / SOUND_SPEED
        return distance, np.maximum(np.cos(off), 0) * np.sinc(wide * np.sin(off))

    def half_aperture(self, depth: Floats) -> Floats:
        """Half width of the receiving aperture along the surface for an echo from a depth."""
        wide = np.maximum(depth / (2 * self.probe.f_number), 4 * self.pitch)
        return np.minimum(wide, self.widest / 2 * self.pitch)

    def delay_errors(self, rng: np.random.Generator) -> Floats:
        """Error in mm of the way to each element, alike in neighbours."""
        wave = gaussian_filter1d(rng.standard_normal(self.elements + 40), 5)[20:-20]
        return (self.aberration * 1e-3 * SOUND_SPEED * wave / wave.std()).astype(np.float32)


@dataclass(frozen=True)
class Channels:
    """Echoes (element, shot, time) as complex amplitude of a carrier, `rate` samples per microsecond."""

    samples: Complex
    rate: float
    carrier: float


def record(
    array: ConvexArray, cloud: Cloud, kept: NDArray[np.float32], errors: Floats | float = 0.0
) -> Channels:
    """Returns what the elements receive from points after every shot.

    Args:
        array: the array.
        cloud: the points.
        kept: (place, point) share of the amplitude left on the way from evenly spread places on the probe.
        errors: of the way to each element, mm.
    """
    order = np.argsort(np.arctan2(cloud.x, cloud.z + array.probe.radius))
    x, z, size, kept = cloud.x[order], cloud.z[order], cloud.amplitude[order], kept[:, order]
    errors = np.broadcast_to(np.asarray(errors, np.float32), array.elements)
    reach = 1.25 * 2 * (array.probe.depth + 10)
    length = fft.next_fast_len(int(reach / SOUND_SPEED * array.rate), real=True)
    shots = [_sent(array, angle, x, z, kept[_place(kept, array, angle)]) for angle in array.shot_angles()]
    band = _Band(array, length)
    rows = []
    for angle, error in zip(array.element_angles(), errors, strict=True):
        distance, ear = array.heard(angle, x, z)
        size_heard = size * ear * kept[_place(kept, array, angle)]
        traces = [
            _trace((distance[cut] + way + error) * (array.rate / SOUND_SPEED), size_heard[cut] * sent, length)
            for cut, way, sent in shots
        ]
        rows.append(band.complex_amplitude(np.stack(traces)))
    return Channels(np.stack(rows), band.rate, band.carrier)


def _place(kept: NDArray[np.float32], array: ConvexArray, angle: float) -> int:
    """Which of the places on the probe is nearest to an angle."""
    share = (angle / array.probe.half_angle + 1) / 2
    return int(np.clip(share * len(kept), 0, len(kept) - 1))


def _sent(
    array: ConvexArray, angle: float, x: Floats, z: Floats, kept: NDArray[np.float32]
) -> tuple[slice, Floats, Floats]:
    """The points that a shot reaches, its way to them and its strength there."""
    way, strength = array.shot(angle, x, z)
    reached = np.flatnonzero(strength > FAINT)
    cut = slice(int(reached[0]), int(reached[-1]) + 1) if len(reached) else slice(0, 0)
    return cut, way[cut], np.where(strength > FAINT, strength * kept, 0)[cut].astype(np.float32)


def _trace(place: Floats, size: Floats, length: int) -> Floats:
    """Impulses of a size at fractional places, shared between the two nearest samples."""
    inside = np.where((place >= 0) & (place < length - 2), size, 0)
    index = np.clip(place, 0, length - 2).astype(np.intp)
    part = place - index
    trace = np.bincount(index, inside * (1 - part), length)
    trace[1:] += np.bincount(index, inside * part, length)[:-1]
    return trace.astype(np.float32)


class _Band:
    """The pulse as a filter, followed by a shift of the carrier to zero and fewer samples."""

    def __init__(self, array: ConvexArray, length: int) -> None:
        step = array.rate / length
        self.first = round(array.probe.frequency / step)
        # A Gaussian pulse is 3 standard deviations wide here on each side; interpolation needs twice as much.
        deviation = 0.375 / (array.probe.bandwidth * array.probe.frequency)
        half = int(min(6.5 / (2 * np.pi * deviation), 0.48 * array.rate - array.probe.frequency) / step)
        self.bins = np.arange(-half, half)
        self.window = np.exp(-0.5 * (2 * np.pi * self.bins * step * deviation) ** 2)
        self.window[self.bins + self.first < 0] = 0
        self.window *= len(self.bins) / self.window.sum()
        self.rate, self.carrier = float(len(self.bins) * step), float(self.first * step)

    def complex_amplitude(self, traces: Floats) -> Complex:
        """Traces (shot, time) as complex amplitudes; an impulse of size 1 becomes a pulse of peak 1."""
        spectrum = fft.rfft(traces, axis=1)[:, np.maximum(self.bins + self.first, 0)]
        return fft.ifft(fft.ifftshift(spectrum * self.window, axes=1), axis=1).astype(np.complex64)


def beamform(array: ConvexArray, channels: Channels, x: Floats, z: Floats) -> Complex:
    """Returns the image at the points (depth, line) of a beam grid: a point of amplitude 1 has peak 1."""
    depth, angle = array.probe.beam_coordinates(x, z)
    image, weights = np.zeros(x.shape, np.complex64), np.zeros(x.shape, np.float32)
    cycles = np.float32(channels.carrier / SOUND_SPEED)
    shots = []
    for direction in array.shot_angles():
        way, strength = array.shot(direction, x, z)
        shots.append((way, strength * np.exp(2j * np.pi * cycles * way).astype(np.complex64)))
    half = array.half_aperture(depth)
    for index, place in enumerate(array.element_angles()):
        off = np.abs(angle[0] - place) * array.probe.radius
        lines = np.flatnonzero(off < half.max())
        if len(lines) == 0:
            continue
        cut = slice(int(lines[0]), int(lines[-1]) + 1)
        distance, _ = array.heard(place, x[:, cut], z[:, cut])
        share = np.clip(off[cut] / half[:, cut], 0, 1)
        weight = (0.5 + 0.5 * np.cos(np.pi * share)).astype(np.float32)
        turn = weight * np.exp(2j * np.pi * cycles * distance).astype(np.complex64)
        weights[:, cut] += weight
        for number, (way, wave) in enumerate(shots):
            time = (distance + way[:, cut]) * np.float32(channels.rate / SOUND_SPEED)
            image[:, cut] += turn * wave[:, cut] * _between(channels.samples[index, number], time)
    power = sum(np.abs(wave) ** 2 for _, wave in shots)
    return image / np.maximum(weights * power, 1e-3)


def _between(trace: Complex, time: Floats) -> Complex:
    """Values of a trace at fractional samples, linear."""
    index = np.clip(time, 0, len(trace) - 2).astype(np.intp)
    part = (time - index).astype(np.float32)
    return trace[index] + part * (trace[index + 1] - trace[index])
