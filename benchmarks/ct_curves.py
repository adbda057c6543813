"""Decibels against lesions: the curve of each method, and whether one lies outside the others.

A point is (recovery, gain). More decibels at the cost of lesions are worth nothing by themselves, so a curve
is compared with another at equal recovery: the best that the other reaches while it keeps at least as much
of the lesions. Recovery above 1 counts as 1, since a lesion made stronger is no better kept. Every curve
begins at the input, which any method gives back at a parameter of zero.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from ct_filters import FILTERS
from ct_scores import GAIN, INPUT, RECOVERY
from paired_tables import Row
from PIL import Image

from medbundles.drawing import BLACK, GREY, LABEL_COLOURS, WHITE, Overlay
from medbundles.io import atomic_path

Point = tuple[float, float]
Line = tuple[Point, ...]
Key = tuple[str, float]  # setting and strength

ORIGIN: Point = (1.0, 0.0)  # the input
RESAMPLES = 500
LOWEST_DB = -3.0  # in the picture
COLOURS = (*LABEL_COLOURS, "#98A2B0")  # of the curves; ours is white
SIZE, MARGINS = (1000, 720), (90, 40, 260, 80)  # left, top, right, bottom


@dataclass(frozen=True)
class Curves:
    """What a method reaches.

    Attributes:
        sweep: from the input along its parameter, all of the result taken.
        blends: for each setting, from the input to all of the result.
    """

    sweep: Line
    blends: tuple[Line, ...]


@dataclass(frozen=True)
class Verdict:
    """How a curve compares with another.

    Attributes:
        worst: the smallest lead over all of its points, dB at equal recovery.
        least: the smallest over its points beyond half of its largest gain.
        lead: the lead of its last point (strength 1).
        lower, upper: 95 % limits of `lead`, by resampling slices; None with fewer than 3.
        recovery: by how much more of the lesions it keeps than the other at the gain of its last point, None
            where the other does not reach that gain.
    """

    worst: float
    least: float
    lead: float
    lower: float | None
    upper: float | None
    recovery: float | None

    @property
    def outside(self) -> bool:
        """It has more gain than the other at each of its points."""
        return self.worst > 0


def best_gain(lines: Iterable[Line], recovery: float) -> float:
    """The largest gain on any of the lines at this recovery or more, -inf where none keeps so much.

    Between neighbouring points a line is taken to be straight.
    """
    return max((_highest(line, recovery) for line in lines), default=-np.inf)


def best_recovery(lines: Iterable[Line], gain: float) -> float:
    """The largest recovery, up to 1, on any of the lines at this gain or more; -inf where there is none."""
    turned = [tuple((g, min(r, 1.0)) for r, g in line) for line in lines]
    return max((_highest(line, gain, most=np.inf) for line in turned), default=-np.inf)


def compare(ours: Line, rival: Sequence[Line]) -> tuple[float, float, float, float | None]:
    """`worst`, `least`, `lead` and `recovery` of a `Verdict`.

    Args:
        ours: from weak to full strength, without the input itself.
        rival: the lines of the other method.
    """
    leads = [gain - best_gain(rival, recovery) for recovery, gain in ours]
    strong = [lead for lead, (_, gain) in zip(leads, ours, strict=True) if gain >= ours[-1][1] / 2]
    kept = min(ours[-1][0], 1.0) - best_recovery(rival, ours[-1][1])
    return (
        min(leads),
        min(strong, default=leads[-1]),
        leads[-1],
        kept if np.isfinite(kept) else None,
    )


def curves_of(rows: Iterable[Row]) -> dict[str, Curves]:
    """The curves of each method: means over cases at each setting and strength."""
    return {name: _curves(table) for name, table in _tables(rows).items() if name != INPUT.name}


def decide(rows: Sequence[Row], ours: str, *, seed: int = 0) -> dict[str, Verdict]:
    """Compares our curve over `strength` with each filter, swept, and also blended with its input.

    Args:
        rows: of one dose, per case, see `ct_scores.score_scene`.
        ours: name of our method.
        seed: of the resampling.
    """
    tables = _tables(rows)
    titles = {spec.title for spec in FILTERS.values()}
    own = tables[ours]
    verdicts = {}
    for name in (name for name in tables if name in titles):
        for blended in (False, True):
            figures = _figures(own, tables[name], blended, own.everyone)
            limits = _limits(own, tables[name], blended, seed)
            verdicts[f"{name} blended" if blended else name] = Verdict(*figures[:3], *limits, figures[3])
    return verdicts


def describe(name: str, verdict: Verdict) -> str:
    """A verdict as a sentence."""
    where = "outside" if verdict.outside else "NOT outside"
    limits = "" if verdict.lower is None else f" (95 % limits {verdict.lower:+.2f} to {verdict.upper:+.2f})"
    kept = (
        "which does not reach that gain at all"
        if verdict.recovery is None
        else f"and {verdict.recovery:+.3f} recovery at equal gain"
    )
    lead = f"{verdict.lead:+.2f} dB at equal recovery{limits}"
    least = f"at least {verdict.least:+.2f} beyond half of our gain and {verdict.worst:+.2f} anywhere"
    return f"{where} {name}: {lead}, {least}; {kept}"


def draw(curves: Mapping[str, Curves], path: Path, title: str, *, ours: str | None) -> None:
    """Draws gain against recovery; what is blended with its input is dashed."""
    picture = Image.new("RGB", SIZE, BLACK)
    axes = _Axes([ORIGIN, *(point for one in curves.values() for point in one.sweep)])
    overlay = Overlay(SIZE)
    axes.draw(overlay, title)
    for index, (name, one) in enumerate(curves.items()):
        colour = WHITE if name == ours else COLOURS[index % len(COLOURS)]
        for line in one.blends:
            for part in axes.visible(line):
                overlay.dashed(part, colour, dash=4)
        for part in axes.visible(one.sweep if len(one.sweep) > 2 else ()):
            overlay.line(part, colour, 2.4)
        for point in one.sweep[1:]:
            for part in axes.visible((point,)):
                overlay.cross(part[0], colour)
        overlay.text((SIZE[0] - MARGINS[2] + 24, MARGINS[1] + 20 + 26 * index), name, colour)
    overlay.onto(picture)
    with atomic_path(path) as temporary:
        picture.save(temporary)


@dataclass(frozen=True)
class _Table:
    """Recovery and gain (case, key, 2) of one method; the keys in order of setting and strength."""

    values: np.ndarray
    keys: tuple[Key, ...]

    @property
    def everyone(self) -> np.ndarray:
        return np.arange(len(self.values))

    def mean(self, cases: np.ndarray | None = None) -> dict[Key, Point]:
        values = self.values if cases is None else self.values[cases]
        return {
            key: (float(r), float(g))
            for key, (r, g) in zip(self.keys, np.nanmean(values, axis=0), strict=True)
        }


def _tables(rows: Iterable[Row]) -> dict[str, _Table]:
    """A table per method over the cases that have lesions, in the order of the rows."""
    rows = [row for row in rows if row.get(RECOVERY, "") != ""]
    cases = list(dict.fromkeys(row["case"] for row in rows))
    found = {}
    for name in dict.fromkeys(row["method"] for row in rows):
        members = {
            (row["parameter"], row["strength"], row["case"]): row for row in rows if row["method"] == name
        }
        keys = tuple(dict.fromkeys(key[:2] for key in members))
        values = [
            [[members[*key, case][RECOVERY], members[*key, case][GAIN]] for key in keys] for case in cases
        ]
        found[name] = _Table(np.array(values, float), keys)
    return found


def _curves(table: _Table, cases: np.ndarray | None = None) -> Curves:
    points = table.mean(cases)
    settings = dict.fromkeys(setting for setting, _ in table.keys)
    blends = []
    for setting in settings:
        strengths = sorted(strength for key, strength in table.keys if key == setting)
        blends.append((ORIGIN, *(points[setting, strength] for strength in strengths)))
    return Curves((ORIGIN, *(points[setting, 1.0] for setting in settings)), tuple(blends))


def _figures(
    own: _Table, other: _Table, blended: bool, cases: np.ndarray
) -> tuple[float, float, float, float | None]:
    ours = _curves(own, cases).blends[0][1:]
    curves = _curves(other, cases)
    rival = (curves.sweep, *curves.blends) if blended else (curves.sweep,)
    return compare(ours, rival)


def _limits(own: _Table, other: _Table, blended: bool, seed: int) -> tuple[float | None, float | None]:
    if len(own.values) < 3:
        return None, None
    rng = np.random.default_rng(seed)
    draws = [rng.choice(own.everyone, len(own.values)) for _ in range(RESAMPLES)]
    leads = [_figures(own, other, blended, cases)[2] for cases in draws]
    # Where the other keeps too little in a draw, the lead is infinite.
    return tuple(float(np.quantile(leads, q, method="nearest")) for q in (0.025, 0.975))


def _highest(line: Line, least: float, most: float = 1.0) -> float:
    """The largest second value on a line where the first, capped at `most`, is `least` or more."""
    least = min(least, most)
    found = [second for first, second in line if first >= least]
    for (x0, y0), (x1, y1) in pairwise(line):
        if min(x0, x1) < least <= max(x0, x1):
            found.append(y0 + (y1 - y0) * (least - x0) / (x1 - x0))
    return max(found, default=-np.inf)


class _Axes:
    """Recovery to the right, gain upwards."""

    def __init__(self, points: Sequence[Point]) -> None:
        recovery, gain = np.array(points, float).T
        self.x = (max(0.0, np.floor(10 * recovery.min()) / 10), min(1.5, max(1.05, recovery.max() + 0.02)))
        self.y = (max(LOWEST_DB, np.floor(gain.min())), np.ceil(gain.max() + 0.2))

    def at(self, point: Point) -> Point:
        left, top, right, bottom = MARGINS
        x = left + (point[0] - self.x[0]) / (self.x[1] - self.x[0]) * (SIZE[0] - left - right)
        y = top + (self.y[1] - point[1]) / (self.y[1] - self.y[0]) * (SIZE[1] - top - bottom)
        return float(x), float(y)

    def visible(self, line: Line) -> list[list[Point]]:
        """The parts of a line, in picture coordinates, whose points lie in the picture."""
        parts: list[list[Point]] = [[]]
        for x, y in line:
            if self.x[0] <= x <= self.x[1] and self.y[0] <= y <= self.y[1]:
                parts[-1].append(self.at((x, y)))
            else:
                parts.append([])
        return [part for part in parts if part]

    def draw(self, overlay: Overlay, title: str) -> None:
        """Grid, numbers and names."""
        for value in np.arange(np.ceil(10 * self.x[0]), np.floor(10 * self.x[1]) + 1) / 10:
            overlay.line([self.at((value, self.y[0])), self.at((value, self.y[1]))], GREY + "50", 0.8)
            x, y = self.at((value, self.y[0]))
            overlay.text((x, y + 18), f"{value:.1f}", GREY, anchor="mm")
        for value in np.arange(self.y[0], self.y[1] + 1):
            overlay.line([self.at((self.x[0], value)), self.at((self.x[1], value))], GREY + "50", 0.8)
            x, y = self.at((self.x[0], value))
            overlay.text((x - 12, y), f"{value:.0f}", GREY, anchor="rm")
        overlay.text((MARGINS[0], 20), title, WHITE)
        middle = self.at(((self.x[0] + self.x[1]) / 2, self.y[0]))
        overlay.text(
            (middle[0], middle[1] + 46), "lesion recovery (1 = kept, 0 = erased)", WHITE, anchor="mm"
        )
        overlay.text((16, MARGINS[1] - 20), "gain dB", WHITE)
