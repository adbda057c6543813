"""Loss that learns from every label a case has and from none that it lacks.

A real frame carries only the outline of the abdomen: inside it, nobody said where stomach, vein and spine
are. There the network is asked for the sum of their probabilities, and is free to divide it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALL = 1e-5


class PartialLabelLoss(nn.Module):
    """Cross entropy plus soft Dice where label `undivided` means any of `parts`.

    Args:
        parts: the labels that together fill the undivided region; the first is the region's own label.
        undivided: the value that marks the undivided region in a label map.
    """

    def __init__(self, parts: Sequence[int] = (1, 2, 3, 4), undivided: int = 6) -> None:
        super().__init__()
        self.parts, self.undivided = list(parts), undivided

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """The mean loss of logits (B, C, X, Y) against label maps (B, 1, X, Y)."""
        label = label[:, 0].long()
        log_p = functional.log_softmax(logits.float(), dim=1)
        log_whole = torch.logsumexp(log_p[:, self.parts], dim=1, keepdim=True)
        undivided = label == self.undivided
        picked = log_p.gather(1, label.clamp_max(logits.shape[1] - 1)[:, None])
        entropy = -torch.where(undivided[:, None], log_whole, picked).mean()
        return entropy + self._dice(log_p.exp(), log_whole.exp(), label)

    def _dice(self, p: Tensor, whole: Tensor, label: Tensor) -> Tensor:
        """1 - Dice of the whole region and of every other label, over the cases that have it.

        A case without a region is left to the cross entropy: its Dice would be 1 whatever little was found.
        """
        undivided = (label == self.undivided).flatten(1).any(1)
        parts = torch.tensor(self.parts, device=label.device)
        terms = self._present(whole[:, 0], (label == self.undivided) | torch.isin(label, parts))
        for index in range(1, p.shape[1]):
            known = ~undivided if index in self.parts else torch.ones_like(undivided)
            terms += self._present(p[known, index], label[known] == index)
        return torch.stack(terms).mean() if terms else p.sum() * 0

    @staticmethod
    def _present(p: Tensor, truth: Tensor) -> list[Tensor]:
        """[1 - Dice, averaged over the cases with any truth], or [] if there is none."""
        present = truth.flatten(1).any(1)
        if not present.any():
            return []
        p, truth = p[present], truth[present].float()
        overlap, total = (p * truth).sum((1, 2)), p.sum((1, 2)) + truth.sum((1, 2))
        return [(1 - (2 * overlap + SMALL) / (total + SMALL)).mean()]
