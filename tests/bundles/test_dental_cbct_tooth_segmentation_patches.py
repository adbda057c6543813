"""One tooth cut out of a scan, and what of it the panorama allows."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "dental_cbct_tooth_segmentation"))

from dental_phantom import Phantom, known_jaws

from dental_teeth.boxes import box_of
from dental_teeth.frame import nearest, transformed
from dental_teeth.inferer import TeethInferer
from dental_teeth.jaws import LOWER, UPPER
from dental_teeth.panorama import View, project_labels, views
from dental_teeth.patches import channels, cut, patch_at
from dental_teeth.samples import RandTeeth
from medbundles.errors import OverrideError
from medbundles.images import spacing_of


@pytest.fixture(scope="module")
def closed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return Phantom().build()


@pytest.fixture(scope="module")
def seen(closed: tuple) -> dict[str, View]:
    return views(known_jaws(*closed), columns=320, rows=96, pitch_mm=0.5)


@pytest.mark.parametrize("code", [11, 16, 34, 48])
def test_what_is_projected_and_projected_back_covers_the_tooth(code: int, closed: tuple, seen: dict) -> None:
    _, labels, affine = closed
    view = seen[UPPER if code < 30 else LOWER]
    mask = project_labels(labels, affine, view)[code]
    patch = patch_at(view, box_of(mask), size=(40, 48, 60), step_mm=0.5)
    found = nearest(labels, transformed(patch.points(), view.frame.to_voxels(affine)))
    tooth, voxel_mm3 = found == code, float(np.prod(spacing_of(affine, 3)))
    assert tooth.sum() * 0.5**3 == pytest.approx((labels == code).sum() * voxel_mm3, rel=0.05)  # all of it
    loose, tight = patch.regions(mask)
    assert (tight & tooth).sum() >= 0.995 * tooth.sum()
    assert (loose | ~tight).all() and tight.sum() < loose.sum() < 0.5 * loose.size
    neighbour = found == (code - 1 if code % 10 > 1 else code + 1)
    assert (tight & neighbour).sum() < 0.4 * neighbour.sum()


@pytest.mark.parametrize("code", [17, 27, 37, 47])
def test_a_patch_runs_to_the_midline_outwards_and_to_the_crown(code: int, closed: tuple, seen: dict) -> None:
    _, labels, affine = closed
    view = seen[UPPER if code < 30 else LOWER]
    patch = patch_at(view, box_of(project_labels(labels, affine, view)[code]), size=(60, 48, 60), step_mm=0.5)
    found = nearest(labels, transformed(patch.points(), view.frame.to_voxels(affine)))
    middles = {other: np.argwhere(found == other).mean(0) for other in (code, code - 1, code + 1)}
    assert middles[code - 1][0] > middles[code][0] + 5 > middles[code + 1][0] + 10
    jaw_side, front = patch.points()[:, :, -1], patch.points()[30]
    assert (jaw_side[..., 2] < 8).all() if code < 30 else (jaw_side[..., 2] > -8).all()
    assert (front[0, 0, 0] < front[-1, 0, 0]) == (code // 10 in (2, 3))  # outwards is to the tooth's own side


def test_left_and_right_teeth_are_mirror_images_in_their_patches(closed: tuple, seen: dict) -> None:
    _, labels, affine = closed
    cuts = []
    for code in (34, 44):
        patch = patch_at(seen[LOWER], box_of(project_labels(labels, affine, seen[LOWER])[code]))
        inside = nearest(labels, transformed(patch.points(), patch.view.frame.to_voxels(affine))) == code
        cuts.append(inside)
    both = 2 * (cuts[0] & cuts[1]).sum() / (cuts[0].sum() + cuts[1].sum())
    assert both > 0.85


@pytest.mark.parametrize("regions", ["both", "loose", "tight"])
def test_the_network_is_shown_both_regions_or_one_of_them_twice(
    regions: str, closed: tuple, seen: dict
) -> None:
    hu, labels, affine = closed
    mask = project_labels(labels, affine, seen[UPPER])[11]
    patch = patch_at(seen[UPPER], box_of(mask), size=(16, 24, 32), step_mm=1.0)
    grey = cut(hu, affine, patch) + 1
    first, second = channels(grey, patch, mask, regions)
    loose, tight = (torch.from_numpy(region) for region in patch.regions(mask))
    assert torch.equal(first > 0, tight if regions == "tight" else loose)
    assert torch.equal(second > 0, loose if regions == "loose" else tight)


def test_unknown_regions_are_refused_at_once() -> None:
    for made in (TeethInferer, RandTeeth):
        with pytest.raises(OverrideError, match="losse"):
            made(regions="losse")


def test_the_fast_mode_takes_fewer_points_over_at_least_the_same_extent() -> None:
    usual, fast = TeethInferer(), TeethInferer(mode="fast")
    assert fast.patch_mm == pytest.approx(usual.patch_mm * 4 / 3)
    for points, fewer in zip(usual.patch, fast.patch, strict=True):
        assert fewer % 8 == 0 and fewer < points
        assert fewer * fast.patch_mm >= points * usual.patch_mm - 1e-6
    assert TeethInferer(mode="exact").patch == usual.patch
