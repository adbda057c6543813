"""B-mode from point scatterers and a simulated array: a second renderer of the same scenes, for evaluation.

It shares the anatomy, and nothing of the physics, with `medbundles.simulators.ultrasound`: echoes are
computed per point, shot and element, and the image is beamformed from them, so beam width, side lobes,
specular drop-out and the soft edges of shadows follow from the array. Not modelled: several echoes in turn,
the narrowing of the band with depth, what lies outside the plane. A frame takes 8 to 15 seconds of CPU.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medbundles.simulators.ultrasound import SOUND_SPEED, Echoes, Probe, complex_normal
from medbundles.simulators.ultrasound_array import Channels, ConvexArray, beamform, record
from medbundles.simulators.ultrasound_maps import Scene
from medbundles.simulators.ultrasound_scatterers import (
    Cloud,
    interface_cloud,
    path_amplitude,
    speckle_cloud,
)

GRID = {"lines": 256, "samples": 768}
PLACES = 16  # on the probe, from which the loss along paths is summed
MAX_F_NUMBER = 2.5
HANN = 1.5  # equivalent width of the receiving aperture's weights


def render_rf(
    scene: Scene, probe: Probe, rng: np.random.Generator, array: ConvexArray | None = None
) -> Echoes:
    """Returns the detected echoes of a scene, as `medbundles.simulators.ultrasound.render` does.

    The echoes lie on a grid of their own, which their `probe` describes.

    Args:
        scene: what is looked at.
        probe: surface, pulse, scan, gain and noise.
        rng: points and noise follow from it.
        array: elements and shots; an ordinary array when None.
    """
    probe = replace(probe, **GRID, f_number=min(probe.f_number, MAX_F_NUMBER))
    array = replace(array, probe=probe) if array else ConvexArray(probe, aberration=rng.uniform(0, 35))
    x, z = probe.grid()
    maps = scene.paint(x, z, surface=probe.radius)
    speckle = speckle_cloud(scene, probe, rng)
    scaled = Cloud(speckle.x, speckle.z, speckle.amplitude / np.float32(np.sqrt(cell_area(probe))))
    cloud = scaled + interface_cloud(scene, probe, rng)
    places = (np.arange(PLACES) + 0.5) / PLACES * 2 - 1
    kept = path_amplitude(maps, probe, cloud, places * probe.half_angle)
    channels = record(array, cloud, kept, array.delay_errors(rng) if array.aberration else 0.0)
    image = beamform(array, _with_noise(channels, array, rng), x, z)
    gain = 10 ** (2 * probe.tgc * probe.frequency * probe.depths() / 10 / 20)
    return Echoes((np.abs(image) * gain[:, None]).astype(np.float32), probe, maps)


def cell_area(probe: Probe) -> float:
    """Returns the area in square millimetres from which the power of an echo comes, for a constant aperture.

    Speckle points divided by its root make tissue of 0 dB have unit power.
    """
    axial = np.sqrt(np.pi) * probe.axial_sigma() * probe.depth / (probe.samples - 1)
    lateral = HANN * SOUND_SPEED / probe.frequency * probe.f_number
    return float(axial * lateral)


def _with_noise(channels: Channels, array: ConvexArray, rng: np.random.Generator) -> Channels:
    """Noise of each channel, such that the beamformed noise has about the probe's level."""
    averaged = array.widest / HANN * 0.5 * array.shots / 2
    size = np.float32(10 ** (array.probe.noise / 20) * np.sqrt(averaged))
    noise = size * complex_normal(rng, channels.samples.shape)
    return replace(channels, samples=channels.samples + noise)
