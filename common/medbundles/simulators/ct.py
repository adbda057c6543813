"""Low-dose CT by the physics of the projections, on any slice in HU.

A slice is projected, the detector counts quanta, the counts are reconstructed with a kernel; the noise-free
projections reconstructed with the same kernel are the truth. Images are HU, (x, y), x to the patient's left,
y to the back; sinograms are (view, bin). One energy: beam hardening and scatter are left out.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medbundles.errors import InputError
from medbundles.simulators.ct_fan import FanRays
from medbundles.simulators.ct_fourier import ParallelBeam, Rays
from medbundles.simulators.ct_noise import bowtie, measure, tube_current

Floats = NDArray[np.float32]

AIR = -1000.0
# Frequency in 1/mm where a kernel ends, and how much it lifts the upper part of its band: transfer falls to a
# half at 0.30, 0.40 and 0.70 per mm, to a tenth at 0.48, 0.64 and 0.88, if the pixels are fine enough.
KERNELS = {"smooth": (0.6, 0.0), "standard": (0.8, 0.0), "sharp": (1.0, 3.0)}


def _known(name: str, names: Sequence[str] | dict, kind: str) -> None:
    if name in names:
        return
    near = difflib.get_close_matches(str(name), list(names), 1)
    raise InputError(
        f"an unknown {kind}, '{name}'",
        expected=f"one of {', '.join(names)}",
        advice=f"did you mean '{near[0]}'?" if near else f"correct the name of the {kind}",
    )


@dataclass(frozen=True)
class Scanner:
    """A scanner and its protocol at full dose.

    Attributes:
        geometry: "parallel" measures half a turn of parallel rays; "fan" measures a full turn of a fan and
            rebins it to parallel rays, as scanners do.
        views: over that turn.
        bins, bin_mm: detector elements and their width, measured at the axis of rotation. Outside the field
            that they see there is air.
        kernel: a key of `KERNELS`.
        photons: quanta per reading at full dose and nominal tube current, without an object, on the axis.
        electronic: standard deviation of the electronic noise, quanta.
        bowtie: strength of the bowtie filter, see `ct_noise.bowtie`.
        exposure_control: strength of the automatic tube current, see `ct_noise.tube_current`.
        water: attenuation of water, 1/mm.
        source_mm: distance of the source from the axis, for a fan.
    """

    geometry: Literal["parallel", "fan"] = "parallel"
    views: int = 984
    bins: int = 920
    bin_mm: float = 0.6
    kernel: str = "standard"
    photons: float = 5.5e5
    electronic: float = 8.0
    bowtie: float = 0.35
    exposure_control: float = 0.6
    water: float = 0.0193
    source_mm: float = 595.0

    def __post_init__(self) -> None:
        _known(self.kernel, KERNELS, "kernel")
        _known(self.geometry, ("parallel", "fan"), "geometry")

    def with_kernel(self, kernel: str) -> Scanner:
        """The same scanner with another kernel."""
        return replace(self, kernel=kernel)

    @property
    def field_mm(self) -> float:
        """Radius of the circle that every view sees."""
        half = self.bins / 2 * self.bin_mm
        return self.source_mm * float(np.sin(half / self.source_mm)) if self.geometry == "fan" else half

    def distances(self) -> NDArray[np.float64]:
        """Distance of each bin's ray from the axis, mm, signed."""
        along = self.bin_mm * (np.arange(self.bins) - (self.bins - 1) / 2)
        return self.source_mm * np.sin(along / self.source_mm) if self.geometry == "fan" else along

    def response(self, frequency: NDArray[np.float64]) -> NDArray[np.float64]:
        """Transfer function of the kernel over frequency in 1/mm."""
        end, lift = KERNELS[self.kernel]
        place = np.minimum(frequency / end, 1)
        return (0.5 + 0.5 * np.cos(np.pi * place)) * (1 + lift * place**2)


# The scanner that training data are made with, and one that differs in all that shapes the noise.
TRAINED = Scanner()
OTHER = Scanner(
    geometry="fan",
    views=1440,
    bins=736,
    bin_mm=0.75,
    kernel="sharp",
    photons=6e5,
    electronic=12.0,
    bowtie=0.6,
    exposure_control=0.4,
)
SCANNERS = {"trained": TRAINED, "other": OTHER}


def scanner(name: str) -> Scanner:
    """Returns a scanner by name: "trained" or "other".

    Raises:
        InputError: there is none of this name.
    """
    _known(name, SCANNERS, "scanner")
    return SCANNERS[name]


class Projector:
    """Projection and reconstruction of one size of slice on one scanner; building one takes half a second.

    Args:
        scanner: the geometry and kernel.
        size: pixels of a square slice, or of x and y.
        pixel_mm: size of a pixel.
        threads: CPU threads; with more than one the last digits of an image vary between runs.
    """

    def __init__(
        self, scanner: Scanner, size: int | tuple[int, int], pixel_mm: float, threads: int = 2
    ) -> None:
        self.scanner, self.pixel_mm = scanner, pixel_mm
        self.shape = (size, size) if isinstance(size, int) else tuple(size)
        x, y = (pixel_mm * (np.arange(n) - (n - 1) / 2) for n in self.shape)
        self._outside = np.hypot(x[:, None], y) > scanner.field_mm
        self._fan = None
        width = scanner.bin_mm
        if scanner.geometry == "parallel":
            self._forward = self._backward = self._beam(
                Rays(scanner.views, scanner.bins, width, width), threads
            )
            return
        # Twice as fine as the detector, so that reading the fan off it loses nothing.
        fine = Rays(scanner.views, 2 * scanner.bins, width / 2, width)
        self._forward = self._beam(fine, threads)
        self._backward = self._beam(Rays(scanner.views // 2, scanner.bins, width, width), threads)
        self._fan = FanRays(scanner.views, scanner.bins, bin_mm=width, source_mm=scanner.source_mm, fine=fine)

    def _beam(self, rays: Rays, threads: int) -> ParallelBeam:
        return ParallelBeam(self.shape, self.pixel_mm, rays, response=self.scanner.response, threads=threads)

    def project(self, hu: Floats) -> Floats:
        """Returns the line integrals of attenuation (views, bins) that the detector sees of a slice in HU."""
        hu = np.asarray(hu)
        if hu.shape != self.shape or not np.isfinite(hu).all():
            raise ValueError(f"This needs a finite slice of shape {self.shape}, got one of {hu.shape}.")
        attenuation = np.clip(hu.astype(np.float32) / 1000 + 1, 0, None) * np.float32(self.scanner.water)
        attenuation[self._outside] = 0
        sinogram = self._forward.project(attenuation)
        return sinogram if self._fan is None else self._fan.sample(sinogram)

    def reconstruct(self, sinogram: Floats) -> Floats:
        """Returns the slice in HU from line integrals (views, bins); air outside the field."""
        if self._fan is not None:
            sinogram = self._fan.to_parallel(sinogram)
        hu = (self._backward.reconstruct(sinogram) / np.float32(self.scanner.water) - 1) * np.float32(1000)
        hu[self._outside] = AIR
        return hu

    def measure(self, sinogram: Floats, dose: float, rng: np.random.Generator) -> Floats:
        """Returns noise-free line integrals as measured at a fraction of the full dose."""
        if not dose > 0:
            raise ValueError(f"A dose is a positive fraction of the full dose, got {dose}.")
        s = self.scanner
        incident = s.photons * dose * bowtie(s.distances(), s.bowtie, s.water)
        return measure(sinogram, tube_current(sinogram, s.exposure_control) * incident, s.electronic, rng)


@lru_cache(maxsize=4)
def projector(scanner: Scanner, size: int | tuple[int, int], pixel_mm: float, threads: int = 2) -> Projector:
    """Returns a projector, one of the last few again if it was asked for before."""
    return Projector(scanner, size, pixel_mm, threads)


@dataclass(frozen=True)
class Acquisition:
    """One slice as reconstructed without noise and with it, HU."""

    truth: Floats
    image: Floats


def acquire(
    hu: Floats, pixel_mm: float, scanner: Scanner, dose: float, rng: np.random.Generator
) -> Acquisition:
    """Scans a slice.

    Args:
        hu: slice (x, y).
        pixel_mm: size of a pixel.
        scanner: the scanner and protocol.
        dose: fraction of the full dose.
        rng: source of the noise.
    """
    truth, images = acquire_doses(hu, pixel_mm, scanner, (dose,), rng)
    return Acquisition(truth, images[dose])


def acquire_doses(
    hu: Floats, pixel_mm: float, scanner: Scanner, doses: Sequence[float], rng: np.random.Generator
) -> tuple[Floats, dict[float, Floats]]:
    """Scans a slice at several doses, independently; returns the noise-free slice and one for each dose."""
    machine = projector(scanner, np.shape(hu), float(pixel_mm))
    clean = machine.project(hu)
    images = {dose: machine.reconstruct(machine.measure(clean, dose, rng)) for dose in doses}
    return machine.reconstruct(clean), images
