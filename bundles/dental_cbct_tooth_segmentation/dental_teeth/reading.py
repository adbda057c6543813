"""Reads the panoramas of a scan: finds the teeth, numbers and outlines them."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dental_teeth.boxes import Box
from dental_teeth.detector import LEAST_SCORE, Found, decoded
from dental_teeth.finder import finder_of
from dental_teeth.frame import Array, NotDentalError
from dental_teeth.jaws import Jaws, split_jaws
from dental_teeth.numbering import NO_TOOTH, number
from dental_teeth.outliner import crop, paste, window_of
from dental_teeth.panorama import View, panorama, view_of
from dental_teeth.teeth import JawReading, Mask, Reading, Tooth

logger = logging.getLogger(__name__)

Answer = Callable[[nn.Module, Tensor], Tensor]
MOST_TEETH = 24  # looked at in a jaw, of which at most sixteen get a number
NOT_TOOTH = -10.0  # logit around what the outliner was shown


def plainly(network: nn.Module, x: Tensor) -> Tensor:
    """Returns what a network answers."""
    return network(x)


def read(
    volume: NDArray,
    affine: Array,
    networks: nn.Module,
    *,
    answer: Answer = plainly,
    least: float = LEAST_SCORE,
    device: str | torch.device = "cpu",
) -> Reading:
    """Returns what is seen on the panoramas of a scan (X, Y, Z).

    Args:
        volume: HU-like values.
        affine: RAS affine of the scan.
        networks: `finder`, `detector` and `outliner`.
        answer: how to ask a network.
        least: score below which there is no tooth.
        device: where the networks are.

    Raises:
        NotDentalError: there is no row of teeth in either jaw.
    """
    jaws = split_jaws(volume, affine, finder_of(networks.finder, answer, device=device))
    readings = {}
    for jaw, view in views_with_teeth(jaws).items():
        picture = panorama(volume, affine, view, jaws, device=device)
        shown = torch.from_numpy(normalised(picture)).to(device)
        found = decoded(answer(networks.detector, shown[None, None])[0], least=least)
        found = sorted(sorted(found, key=lambda tooth: -tooth.score)[:MOST_TEETH], key=lambda t: t.column)
        masks = outlined(shown, [tooth.box for tooth in found], networks.outliner, answer=answer)
        readings[jaw] = _numbered(jaw, view, picture, found, masks)
    return Reading(readings, jaws.method, jaws.confidence)


def views_with_teeth(jaws: Jaws) -> dict[str, View]:
    """Returns the views of the jaws that have a row of teeth, upper first.

    Raises:
        NotDentalError: none has.
    """
    views, reason = {}, None
    for jaw in jaws.present:
        try:
            views[jaw] = view_of(jaws, jaw)
        except NotDentalError as error:
            reason = error
    if reason is not None and not views:
        raise reason
    return views


def normalised(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns a panorama with mean 0 and standard deviation 1 over what is seen of the jaw."""
    seen = picture[picture > 0]
    if len(seen) < 2:
        return np.zeros_like(picture)
    return ((picture - seen.mean()) / max(float(seen.std()), 1e-3)).astype(np.float32)


def outlined(shown: Tensor, boxes: list[Box], outliner: nn.Module, *, answer: Answer = plainly) -> list[Mask]:
    """Returns the mask (columns, rows) of the tooth in each box of a normalised panorama."""
    if not boxes:
        return []
    windows = [window_of(box) for box in boxes]
    logits = answer(outliner, torch.stack([crop(shown, window) for window in windows])[:, None])[:, 0]
    shape = (shown.shape[0], shown.shape[1])
    pasted = [paste(one, window, shape, fill=NOT_TOOTH) for one, window in zip(logits, windows, strict=True)]
    return [(one > 0).cpu().numpy() for one in pasted]


def _numbered(
    jaw: str, view: View, picture: NDArray[np.float32], found: list[Found], masks: list[Mask]
) -> JawReading:
    middle = (view.shape[0] - 1) / 2
    places = np.array([(tooth.column - middle) * view.pitch_mm for tooth in found])
    scores = np.array([tooth.score for tooth in found])
    numbers = number(np.array([tooth.kinds for tooth in found]), _rising(places), jaw, scores)
    teeth = tuple(
        Tooth(code, jaw, one.box, mask, one.score, margin, sure)
        for one, mask, code, margin, sure in zip(
            found, masks, numbers.codes, numbers.margins, numbers.sure, strict=True
        )
        if code != NO_TOOTH
    )
    return JawReading(view, picture, teeth, numbers.missing)


def _rising(places: Array) -> Array:
    """The places, those that coincide with the one before moved by a trifle."""
    return np.maximum.accumulate(places) + 1e-3 * np.arange(len(places))
