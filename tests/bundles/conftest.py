"""What the contract test needs of each bundle: a copy to write to, simulated cases, and short runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from medbundles.checks import allowed_dims
from medbundles.reports import read_report
from medbundles.zoo.find import bundle_folders, read_metadata
from medbundles.zoo.workflows import INFERENCE, TRAIN, run_workflow

CASES = 12  # enough for every split to have some
INPUTS = 3
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Subject:
    """A bundle under test.

    Attributes:
        folder: a copy, so that training may write weights.
        original: the bundle in the collection.
        cases: a folder of simulated cases with truth.
        inputs: a folder with the images of the first few.
        scratch: an empty folder.
    """

    folder: Path
    original: Path
    cases: Path
    inputs: Path
    scratch: Path

    @property
    def block(self) -> dict[str, Any]:
        """The metadata's own block."""
        return read_metadata(self.folder)["medbundles"]

    @property
    def table(self) -> list[dict[str, Any]]:
        """The simulated cases."""
        return json.loads((self.cases / "cases.json").read_text(encoding="utf-8"))["cases"]

    def smoke(self, part: str) -> dict[str, Any]:
        """The options that make a part of the test take seconds: simulate, predict, train or evaluate."""
        return dict(self.block.get("smoke", {}).get(part, {}))

    def predict(self, source: Path, output: Path, **knobs: Any) -> int:
        """Runs inference in this process; returns the exit status."""
        paths = {"dataset_dir": str(source), "output_dir": str(output)}
        overrides = {**paths, "device": "cpu", **self.smoke("predict"), **knobs}
        try:
            run_workflow(self.folder, INFERENCE, overrides, logging_file=False)
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    def reported(self, source: Path, output: Path, **knobs: Any) -> dict[str, dict[str, Any]]:
        """Runs inference and returns the report's cases by the name of the input."""
        self.predict(source, output, **knobs)
        return {Path(case["input"]).name: case for case in read_report(output)["cases"]}

    def training(self, output: Path, **knobs: Any) -> dict[str, Any]:
        """The options of a training run that takes seconds."""
        paths = {
            "dataset_dir": str(self.cases),
            "output_dir": str(output),
            "weights": str(output / "best.pt"),
        }
        common = {"device": "cpu", "num_workers": 0, "val_interval": 1}
        return {**paths, **common, **self.smoke("train"), **knobs}

    def train(self, output: Path, **knobs: Any) -> dict[str, Any]:
        """Trains in this process and returns the checkpoint."""
        run_workflow(self.folder, TRAIN, self.training(output, **knobs), logging_file=False)
        return torch.load(output / "checkpoint.pt", weights_only=True)

    def shell(self, config: str, place: Path, **knobs: Any) -> subprocess.Popen[str]:
        """Starts `python -m monai.bundle run` in a working directory."""
        words = [word for key, value in knobs.items() for word in (f"--{key}", str(value))]
        command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", config, *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=place, env=ENVIRONMENT, text=True, **pipes)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The same number of threads here and in the programs started from here, so that results are the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=bundle_folders(), ids=lambda folder: folder.name)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Each bundle of the collection in turn."""
    from medbundles.zoo.demo import simulate

    scratch = tmp_path_factory.mktemp("çà b")  # odd paths are ordinary paths
    folder = scratch / "bundles" / request.param.name
    shutil.copytree(request.param, folder, ignore=shutil.ignore_patterns("__pycache__", "eval", "runs"))
    block = read_metadata(folder)["medbundles"]
    smoke = block.get("smoke", {})
    table = simulate(folder, scratch / "cases", smoke.get("cases", CASES), 0, **smoke.get("simulate", {}))
    (scratch / "inputs").mkdir()
    for case in table[: smoke.get("inputs", INPUTS)]:
        shutil.copy(scratch / "cases" / case["image"], scratch / "inputs")
    return Subject(folder, request.param, scratch / "cases", scratch / "inputs", scratch)


@pytest.fixture(scope="module")
def results(subject: Subject) -> Path:
    """The output of one ordinary run over the inputs."""
    output = subject.scratch / "results"
    assert subject.predict(subject.inputs, output) == 0
    return output


@pytest.fixture(scope="module")
def straight(subject: Subject) -> dict[str, Any]:
    """The checkpoint of four epochs without a stop."""
    return subject.train(subject.scratch / "straight", epochs=4)


@pytest.fixture
def state_of() -> Callable[[Mapping[str, Any]], dict[str, torch.Tensor]]:
    """All tensors of a checkpoint by their path in it."""

    def flat(node: Any, where: str = "") -> Iterator[tuple[str, torch.Tensor]]:
        if isinstance(node, torch.Tensor):
            yield where, node
        items = (
            node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
        )
        for key, value in items:
            yield from flat(value, f"{where}/{key}")

    return lambda checkpoint: dict(flat(checkpoint["objects"]))


@pytest.fixture
def bad_inputs() -> Callable[[Subject, Path], list[str]]:
    """Writes files that no bundle can use into a folder, and returns their names."""
    return _write_bad_inputs


@pytest.fixture
def regrid() -> Callable[[Path, Path, str], None]:
    """Writes the same anatomy on another grid: mirrored, rotated or anisotropic, as the header says."""
    return _regrid


def _write_bad_inputs(subject: Subject, folder: Path) -> list[str]:
    source = sorted(subject.inputs.iterdir())[0]
    image = nib.load(source)
    pixels = np.asanyarray(image.dataobj).astype(np.float32)
    nan, infinite = pixels.copy(), pixels.copy()
    nan.flat[0], infinite.flat[-1] = np.nan, np.inf
    planes = {
        (2,): np.stack([pixels] * 20, -1),
        (3,): pixels[..., 0],
        (2, 3): np.stack([np.stack([np.atleast_3d(pixels)] * 3, -1)] * 2, -1),
    }[tuple(allowed_dims(subject.block["input"]))]
    arrays = {
        "not a number": nan,
        "infinite": infinite,
        "blank": np.full_like(pixels, 7),
        "other dimension": planes,
        "tiny": pixels[tuple(slice(0, 3) for _ in pixels.shape)],
        "complex": pixels.astype(np.complex64),
    }
    for name, array in arrays.items():
        nib.save(nib.Nifti1Image(array, image.affine), folder / f"{name}.nii.gz")
    (folder / "empty.nii.gz").write_bytes(b"")
    (folder / "truncated.nii.gz").write_bytes(source.read_bytes()[:-400])
    picture = "no picture.png" if 2 in allowed_dims(subject.block["input"]) else "no volume.mha"
    (folder / picture).write_text("no picture", encoding="utf-8")
    return [*(f"{name}.nii.gz" for name in (*arrays, "empty", "truncated")), picture]


def _regrid(source: Path, target: Path, change: str) -> None:
    image = nib.load(source)
    pixels, affine = np.asanyarray(image.dataobj), image.affine.copy()
    step = np.eye(4)  # from new voxel indices to old ones
    if change == "mirrored":
        pixels, step[0, 0], step[0, 3] = pixels[::-1], -1, pixels.shape[0] - 1
    elif change == "rotated":
        pixels = pixels.swapaxes(0, 1)
        step[:2, :2] = [[0, 1], [1, 0]]
        last = pixels.shape[0] - 1
        pixels, step = (
            pixels[::-1],
            step @ np.array([[-1, 0, 0, last], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
        )
    else:
        pixels, step[0, 0], step[0, 3] = np.repeat(pixels, 2, axis=0), 0.5, -0.25
    changed = nib.Nifti1Image(np.ascontiguousarray(pixels), affine @ step)
    changed.header.set_xyzt_units("mm")
    nib.save(changed, target)


@pytest.fixture(scope="session")
def fluid_examinations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four simulated patients with their amniotic fluid, seed 1."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "amniotic_fluid_us_segmentation"))
    from amniotic_fluid.simulator import write_cases

    folder = tmp_path_factory.mktemp("examinations")
    write_cases(folder, 16, 1)
    return folder
