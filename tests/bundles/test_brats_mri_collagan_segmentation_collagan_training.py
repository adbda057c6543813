"""CollaGAN in training: it learns, resumes, spares what has no weight, and runs in half precision."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import RandFlipd
from monai.utils import set_determinism
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "brats_mri_collagan_segmentation"))

from brats_phantoms import brains

from brats_collagan.collagan import CollaGenerator
from brats_collagan.judge import CollaJudge
from brats_collagan.losses import ContrastTerm, SsimTerm
from brats_collagan.translation import CollaTranslation
from medbundles.adversarial import AdversarialTerm, AdversarialTrainer, Judgement, L1Term, parameters
from medbundles.handlers import ResumableCheckpoint


def parts(**options: Any) -> dict[str, Any]:
    """All of CollaGAN's training as its configuration composes it, small."""
    torch.manual_seed(0)
    generators, judges = {"imputer": CollaGenerator(6, 2)}, {"judge": CollaJudge(2)}
    return {
        "generators": generators,
        "discriminators": judges,
        "generator_optimizer": torch.optim.Adam(parameters(generators), lr=0.004, betas=(0.5, 0.999)),
        "discriminator_optimizer": torch.optim.Adam(parameters(judges), lr=0.0005, betas=(0.5, 0.999)),
        "step": CollaTranslation(dropout=0.3),
        "terms": {
            "fool": AdversarialTerm("judge", "fakes", weight=0.1),
            "cycle": L1Term("cycled", "rest", weight=10),
            "similarity": SsimTerm("cycled", "rest"),
            "contrast": ContrastTerm("judge", "fakes", "judged_contrasts", weight=0.1),
            "direct": L1Term("imputed", "original", weight=10),
        },
        "judgements": {
            "judged": Judgement("judge", "reals", "fakes"),
            "taught": ContrastTerm("judge", "reals", "judged_contrasts"),
        },
    } | options


def error_of(network: nn.Module, images: Tensor, **options: Any) -> list[float]:
    """Normalised squared error of each imputed contrast."""
    with torch.no_grad():
        made = torch.cat([network(images, target, **options) for target in range(4)], 1)
    return ((made - images).square().sum((0, 2, 3)) / images.square().sum((0, 2, 3))).tolist()


class MeanOfTheRest(nn.Module):
    def forward(self, images: Tensor, target: int) -> Tensor:
        return images[:, [i for i in range(4) if i != target]].mean(1, keepdim=True)


def test_collagan_learns_to_impute_each_contrast_from_the_rest() -> None:
    torch.manual_seed(0)
    network = CollaGenerator(width=4, levels=2)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, betas=(0.5, 0.999))
    data = [{"image": brains(4, 32, seed=seed)} for seed in range(60)]
    options = parts(generators={"imputer": network}, generator_optimizer=optimizer)
    AdversarialTrainer("cpu", 1, data, **options).run()
    network, held_out = network.eval(), brains(8, 32, seed=1000)
    errors, simple = error_of(network, held_out), error_of(MeanOfTheRest(), held_out)
    assert max(errors) < 0.6 * min(simple)
    misled = error_of(network, held_out, told=3)  # it still sees what is missing, hence guesses some
    assert sum(misled[:3]) > 1.5 * sum(errors[:3])
    from_two = error_of(network, held_out, present=[True, False, True, True])
    assert max(from_two[0], from_two[2]) < 0.6  # 1 without any image


def resumable(folder: Path, epochs: int, *, resume: bool = False) -> AdversarialTrainer:
    set_determinism(3)
    dataset = Dataset(
        [{"image": image} for image in brains(5, 32)], RandFlipd("image", prob=0.5, spatial_axis=0)
    )
    options = parts()
    loader = DataLoader(dataset, batch_size=3, shuffle=True)
    engine = AdversarialTrainer("cpu", epochs, loader, **options)
    objects = engine.generators | engine.discriminators
    objects |= {f"{side}_optimizer": optimizer for side, optimizer in engine.optimizers.items()}
    ResumableCheckpoint(folder, objects, resume=resume, seed=3).attach(engine)
    return engine


def test_two_plus_two_epochs_of_collagan_are_four(tmp_path: Path) -> None:
    for name, stages in (("whole", [4]), ("parts", [2, 4])):
        for number, epochs in enumerate(stages):
            torch.manual_seed(number)
            resumable(tmp_path / name, epochs, resume=number > 0).run()
    whole, halves = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["objects"]
        for name in ("whole", "parts")
    )
    for network in ("imputer", "judge"):
        assert all(torch.equal(value, halves[network][key]) for key, value in whole[network].items())


def test_terms_without_weight_spare_their_networks() -> None:
    options = parts()
    for name in ("fool", "cycle", "similarity", "contrast"):
        options["terms"][name].weight = 0
    engine = AdversarialTrainer("cpu", 1, [{"image": brains(2, 32)}], **(options | {"judgements": {}}))
    engine.run()
    assert "imputed" in engine.state.output
    assert not {"cycled", "fakes", "reals"} & engine.state.output.keys()


def test_collagan_trains_in_half_precision_as_in_full() -> None:
    losses = []
    for amp in (False, True):
        engine = AdversarialTrainer(
            "cpu", 1, [{"image": brains(2, 32, seed=n)} for n in range(6)], amp=amp, **parts()
        )
        engine.run()
        losses.append(engine.state.output["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
