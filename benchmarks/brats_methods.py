"""The ways of coping with a missing contrast that are compared.

Shapes: B batch, C contrasts, X, Y and Z the axes of a volume.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from brats_variants import BUNDLE, DROPOUT, IMPUTERS, SEGMENTER, load_imputer, load_segmenter
from named_weights import SHIPPED
from paired_tables import REFERENCE_WEIGHTS
from torch import Tensor, nn

from brats_collagan.collagan import impute  # found since brats_variants is
from brats_collagan.network import present
from medbundles.inferers import SlicewiseInferer

ORIGINAL, ZEROS, MEAN, WRONG_CODE = "original", "zeros", "mean of the rest", "wrong code"
WITHHELD = ("t1", "t2", "flair", "t1gd")  # in the order of the paper's databases

Fill = Callable[[Tensor, Sequence[bool], SlicewiseInferer | None], Tensor]


class Rival(nn.Module):
    """A segmenter, and a way to fill in what is missing; the bundle's inferer runs it as its own network.

    Args:
        segmenter: the network.
        fill: makes a volume (1, C, X, Y, Z) complete.
    """

    def __init__(self, segmenter: nn.Module, fill: Fill) -> None:
        super().__init__()
        self.segmenter, self.fill = segmenter, fill

    def complete(self, x: Tensor, inferer: SlicewiseInferer | None = None) -> Tensor:
        """The volume (1, C, X, Y, Z) without a missing contrast; one that has all is left as it is."""
        there = present(x[0])
        return x if all(there) else self.fill(x, there, inferer)


def as_zeros(x: Tensor, there: Sequence[bool], inferer: SlicewiseInferer | None = None) -> Tensor:
    """A missing contrast stays 0, which is also what the brain is on average."""
    return x


def as_mean(x: Tensor, there: Sequence[bool], inferer: SlicewiseInferer | None = None) -> Tensor:
    """A missing contrast is the mean of those that are there, all of them z-scored."""
    whole = x.clone()
    whole[:, [not known for known in there]] = x[:, list(there)].mean(1, keepdim=True)
    return whole


class Imputed(nn.Module):
    """A missing contrast is what an imputer makes of the rest.

    Args:
        imputer: the network.
        misled: tell it that the contrast after the missing one is wanted.
    """

    def __init__(self, imputer: nn.Module, *, misled: bool = False) -> None:
        super().__init__()
        self.imputer, self.misled = imputer, misled

    def forward(self, x: Tensor, there: Sequence[bool], inferer: SlicewiseInferer | None = None) -> Tensor:
        """The completed volume (1, C, X, Y, Z)."""
        slicewise = SlicewiseInferer() if inferer is None else inferer
        if self.misled:
            slicewise = partial(slicewise, told=(list(there).index(False) + 1) % len(there))
        return impute(self.imputer, x, there, inferer=slicewise)


@dataclass(frozen=True)
class Method:
    """A way of coping.

    Attributes:
        name: in the tables.
        network: what answers.
        withheld: contrasts that it is tried without; '' for none.
        key: changes when the weights do.
        makes_images: whether the contrast that it fills in is to be compared with the original.
    """

    name: str
    network: Rival
    withheld: tuple[str, ...]
    key: str
    makes_images: bool


def methods_of(run: str, work: Path) -> list[Method]:
    """All ways of coping that a run has weights for.

    Args:
        run: a folder in `work`, or `shipped` for the bundle's own weights.
        work: the folder of the runs.

    Raises:
        SystemExit: it has no segmenter.
    """
    files = weights_of(run, work)
    if SEGMENTER not in files:
        raise SystemExit(f"no {SEGMENTER}/model.pt in {work / run}: train it first")
    segmenter, hashed = load_segmenter(files[SEGMENTER]), {k: _hash(path) for k, path in files.items()}

    def method(name: str, fill: Fill, *weights: str, withheld: Sequence[str] = WITHHELD) -> Method:
        network = Rival(load_segmenter(files[DROPOUT]) if name == DROPOUT else segmenter, fill)
        key = " ".join(hashed[part] for part in weights)
        return Method(name, network.eval(), tuple(withheld), key, name not in (ORIGINAL, ZEROS, DROPOUT))

    found = [
        method(ORIGINAL, as_zeros, SEGMENTER, withheld=[""]),
        method(ZEROS, as_zeros, SEGMENTER),
        method(MEAN, as_mean, SEGMENTER),
    ]
    if DROPOUT in files:
        found.append(method(DROPOUT, as_zeros, DROPOUT, withheld=["", *WITHHELD]))
    for name in (part for part in IMPUTERS if part in files):
        imputer = load_imputer(files[name])
        found.append(method(name, Imputed(imputer), SEGMENTER, name))
        if name == REFERENCE_WEIGHTS:
            found.append(method(WRONG_CODE, Imputed(imputer, misled=True), SEGMENTER, name))
    return found


def weights_of(run: str, work: Path) -> dict[str, Path]:
    """The weights files of a run, by variant; both of the bundle's networks are in one file."""
    if run == SHIPPED:
        path = BUNDLE / "models" / "model.pt"
        return {SEGMENTER: path, REFERENCE_WEIGHTS: path}
    return {path.parent.name: path for path in sorted((work / run).glob("*/model.pt"))}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
