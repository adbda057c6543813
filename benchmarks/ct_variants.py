"""The variants of the CT denoiser that are trained at equal budget, and denoisers with their weights."""

import zlib
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ct_scenes import BUNDLE, Slice
from ct_scores import Method
from monai.bundle import ConfigParser
from paired_tables import REFERENCE_WEIGHTS, Row
from torch import Tensor

from ct_cyclegan.anatomy import Anatomy, find_cases, heart_phases, slices_of  # found since ct_scenes is
from ct_cyclegan.cases import LOW_PHASES, settings_of
from ct_cyclegan.patches import RandLesionsd, RandPatchesd
from ct_cyclegan.scans import scan, write_slice, written
from ct_cyclegan.transforms import HU_PER_UNIT, blend
from medbundles.simulators import ct
from medbundles.weights import load_weights
from medbundles.zoo.workflows import EVALUATE, TRAIN, config_files, read_config

SUPERVISED, GAN, NO_IDENTITY, NO_BYPASS, NO_LESIONS = (
    "supervised",
    "gan",
    "no_identity",
    "no_bypass",
    "no_lesions",
)
VARIANTS = (REFERENCE_WEIGHTS, SUPERVISED, GAN, NO_IDENTITY, NO_BYPASS, NO_LESIONS)
SHIPPED = "shipped"
OURS = (SHIPPED, REFERENCE_WEIGHTS)  # the first of them that is measured
PAIR = "pair"


def variants(config: Mapping[str, Any]) -> dict[str, Row]:
    """What each variant overrides in the bundle's train.json."""
    losses, judgements = config["train"]["terms"], config["train"]["judgements"]
    return {
        REFERENCE_WEIGHTS: {},
        SUPERVISED: {
            "train#dataset#data#_target_": "ct_variants.paired_cases",
            "train#random_transforms": [
                {
                    "_target_": "ct_variants.RandPairedPatchesd",
                    "size": "@patch",
                    "samples": "@patches_per_slice",
                }
            ],
            "train#terms": {
                "paired": {
                    "_target_": "medbundles.adversarial.FunctionTerm",
                    "loss": {"_target_": "torch.nn.MSELoss"},
                    "image": "fake_routine",
                    "target": "routine",
                }
            },
            "train#judgements": {},
        },
        GAN: {
            "train#terms": {"fool_routine": losses["fool_routine"]},
            "train#judgements": {"judged_routine": judgements["judged_routine"]},
        },
        NO_IDENTITY: {"identity_weight": 0.0},
        NO_BYPASS: {"network_def#bypass": False, "reverse_def#bypass": False},
        NO_LESIONS: {"lesion_weight": 0.0},
    }


def shared_overrides(folder: Path, steps: int) -> Row:
    """What all variants override: equally many steps, and the slices that they share."""
    return {
        "resume": True,
        "train#trainer#epoch_length": steps,
        "train#dataset#data#scans_dir": str(folder / "scans" / "train"),
        "validate#dataset#data#scans_dir": str(folder / "scans" / "validation"),
    }


def paired_cases(
    dataset_dir: str,
    scans_dir: str,
    *,
    doses: Sequence[float] = (0.05, 0.2),
    slices_per_case: int = 4,
    simulated_patients: int = 24,
    simulated_routine_dose: float = 1.0,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Items with a low-dose slice (`image`) and the same slice without noise (`routine`), for the twin.

    Takes what `ct_cyclegan.cases.training_cases` takes; every patient gives pairs.
    """
    cases = [case for case in find_cases(dataset_dir, "train") if case["routine"]]
    settings = settings_of(
        cases,
        doses=list(doses),
        slices_per_case=slices_per_case,
        simulated_patients=simulated_patients,
        seed=seed,
    )

    def write(folder: Path) -> list[dict[str, Any]]:
        slices = [one for case in cases for one in slices_of(case, slices_per_case)]
        slices += [s for p in range(simulated_patients) for s in heart_phases(p, LOW_PHASES, seed=seed)]
        return [entry for one in slices for entry in _write_pairs(one, folder, doses, seed)]

    return written(f"{scans_dir}_pairs", settings, write)


def _write_pairs(anatomy: Anatomy, folder: Path, doses: Sequence[float], seed: int) -> list[dict[str, Any]]:
    """Two doses of a slice and their truth."""
    rng = np.random.default_rng([seed, zlib.crc32(anatomy.name.encode())])
    drawn = np.exp(rng.uniform(*np.log(doses), 2)).tolist()
    truth, images = scan(anatomy.routine, anatomy.pixel_mm, ct.TRAINED, drawn, rng)
    label = write_slice(truth, folder, f"{anatomy.name}_truth", anatomy.pixel_mm)
    files = [
        write_slice(image, folder, f"{anatomy.name}_{index}", anatomy.pixel_mm)
        for index, image in enumerate(images)
    ]
    return [{"image": file, "routine": label} for file in files]


class RandPairedPatchesd(RandPatchesd):
    """Patches of `image` and `routine` at the same place, with the same lesions in both.

    Args:
        size: pixels a side.
        samples: patches from each item.
    """

    def __init__(self, size: int = 64, samples: int = 4) -> None:
        super().__init__(PAIR, size, samples)
        self.lesions = RandLesionsd(PAIR)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> "RandPairedPatchesd":
        super().set_random_state(seed, state)
        self.lesions.set_random_state(state=self.R)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        pair = torch.cat([torch.as_tensor(data[key]).as_subclass(Tensor) for key in ("routine", "image")])
        return [self._with_lesions(*self.patch(pair).split(1)) for _ in range(self.samples)]

    def _with_lesions(self, routine: Tensor, image: Tensor) -> dict[Hashable, Any]:
        marked = self.lesions({PAIR: routine})[PAIR]
        return {"image": image + (marked - routine), "routine": marked}


class Denoiser:
    """The bundle's generator with weights; its width is read off them.

    Args:
        name: `no_bypass` is built without its bypass.
        weights: the file.
    """

    def __init__(self, name: str, weights: str | Path) -> None:
        parser = ConfigParser()
        parser.read_config(config_files(BUNDLE, EVALUATE))
        parser["bundle_root"] = str(BUNDLE)
        parser["network_def#bypass"] = name != NO_BYPASS
        parser["network_def#width"] = _width(weights)
        self.inferer = parser.get_parsed_content("validate#inferer")
        self.device = parser.get_parsed_content("device")
        self.network = load_weights(parser.get_parsed_content("network"), weights, self.device).eval()

    @torch.no_grad()
    def __call__(self, image: Slice, noise: float = 0.0) -> Slice:
        """The denoised slice (x, y), as the bundle's inference gives it."""
        before = torch.from_numpy(np.ascontiguousarray(image, np.float32))
        scaled = (before / HU_PER_UNIT)[None, None, ..., None].to(self.device)
        after = self.inferer(scaled, self.network)[0, 0, ..., 0].float().cpu() * HU_PER_UNIT
        return blend(before, after, 1.0).numpy()


def _width(weights: str | Path) -> int:
    state = torch.load(weights, map_location="cpu", weights_only=True)
    state = state["model"] if isinstance(state.get("model"), Mapping) else state
    return int(state["first.0.weight"].shape[0])


@cache
def denoiser(name: str, weights: str) -> Denoiser:
    """A denoiser, loaded once in a process."""
    return Denoiser(name, weights)


def denoising_methods(weights: Mapping[str, Path]) -> list[Method]:
    """A method for each of several weights."""
    ours = next((name for name in OURS if name in weights), None)
    return [
        Method(name, {"": denoiser(name, str(path))}, "", is_ours=name == ours, is_filter=False)
        for name, path in weights.items()
    ]


def train_config() -> dict[str, Any]:
    """The bundle's train.json."""
    return read_config(BUNDLE, TRAIN)
