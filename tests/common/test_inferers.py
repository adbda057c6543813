"""Wrapped inferers change the precision or the views, never the grid or the type of the answer."""

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader, MetaTensor, decollate_batch
from monai.inferers import SlidingWindowInferer
from monai.transforms import Flipd, Invertd

from medbundles.inferers import AutocastInferer, MirrorInferer, SlicewiseInferer


def weighted(x: torch.Tensor) -> torch.Tensor:
    """A network that is not symmetric: each column is multiplied by its position."""
    return x * torch.arange(x.shape[2], dtype=x.dtype)[:, None]


@pytest.mark.usefixtures("with_bfloat16")
def test_bfloat16_is_used_inside_and_float32_comes_out() -> None:
    seen = []
    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    answer = AutocastInferer(amp=True)(torch.rand(1, 1, 8, 8), network)
    assert seen == [torch.bfloat16]
    assert answer.dtype == torch.float32


def test_without_amp_the_answer_is_exactly_the_networks() -> None:
    network, x = torch.nn.Conv2d(1, 1, 3, padding=1), torch.rand(1, 1, 8, 8)
    assert torch.equal(AutocastInferer(amp=False)(x, network), network(x))


def test_amp_switched_off_overrides_an_outer_autocast() -> None:
    network, x = torch.nn.Conv2d(1, 1, 3, padding=1), torch.rand(1, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        answer = AutocastInferer(amp=False)(x, network)
    assert torch.equal(answer, network(x))


@pytest.mark.usefixtures("with_bfloat16")
@pytest.mark.parametrize("kind", [tuple, list])
def test_several_outputs_keep_their_container_and_integers_their_type(kind: type) -> None:
    answer = AutocastInferer()(torch.rand(1, 1, 4), lambda x: kind([x.bfloat16(), {"label": x.long()}]))
    assert isinstance(answer, kind)
    assert answer[0].dtype == torch.float32
    assert answer[1]["label"].dtype == torch.int64


def test_mirroring_averages_the_answers_in_the_orientation_of_the_input() -> None:
    answer = MirrorInferer(dims=0)(torch.ones(1, 1, 5, 3), weighted)
    assert torch.equal(answer, torch.full((1, 1, 5, 3), 2.0))  # (i + (4 - i)) / 2


def test_mirroring_along_two_axes_keeps_a_symmetric_networks_answer() -> None:
    x = torch.rand(2, 1, 6, 4)
    assert torch.allclose(MirrorInferer(dims=(0, 1))(x, lambda t: 2 * t), 2 * x)


def test_they_wrap_any_other_inferer() -> None:
    inferer = AutocastInferer(MirrorInferer(SlidingWindowInferer((8, 8), overlap=0.5), dims=0))
    x = torch.rand(1, 1, 20, 13)
    assert torch.allclose(inferer(x, torch.nn.Identity()), x, atol=1e-6)


def test_a_volume_slice_by_slice_gives_what_each_slice_gives() -> None:
    network = torch.nn.Conv2d(1, 2, 3, padding=1)
    volume = torch.rand(2, 1, 12, 10, 5)
    answer = SlicewiseInferer(batch_slices=3)(volume, network)
    assert answer.shape == (2, 2, 12, 10, 5)
    for index in range(5):
        torch.testing.assert_close(answer[..., index], network(volume[..., index]))


def test_windows_and_whole_slices_agree_inside_for_a_network_without_borders() -> None:
    volume = torch.rand(1, 1, 40, 50, 3)
    whole = SlicewiseInferer()(volume, torch.tanh)
    torch.testing.assert_close(SlicewiseInferer(window=16)(volume, torch.tanh), whole, atol=1e-5, rtol=1e-5)


def test_the_answer_slice_by_slice_can_be_inverted_like_its_input() -> None:
    keys, flip = ["pred", "image"], Flipd("image", spatial_axis=0)
    case = flip({"image": MetaTensor(torch.rand(1, 6, 5, 4), meta={"filename_or_obj": "a.nii"})})
    batch = next(iter(DataLoader([case], batch_size=1)))
    batch["pred"] = AutocastInferer(SlicewiseInferer())(batch["image"], lambda x: x * 2)
    done = decollate_batch(batch)[0]
    back = Invertd(keys, flip, ["image", "image"])(done)
    torch.testing.assert_close(back["pred"].as_tensor(), 2 * back["image"].as_tensor(), atol=0.02, rtol=0.02)
    assert back["pred"].meta["filename_or_obj"] == "a.nii"


def test_no_more_slices_are_computed_at_once_than_asked_for() -> None:
    sizes = []

    def network(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return x

    SlicewiseInferer(batch_slices=2)(torch.rand(1, 1, 8, 8, 5), network)
    assert sizes == [2, 2, 1]


def test_a_frame_needs_no_third_axis() -> None:
    frame = torch.rand(1, 1, 8, 9)
    torch.testing.assert_close(SlicewiseInferer()(frame, torch.tanh), torch.tanh(frame))
