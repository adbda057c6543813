"""Which frames belong to one patient, and their amniotic fluid index or single deepest pocket.

Four quadrants give the index (AFI), fewer the single deepest pocket (SDP). Quadrants are told by the names of
the files, or by a folder that holds exactly four frames.
"""

from __future__ import annotations

import csv
import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amniotic_fluid.measure import DEEPEST
from medbundles.io import atomic_path, case_name
from medbundles.reports import read_report

if TYPE_CHECKING:
    from ignite.engine import Engine

logger = logging.getLogger(__name__)

AFI, SDP = "AFI", "SDP"
JSON_NAME, CSV_NAME = "afi.json", "afi.csv"
COLUMNS = ("patient", "index", "value", "unit", "range", "reason", "depths", "frames", "warnings")
NUMBERED, NAMED = ("q1", "q2", "q3", "q4"), ("ruq", "luq", "rlq", "llq")
QUADRANT = re.compile(r"(?<![a-z])(?:q|quadrant[ _-]?)([1-4])(?![a-z0-9])|(?<![a-z])([rl][ul]q)(?![a-z0-9])")
MOST_FRAMES = 4

MOORE = (
    "Moore TR. The role of amniotic fluid assessment in indicated preterm delivery. "
    "Semin Perinatol 2011; 35: 286-291."
)
SMFM = (
    "Dashe JS, Pressman EK, Hibbard JU. SMFM Consult Series #46: evaluation and management of "
    "polyhydramnios. Am J Obstet Gynecol 2018; 219: B2-B8."
)
INFORMATION = "cut-offs are information from the literature, not a diagnosis"
# In mm: what is below the first is called oligohydramnios, what reaches the second polyhydramnios.
CUT_OFFS = {AFI: (50.0, 240.0), SDP: (20.0, 80.0)}
SOURCES = {
    "oligohydramnios": {"AFI below mm": 50, "SDP below mm": 20, "source": MOORE},
    "polyhydramnios": {"AFI from mm": 240, "SDP from mm": 80, "source": SMFM, "note": "AFI: some use 250 mm"},
}


@dataclass(frozen=True)
class Frame:
    """What a run found in one frame.

    Attributes:
        source: the file, as the report names it.
        quadrant: q1 to q4, or ruq, luq, rlq, llq; empty when the name does not say.
        rest: the name of the file without the quadrant.
        depth: of the deepest pocket in mm, 0 without a pocket; None when it is not known.
        reason: why it is not known, or why there is no pocket.
        read: whether the frame could be read.
    """

    source: str
    quadrant: str
    rest: str
    depth: float | None
    reason: str = ""
    read: bool = True

    @classmethod
    def of(cls, case: Mapping[str, Any]) -> Frame:
        """Reads a case of a report."""
        quadrant, rest = split_name(case_name(case["input"]))
        return cls(str(case["input"]), quadrant, rest, *_depth(case))

    @property
    def name(self) -> str:
        """The name of the file."""
        return Path(self.source).name

    @property
    def folder(self) -> str:
        """Where the file lies."""
        return str(Path(self.source).parent)

    @property
    def system(self) -> tuple[str, ...]:
        """The four names that this quadrant is one of."""
        return NUMBERED if self.quadrant in NUMBERED else NAMED


def split_name(name: str) -> tuple[str, str]:
    """Returns the quadrant that a file's name says, in lower case, and the name without it."""
    found = QUADRANT.search(name.lower())
    if found is None:
        return "", name
    quadrant = f"q{found[1]}" if found[1] else found[2]
    rest = f"{name[: found.start()]}_{name[found.end() :]}"
    return quadrant, re.sub(r"[\s._-]+", "_", rest).strip("_")


def studies(frames: Iterable[Frame]) -> list[tuple[str, list[Frame]]]:
    """Returns the patients in a run: a name and the frames of each.

    The frames of a folder with exactly four of them are one patient's, unless their names say otherwise: a
    quadrant twice, or only some with a quadrant. Elsewhere frames whose names differ in the quadrant only
    belong together, and so do up to three frames without quadrants in a folder of their own. Any other frame
    stands alone.
    """
    found: list[tuple[str, list[Frame]]] = []
    folders = defaultdict(list)
    for frame in frames:
        folders[frame.folder].append(frame)
    for folder, members in folders.items():
        unnamed = not any(frame.quadrant for frame in members)
        if (unnamed and len(members) <= MOST_FRAMES) or _complete(members):
            found.append((Path(folder).name or folder, members))
        else:
            found += _by_name(folder, members)
    return found


def _by_name(folder: str, frames: Sequence[Frame]) -> list[tuple[str, list[Frame]]]:
    groups: dict[tuple[Any, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        key = (frame.rest.lower(), frame.system) if frame.quadrant else (frame.source,)
        groups[key].append(frame)
    return [(members[0].rest or Path(folder).name, members) for members in groups.values()]


def _complete(frames: Sequence[Frame]) -> bool:
    """Whether these are the four quadrants, each once."""
    return len(frames) == MOST_FRAMES and sorted(f.quadrant for f in frames) == sorted(frames[0].system)


def summary(patient: str, frames: Sequence[Frame]) -> dict[str, Any]:
    """Returns the index of one patient's frames, what it rests on, and where it lies among the cut-offs."""
    missing = _missing(frames)
    index = SDP if missing else AFI
    value, reason = _value(index, frames)
    reason = "; ".join(part for part in (missing, reason) if part)
    return {
        "patient": patient,
        "index": index,
        "value": value,
        "unit": "mm",
        "range": None if value is None else position(index, value),
        "reason": reason or None,
        "frames": [{"input": f.source, "quadrant": f.quadrant or None, "depth_mm": f.depth} for f in frames],
        "warnings": [f"{f.name}: {f.reason}" for f in frames if f.reason],
    }


def position(index: str, value: float) -> str:
    """Returns where a value lies among the cut-offs of its index, in words."""
    low, high = CUT_OFFS[index]
    if value < low:
        return f"below {low:g} mm, the cut-off for oligohydramnios"
    if value >= high:
        return f"{high:g} mm or more, the cut-off for polyhydramnios"
    return f"between the cut-offs of {low:g} and {high:g} mm"


def _missing(frames: Sequence[Frame]) -> str:
    """Returns why frames do not make an index; nothing if they do."""
    quadrants = [frame.quadrant for frame in frames]
    if unread := [frame.name for frame in frames if not frame.read]:
        return f"not the index: {', '.join(unread)} could not be read"
    if len(frames) == MOST_FRAMES and (not any(quadrants) or _complete(frames)):
        return ""
    if not any(quadrants):
        return f"not the index: {len(frames)} frame{'s' if len(frames) > 1 else ''} instead of four quadrants"
    twice = sorted({q for q in quadrants if quadrants.count(q) > 1})
    absent = [q for q in frames[0].system if q not in quadrants]
    parts = [f"{', '.join(twice)} is there more than once"] if twice else []
    parts += [f"{', '.join(absent)} missing"] if absent else []
    return f"not the index: {'; '.join(parts)}"


def _value(index: str, frames: Sequence[Frame]) -> tuple[float | None, str]:
    depths = [frame.depth for frame in frames if frame.depth is not None]
    if unknown := [frame.name for frame in frames if frame.read and frame.depth is None]:
        return None, f"no millimetres: {', '.join(unknown)} not calibrated"
    if index == AFI:
        return sum(depths), ""
    if not depths or max(depths) == 0:
        return None, "no pocket in the frames that were read" if depths else "no frame was read"
    return max(depths), ""


def _depth(case: Mapping[str, Any]) -> tuple[float | None, str, bool]:
    """Returns depth, reason and whether it was read of a case of a report, see `Frame`."""
    found = next((m for m in case.get("measurements", []) if m["name"] == DEEPEST), None)
    if found is None:
        return None, (case.get("error") or "no measurement").splitlines()[0], False
    if found["unit"] != "mm":
        return None, "not calibrated: no length in millimetres", True
    if found["value"] is None:
        return 0.0, f"{found['reason']}; it counts as 0 mm", True
    return float(found["value"]), "", True


class FluidIndexTable:
    """Writes `afi.json` and `afi.csv`, an entry per patient, when a run has ended, and logs a line for each.

    It reads the run's report, so that frames of earlier runs into the same folder count as well.

    Args:
        output_dir: the folder of the report.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.output_dir = Path(output_dir)

    def attach(self, engine: Engine) -> None:
        """Registers writing with the end of an evaluator's run."""
        from ignite.engine import Events

        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Writes both files whole and logs the patients."""
        patients = fluid_indices(read_report(self.output_dir)["cases"])
        write_indices(self.output_dir, patients)
        for patient in patients:
            logger.info("%s", line_of(patient))
        logger.info("%s: %s", INFORMATION, self.output_dir / JSON_NAME)


def fluid_indices(cases: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the summary of every patient in the cases of a report."""
    return [summary(patient, frames) for patient, frames in studies(Frame.of(case) for case in cases)]


def line_of(patient: Mapping[str, Any]) -> str:
    """Returns a patient's summary as a line of text."""
    value = "not measured" if patient["value"] is None else f"{patient['value']:.0f} mm"
    notes = [note for note in (patient["range"], patient["reason"]) if note]
    return f"{patient['patient']}: {patient['index']} {value}" + (f" ({'; '.join(notes)})" if notes else "")


def write_indices(folder: str | Path, patients: Sequence[Mapping[str, Any]]) -> None:
    """Writes `afi.json` and `afi.csv` to a folder, each whole or not at all."""
    folder = Path(folder)
    content = {"note": INFORMATION, "cut_offs": SOURCES, "patients": list(patients)}
    with atomic_path(folder / JSON_NAME) as path:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")
    with atomic_path(folder / CSV_NAME) as path, open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for patient in patients:
            depths = ["" if f["depth_mm"] is None else f"{f['depth_mm']:.1f}" for f in patient["frames"]]
            joined = {"depths": depths, "frames": [f["input"] for f in patient["frames"]]}
            joined["warnings"] = patient["warnings"]
            writer.writerow(dict(patient) | {key: "; ".join(values) for key, values in joined.items()})
