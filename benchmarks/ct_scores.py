"""What a method does to a scene: decibels, lesions, bias, edges, the look of the noise, detectability.

Lesion recovery is measured by difference, in two ways:

* same noise: the slice with all lesions less the slice without them, both processed in the same realisation
  of the noise. Contrast of lesion against ring in that difference, as a part of the true one. Noise and
  anatomy cancel; this is the figure of the curves.
* other noise: the mean of two realisations with a lesion less the mean of two others without it, around each
  lesion alone. Noise stays in it and averages out over lesions and slices. Its expectation is the same; it
  would differ if a method read the lesion off the noise that both share.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from ct_scenes import CONTEXT_PX, KINDS, MAIN_KIND, REALISATIONS, REGION_PX, Insert, Scene, Slice
from numpy.typing import NDArray
from paired_tables import Row

from ct_cyclegan.scores import PEAK_HU  # found since ct_scenes is
from medbundles.image_quality import (
    contrast,
    contrast_recovery,
    edge_response,
    hu_bias,
    lesion_response,
    noise_power_spectrum,
    psnr,
    rmse,
    ssim,
)

GAIN, RECOVERY = "PSNR gain dB", "lesion recovery"
STRENGTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
EDGE_MARGIN = 0.75  # of the disc's radius
PROBED = 4  # lesions of a slice that are looked at in several realisations

Apply = Callable[[Slice, float], Slice]
Patches = NDArray[np.float32]


@dataclass(frozen=True)
class Method:
    """A way of denoising with one or several values of its parameter.

    Attributes:
        name: in the tables.
        settings: name of each setting to a function of image and noise in HU.
        usual: the setting at which everything is measured.
        is_ours: whether curves are compared with this one.
        is_filter: whether it is classical.
    """

    name: str
    settings: Mapping[str, Apply]
    usual: str
    is_ours: bool = False
    is_filter: bool = True


@dataclass
class Patchwork:
    """Patches (n, x, y) for the observer, without background, with and without a lesion of the main kind."""

    present: list[Patches] = field(default_factory=list)
    absent: list[Patches] = field(default_factory=list)


INPUT = Method("input", {"": lambda image, noise: image}, "")


def score_scene(method: Method, scene: Scene, *, sweep: bool, probes: bool) -> tuple[list[Row], Patchwork]:
    """Rows of a method on a scene, and its patches.

    Args:
        method: the method.
        scene: the scene.
        sweep: also all other settings, and all settings blended with their input.
        probes: also edge, noise power, recovery in other noise, and patches.
    """
    rows, patches = [], Patchwork()
    for setting, apply in method.settings.items():
        usual = setting == method.usual
        if not (usual or sweep):
            continue
        pair = _processed(scene, apply)
        axes = _two_axes(scene, *pair)
        row = {"strength": 1.0, **axes}
        if usual:
            row |= _whole(scene, *pair)
            row |= _probed(scene, apply, patches) if probes else {}
        blends = STRENGTHS if sweep and method.name != INPUT.name else ()
        rows += [_named(method, setting, row)]
        rows += [_named(method, setting, _blended(scene, pair, axes, strength)) for strength in blends]
    head = {"case": scene.name, "subject": scene.subject, "dose": scene.dose}
    return [head | row for row in rows], patches


def _named(method: Method, setting: str, row: Row) -> Row:
    return {"method": method.name, "parameter": setting, "usual": setting == method.usual, **row}


def _processed(scene: Scene, apply: Apply) -> tuple[Slice, Slice]:
    """The pair of the scene, processed with some of its surroundings."""
    wide = tuple(
        slice(max(w.start - CONTEXT_PX, 0), min(w.stop + CONTEXT_PX, n))
        for w, n in zip(scene.window, scene.truth.shape, strict=True)
    )
    inner = tuple(slice(w.start - v.start, w.stop - v.start) for w, v in zip(scene.window, wide, strict=True))
    absent = scene.noisy[0]
    images = (absent + scene.added, absent)
    return tuple(apply(np.ascontiguousarray(image[wide]), scene.noise)[inner] for image in images)


def _two_axes(scene: Scene, present: Slice, absent: Slice) -> Row:
    """PSNR gain over the body, and recovery by kind of lesion in the same noise."""
    row: Row = {GAIN: _gain(scene, present)}
    added = scene.added[scene.window]
    for kind in KINDS:
        found = [
            contrast_recovery((present - absent)[at], added[at], one.mask[scene.window][at], ring[at])
            for one in _of_kind(scene, kind)
            for ring in [one.ring[scene.window]]
            for at in [_box(ring)]
        ]
        if found:
            row[RECOVERY if kind == MAIN_KIND else f"{RECOVERY} {kind}"] = float(np.mean(found))
    return row


def _blended(scene: Scene, pair: tuple[Slice, Slice], axes: Row, strength: float) -> Row:
    """The two axes for a part of what was removed; a difference of blends is the blend of differences."""
    before = scene.pair[0]
    row = {name: 1 + strength * (value - 1) for name, value in axes.items() if name.startswith(RECOVERY)}
    return {"strength": strength, GAIN: _gain(scene, before + strength * (pair[0] - before)), **row}


def _gain(scene: Scene, present: Slice) -> float:
    errors = [
        np.mean(np.square(image - scene.present_truth)[scene.body], dtype=np.float64)
        for image in (scene.pair[0], present)
    ]
    return float(10 * np.log10(errors[0] / errors[1]))


def _whole(scene: Scene, present: Slice, absent: Slice) -> Row:
    """Figures over the body in the window, with lesions."""
    truth, body = scene.present_truth, scene.body
    row: Row = {
        "PSNR dB": psnr(present, truth, data_range=PEAK_HU, mask=body),
        "SSIM": ssim(present, truth, data_range=PEAK_HU, mask=body),
        "RMSE HU": rmse(present, truth, mask=body),
    }
    difference = present - absent
    left = [
        lesion_response(difference[at], np.zeros_like(difference[at]), one.signal[scene.window][at])
        for one in _of_kind(scene, MAIN_KIND)
        for at in [_box(one.signal[scene.window])]
    ]
    return row | ({"lesion response": float(np.mean(left))} if left else {})


def _bias(scene: Scene, apply: Apply) -> Row:
    """Mean error in each tissue of the whole patient, and the part of it that the input did not have."""
    at = scene.surroundings
    before = np.ascontiguousarray(scene.noisy[0][at])
    after = apply(before, scene.noise)
    bias, shift = hu_bias(after, scene.truth[at], scene.tissues), hu_bias(after, before, scene.tissues)
    return {f"bias {name} HU": value for name, value in bias.items()} | {
        f"shift {name} HU": value for name, value in shift.items()
    }


def _probed(scene: Scene, apply: Apply, patches: Patchwork) -> Row:
    """Figures from small squares in several realisations of the noise; adds to the patches."""
    row = _bias(scene, apply)
    row |= {} if (width := _edge_width(scene, apply)) is None else {"edge width ratio": width}
    recovered, noise = [], []
    for lesion, before, after in _lesion_probes(scene, apply):
        background = after.mean(axis=0)
        half = REALISATIONS // 2
        patches.present.append(before[:half] - background)
        patches.absent.append(after[half:] - background)
        recovered.append(_other_noise(scene, lesion, before[:half].mean(axis=0) - after[half:].mean(axis=0)))
        noise.append((after - background) * np.sqrt(REALISATIONS / (REALISATIONS - 1)))
    if recovered:
        power = noise_power_spectrum(np.concatenate(noise), scene.pixel_mm)
        row |= {
            f"{RECOVERY}, other noise": float(np.mean(recovered)),
            "noise HU": float(np.sqrt(power.variance)),
            "NPS peak 1/mm": power.peak,
            "NPS mean 1/mm": power.mean,
        }
    return row


def _edge_width(scene: Scene, apply: Apply) -> float | None:
    """The 10-90 % width of the disc's edge relative to that in the input.

    The mean over realisations of the processed slice with the disc less that without it. In the input this is
    the disc without noise, so that its width has no error.
    """
    disc = scene.disc
    at = None if disc is None else scene.probe(disc.place)
    if at is None:
        return None
    signal = disc.signal[at]
    changes = [apply(one[at] + signal, scene.noise) - apply(one[at], scene.noise) for one in scene.noisy]
    centre = [(n - 1) / 2 for n in signal.shape]
    margin = EDGE_MARGIN * disc.radius_mm
    try:
        widths = [
            edge_response(image, centre, disc.radius_mm, scene.pixel_mm, margin_mm=margin).width
            for image in (np.mean(changes, axis=0), signal)
        ]
    except ValueError:  # so blurred that it has no plateau in the margin, or the disc is gone
        return None
    return widths[0] / widths[1]


def _lesion_probes(scene: Scene, apply: Apply) -> Iterator[tuple[Insert, Patches, Patches]]:
    """The regions around lesions of the main kind, each alone, in every realisation: with it and without."""
    half = REALISATIONS // 2
    for lesion in _of_kind(scene, MAIN_KIND)[:PROBED]:
        at = scene.probe(lesion.place)
        if at is None:
            continue
        middle = (at[0].stop - at[0].start) // 2
        inner = (slice(middle - REGION_PX // 2, middle + REGION_PX // 2 + 1),) * 2
        absent = np.stack([apply(one[at], scene.noise)[inner] for one in scene.noisy])
        signal = lesion.signal[at]
        present = [apply(one[at] + signal, scene.noise)[inner] for one in scene.noisy[:half]]
        yield lesion, np.stack(present), absent


def _other_noise(scene: Scene, lesion: Insert, difference: Slice) -> float:
    at = scene.probe(lesion.place, REGION_PX // 2)
    true = contrast(lesion.signal[at], lesion.mask[at], lesion.ring[at])
    return contrast(difference, lesion.mask[at], lesion.ring[at]) / true


def _of_kind(scene: Scene, kind: str) -> list[Insert]:
    return [one for one in scene.lesions if one.kind == kind]


def _box(signal: Slice) -> tuple[slice, slice]:
    """The bounding box of what is not zero."""
    return tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(signal))
