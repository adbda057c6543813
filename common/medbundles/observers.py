"""A channelised Hotelling observer: how well a known signal at a known place can be seen in noise.

Barrett HH, Myers KJ. Foundations of image science. Wiley 2004, chapter 14. Dense channels: Abbey CK,
Barrett HH. Human- and model-observer performance in ramp-spectrum noise. J Opt Soc Am A 2001; 18: 473-488.
There is no internal noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Abbey and Barrett's dense difference-of-Gaussian channels; frequencies in cycles per pixel.
_FIRST, _GROWTH, _BANDWIDTH = 0.005, 1.4, 1.67


@dataclass(frozen=True)
class Detectability:
    """What the observer reaches.

    Args:
        d_prime: distance between the scores with and without signal in units of their sd, on patches that the
            observer was not made from.
        auc: the part of pairs of such patches that it puts in the right order.
        estimate: d' without the bias of finite samples, if the channel outputs are Gaussian.
        lower: 95 % limits of `estimate`, exact for Gaussian outputs and independent patches.
        upper: the upper of them.
        n: patches with the signal and without it.
    """

    d_prime: float
    auc: float
    estimate: float
    lower: float
    upper: float
    n: tuple[int, int]


@dataclass(frozen=True)
class DetectabilityChange:
    """By how much d' differs between two processings of the same patches, with 95 % limits (jackknife)."""

    first: float
    second: float
    change: float
    lower: float
    upper: float
    n: int


def dog_channels(size: int, *, count: int = 10) -> Array:
    """Returns dense difference-of-Gaussian channels (size, size, count) around the middle of a patch."""
    widths = _FIRST * _GROWTH ** np.arange(count)
    radius = _radius(np.fft.fftfreq(size))
    response = np.exp(-0.5 * (radius[..., None] / (_BANDWIDTH * widths)) ** 2)
    response -= np.exp(-0.5 * (radius[..., None] / widths) ** 2)
    # A patch of even size has its middle between pixels.
    phase = np.exp(-2j * np.pi * np.fft.fftfreq(size) * (size - 1) / 2)
    channels = np.fft.ifft2(response * (phase[:, None] * phase[None])[..., None], axes=(0, 1)).real
    return channels / np.linalg.norm(channels, axis=(0, 1))


def gabor_channels(size: int, *, bands: int = 4, angles: int = 5, widest_px: float = 56.48) -> Array:
    """Returns Gabor channels (size, size, 2 * bands * angles), for signals that are not round.

    Args:
        size: pixels of a patch along each side.
        bands: octaves; each has half the width of the one before.
        angles: directions of the waves, evenly spread; each has an even and an odd channel.
        widest_px: the full width at half maximum of the first octave's envelope.
    """
    place = np.arange(size) - (size - 1) / 2
    x, y = place[:, None], place[None]
    channels = []
    for width in widest_px / 2.0 ** np.arange(bands):
        envelope = np.exp(-4 * np.log(2) * (x**2 + y**2) / width**2)
        # One octave wide at half maximum: the centre frequency is 3 / 2 times the lower limit.
        frequency = 3 * 2 * np.log(2) / (np.pi * width)
        for angle in np.pi * np.arange(angles) / angles:
            wave = 2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle))
            channels += [envelope * np.cos(wave), envelope * np.sin(wave)]
    stack = np.stack(channels, axis=-1)
    return stack / np.linalg.norm(stack, axis=(0, 1))


def channel_outputs(rois: ArrayLike, channels: Array) -> Array:
    """Returns what each channel sees in each patch: (n, x, y) -> (n, channels)."""
    patches = np.asarray(rois, dtype=np.float64)
    if patches.ndim != 3 or patches.shape[1:] != channels.shape[:2]:
        raise ValueError(f"Patches {patches.shape} do not fit channels {channels.shape}.")
    return np.tensordot(patches, channels, axes=2)


def detectability(
    present: ArrayLike, absent: ArrayLike, channels: Array, *, folds: int = 10, seed: int = 0
) -> Detectability:
    """Returns how well the channelised Hotelling observer tells patches with a signal from those without.

    Args:
        present: patches (n, x, y) with the signal in the middle.
        absent: patches (m, x, y) without it; other noise than that of `present`.
        channels: from `dog_channels` or `gabor_channels`.
        folds: parts into which the patches are cut; the observer for each is made from the others.
        seed: of the cut.
    """
    first, second = channel_outputs(present, channels), channel_outputs(absent, channels)
    _enough(len(first), len(second), first.shape[1], folds)
    with_signal, without = _held_out_scores(first, second, folds, seed)
    spread = np.sqrt((with_signal.var(ddof=1) + without.var(ddof=1)) / 2)
    lower, upper = _limits(first, second)
    return Detectability(
        d_prime=float((with_signal.mean() - without.mean()) / spread),
        auc=_auc(with_signal, without),
        estimate=_unbiased(first, second),
        lower=lower,
        upper=upper,
        n=(len(first), len(second)),
    )


def detectability_change(
    first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike], channels: Array
) -> DetectabilityChange:
    """Returns by how much the unbiased d' of `second` exceeds that of `first`.

    Args:
        first: patches (n, x, y) with the signal and without it, as they came.
        second: the same patches processed, in the same order.
        channels: from `dog_channels` or `gabor_channels`.
    """
    stacks = [[channel_outputs(rois, channels) for rois in pair] for pair in (first, second)]
    n = len(stacks[0][0])
    if any(len(stack) != n for pair in stacks for stack in pair):
        raise ValueError("All four stacks need the same number of patches, in the same order.")
    _enough(n - 1, n - 1, stacks[0][0].shape[1], 2)
    values = np.array([_unbiased(*pair) for pair in stacks])
    left_out = _jackknife(lambda keep: [_unbiased(a[keep], b[keep]) for a, b in stacks], n)
    changes = left_out[:, 1] - left_out[:, 0]
    error = np.sqrt((n - 1) / n * np.sum((changes - changes.mean()) ** 2))
    change = float(values[1] - values[0])
    return DetectabilityChange(*values.tolist(), change, change - 1.96 * error, change + 1.96 * error, n)


def _radius(frequency: Array) -> Array:
    return np.hypot(frequency[:, None], frequency[None])


def _enough(n: int, m: int, channels: int, folds: int) -> None:
    if folds < 2 or min(n, m) < 2 * folds or n + m < 2 * channels + 4:
        raise ValueError(f"{n} and {m} patches are too few for {channels} channels and {folds} folds.")


def _template(present: Array, absent: Array) -> tuple[Array, float]:
    """Returns the Hotelling template and the squared distance of the two means that it reaches here."""
    shift = present.mean(axis=0) - absent.mean(axis=0)
    template = np.linalg.solve(_covariance(present, absent), shift)
    return template, float(template @ shift)


def _covariance(present: Array, absent: Array) -> Array:
    centred = np.concatenate([present - present.mean(axis=0), absent - absent.mean(axis=0)])
    return centred.T @ centred / (len(centred) - 2)


def _held_out_scores(present: Array, absent: Array, folds: int, seed: int) -> tuple[Array, Array]:
    """Returns the scores of all patches, each from an observer that did not see it, in units of its noise."""
    rng = np.random.default_rng(seed)
    fold_1 = rng.permutation(np.arange(len(present)) % folds)
    fold_2 = rng.permutation(np.arange(len(absent)) % folds)
    scores_1, scores_2 = np.empty(len(present)), np.empty(len(absent))
    for fold in range(folds):
        inner_1, inner_2 = present[fold_1 != fold], absent[fold_2 != fold]
        template, squared = _template(inner_1, inner_2)
        middle = (inner_1.mean(axis=0) + inner_2.mean(axis=0)) / 2
        scale = np.sqrt(squared) or 1.0
        scores_1[fold_1 == fold] = (present[fold_1 == fold] - middle) @ template / scale
        scores_2[fold_2 == fold] = (absent[fold_2 == fold] - middle) @ template / scale
    return scores_1, scores_2


def _unbiased(present: Array, absent: Array) -> float:
    """Returns d' from the squared distance without the bias of an inverse Wishart matrix."""
    squared = _template(present, absent)[1]
    freedom, channels = len(present) + len(absent) - 2, present.shape[1]
    shrunk = (freedom - channels - 1) / freedom * squared
    return float(np.sqrt(max(shrunk - channels * (1 / len(present) + 1 / len(absent)), 0.0)))


def _limits(present: Array, absent: Array) -> tuple[float, float]:
    """Returns the 95 % limits of d': Hotelling's T² follows a noncentral F distribution."""
    n, m, channels = len(present), len(absent), present.shape[1]
    weight, freedom = n * m / (n + m), n + m - 2
    other = freedom - channels + 1
    statistic = other / (freedom * channels) * weight * _template(present, absent)[1]
    return tuple(
        float(np.sqrt(_noncentrality(statistic, channels, other, level) / weight)) for level in (0.975, 0.025)
    )


def _noncentrality(statistic: float, channels: int, other: int, level: float) -> float:
    """Returns the noncentrality for which `statistic` is the quantile `level`; 0 when there is none."""
    from scipy import optimize, special

    def excess(noncentrality: float) -> float:
        return float(special.ncfdtr(channels, other, noncentrality, statistic)) - level

    if excess(0.0) <= 0:
        return 0.0
    top = channels * statistic + 10.0
    while excess(top) > 0:
        top *= 2
    return float(optimize.brentq(excess, 0.0, top))


def _auc(present: Array, absent: Array) -> float:
    from scipy import stats

    ranks = stats.rankdata(np.concatenate([present, absent]))[: len(present)]
    return float((ranks.sum() - len(present) * (len(present) + 1) / 2) / (len(present) * len(absent)))


def _jackknife(statistic: Callable[[Array], list[float]], n: int) -> Array:
    keep = np.ones(n, dtype=bool)
    rows = []
    for index in range(n):
        keep[index] = False
        rows.append(statistic(keep))
        keep[index] = True
    return np.array(rows)
