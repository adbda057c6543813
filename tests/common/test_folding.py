"""Networks on blocks of voxels."""

import pytest
import torch

from medbundles.folding import FoldedSegResNet


@pytest.mark.parametrize("size", [(16, 16, 16), (13, 24, 30)])
def test_there_is_an_answer_for_every_voxel_of_any_size(size: tuple[int, int, int]) -> None:
    network = FoldedSegResNet(2, 3, 8, blocks=(1, 1), fold=2).eval()
    assert network(torch.randn(1, 2, *size)).shape == (1, 3, *size)


def test_an_eighth_of_the_places_is_computed_on() -> None:
    network = FoldedSegResNet(2, 1, 8, blocks=(1, 1), fold=2).eval()
    assert network.convInit.conv.weight.shape[1] == 2 * 8
    features, _ = network.encode(torch.randn(1, 2, 16, 16, 16))
    assert features.shape[2:] == (4, 4, 4)  # 16 voxels, folded by two, halved once


def test_a_new_network_answers_without_a_checkerboard_and_near_its_first_guess() -> None:
    torch.manual_seed(0)
    network = FoldedSegResNet(1, 2, 8, blocks=(1, 1), fold=2, bias=-4.0).eval()
    answer = network(torch.randn(1, 1, 8, 8, 8))
    for parity in range(8):
        x, y, z = parity & 1, parity >> 1 & 1, parity >> 2
        torch.testing.assert_close(answer[..., x::2, y::2, z::2], answer[..., ::2, ::2, ::2])
    assert -6 < float(answer.mean()) < -2


def test_a_width_that_groups_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="groups"):
        FoldedSegResNet(1, 1, 12)


def test_in_half_precision_the_logits_are_still_those_of_float32_weights() -> None:
    torch.manual_seed(0)
    network = FoldedSegResNet(1, 2, 8, blocks=(1, 1), fold=2).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        answer = network(torch.rand(1, 1, 16, 16, 16))
    assert answer.dtype == torch.float32
    assert not torch.equal(answer, answer.bfloat16().float())
