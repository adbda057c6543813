"""The engine serves more than CycleGAN: one generator for three contrasts, a discriminator with two heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.utils import set_determinism

from medbundles.adversarial import AdversarialTerm, AdversarialTrainer, Judgement, L1Term, parameters

torch.set_num_threads(1)


class Collaboration:
    """Imputes one of three contrasts, drawn anew each time, from the sum of the others; then cycles back."""

    def images(self, batch: dict, generators: dict[str, torch.nn.Module]) -> dict[str, torch.Tensor]:
        volumes, target = batch["contrasts"], int(torch.randint(3, ()))
        kept = [i for i in range(3) if i != target]
        impute = generators["impute"]
        fake = impute(volumes[:, kept].sum(1, keepdim=True))
        cycled = [impute(volumes[:, [i for i in kept if i != j]].sum(1, keepdim=True) + fake) for j in kept]
        return {
            "real": volumes[:, target, None],
            "fake": fake,
            "others": volumes[:, kept],
            "cycled": torch.cat(cycled, 1),
            "contrast": torch.full((len(volumes),), target),
        }


class TwoHeads(torch.nn.Module):
    """Scores, and the contrast that an image seems to be."""

    def __init__(self) -> None:
        super().__init__()
        layers = [torch.nn.Conv2d(1, 16, 1), torch.nn.LeakyReLU(0.2), torch.nn.Conv2d(16, 1, 1)]
        self.score, self.contrast = torch.nn.Sequential(*layers), torch.nn.Conv2d(1, 3, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"score": self.score(x), "contrast": self.contrast(x).mean((2, 3))}


class Recognised:
    """Cross entropy of the contrast that the discriminator sees in an image."""

    def __init__(self, image: str, weight: float = 1.0) -> None:
        self.image, self.weight = image, weight

    def __call__(self, images: Any, networks: dict[str, torch.nn.Module]) -> torch.Tensor:
        logits = networks["judge"](images[self.image])["contrast"]
        return torch.nn.functional.cross_entropy(logits, images["contrast"])


@pytest.mark.parametrize("amp", [False, True])
def test_one_generator_for_several_contrasts_and_a_discriminator_with_two_heads(amp: bool) -> None:
    """Three equal contrasts: half of the sum of the other two is the one that is missing."""
    volume = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    data = [{"contrasts": volume.expand(-1, 3, -1, -1)}] * 300
    set_determinism(0)
    generators, discriminators = {"impute": torch.nn.Conv2d(1, 1, 1)}, {"judge": TwoHeads()}
    engine = AdversarialTrainer(
        "cpu",
        1,
        data,
        generators=generators,
        discriminators=discriminators,
        generator_optimizer=torch.optim.Adam(parameters(generators), lr=0.01),
        discriminator_optimizer=torch.optim.Adam(parameters(discriminators), lr=0.001),
        step=Collaboration(),
        terms={
            "fool": AdversarialTerm("judge", "fake", head="score"),
            "cycle": L1Term("cycled", "others", weight=10),
            "recognised": Recognised("fake"),
        },
        judgements={"judged": Judgement("judge", "real", "fake", head="score"), "sorted": Recognised("real")},
        amp=amp,
    )
    engine.run()
    assert generators["impute"].weight.item() == pytest.approx(0.5, abs=0.05)
    assert generators["impute"].bias.item() == pytest.approx(0, abs=0.05)
    assert {"fool", "cycle", "recognised", "judged", "sorted"} <= engine.state.output.keys()
