"""Does a process that works for long grow? Many cases through one process, memory looked at after each."""

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import robustness_jobs as jobs
from PIL import Image as Picture
from robustness_subjects import CT, FETAL, volume

from medbundles.drawing import BLACK, GREY, LABEL_COLOURS, WHITE, Overlay
from medbundles.evaluation import write_rows
from medbundles.io import atomic_path, read_image, write_image
from medbundles.logs import ABOUT
from medbundles.memory import resident_bytes
from medbundles.zoo.demo import simulate
from medbundles.zoo.find import find_bundle

logger = logging.getLogger(__name__)

NAME = "robustness_soak"
COLUMNS = ["subject", "case", "seconds", "memory MB", "open files", "threads"]
WARM_UP = 0.2  # share of the cases before memory is expected to stay
SIMULATED = 10  # different frames; the others are these with other gain and noise
MB = 1e6
SIZE, LEFT, GAP = (1000, 640), 90, 60


@dataclass(frozen=True)
class Sample:
    """What a process held after a case."""

    subject: str
    case: int
    seconds: float
    memory_mb: float
    files: int
    threads: int


def soak(work: str, *, frames: int = 1000, volumes: int = 50, out: str = "benchmarks/results") -> None:
    """Sends many simulated cases through one process each and writes what it held after every one.

    Args:
        work: folder for inputs and results.
        frames: of ultrasound; what the table has of them stays if there are none.
        volumes: stacks of CT slices; likewise.
        out: folder of the table and the picture.
    """
    place, table, samples = Path(work).resolve(), Path(out) / f"{NAME}.csv", []
    for name, bundle, count, write, options in (
        ("ultrasound frames", FETAL, frames, write_frames, ["--mirror=false"]),
        ("CT stacks of one size", CT, volumes, write_equal_stacks, []),
        ("CT stacks of all sizes", CT, volumes, write_stacks, []),
    ):
        folder = place / name.replace(" ", "_")
        if count and len(list(folder.glob("[!.]*"))) != count:
            write(folder, count)
        if count:
            samples += measure(name, find_bundle(bundle), folder, options)
            logger.info("%s", verdict([sample for sample in samples if sample.subject == name]))
        else:
            samples += [sample for sample in read(table) if sample.subject == name]
    rows = [dict(zip(COLUMNS, vars(sample).values(), strict=True)) for sample in samples]
    write_rows(rows, table)
    draw(samples, Path(out) / f"{NAME}.png")


def measure(name: str, bundle: Path, inputs: Path, options: Sequence[str] = ()) -> list[Sample]:
    """Runs a bundle on a folder in one process and returns a sample per case.

    Raises:
        RuntimeError: it failed.
    """
    results = inputs.with_name(f"{inputs.name}_results")
    table, log = inputs.with_name(f"{inputs.name}.csv"), inputs.with_name(f"{inputs.name}.log")
    words = ["predict", str(bundle), str(inputs), str(results), "--overwrite=true", *options]
    process = jobs.spawn(_sampled, words, str(log), str(table))
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{name}: {log.read_text(errors='replace')[-1000:]}")
    with open(table, newline="") as file:
        rows = list(csv.reader(file))
    return [
        Sample(name, number + 1, float(s), round(int(m) / MB, 2), int(f), int(t))
        for number, (s, m, f, t) in enumerate(rows)
    ]


def read(table: Path) -> list[Sample]:
    """The samples of a table; none if there is none."""
    if not table.is_file():
        return []
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return [Sample(name, int(n), float(s), float(m), int(f), int(t)) for name, n, s, m, f, t in rows]


def growth(samples: Sequence[Sample]) -> float:
    """MB per 100 cases: the slope of a line through the memory after the warm-up."""
    rest = samples[int(WARM_UP * len(samples)) :]
    if len(rest) < 2:
        return 0.0
    return 100 * float(np.polyfit([s.case for s in rest], [s.memory_mb for s in rest], 1)[0])


def verdict(samples: Sequence[Sample]) -> str:
    """What came out for a subject, as a line."""
    first, last = samples[0], samples[-1]
    warm = samples[int(WARM_UP * len(samples))]
    memory = f"{first.memory_mb:.0f} MB after the first case, {warm.memory_mb:.0f} MB after the warm-up"
    slope = f"{growth(samples):+.2f} MB per 100 cases over the last {1 - WARM_UP:.0%}"
    return (
        f"{first.subject}: {len(samples)} cases in one process, {slope}; {memory}, {last.memory_mb:.0f} MB "
        f"at the end; open files {first.files} to {last.files}, threads {first.threads} to {last.threads}"
    )


def write_frames(folder: Path, count: int) -> None:
    """Writes frames of a few simulated ones with other gain and noise."""
    source = folder.with_name("simulated_frames")
    if not source.exists():
        simulate(find_bundle(FETAL), source, min(SIMULATED, count), 0)
    images = [read_image(path) for path in sorted((source / "images").iterdir())]
    rng = np.random.default_rng(0)
    for number in range(count):
        image = images[number % len(images)]
        values = image.array.astype(float) * rng.uniform(0.8, 1.1)
        values += (values > 0) * rng.normal(0, 3, values.shape)  # outside the beam it stays black
        pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        write_image(pixels, folder / f"frame_{number:04d}.nii.gz", affine=image.affine)


def write_stacks(
    folder: Path, count: int, sides: Sequence[int] = range(64, 97), slices: Sequence[int] = range(6, 13)
) -> None:
    """Writes stacks of CT slices with sides and numbers of slices drawn from these."""
    rng = np.random.default_rng(0)
    for number in range(count):
        side, planes = int(rng.choice(sides)), int(rng.choice(slices))
        values = volume((side, side, planes), seed=number)
        write_image(values[None], folder / f"stack_{number:03d}.nii.gz", affine=np.diag([-1.0, -1, 2, 1]))


def write_equal_stacks(folder: Path, count: int) -> None:
    """Writes stacks of one size."""
    write_stacks(folder, count, sides=[80], slices=[9])


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Draws memory over cases, one panel per subject."""
    names = list(dict.fromkeys(sample.subject for sample in samples))
    picture, overlay = Picture.new("RGB", SIZE, BLACK), Overlay(SIZE)
    height = (SIZE[1] - GAP * (len(names) + 1)) / max(1, len(names))
    for index, name in enumerate(names):
        own = [sample for sample in samples if sample.subject == name]
        _panel(overlay, own, GAP + index * (height + GAP), height, LABEL_COLOURS[index])
    overlay.onto(picture)
    with atomic_path(path) as temporary:
        picture.save(temporary)


def _panel(overlay: Overlay, own: Sequence[Sample], top: float, height: float, colour: str) -> None:
    highest = 1.15 * max(sample.memory_mb for sample in own)
    step = 10 ** np.floor(np.log10(highest / 2))
    step *= 1 if highest / step < 8 else 2 if highest / step < 16 else 5

    def at(case: float, memory: float) -> tuple[float, float]:
        x = LEFT + (case - 1) / max(1, len(own) - 1) * (SIZE[0] - LEFT - 40)
        return float(x), float(top + height * (1 - memory / highest))

    for level in np.arange(0, highest, step):
        overlay.line([at(1, level), at(len(own), level)], GREY + "50", 0.8)
        overlay.text((LEFT - 12, at(1, level)[1]), f"{level:.0f}", GREY, anchor="rm")
    for case in np.unique(np.linspace(1, len(own), 6).astype(int)):
        overlay.text((at(case, 0)[0], top + height + 16), str(case), GREY, anchor="mm")
    overlay.line([at(s.case, s.memory_mb) for s in own], colour, 2.0)
    title = f"{own[0].subject}: resident memory, MB, after each case; {growth(own):+.2f} MB per 100 cases"
    overlay.text((LEFT, top - 30), title, WHITE)


class _Sampler(logging.Handler):
    """Notes after each case what this process holds."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.file = open(path, "w", newline="")

    def emit(self, record: logging.LogRecord) -> None:
        facts = getattr(record, ABOUT, {})
        if "status" in facts:
            files, threads = (len(list(Path(f"/proc/self/{kind}").iterdir())) for kind in ("fd", "task"))
            csv.writer(self.file).writerow([facts["seconds"], resident_bytes(), files, threads])
            self.file.flush()


def _sampled(words: list[str], log: str, table: str) -> None:
    logging.getLogger("medbundles.engines").addHandler(_Sampler(table))
    jobs.run_here(words, log, jobs.Trouble())
