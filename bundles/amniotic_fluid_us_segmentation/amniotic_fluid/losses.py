"""Loss on every side output that learns from each label a frame has and from none that it lacks.

On a real frame only the fluid was outlined: nobody said where in it reverberation lies, or what outside it
is cord. There the network is asked for the sum of the probabilities in question, and is free to divide it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from amniotic_fluid.network import LABELS

# Values of a label map beyond the labels themselves, and the labels that a pixel with that value may have.
UNDIVIDED_FLUID, NOT_FLUID, UNKNOWN = 4, 5, 6
UNIONS = ((1, 3), (0, 2), (0, 1, 2, 3))
# Dice is taken of all fluid, because that is what is measured, and of each label.
REGIONS = ((1, 3), (1,), (2,), (3,))
SMALL = 1e-5


class SideOutputLoss(nn.Module):
    """Cross entropy plus soft Dice, the mean over all side outputs with equal weights.

    Args:
        labels: number of labels, background among them.
        unions: what pixels of the values `labels`, `labels` + 1, ... may be; any label at all: not known.
        regions: sets of labels whose Dice counts.
    """

    def __init__(
        self,
        labels: int = LABELS,
        unions: Sequence[Sequence[int]] = UNIONS,
        regions: Sequence[Sequence[int]] = REGIONS,
    ) -> None:
        super().__init__()
        self.labels, self.unions = labels, [list(union) for union in unions]
        possible = [{label} for label in range(labels)] + [set(union) for union in unions]
        inside = [[may <= set(region) for region in regions] for may in possible]
        outside = [[not may & set(region) for region in regions] for may in possible]
        members = [[label in region for region in regions] for label in range(labels)]
        tables = {
            "known": torch.tensor([len(may) < labels for may in possible]),
            "inside": torch.tensor(inside).float(),  # value, region
            "clear": (torch.tensor(inside) | torch.tensor(outside)).float(),
            "members": torch.tensor(members).float(),  # label, region
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """The mean loss of logits (B, S, L, X, Y) or (B, L, X, Y) against label maps (B, 1, X, Y).

        Raises:
            ValueError: the labels have another grid, or a value that no union explains.
        """
        maps = torch.as_tensor(logits).as_subclass(Tensor).float()
        maps = maps[:, None] if maps.ndim == 4 else maps
        label = torch.as_tensor(label).as_subclass(Tensor)[:, 0].long()
        if label.shape != (maps.shape[0], *maps.shape[3:]):
            raise ValueError(f"label maps {tuple(label.shape)} do not fit the logits {tuple(logits.shape)}")
        if not 0 <= int(label.min()) <= int(label.max()) < len(self.known):
            raise ValueError(
                f"label maps hold {int(label.min())} to {int(label.max())}, not 0 to {len(self.known) - 1}"
            )
        log_p = maps.log_softmax(dim=2)
        return self._entropy(log_p, label) + self._dice(log_p.exp(), label)

    def _entropy(self, log_p: Tensor, label: Tensor) -> Tensor:
        """Minus the log of the probability of what a pixel may be, averaged over the known pixels."""
        if int(label.max()) >= self.labels:
            sums = [torch.logsumexp(log_p[:, :, union], dim=2, keepdim=True) for union in self.unions]
            log_p = torch.cat([log_p, *sums], dim=2)
        index = label[:, None, None].expand(-1, log_p.shape[1], -1, -1, -1)
        known = self.known.to(label.device)[label][:, None, None]
        picked = torch.where(known, log_p.gather(2, index), 0.0)
        return -picked.sum() / (known.sum() * log_p.shape[1]).clamp_min(1)

    def _dice(self, p: Tensor, label: Tensor) -> Tensor:
        """1 - Dice, averaged over the frames that have a region, then over regions and side outputs.

        Pixels that may or may not be of a region count neither way. A frame without a region is left to the
        cross entropy: its Dice would be 1 whatever little was found.
        """
        batch, sides = p.shape[:2]
        label, flat = label.flatten(1), p.flatten(3).flatten(1, 2)  # B XY; B SL XY
        inside, clear = (table.to(p.device)[label] for table in (self.inside, self.clear))  # B XY R
        sizes = inside.sum(dim=1)  # B R
        present = (sizes > 0).float()
        overlap, found = (
            (torch.bmm(flat, part).view(batch, sides, self.labels, -1) * self.members.to(p.device)).sum(dim=2)
            for part in (inside, clear)
        )  # B S R
        missed = 1 - (2 * overlap + SMALL) / (found + sizes[:, None] + SMALL)
        per_region = (missed.mean(dim=1) * present).sum(dim=0) / present.sum(dim=0).clamp_min(1)
        return per_region.sum() / (present.sum(dim=0) > 0).sum().clamp_min(1)
