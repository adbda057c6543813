"""The whole network of the brain-tumour bundle: imputing, segmenting, windows, and its two parts."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "brats_mri_collagan_segmentation"))

from brats_collagan.collagan import CollaGenerator
from brats_collagan.network import CollaInferer, CollaSegmenter, margins, present
from brats_collagan.segmenter import Segmenter
from medbundles.contrasts import CONTRASTS
from medbundles.regions import merge_regions


def small_network() -> CollaSegmenter:
    torch.manual_seed(0)
    return CollaSegmenter(CollaGenerator(width=2, levels=2, slices=3), Segmenter(width=8)).eval()


def volume(*missing: str) -> torch.Tensor:
    """Contrasts (1, 4, 20, 24, 16), z-scored in a box of brain."""
    torch.manual_seed(1)
    x = torch.zeros(1, 4, 20, 24, 16)
    x[..., 3:17, 3:21, 2:14] = torch.randn(1, 4, 14, 18, 12)
    x[:, [CONTRASTS.index(name) for name in missing]] = 0
    return x


def test_the_largest_margin_is_what_merging_the_regions_gives() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, 8)
    expected = torch.stack([merge_regions(item.sigmoid()) for item in logits])
    found = margins(logits)
    assert torch.equal(found.argmax(1), expected.long())
    assert (found.max(1).values > 0).all() and ((found > 0).sum(1) == 1).all()


def test_a_contrast_of_zeros_is_missing_and_imputed_and_the_others_are_kept() -> None:
    x = volume("t2")
    assert present(x[0]) == [True, True, False, True]
    with torch.no_grad():
        whole = small_network().complete(x)
    assert whole[:, 2].abs().sum() > 0
    assert torch.equal(whole[:, [0, 1, 3]], x[:, [0, 1, 3]])
    assert (whole[:, 2][(x == 0).all(1)] == 0).all()


def test_each_of_a_batch_has_its_own_contrasts() -> None:
    network = small_network()
    x = torch.cat([volume("t2"), volume(), torch.zeros(1, 4, 20, 24, 16)])
    with torch.no_grad():
        whole = network.complete(x)
        assert torch.equal(whole[:1], network.complete(x[:1]))
    assert torch.equal(whole[1:], x[1:])


def test_windows_and_the_whole_give_nearly_the_same_and_a_large_window_is_the_whole() -> None:
    network, x = small_network(), volume("flair")
    with torch.no_grad():
        whole = CollaInferer(None)(x, network)
        assert torch.equal(CollaInferer([160, 192, 160])(x, network), whole)
        parts = CollaInferer([16, 16, 16], overlap=0.5)(x, network)
    assert whole.shape == (1, 8, 20, 24, 16)
    assert torch.equal(parts[:, 4:], whole[:, 4:])
    assert torch.corrcoef(torch.stack([parts[:, :4].flatten(), whole[:, :4].flatten()]))[0, 1] > 0.8


def test_mirroring_makes_the_answer_independent_of_the_side() -> None:
    network, x = small_network(), volume()
    with torch.no_grad():
        one, other = (CollaInferer(mirror=True)(item, network)[:, :4] for item in (x, x.flip(2)))
    torch.testing.assert_close(one, other.flip(2), atol=1e-4, rtol=0)


def test_imputing_only_answers_background() -> None:
    answer = CollaInferer(impute_only=True)(volume("t1"), small_network())
    assert answer[:, :4].abs().max() == 0 and answer[:, 4].abs().max() > 0


def test_the_fast_mode_neither_mirrors_nor_overlaps_as_much() -> None:
    asked = []

    def segmenter(x: torch.Tensor) -> torch.Tensor:
        asked.append(x.shape)
        return x[:, :3]

    volume = torch.rand(1, 4, 30, 16, 16)
    for mode, passes in {"exact": 6, "balanced": 6, "fast": 2}.items():
        asked.clear()
        CollaInferer([16, 16, 16], 0.25, mirror=True, mode=mode)._segmenting((30, 16, 16))(volume, segmenter)
        assert len(asked) == passes  # 30 voxels are three windows with an overlap of 4, two with one of 2
