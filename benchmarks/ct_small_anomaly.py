"""Do training data decide whether a small anomaly survives denoising? Discs and rectangles tell.

Three training sets: no anomaly at all; anomalies in the rectangle only; anomalies in the disc. Two ways to
learn without pairs: a GAN that must stay near its input (Park et al., IEEE Access 7, 2019: 110414) and a
CycleGAN. The test: anomalies in the disc. See README.md beside this file.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import ct_scenes  # noqa: F401  puts the bundle on the path
import fire
import numpy as np
import torch
from ct_anomaly_phantoms import DISC, NOISE, RECTANGLE, Host, Phantom, Picture, UnpairedPhantoms, phantom
from ct_filters import gaussian, total_variation
from paired_tables import Row, table
from PIL import Image
from torch.utils.data import DataLoader

from ct_cyclegan.judge import NoiseJudge  # found since ct_scenes is
from ct_cyclegan.network import DenoisingGenerator
from medbundles.adversarial import (
    AdversarialTerm,
    AdversarialTrainer,
    CycleTranslation,
    FunctionTerm,
    ImagePool,
    Judgement,
    L1Term,
    parameters,
)
from medbundles.drawing import BLACK, WHITE, Overlay
from medbundles.evaluation import write_rows
from medbundles.handlers import ResumableCheckpoint
from medbundles.image_quality import contrast, contrast_recovery, rmse
from medbundles.io import atomic_path
from medbundles.metrics import summary
from medbundles.reproducible import seed_everything

logger = logging.getLogger(__name__)

SETS: dict[str, Host] = {"no anomaly": "nothing", "in the rectangle": "rectangle", "in the disc": "disc"}
GAN, CYCLE = "GAN with fidelity", "CycleGAN"
WIDTH, MODULES, CONVOLUTIONS, JUDGE_WIDTH = 12, 2, 2, 16
FIDELITY, CYCLE_WEIGHT = 10.0, 10.0
BATCH, LEARNING_RATE, EPOCHS = 4, 5e-4, 10
TEST_SEED, TRAIN_SEED = 1, 0
NAME = "ct_small_anomaly"
SCORES = ("recovery", "recovery, other noise", "RMSE")

Denoise = Callable[[Picture], Picture]


def run(
    work: str, *, out: str = "benchmarks/results", steps: int = 300, tests: int = 200, seed: int = 0
) -> None:
    """Trains what is not trained yet, measures, and writes csv, page and picture.

    Args:
        work: the folder of the runs; one that was stopped goes on where its last epoch ended.
        out: the folder of the results.
        steps: optimiser steps of each training, the same in a run that goes on.
        tests: pictures that are measured.
        seed: of the networks.
    """
    methods = {
        (name, kind): _denoiser(train(host, kind, Path(work) / _folder(name, kind), steps=steps, seed=seed))
        for name, host in SETS.items()
        for kind in (GAN, CYCLE)
    }
    rows = measure(methods | classical(), tests)
    summaries = summarise(rows)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(rows, folder / f"{NAME}.csv")
    write_rows(summaries, folder / f"{NAME}_summary.csv")
    with atomic_path(folder / f"{NAME}.md") as path:
        path.write_text(page(summaries, steps), encoding="utf-8")
    draw(methods, folder / f"{NAME}.png")
    for row in summaries:
        logger.info("%s", row)


def train(host: Host, kind: str, folder: Path, *, steps: int, seed: int) -> DenoisingGenerator:
    """Returns the generator from noisy to clean, trained on anomalies in `host`, or none."""
    seed_everything(seed)
    cycle = kind == CYCLE
    generators = {"to_clean": _generator()} | ({"to_noisy": _generator()} if cycle else {})
    judges = {"judge_clean": _judge()} | ({"judge_noisy": _judge()} if cycle else {})
    optimizers = {
        "generator_optimizer": torch.optim.Adam(parameters(generators), LEARNING_RATE, betas=(0.5, 0.999)),
        "discriminator_optimizer": torch.optim.Adam(parameters(judges), LEARNING_RATE, betas=(0.5, 0.999)),
    }
    pools = {name: ImagePool(50) for name in judges}
    epochs = min(EPOCHS, steps)
    length = max(1, steps // epochs)
    data = DataLoader(UnpairedPhantoms(host, BATCH * length, TRAIN_SEED), BATCH, shuffle=True)
    objects = generators | judges | optimizers | {f"pool_{name}": pool for name, pool in pools.items()}
    trainer = AdversarialTrainer(
        "cpu",
        epochs,
        data,
        generators=generators,
        discriminators=judges,
        step=CycleTranslation("noisy", "clean", forward="to_clean", backward="to_noisy" if cycle else None),
        terms=_terms(cycle),
        judgements={
            name: Judgement(name, real, f"fake_{real}", pool=pools[name])
            for name in judges
            for real in [name.removeprefix("judge_")]
        },
        train_handlers=[ResumableCheckpoint(folder, objects, resume=True, seed=seed)],
        **optimizers,
    )
    logger.info("training %s", folder.name)
    trainer.run()
    return generators["to_clean"].eval()


def _terms(cycle: bool) -> dict[str, AdversarialTerm | FunctionTerm]:
    terms: dict[str, AdversarialTerm | FunctionTerm] = {
        "fool_clean": AdversarialTerm("judge_clean", "fake_clean")
    }
    if not cycle:
        return terms | {"fidelity": FunctionTerm(torch.nn.MSELoss(), "fake_clean", "noisy", weight=FIDELITY)}
    return terms | {
        "fool_noisy": AdversarialTerm("judge_noisy", "fake_noisy"),
        "cycle_noisy": L1Term("cycled_noisy", "noisy", weight=CYCLE_WEIGHT),
        "cycle_clean": L1Term("cycled_clean", "clean", weight=CYCLE_WEIGHT),
    }


def measure(methods: Mapping[tuple[str, str], Denoise], tests: int) -> list[Row]:
    """A row per method and test picture, with an anomaly in the disc."""
    rows = []
    for index in range(tests):
        rng = np.random.default_rng([TEST_SEED, index])
        truth = phantom(rng, "disc")
        noise = [_noise(rng) for _ in range(2)]
        for (name, kind), denoise in methods.items():
            rows.append({"training set": name, "method": kind, "test": index, **score(denoise, truth, noise)})
    return rows


def score(denoise: Denoise, truth: Phantom, noise: list[Picture]) -> Row:
    """What is left of the anomaly, by difference.

    `recovery` is the contrast of anomaly against ring in the denoised picture less the denoised picture with
    the same noise without the anomaly. For `recovery, other noise` the second picture has other noise: single
    values scatter, but their mean over many tests is free of any coupling of the two.
    """
    present = denoise(truth.plain + truth.anomaly + noise[0])
    absent, other = (denoise(truth.plain + one) for one in noise)
    true = contrast(truth.anomaly, truth.mask, truth.ring)
    return {
        "recovery": contrast_recovery(present - absent, truth.anomaly, truth.mask, truth.ring),
        "recovery, other noise": contrast(present - other, truth.mask, truth.ring) / true,
        "RMSE": rmse(present, truth.plain + truth.anomaly),
    }


def classical() -> dict[tuple[str, str], Denoise]:
    """The input and two filters, which no training set concerns."""
    return {
        ("-", "input"): lambda image: image,
        ("-", "Gaussian, sigma 1"): lambda image: gaussian(image, NOISE, 1.0),
        ("-", "TV, weight 1"): lambda image: total_variation(image, NOISE, 1.0),
    }


def summarise(rows: list[Row]) -> list[Row]:
    """A row per method and training set: n, mean and sd of each score."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["training set"]), []).append(row)
    result = []
    for (method, name), members in groups.items():
        figures = {score: summary([row[score] for row in members]).as_dict() for score in SCORES}
        columns = {f"{s} {key}": figures[s].get(key, "") for s in SCORES for key in ("mean", "sd")}
        result.append({"method": method, "training set": name, "n": len(members), **columns})
    return result


def page(summaries: list[Row], steps: int) -> str:
    """The summary as Markdown."""
    lines = [
        "# A small anomaly and the training data",
        "",
        f"Written by `benchmarks/ct_small_anomaly.py`; {steps} steps of training each. Recovery of the",
        f"contrast of an anomaly in the disc: 1 is kept, 0 erased. Standard deviation of the noise: {NOISE}.",
        "",
        *table(sorted(summaries, key=lambda row: row["method"])),
    ]
    return "\n".join(lines) + "\n"


def draw(methods: Mapping[tuple[str, str], Denoise], path: Path, test: int = 0, zoom: int = 2) -> None:
    """Draws one test picture: truth and noise, then a row per way of learning, a column per training set."""
    rng = np.random.default_rng([TEST_SEED, test])
    truth = phantom(rng, "disc")
    clean = truth.plain + truth.anomaly
    noisy = clean + _noise(rng)
    tiles = [[("truth", clean), ("noisy", noisy)]]
    tiles += [
        [(f"{k}: {n}", denoise(noisy)) for (n, k), denoise in methods.items() if k == kind]
        for kind in (GAN, CYCLE)
    ]
    side = zoom * clean.shape[0]
    sheet = Image.new("RGB", (3 * side, 3 * (side + 24)), BLACK)
    overlay = Overlay(sheet.size)
    for row, line in enumerate(tiles):
        for column, (title, picture) in enumerate(line):
            grey = np.clip(255 * (picture.T + 0.2) / 1.6, 0, 255).astype(np.uint8)
            tile = Image.fromarray(grey).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(tile, (column * side, row * (side + 24) + 24))
            overlay.text((column * side + 6, row * (side + 24) + 12), title, WHITE, size=13)
    overlay.onto(sheet)
    with atomic_path(path) as temporary:
        sheet.save(temporary)


def _noise(rng: np.random.Generator) -> Picture:
    return NOISE * rng.standard_normal((128, 128), dtype=np.float32)


def _generator() -> DenoisingGenerator:
    return DenoisingGenerator(WIDTH, MODULES, CONVOLUTIONS, norm="none")


def _judge() -> NoiseJudge:
    return NoiseJudge(JUDGE_WIDTH, centre=(DISC + RECTANGLE) / 2)


def _denoiser(network: DenoisingGenerator) -> Denoise:
    return partial(_apply, network)


@torch.no_grad()
def _apply(network: DenoisingGenerator, picture: Picture) -> Picture:
    return network(torch.from_numpy(np.ascontiguousarray(picture, np.float32))[None, None])[0, 0].numpy()


def _folder(name: str, kind: str) -> str:
    return f"{kind}_{name}".replace(" ", "_")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    fire.Fire(run)
