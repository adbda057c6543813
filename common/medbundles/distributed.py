"""One training shared by the processes that `torchrun` starts: the same network in each, gradients averaged.

Each process sees its own part of every batch. Before a step of an optimizer the gradients of all processes
are averaged, so that the weights stay the same everywhere; `AdversarialTrainer` does so by itself, before
it clips them. The first process alone writes checkpoint, weights, curves and losses.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from monai.handlers import StatsHandler, TensorBoardStatsHandler
from torch import Tensor, distributed
from torch.optim import Optimizer

from medbundles.devices import choose_device
from medbundles.errors import InputError
from medbundles.weights import is_writer

BUCKET = 8_000_000  # numbers that are sent at once


def join(device: str | torch.device = "auto") -> None:
    """Joins the other processes of torchrun.

    Raises:
        InputError: torchrun did not start this process.
    """
    if "WORLD_SIZE" not in os.environ:
        raise InputError(
            "a training on several processes was started as one",
            expected="a process of torchrun",
            advice="start it with torchrun, or leave multi_gpu_train.json out",
        )
    device = choose_device(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


def leave() -> None:
    """Ends what `join` began."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def is_shared() -> bool:
    """Whether other processes train the same network."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def share(trainer: Any) -> None:
    """Lets a trainer train with those of the other processes, all from the weights of the first one."""
    if not is_shared():
        return
    own = getattr(trainer, "optimizers", None)  # of an AdversarialTrainer, which averages by itself
    for optimizer in [trainer.optimizer] if own is None else filter(None, own.values()):
        for weight in weights_of(optimizer):
            distributed.broadcast(weight.data, 0)
    if own is None:
        trainer.optimizer.register_step_pre_hook(lambda optimizer, *_: average_gradients(optimizer))


def weights_of(optimizer: Optimizer) -> list[Tensor]:
    """All that an optimizer trains."""
    return [weight for group in optimizer.param_groups for weight in group["params"] if weight.requires_grad]


@torch.no_grad()
def average_gradients(optimizer: Optimizer) -> None:
    """Gives every weight the mean of its gradients in all processes; none is 0 where another one has some."""
    weights = weights_of(optimizer)
    if not is_shared() or not weights:
        return
    there = torch.tensor([float(w.grad is not None) for w in weights], device=weights[0].device)
    distributed.all_reduce(there)
    for bucket in _buckets([w for w, count in zip(weights, there.tolist(), strict=True) if count]):
        flat = torch.cat([(torch.zeros_like(w) if w.grad is None else w.grad).reshape(-1) for w in bucket])
        distributed.all_reduce(flat)
        flat /= distributed.get_world_size()
        for weight, mean in zip(bucket, flat.split([w.numel() for w in bucket]), strict=True):
            weight.grad = torch.empty_like(weight) if weight.grad is None else weight.grad
            weight.grad.copy_(mean.view(weight.shape))


def _buckets(weights: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Weights of one type together, few enough at a time for any memory."""
    for _, members in groupby(weights, key=lambda weight: weight.dtype):
        bucket: list[Tensor] = []
        for weight in members:
            if bucket and sum(w.numel() for w in bucket) + weight.numel() > BUCKET:
                yield bucket
                bucket = []
            bucket.append(weight)
        yield bucket


def own_handlers(handlers: Sequence[Any]) -> list[Any]:
    """The handlers of this process: the log and the curves are for the first one to write."""
    talking = () if is_writer() else (StatsHandler, TensorBoardStatsHandler)
    return [handler for handler in handlers if not isinstance(handler, talking)]
