"""What CollaGAN is trained for, and how its validation imputes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.handlers import PeakSignalToNoiseRatio, from_engine
from monai.inferers import Inferer
from torch import Tensor, nn

from brats_collagan.collagan import impute
from brats_collagan.losses import ContrastTerm, SsimTerm, TumourL1Term
from brats_collagan.translation import CollaTranslation
from medbundles.adversarial import AdversarialTerm, Judgement, L1Term, Later, parameters
from medbundles.checks import OverrideError
from medbundles.inferers import SlicewiseInferer
from medbundles.weights import unwrapped

JUDGE, IMPUTER = "judge", "imputer"
DATA_RANGE = 5.0  # of z-scores, from dark to bright


DEFAULTS = {"adversarial": 1.0, "cycle": 10.0, "similarity": 1.0, "naming": 1.0, "direct": 0.0, "tumour": 1.0}


def step(slices: int = 1, dropout: float = 0.0, cycles: int = 1) -> CollaTranslation:
    """The training step for an imputer with so many slices of context; see `CollaTranslation`.

    The paper's cycle makes all three other contrasts; a drawn one is as good on average, at half the time.
    """
    return CollaTranslation("image", IMPUTER, slices=slices, dropout=dropout, cycles=cycles)


def losses(weights: Mapping[str, float] | None = None, direct_epochs: int = 0) -> dict[str, dict[str, Any]]:
    """What the generator (`terms`) and the discriminator (`judgements`) are trained for.

    Args:
        weights: of those that differ from the paper's; with 0 a loss is left out, at no cost. `adversarial`:
            of passing for real, first and cycled outputs alike; `cycle`: of the absolute difference of the
            other contrasts after the multiple cycle; `similarity`: of their structural dissimilarity;
            `naming`: of being taken for another contrast; `direct`: of the absolute difference of the first
            output from the contrast that was left out, in which a pixel of tumour counts `tumour` times.
        direct_epochs: for so many epochs `direct` is the only one: only the generator is trained, which is
            quicker.

    Raises:
        OverrideError: there is no such loss, or none at all in the first epochs.
    """
    factor = complete(weights)
    if direct_epochs and not factor["direct"]:
        raise OverrideError(
            f"{direct_epochs} first epochs for the loss `direct`, whose weight is 0",
            expected="a weight, or no such epochs",
            source="options loss_weights and direct_epochs",
            advice="add --direct_epochs 0",
        )
    fakes, reals, contrasts = judged(factor)
    terms = {
        "fool": AdversarialTerm(JUDGE, fakes, weight=factor["adversarial"], head=0),
        "cycle": L1Term("cycled", "rest", weight=factor["cycle"]),
        "similarity": SsimTerm("cycled", "rest", weight=factor["similarity"]),
        "named": ContrastTerm(JUDGE, fakes, contrasts, weight=factor["naming"]),
    }
    judgements = {
        "judged": Judgement(JUDGE, reals, fakes, weight=factor["adversarial"], head=0),
        "judged_contrast": ContrastTerm(JUDGE, reals, contrasts, weight=factor["naming"]),
    }
    direct = TumourL1Term(
        "imputed", "original", "label", weight=factor["direct"], tumour_weight=factor["tumour"]
    )
    return {
        "terms": {"direct": direct} | {name: Later(term, direct_epochs) for name, term in terms.items()},
        "judgements": {name: Later(term, direct_epochs) for name, term in judgements.items()},
    }


def complete(weights: Mapping[str, float] | None) -> dict[str, float]:
    """All weights, those that are not given as in the paper.

    Raises:
        OverrideError: there is no such loss.
    """
    weights = dict(weights or {})
    if unknown := [name for name in weights if name not in DEFAULTS]:
        raise OverrideError(
            f"a weight for {', '.join(unknown)}",
            expected=f"weights for {', '.join(DEFAULTS)}",
            source="option loss_weights",
            advice="write for example --loss_weights#cycle 5",
        )
    return DEFAULTS | {name: float(weight) for name, weight in weights.items()}


def judged(factor: Mapping[str, float]) -> tuple[str, str, str]:
    """Which fakes and reals are judged, of which contrasts: of the cycle only if it has a weight."""
    if factor["cycle"] or factor["similarity"]:
        return "fakes", "reals", "judged_contrasts"
    return "imputed", "original", "target"


def adam(of: Mapping[str, nn.Module], lr: float) -> torch.optim.Optimizer:
    """Adam over the weights of these networks, as adversarial training wants it: with little momentum."""
    return torch.optim.Adam(parameters(dict(of)), lr=lr, betas=(0.5, 0.999))


def key_metric() -> dict[str, Any]:
    """The peak signal-to-noise ratio of every contrast imputed from the others, for z-scored images."""
    return {"val_psnr": PeakSignalToNoiseRatio(DATA_RANGE, output_transform=from_engine(["pred", "image"]))}


class ImputeEach(Inferer):
    """Imputes every contrast from all the others; the answer (B, C, X, Y, Z) has nothing else in it.

    Args:
        batch_slices: slices that are imputed at once.
    """

    def __init__(self, batch_slices: int = 4) -> None:
        super().__init__()
        self.slicewise = SlicewiseInferer(batch_slices)

    def __call__(self, inputs: Tensor, network: nn.Module) -> Tensor:
        """Returns the imputed contrasts."""
        imputer, count = unwrapped(network).imputer, inputs.shape[1]
        inputs = torch.as_tensor(inputs).as_subclass(Tensor)
        made = []
        for target in range(count):
            there = [index != target for index in range(count)]
            made.append(impute(imputer, inputs, there, inferer=self.slicewise)[:, [target]])
        return torch.cat(made, dim=1)
