"""How the look of real frames is learnt without pairs: a cycle translation, its losses and its trainer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from amniotic_fluid.look import LookGenerator, LookJudge
from amniotic_fluid.look_match import LookMatch, made_and_real
from medbundles.adversarial import (
    AdversarialTerm,
    AdversarialTrainer,
    ConstantThenLinear,
    CycleTranslation,
    ImagePool,
    Judgement,
    L1Term,
    parameters,
)
from medbundles.devices import choose_device

DOMAINS = {"real": "real", "simulated": "image"}  # and the key of their frames in a batch
POOL = 50


class LookTraining:
    """Generators and discriminators of both directions with all that trains them.

    Args:
        width: channels of the generators.
        device: where to train.
        learning_rate: of all of them.
        constant_epochs: before the learning rate begins to fall.
        schedule_epochs: until it is zero.
        cycle_weight: of coming back to the frame.
        identity_weight: of leaving a frame of the own domain as it is.
    """

    def __init__(
        self,
        width: int,
        device: torch.device | str,
        *,
        learning_rate: float,
        constant_epochs: int,
        schedule_epochs: int,
        cycle_weight: float = 10.0,
        identity_weight: float = 2.0,
    ) -> None:
        device = choose_device(device)
        self.generators = nn.ModuleDict({f"to_{d}": LookGenerator(width) for d in DOMAINS}).to(device)
        self.judges = nn.ModuleDict({f"judge_{d}": LookJudge() for d in DOMAINS}).to(device)
        self.pools = {domain: ImagePool(POOL) for domain in DOMAINS}
        self.optimizer, self.judge_optimizer = (
            torch.optim.Adam(parameters(dict(networks)), lr=learning_rate, betas=(0.5, 0.999))
            for networks in (self.generators, self.judges)
        )
        self.scheduler, self.judge_scheduler = (
            ConstantThenLinear(optimizer, constant_epochs, schedule_epochs)
            for optimizer in (self.optimizer, self.judge_optimizer)
        )
        self.terms, self.judgements = self._losses(cycle_weight, identity_weight)

    @property
    def network(self) -> LookGenerator:
        """The generator that is wanted: it makes simulated frames look real."""
        return self.generators["to_real"]

    @property
    def objects(self) -> dict[str, Any]:
        """What a checkpoint holds besides the average and the best weights."""
        names = ("generators", "judges", "optimizer", "judge_optimizer", "scheduler", "judge_scheduler")
        return {name: getattr(self, name) for name in names} | {
            f"pool_{domain}": pool for domain, pool in self.pools.items()
        }

    def trainer(self, **options: Any) -> AdversarialTrainer:
        """The trainer; options as for `AdversarialTrainer`. `fake_image` is a real frame made simulated."""
        return AdversarialTrainer(
            generators=dict(self.generators),
            discriminators=dict(self.judges),
            generator_optimizer=self.optimizer,
            discriminator_optimizer=self.judge_optimizer,
            step=CycleTranslation("image", "real", forward="to_real", backward="to_simulated"),
            terms=self.terms,
            judgements=self.judgements,
            **options,
        )

    def _losses(self, cycle: float, identity: float) -> tuple[dict[str, Any], dict[str, Any]]:
        terms, judgements = {}, {}
        for domain, key in DOMAINS.items():
            judge, fake = f"judge_{domain}", f"fake_{key}"
            terms[f"fool_{domain}"] = AdversarialTerm(judge, fake)
            terms[f"cycle_{domain}"] = L1Term(f"cycled_{key}", key, weight=cycle)
            terms[f"identity_{domain}"] = L1Term(f"same_{key}", key, weight=identity)
            judgements[f"judged_{domain}"] = Judgement(judge, key, fake, pool=self.pools[domain])
        return terms, judgements


def trainer(look: LookTraining, **options: Any) -> AdversarialTrainer:
    """The trainer of a `LookTraining`, for configs."""
    return look.trainer(**options)


def key_metric() -> dict[str, Any]:
    """How alike translated and real frames look."""
    return {"val_look_match": LookMatch(output_transform=made_and_real)}
