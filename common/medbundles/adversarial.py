"""Adversarial training with any number of generators, discriminators and named losses, on ignite.

A *step* says which images there are (`CycleTranslation`), *terms* what the generators are asked for
(`AdversarialTerm`, `L1Term`, `FunctionTerm`), *judgements* what the discriminators learn. All of them are
plain components of a JSON configuration:

    "trainer": {
        "_target_": "medbundles.adversarial.AdversarialTrainer",
        "device": "@device", "max_epochs": "@epochs", "train_data_loader": "@train#dataloader",
        "generators": {"to_routine": "@to_routine", "to_low": "@to_low"},
        "discriminators": {"routine": "@judge_routine", "low": "@judge_low"},
        "generator_optimizer": "@generator_optimizer", "discriminator_optimizer": "@discriminator_optimizer",
        "step": {"_target_": "medbundles.adversarial.CycleTranslation", "a": "low", "b": "routine",
            "forward": "to_routine", "backward": "to_low"},
        "terms": {
            "fool_routine": {"_target_": "medbundles.adversarial.AdversarialTerm", "discriminator": "routine",
                "image": "fake_routine"},
            "cycle_low": {"_target_": "medbundles.adversarial.L1Term", "image": "cycled_low", "target": "low",
                "weight": 10}},
        "judgements": {
            "judge_routine": {"_target_": "medbundles.adversarial.Judgement", "discriminator": "routine",
                "real": "routine", "fake": "fake_routine", "pool": "@pool_routine"}}}

An optimizer takes `{"_target_": "medbundles.adversarial.parameters", "networks": "@generators"}`. Terms that
are left out, have weight 0 or join `Later` cost nothing: a GAN without cycle never runs the backward
generator, and without judgements this is a supervised trainer for networks that return images.

A discriminator as in the papers (4x4 kernels, 64-128-256-512-1, the first three with stride 2) is MONAI's
`PatchDiscriminator(spatial_dims=2, channels=64, in_channels=1, num_layers_d=3, norm="INSTANCE")`; `channels`
is its width, `num_layers_d` its field of view (2: 34, 3: 70 pixels). Its default norm is BATCH, which judges
each image by the company it came in, real and fake in separate batches: with small batches, or one image,
that is noise, and in evaluation mode another network than the one trained.

Networks may be wrapped in torch's `DistributedDataParallel`, those with batch statistics with
`broadcast_buffers=False`: each runs several times before its gradient is computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines import Trainer
from monai.engines.utils import IterationEvents
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import Optimizer

from medbundles.adversarial_images import CycleTranslation, ImagePool, Images
from medbundles.adversarial_networks import Networks, frozen, parameters
from medbundles.adversarial_terms import (
    AdversarialTerm,
    Criterion,
    FunctionTerm,
    Judgement,
    L1Term,
    Later,
    Term,
    answer_of,
    scores_of,
)
from medbundles.devices import choose_device
from medbundles.distributed import average_gradients
from medbundles.errors import BundleError, InputError
from medbundles.inferers import autocast_dtype
from medbundles.loss_log import LossLog
from medbundles.schedules import ConstantThenLinear

__all__ = [
    "AdversarialTerm",
    "AdversarialTrainer",
    "ConstantThenLinear",
    "Criterion",
    "CycleTranslation",
    "DivergenceError",
    "FunctionTerm",
    "ImagePool",
    "Images",
    "Judgement",
    "L1Term",
    "Later",
    "LossLog",
    "Term",
    "answer_of",
    "batch_on_device",
    "frozen",
    "parameters",
    "scores_of",
]


class DivergenceError(InputError):
    """A loss or a gradient is no longer a finite number; the weights of the last step are still good."""


class AdversarialTrainer(Trainer):
    """Trains generators against discriminators, each side with one optimizer.

    In each iteration the generators take a step with the discriminators frozen, then the discriminators take
    one with the images just made. `engine.state.output` holds every named loss, unweighted, the weighted
    sums `loss` and `discriminator_loss`, the gradients' norms, and all images that were made.

    Args:
        device: a `torch.device` or a name, `auto` among them.
        max_epochs: the number of the last epoch.
        train_data_loader: batches are dictionaries of tensors.
        generators: name to network; their names differ from those of the discriminators.
        discriminators: name to network; may be empty.
        generator_optimizer: over the parameters of all generators.
        discriminator_optimizer: over those of all discriminators.
        step: has `images(batch, generators)`, which returns a mapping of names to images.
        terms: name to loss of the generators.
        judgements: name to loss of the discriminators.
        amp: compute in half precision where the device can.
        amp_dtype: `bfloat16`, or `float16` with loss scaling for devices without bfloat16.
        clip_gradients: largest norm of all gradients of one optimizer together.
        kwargs: as for MONAI's trainers: `epoch_length`, `train_handlers`, `key_train_metric`,
            `postprocessing`, `prepare_batch`, `decollate` (here False unless asked for), ...
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        train_data_loader: Iterable,
        *,
        generators: dict[str, torch.nn.Module],
        generator_optimizer: Optimizer,
        step: Any,
        terms: Mapping[str, Term],
        discriminators: dict[str, torch.nn.Module] | None = None,
        discriminator_optimizer: Optimizer | None = None,
        judgements: Mapping[str, Term] | None = None,
        amp: bool = False,
        amp_dtype: str = "bfloat16",
        clip_gradients: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.generators, self.discriminators = dict(generators), dict(discriminators or {})
        self.terms, self.judgements = dict(terms), dict(judgements or {})
        self.step, self.clip_gradients = step, clip_gradients
        self.optimizers = {"generator": generator_optimizer, "discriminator": discriminator_optimizer}
        self._check_sides()
        options = {"decollate": False, "prepare_batch": batch_on_device} | kwargs
        options["handlers"] = options.pop("train_handlers", None)
        options["key_metric"] = options.pop("key_train_metric", None)
        super().__init__(choose_device(device), max_epochs, train_data_loader, amp=amp, **options)
        for network in (*self.generators.values(), *self.discriminators.values()):
            network.to(self.state.device)
        self.dtype = half_precision(amp_dtype, self.state.device) if amp else None

    def run(self) -> None:
        """Trains until `max_epochs`."""
        needs_scaling = self.dtype is torch.float16  # only float16 has too few exponents for small gradients
        self.scaler = torch.amp.GradScaler(self.state.device.type) if needs_scaling else None
        super(Trainer, self).run()

    def _iteration(self, engine: AdversarialTrainer, batchdata: Mapping[str, Any]) -> dict[str, Any]:
        if batchdata is None:
            raise ValueError("must provide batch data for the current iteration")
        device, non_blocking = self.state.device, self.non_blocking
        batch = self.prepare_batch(batchdata, device, non_blocking, **self.to_kwargs)
        networks = self.generators | self.discriminators
        for network in networks.values():
            network.train()
        with frozen(self.discriminators.values()):
            with self._autocast():
                images = self.step.images(batch, self.generators)
                images = images if isinstance(images, Images) else Images(images)
                values = evaluate(self.terms, images, networks, self.state.epoch)
            numbers = self._descend("generator", self.terms, values)
        images = images.detached()
        with self._autocast():
            values = evaluate(self.judgements, images, networks, self.state.epoch)
        numbers |= self._descend("discriminator", self.judgements, values)
        self.state.output = joined(numbers, images.made())
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return self.state.output

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.state.device.type, dtype=self.dtype, enabled=self.dtype is not None)

    def _descend(
        self, side: str, terms: Mapping[str, Term], values: dict[str, torch.Tensor]
    ) -> dict[str, float]:
        """Takes one step of one side and returns its numbers; without losses it stays where it is."""
        if not values:
            return {}
        total = sum(terms[name].weight * value for name, value in values.items())
        key = "loss" if side == "generator" else f"{side}_loss"
        losses = values | {key: total}
        numbers = torch.stack([loss.detach().float() for loss in losses.values()]).tolist()
        numbers = dict(zip(losses, numbers, strict=True))
        self._check_finite(numbers)  # before the step: no weight has seen this loss
        optimizer = self.optimizers[side]
        optimizer.zero_grad(set_to_none=True)
        (total if self.scaler is None else self.scaler.scale(total)).backward()
        return numbers | {f"{side}_gradient": self._update(side, optimizer)}

    def _update(self, side: str, optimizer: Optimizer) -> float:
        """Clips, steps and returns the norm of the gradient before clipping."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        average_gradients(optimizer)
        weights = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.clip_gradients is None:
            norm = float(get_total_norm([weight.grad for weight in weights]))
        else:
            norm = float(clip_grad_norm_(weights, self.clip_gradients))
        if self.scaler is None:
            self._check_finite({f"gradient of the {side}s": norm})
            optimizer.step()
        else:  # leaves out a step whose gradient overflowed, and scales less next time
            self.scaler.step(optimizer)
            self.scaler.update()
        return norm

    def _check_finite(self, numbers: Mapping[str, float]) -> None:
        bad = {name: number for name, number in numbers.items() if not math.isfinite(number)}
        if bad:
            raise DivergenceError(
                "; ".join(f"{name} is {number}" for name, number in bad.items())
                + f" in epoch {self.state.epoch}, iteration {self.state.iteration}: training has diverged",
                expected="finite numbers",
                advice="resume from the last checkpoint with a lower learning rate, with clip_gradients or "
                "with amp false; look for NaN in the training images",
            )

    def _check_sides(self) -> None:
        """Refuses what would train in silence and learn nothing, or the wrong thing."""
        if both := self.generators.keys() & self.discriminators.keys():
            raise BundleError(
                f"a generator and a discriminator are both called {', '.join(sorted(both))}",
                expected="different names: losses find their networks by name",
                advice="rename one of them in the training configuration",
            )
        if self.judgements and self.optimizers["discriminator"] is None:
            raise BundleError(
                f"judgements ({', '.join(self.judgements)}) without a discriminator_optimizer",
                expected="an optimizer over the parameters of all discriminators",
                advice="add discriminator_optimizer to the trainer, or leave the judgements out",
            )
        for side, networks in (("generator", self.generators), ("discriminator", self.discriminators)):
            own = {id(weight) for weight in parameters(networks)}
            groups = self.optimizers[side].param_groups if self.optimizers[side] else []
            if any(id(weight) not in own for group in groups for weight in group["params"]):
                raise BundleError(
                    f"the {side}_optimizer has parameters that belong to no {side}",
                    expected=f"the parameters of {', '.join(networks) or 'nothing'}",
                    advice=f"give it medbundles.adversarial.parameters of the {side}s",
                )


def evaluate(
    terms: Mapping[str, Term], images: Images, networks: Networks, epoch: int
) -> dict[str, torch.Tensor]:
    """Returns the value of each term that has a weight, and has joined by this epoch (see `Later`)."""
    joined = {name: term for name, term in terms.items() if epoch > getattr(term, "after", 0)}
    return {name: term(images, networks) for name, term in joined.items() if term.weight}


def joined(numbers: dict[str, float], images: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Returns numbers and images in one dictionary.

    Raises:
        BundleError: a number and an image have the same name.
    """
    if both := numbers.keys() & images.keys():
        raise BundleError(
            f"a loss and an image are both called {', '.join(sorted(both))}",
            expected="different names",
            advice="rename the loss in the training configuration",
        )
    return numbers | images


def batch_on_device(
    batch: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
) -> dict[str, Any]:
    """Returns the batch with its tensors on the device, without metadata, which slows each operation down."""
    return {key: _moved(value, device, non_blocking, kwargs) for key, value in batch.items()}


def _moved(value: Any, device: torch.device, non_blocking: bool, kwargs: Mapping[str, Any]) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    value = value.as_tensor() if isinstance(value, MetaTensor) else value
    return value.to(device, non_blocking=non_blocking, **kwargs)


def half_precision(name: str, device: torch.device) -> torch.dtype | None:
    """Returns the type to compute in, or None (float32) where the device has no such type."""
    if name not in ("bfloat16", "float16"):
        raise ValueError(f"unknown half precision '{name}': bfloat16 or float16")
    if name == "bfloat16":
        return autocast_dtype(device)
    return torch.float16 if device.type in ("cpu", "cuda") else None
