"""One brain from four files to its labels: `medbundles predict` in three modes, and nnU-Net."""

import logging
import shutil
import sys
from pathlib import Path

import numpy as np
from cost import used
from inference_nnunet import BUNDLE, write_model
from paired_tables import Row

from medbundles.contrasts import CONTRASTS
from medbundles.datasets.simulated import made
from medbundles.io import read_image, write_image
from medbundles.modes import MODES
from medbundles.volume_order import DECATHLON_ORDER
from medbundles.zoo.demo import simulate
from medbundles.zoo.find import find_bundle

logger = logging.getLogger(__name__)

NNUNET = "nnU-Net"


def study(work: Path) -> list[str]:
    """The four files of one simulated brain, in the order of `CONTRASTS`."""
    folder = work / "study"
    names = [f"brain_{contrast.lower()}.nii.gz" for contrast in CONTRASTS]
    if not folder.exists():
        write = lambda place, n: simulate(find_bundle(BUNDLE), place, n, 0, spacing_mm=1.0)  # noqa: E731
        (case,) = made(work / "scenes" / BUNDLE, 1, write)
        image = read_image(case["image"])
        folder.mkdir(parents=True)
        for contrast, name in zip(CONTRASTS, names, strict=True):
            volume = image.array[DECATHLON_ORDER.index(contrast)][None].astype(np.int16)
            write_image(volume, folder / name, affine=image.affine)
    return [str(folder / name) for name in names]


def file_to_file(work: Path, rounds: int, threads: int) -> list[Row]:
    """A row per way: seconds of its process, and processor seconds and peak memory with its children."""
    files = study(work)
    model = write_model(work / "nnunet")
    program = str(Path(sys.executable).with_name("medbundles"))
    commands = {
        f"ours, {mode}": [
            *(program, "predict", BUNDLE, str(Path(files[0]).parent), str(work / "predicted" / mode)),
            *("--mode", mode, "--overwrite", "true"),
        ]
        for mode in MODES
    }
    script = str(Path(__file__).with_name("inference_nnunet.py"))
    commands[NNUNET] = [sys.executable, script, str(model), str(work / "predicted" / "nnunet"), *files]
    rows: dict[str, Row] = {name: {"method": name, "seconds": [], "processor": []} for name in commands}
    environment = {"OMP_NUM_THREADS": str(threads)}
    environment |= dict.fromkeys(("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"), str(work))
    (work / "predicted").mkdir(exist_ok=True)
    for number in range(rounds + 1):  # the first one warms the disk's cache and does not count
        for name, command in commands.items():
            taken = used(command, environment)
            logger.info("file to file, round %d, %s: %s", number, name, taken)
            if number:
                rows[name]["seconds"].append(taken["seconds"])
                rows[name]["processor"].append(taken["processor_seconds"])
                rows[name]["peak_gb"] = max(taken["memory_gb"], rows[name].get("peak_gb", 0))
    shutil.rmtree(work / "predicted")
    return list(rows.values())
