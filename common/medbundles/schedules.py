"""Learning rate schedules that a JSON configuration can state."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class ConstantThenLinear(LRScheduler):
    """A constant learning rate, then a straight line down to zero, as CycleGAN's papers use.

    Args:
        optimizer: the optimizer, with the learning rate to start from.
        constant: epochs at the full rate.
        total: the epoch after which the rate is zero. It belongs to the schedule, not to the run: with a
            number of its own, 20 + 20 epochs equal 40.
        last_epoch: epochs already done.
    """

    def __init__(self, optimizer: Optimizer, constant: int, total: int, last_epoch: int = -1) -> None:
        if not 0 <= constant <= total or total < 1:
            raise ValueError(f"a schedule of {constant} constant epochs out of {total}")
        self.constant, self.total = int(constant), int(total)
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch: int) -> float:
        """Returns the part of the full rate that is left after so many epochs."""
        if epoch < self.constant:
            return 1.0
        return max(0.0, (self.total - epoch) / max(1, self.total - self.constant))

    def get_lr(self) -> list[float]:
        """Returns the rate of each parameter group; it depends on the epoch alone, not on earlier rates."""
        return [rate * self.factor(self.last_epoch) for rate in self.base_lrs]
