"""The numbers that teeth are given on the panoramas: four kinds and their order, or the position at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import dental_bundle  # noqa: F401  with it the bundle's package is found
import numpy as np
import torch
from numpy.typing import NDArray
from paired_tables import Row
from torch import Tensor, nn

from dental_teeth.boxes import Box, box_of
from dental_teeth.detection_scores import SAME
from dental_teeth.detector import LEAST_SCORE, Found, decoded, overlap_of
from dental_teeth.finder import finder_of
from dental_teeth.frame import Array
from dental_teeth.jaws import UPPER, split_jaws
from dental_teeth.panorama import View, panorama, project_labels
from dental_teeth.reading import MOST_TEETH, Answer, normalised, plainly, read, views_with_teeth
from dental_teeth.scores import LEAST_MM3
from dental_teeth.teeth import FDI_CODES
from dental_teeth.truth import LEAST_PIXELS
from medbundles.images import spacing_of


@dataclass(frozen=True)
class Numbered:
    """A tooth that was found on a panorama: its number, its box and how sure the detector is."""

    code: int
    box: Box
    score: float


Numbers = list[tuple[View, list[Numbered]]]
Namer = Callable[[Tensor, Array], Numbers]


@dataclass(frozen=True)
class InOrder:
    """As the bundle numbers: the likeliest way to put the teeth of a jaw, with their kinds, into one row.

    Attributes:
        networks: `finder`, `detector` (four kinds) and `outliner`.
        answer: how to ask them.
        least: score below which there is no tooth.
    """

    networks: nn.Module
    answer: Answer = plainly
    least: float = LEAST_SCORE

    @torch.no_grad()
    def __call__(self, volume: Tensor, affine: Array) -> Numbers:
        """Returns the teeth of each jaw of a scan."""
        options = {"answer": self.answer, "least": self.least, "device": volume.device}
        reading = read(volume.cpu().numpy(), affine, self.networks, **options)
        return [
            (jaw.view, [Numbered(tooth.code, tooth.box, tooth.score) for tooth in jaw.teeth])
            for jaw in reading.jaws.values()
        ]


@dataclass(frozen=True)
class AtOnce:
    """Eight positions told by the detector; the jaw and the side of the arch's middle give the quadrant.

    Attributes:
        networks: `finder` and `detector` (eight kinds).
        answer: how to ask them.
        least: score below which there is no tooth.
    """

    networks: nn.Module
    answer: Answer = plainly
    least: float = LEAST_SCORE

    @torch.no_grad()
    def __call__(self, volume: Tensor, affine: Array) -> Numbers:
        """Returns the teeth of each jaw of a scan, on the same panoramas as the bundle's."""
        scan, device, numbers = volume.cpu().numpy(), volume.device, []
        jaws = split_jaws(scan, affine, finder_of(self.networks.finder, self.answer, device=device))
        for view in views_with_teeth(jaws).values():
            picture = normalised(panorama(scan, affine, view, jaws, device=device))
            shown = torch.from_numpy(picture).to(device)
            found = decoded(self.answer(self.networks.detector, shown[None, None])[0], least=self.least)
            best = sorted(found, key=lambda tooth: -tooth.score)[:MOST_TEETH]
            numbers.append((view, [Numbered(code_at_once(one, view), one.box, one.score) for one in best]))
        return numbers


def code_at_once(tooth: Found, view: View) -> int:
    """The FDI number of a tooth by its likeliest position; the first column is the patient's right end."""
    position = 1 + max(range(len(tooth.kinds)), key=lambda kind: tooth.kinds[kind])
    right = tooth.column < (view.shape[0] - 1) / 2
    quadrants = (1, 2) if view.jaw == UPPER else (4, 3)
    return 10 * quadrants[0 if right else 1] + position


def number_row(volume: Tensor, affine: Array, codes: NDArray, namer: Namer) -> Row:
    """Returns precision, recall and F1 of the numbers of a scan (X, Y, Z), and the share of teeth found.

    A tooth is found if its box overlaps a true one by half, and right if the number is that tooth's, too.
    Teeth that no panorama shows count as overlooked.

    Args:
        volume: HU-like values.
        affine: RAS affine of the scan.
        codes: true FDI numbers.
        namer: finds teeth and numbers them.
    """
    voxels = np.bincount(codes.ravel(), minlength=FDI_CODES[-1] + 1)
    true = [code for code in FDI_CODES if voxels[code] * np.prod(spacing_of(affine, 3)) >= LEAST_MM3]
    pairs, given = [], 0
    for view, teeth in namer(volume, affine):
        pairs += matched(teeth, boxes_of(codes, affine, view, true))
        given += len(teeth)
    right = sum(code == wanted for code, wanted in pairs)
    return {
        "precision": right / given if given else float(not true),
        "recall": right / len(true) if true else 1.0,
        "F1": 2 * right / (given + len(true)) if given + len(true) else 1.0,
        "found": len(pairs) / len(true) if true else 1.0,
    }


def boxes_of(codes: NDArray, affine: Array, view: View, true: Sequence[int]) -> dict[int, Box]:
    """Returns the boxes of true teeth on a panorama, those that show more than a sliver."""
    masks = project_labels(codes, affine, view)
    return {code: box_of(mask) for code, mask in masks.items() if code in true and mask.sum() >= LEAST_PIXELS}


def matched(teeth: Sequence[Numbered], boxes: Mapping[int, Box]) -> list[tuple[int, int]]:
    """The given and the true number of each tooth that was found: the surest one first, every box once."""
    left, pairs = dict(boxes), []
    for tooth in sorted(teeth, key=lambda tooth: -tooth.score):
        overlaps = {code: overlap_of(tooth.box, box) for code, box in left.items()}
        best = max(overlaps, key=lambda code: overlaps[code], default=None)
        if best is not None and overlaps[best] >= SAME:
            pairs.append((tooth.code, best))
            del left[best]
    return pairs
