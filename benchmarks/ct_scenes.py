"""Test slices as scanned: noise realisations of one anatomy, and lesions and a disc that can be added.

Projection and reconstruction are linear, so a lesion is reconstructed once, without noise, and added to any
noisy slice: the same noise with and without it, or other noise. Lesions lie apart, so that each is alone.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medbundles.image_quality import body_mask, tissue_regions
from medbundles.simulators import ct
from medbundles.simulators.ct_lesions import Lesion, insert, random_lesions, room
from medbundles.zoo.find import add_to_path, find_bundle

BUNDLE = find_bundle("ct_lowdose_cyclegan_denoising")
add_to_path(BUNDLE)

from ct_cyclegan.anatomy import Anatomy, find_cases, slices_of  # noqa: E402
from ct_cyclegan.cases import evenly  # noqa: E402

Slice = NDArray[np.float32]
Mask = NDArray[np.bool_]
Place = tuple[int, int]

PLACES, PLACE_MM, ALONE_MM = 24, 3.0, 4.5  # lesions tried, their largest radius, the radius of one by itself
# Radius in mm and contrast in HU by name. The first is the one that curves show; it takes every second place.
KINDS = {
    "6 mm 20 HU": (3.0, 20.0),
    "4 mm 40 HU": (2.0, 40.0),
    "6 mm -20 HU": (3.0, -20.0),
}
MAIN_KIND = next(iter(KINDS))
DISC_MM, DISC_HU = (3.5, 8.0), 100.0  # least and largest radius of the disc whose edge is measured
REALISATIONS = 4
TISSUE_PX = 300
REGION_PX, CONTEXT_PX = 41, 16  # of a probe: what is measured, and what lies around it
SINGLE_THREAD = 1


@dataclass(frozen=True)
class Insert:
    """A lesion in a slice (x, y).

    Attributes:
        kind: a key of `KINDS`.
        place: the pixel of its centre.
        signal: what it adds to the slice, as reconstructed.
        mask, ring: the lesion and its background.
    """

    kind: str
    place: Place
    signal: Slice
    mask: Mask
    ring: Mask


@dataclass(frozen=True)
class Disc:
    """A disc that adds `DISC_HU` at a pixel, for its edge."""

    place: Place
    radius_mm: float
    signal: Slice


@dataclass(frozen=True)
class Scene:
    """A slice at one dose, all arrays (x, y) on the whole slice.

    Attributes:
        name, subject: of the case.
        pixel_mm: size of a pixel.
        dose: fraction of the routine dose.
        truth: without noise, without lesions.
        noisy: realisations of the noise, without lesions.
        window: where slices are compared.
        lesions: what can be added.
        disc: another thing that can be added, None where there is no room.
    """

    name: str
    subject: str
    pixel_mm: float
    dose: float
    truth: Slice
    noisy: tuple[Slice, ...]
    window: tuple[slice, slice]
    lesions: tuple[Insert, ...]
    disc: Disc | None

    @cached_property
    def added(self) -> Slice:
        """What all lesions add."""
        return sum((lesion.signal for lesion in self.lesions), np.zeros_like(self.truth))

    @cached_property
    def noise(self) -> float:
        """The standard deviation of the noise in the window, robust against streaks."""
        noise = np.concatenate([(one - self.truth)[self.window].ravel() for one in self.noisy])
        return float(1.4826 * np.median(np.abs(noise)))

    @cached_property
    def body(self) -> Mask:
        """The patient in the window."""
        body = body_mask(self.truth)[self.window]
        return body if body.any() else np.ones_like(body)

    @cached_property
    def surroundings(self) -> tuple[slice, slice]:
        """The box around the patient."""
        box = ndimage.find_objects(body_mask(self.truth).astype(np.uint8))
        return box[0] if box else self.window

    @cached_property
    def tissues(self) -> dict[str, Mask]:
        """The tissues in the patient that are large enough for a mean, in the box around it."""
        found = tissue_regions(self.truth)
        return {name: mask[self.surroundings] for name, mask in found.items() if mask.sum() >= TISSUE_PX}

    @cached_property
    def present_truth(self) -> Slice:
        """The window with all lesions, without noise."""
        return (self.truth + self.added)[self.window]

    @cached_property
    def pair(self) -> tuple[Slice, Slice]:
        """The window with all lesions and without, both in the first realisation of the noise."""
        absent = self.noisy[0][self.window]
        return absent + self.added[self.window], absent

    def probe(self, place: Place, reach: int = REGION_PX // 2 + CONTEXT_PX) -> tuple[slice, slice] | None:
        """The square around a pixel, None if it leaves the slice."""
        inside = all(reach <= p < n - reach for p, n in zip(place, self.truth.shape, strict=True))
        return tuple(slice(p - reach, p + reach + 1) for p in place) if inside else None


def test_slices(dataset_dir: str | Path, limit: int) -> list[Anatomy]:
    """A slice of each test case that has a routine dose, `limit` of them evenly spread, or all for 0."""
    cases = [case for case in find_cases(dataset_dir, "test") if case["routine"]]
    return [one for case in evenly(cases, limit or len(cases)) for one in slices_of(case, 1)]


def scenes(anatomy: Anatomy, scanner: ct.Scanner, doses: Sequence[float], crop: int) -> Iterator[Scene]:
    """The slice at each dose.

    Args:
        anatomy: the slice.
        scanner: that it is scanned on.
        doses: fractions of the routine dose.
        crop: pixels a side of the window, placed where most soft tissue is; 0 for the whole slice.
    """
    rng = np.random.default_rng([zlib.crc32(anatomy.name.encode()), 0])
    hu, pixel_mm = anatomy.routine, anatomy.pixel_mm
    machine = ct.projector(scanner, hu.shape, pixel_mm, SINGLE_THREAD)
    clean = machine.project(hu)
    truth = machine.reconstruct(clean)
    window = best_window(hu, pixel_mm, crop)
    lesions = _lesions(machine, anatomy, truth, window, rng)
    disc = _disc(machine, anatomy, truth, window)
    for dose in doses:
        noise = np.random.default_rng([zlib.crc32(anatomy.name.encode()), round(1e4 * dose)])
        noisy = [machine.reconstruct(machine.measure(clean, dose, noise)) for _ in range(REALISATIONS)]
        yield Scene(
            name=anatomy.name,
            subject=anatomy.subject,
            pixel_mm=pixel_mm,
            dose=dose,
            truth=truth,
            noisy=tuple(noisy),
            window=window,
            lesions=lesions,
            disc=disc,
        )


def best_window(hu: Slice, pixel_mm: float, crop: int) -> tuple[slice, slice]:
    """The square of `crop` pixels with the most places for lesions; the whole slice for 0."""
    if not crop or crop >= min(hu.shape):
        return slice(0, hu.shape[0]), slice(0, hu.shape[1])
    places = (room(hu, pixel_mm) >= PLACE_MM).astype(np.float32)
    share = ndimage.uniform_filter(places, crop, mode="constant")
    half = crop // 2
    share = share[half : half + hu.shape[0] - crop + 1, half : half + hu.shape[1] - crop + 1]
    x, y = np.unravel_index(int(np.argmax(share)), share.shape)
    return slice(int(x), int(x) + crop), slice(int(y), int(y) + crop)


def _lesions(
    machine: ct.Projector,
    anatomy: Anatomy,
    truth: Slice,
    window: tuple[slice, slice],
    rng: np.random.Generator,
) -> tuple[Insert, ...]:
    """Lesions of all kinds, the main one at every second place."""
    hu, pixel_mm = anatomy.routine, anatomy.pixel_mm
    places = random_lesions(
        hu[window], pixel_mm, rng, PLACES, contrast_hu=(1, 1), radius_mm=(PLACE_MM, PLACE_MM)
    )
    if not places:
        return ()
    others = [kind for kind in KINDS if kind != MAIN_KIND]
    kinds = [MAIN_KIND if i % 2 == 0 else others[i // 2 % len(others)] for i in range(len(places))]
    middles = [
        pixel_mm * ((w.start + w.stop - 1) / 2 - (n - 1) / 2) for w, n in zip(window, hu.shape, strict=True)
    ]
    lesions = [
        Lesion((at.centre_mm[0] + middles[0], at.centre_mm[1] + middles[1]), *KINDS[kind])
        for at, kind in zip(places, kinds, strict=True)
    ]
    inserted = insert(hu, pixel_mm, lesions)
    added = machine.reconstruct(machine.project(inserted.hu)) - truth
    own = insert(hu, pixel_mm, [replace(one, radius_mm=ALONE_MM) for one in lesions]).masks
    rings = inserted.rings(pixel_mm)
    return tuple(
        Insert(kind, _pixel(one, hu.shape, pixel_mm), np.where(own[i], added, 0), inserted.masks[i], rings[i])
        for i, (one, kind) in enumerate(zip(lesions, kinds, strict=True))
    )


def _disc(machine: ct.Projector, anatomy: Anatomy, truth: Slice, window: tuple[slice, slice]) -> Disc | None:
    """A disc where the even soft tissue is widest."""
    free = room(anatomy.routine, anatomy.pixel_mm)[window]
    at = np.unravel_index(int(np.argmax(free)), free.shape)
    place = (int(at[0]) + window[0].start, int(at[1]) + window[1].start)
    radius = min(DISC_MM[1], float(free[at]))
    if radius < DISC_MM[0]:
        return None
    middle = (np.array(anatomy.routine.shape) - 1) / 2
    centre = (np.array(place) - middle) * anatomy.pixel_mm
    disc = Lesion((float(centre[0]), float(centre[1])), radius, DISC_HU)
    with_disc = insert(anatomy.routine, anatomy.pixel_mm, [disc]).hu
    return Disc(place, radius, machine.reconstruct(machine.project(with_disc)) - truth)


def _pixel(lesion: Lesion, shape: tuple[int, ...], pixel_mm: float) -> Place:
    x, y = (round(c / pixel_mm + (n - 1) / 2) for c, n in zip(lesion.centre_mm, shape, strict=True))
    return x, y
