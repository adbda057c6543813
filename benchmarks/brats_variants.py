"""The imputers and segmenters that are trained at equal budget, and networks with their weights.

Shapes: B batch, C contrasts, S slices of context, X and Y the axes of a slice.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import BasicUNet
from paired_tables import REFERENCE_WEIGHTS, Row
from torch import Tensor, nn
from torch.nn import functional
from trained_runs import run_overrides

from medbundles.contrasts import CONTRASTS
from medbundles.parts import part_of
from medbundles.weights import load_state, read_tensors
from medbundles.zoo.find import add_to_path, find_bundle
from medbundles.zoo.workflows import read_config, training_stages

BUNDLE = find_bundle("brats_mri_collagan_segmentation")
add_to_path(BUNDLE)

from brats_collagan.collagan import CollaGenerator  # noqa: E402
from brats_collagan.segmenter import Segmenter  # noqa: E402

NO_CYCLE, NO_SSIM, NO_ATTENTION, NO_DIRECT, UNET = "no_cycle", "no_ssim", "no_attention", "no_direct", "unet"
IMPUTERS = (REFERENCE_WEIGHTS, NO_CYCLE, NO_SSIM, NO_ATTENTION, NO_DIRECT, UNET)
SEGMENTER, DROPOUT = "segmenter", "dropout"
SEGMENTERS = (SEGMENTER, DROPOUT)
MISSING_SHARE = 0.5  # of the patches that the segmenter with dropout is trained on
LEVELS = 4


def stage_of(variant: str) -> tuple[str, ...]:
    """The configs that train a variant."""
    stages = training_stages(BUNDLE, "all")
    return stages["segmenter" if variant in SEGMENTERS else "imputer"]


def variants() -> dict[str, Row]:
    """What each variant overrides in the configs of its stage."""
    lone = {"adversarial": 0.0, "cycle": 0.0, "similarity": 0.0, "naming": 0.0}
    return {
        REFERENCE_WEIGHTS: {},
        NO_CYCLE: {"loss_weights#cycle": 0.0, "loss_weights#similarity": 0.0},
        NO_SSIM: {"loss_weights#similarity": 0.0},
        NO_ATTENTION: {"network_def#imputer#attention": False},
        NO_DIRECT: {"loss_weights#direct": 0.0, "direct_epochs": 0},
        UNET: {
            "network_def#imputer": {
                "_target_": "brats_variants.DirectUNets",
                "width": "$2 * @imputer_width",
                "slices": "@imputer_slices",
                "fold": "@imputer_fold",
            },
            "dropout": 0.0,
            **{f"loss_weights#{name}": weight for name, weight in lone.items()},
        },
        SEGMENTER: {"contrast_dropout": 0.0},
        DROPOUT: {"contrast_dropout": MISSING_SHARE},
    }


def overrides(variant: str, seed: int, folder: Path, knobs: Mapping[str, Any]) -> Row:
    """All overrides of a training: the same patients for all seeds, equally many steps for all variants.

    Args:
        variant: its name.
        seed: of first weights, order and draws.
        folder: of all runs.
        knobs: of train.json or train_imputer.json; those that the variant's own configs lack are left out.
    """
    config = read_config(BUNDLE, stage_of(variant))
    shared = {key: value for key, value in knobs.items() if key in config}
    epochs = shared.get("epochs", config["epochs"])
    if "direct_epochs" in config:  # the same share of a shorter training
        shared = {"direct_epochs": epochs * config["direct_epochs"] // config["epochs"]} | shared
    return run_overrides(config, shared, variant, seed, folder) | variants()[variant]


class DirectUNets(nn.Module):
    """A plain U-Net for each contrast, from the other three; it is called as `CollaGenerator` is.

    A contrast that is missing besides is seen as zeros, which no network of this kind was trained for.

    Args:
        width: channels at full resolution, doubled at each of four levels.
        contrasts: how many there are.
        slices: slices of context, odd.
        fold: pixels a side that are taken together, as in `CollaGenerator`.
    """

    def __init__(self, width: int = 16, contrasts: int = 4, *, slices: int = 1, fold: int = 1) -> None:
        super().__init__()
        self.contrasts, self.slices, self.fold = contrasts, slices, fold
        features = [*(width * 2**level for level in range(LEVELS + 1)), width]
        planes = (contrasts - 1) * slices * fold**2
        self.networks = nn.ModuleList(BasicUNet(2, planes, fold**2, features) for _ in range(contrasts))

    def forward(
        self, images: Tensor, target: Tensor | int, present: Tensor | Sequence[bool] | None = None
    ) -> Tensor:
        """The contrast `target` (B, 1, X, Y) of the middle slices, from the others (B, C * S, X, Y)."""
        count = len(images)
        wanted = torch.as_tensor(target, device=images.device).expand(count)
        shown = torch.ones(count, self.contrasts, dtype=torch.bool, device=images.device)
        if present is not None:
            shown = torch.as_tensor(present, device=images.device).bool().expand(count, -1)
        every = torch.arange(self.contrasts, device=images.device)
        visible = (shown & (every != wanted[:, None])).repeat_interleave(self.slices, 1)
        seen = torch.where(visible[:, :, None, None], images, 0)
        brain = (seen[:, self.slices // 2 :: self.slices] != 0).any(1, keepdim=True)
        groups = torch.unique(wanted).tolist()
        answer = torch.cat([self._group(seen[wanted == index], index) for index in groups])
        back = wanted.argsort(stable=True).argsort()
        return torch.where(brain, answer[back], 0)

    def _group(self, seen: Tensor, target: int) -> Tensor:
        """Images that lack the same contrast."""
        height, width = seen.shape[2:]
        others = [k for k in range(seen.shape[1]) if k // self.slices != target]
        step = self.fold * 2**LEVELS
        padded = functional.pad(seen[:, others], (0, -width % step, 0, -height % step))
        made = self.networks[target](functional.pixel_unshuffle(padded, self.fold))
        return functional.pixel_shuffle(made, self.fold)[..., :height, :width]


def load_imputer(path: Path) -> nn.Module:
    """The imputer of a weights file; its kind, size and parts are read off the weights."""
    state = part_of(read_tensors(path, "cpu"), "imputer")
    direct = any(key.startswith("networks.") for key in state)
    network = _unets_of(state) if direct else _generator_of(state)
    load_state(network, state, source=str(path))
    return network.eval()


def _unets_of(state: Mapping[str, Tensor]) -> nn.Module:
    first = state["networks.0.conv_0.conv_0.conv.weight"]
    fold = math.isqrt(len(state["networks.0.final_conv.weight"]))
    return DirectUNets(len(first), slices=first.shape[1] // (len(CONTRASTS) - 1) // fold**2, fold=fold)


def _generator_of(state: Mapping[str, Tensor]) -> nn.Module:
    first, fold = state["encoders.0.first.weight"], math.isqrt(len(state["last.weight"]))
    return CollaGenerator(
        len(first) // len(CONTRASTS),
        levels=len({key.split(".")[1] for key in state if key.startswith("encoders.")}),
        slices=first.shape[1] // fold**2,
        attention=any(key.startswith("attentions.") for key in state),
        norm="instance" if "encoders.0.norms.0.weight" in state else "none",
        fold=fold,
    )


def load_segmenter(path: Path) -> Segmenter:
    """The segmenter of a weights file; width and fold are read off the weights."""
    state = part_of(read_tensors(path, "cpu"), "segmenter")
    first = state["convInit.conv.weight"]
    fold = round((first.shape[1] / len(CONTRASTS)) ** (1 / 3))
    network = Segmenter(width=len(first), fold=fold)
    load_state(network, state, source=str(path))
    return network.eval()
