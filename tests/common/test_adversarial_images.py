"""Images are made only when a loss reads them; pools give back earlier fakes at the right rate."""

from __future__ import annotations

import pytest
import torch

from medbundles.adversarial_images import CycleTranslation, ImagePool, Images
from medbundles.checks import BundleError

torch.set_num_threads(1)


class Affine(torch.nn.Module):
    """x * factor + offset, counting its calls."""

    def __init__(self, factor: float, offset: float) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))
        self.offset, self.calls = offset, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x * self.factor + self.offset


def translated(**names: str | None) -> tuple[Images, dict[str, Affine]]:
    """Images of low = 3 and routine = 5, with up(x) = 2 x and down(x) = x + 1."""
    generators = {"up": Affine(2.0, 0.0), "down": Affine(1.0, 1.0)}
    step = CycleTranslation("low", "routine", **({"forward": "up", "backward": "down"} | names))
    return step.images({"low": torch.tensor([3.0]), "routine": torch.tensor([5.0])}, generators), generators


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("low", 3),
        ("routine", 5),
        ("fake_routine", 2 * 3),
        ("fake_low", 5 + 1),
        ("cycled_low", 2 * 3 + 1),
        ("cycled_routine", 2 * (5 + 1)),
        ("same_routine", 2 * 5),
        ("same_low", 3 + 1),
    ],
)
def test_each_image_is_the_translation_its_name_says(name: str, value: float) -> None:
    assert translated()[0][name].item() == value


def test_an_image_is_made_once_and_only_when_it_is_read() -> None:
    images, generators = translated()
    assert (generators["up"].calls, generators["down"].calls) == (0, 0)
    for name in ("cycled_low", "fake_routine", "cycled_low"):
        images[name]
    assert (generators["up"].calls, generators["down"].calls) == (1, 1)
    assert set(images.made()) == {"low", "routine", "fake_routine", "cycled_low"}


def test_without_a_backward_generator_there_is_only_one_direction() -> None:
    images, generators = translated(backward=None)
    assert set(images) == {"low", "routine", "fake_routine", "same_routine"}
    images["fake_routine"]
    assert generators["down"].calls == 0


def test_other_entries_of_the_batch_keep_their_names() -> None:
    batch = {"a": torch.ones(1), "b": torch.ones(1), "truth": torch.tensor([7.0]), "name": ["case"]}
    images = CycleTranslation(backward=None).images(batch, {"forward": Affine(1.0, 0.0)})
    assert images["truth"].item() == 7
    assert images["name"] == ["case"]
    assert "name" not in images.made()  # what is handed to handlers are tensors


def test_images_cut_off_from_the_graph_have_no_gradient_whenever_they_were_made() -> None:
    images, _ = translated()
    assert images["fake_routine"].requires_grad
    cut = images.detached()
    assert not cut["fake_routine"].requires_grad
    assert not cut["fake_low"].requires_grad
    assert cut["fake_low"].item() == 6


def test_a_network_is_asked_once_about_an_image_and_again_when_it_is_cut_off_from_the_graph() -> None:
    images, generators = translated()
    judge = Affine(2.0, 0.0)
    once = images.answer(judge, "fake_routine")
    assert images.answer(judge, "fake_routine") is once and judge.calls == 1
    assert images.answer(generators["down"], "fake_routine").item() == images["cycled_low"].item()
    again = images.detached().answer(judge, "fake_routine")
    assert judge.calls == 2 and again.item() == once.item()


def test_half_precision_images_are_handed_on_in_float32_and_labels_as_they_are() -> None:
    half = torch.ones(2, dtype=torch.bfloat16)
    images = Images({"eager": half, "label": torch.ones(2, dtype=torch.uint8)}, {"lazy": lambda images: half})
    assert images["eager"].dtype == images["lazy"].dtype == torch.float32
    assert images["label"].dtype == torch.uint8


def test_a_mistyped_image_is_refused_with_the_nearest_name() -> None:
    images, _ = translated()
    assert "cycled_lo" not in images
    with pytest.raises(BundleError, match="did you mean 'cycled_low'"):
        images["cycled_lo"]


def test_a_mistyped_generator_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BundleError, match="did you mean 'down'"):
        translated(backward="downn")


def numbered(first: int, count: int) -> torch.Tensor:
    """Images that are told apart by their value."""
    return torch.arange(first, first + count, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def test_a_pool_that_is_not_full_returns_what_it_gets() -> None:
    pool = ImagePool(10)
    assert torch.equal(pool(numbered(0, 10)), numbered(0, 10))
    assert len(pool.images) == 10


def test_a_pool_of_nothing_returns_what_it_gets() -> None:
    pool = ImagePool(0)
    assert torch.equal(pool(numbered(0, 20)), numbered(0, 20))
    assert pool.images == []


def test_a_full_pool_gives_an_earlier_image_half_of_the_time() -> None:
    torch.manual_seed(0)
    pool = ImagePool(20)
    pool(numbered(0, 20))
    new = numbered(20, 4000)
    earlier = (pool(new) != new).flatten(1).any(1)
    assert earlier.float().mean().item() == pytest.approx(0.5, abs=0.03)  # sd 0.008


def test_an_image_waits_in_the_pool_as_long_as_the_draws_say() -> None:
    """Each new image replaces a given one with probability 1 / (2 size): a mean stay of 2 x size images."""
    torch.manual_seed(1)
    pool = ImagePool(10)
    pool(numbered(0, 10))
    came_out = pool(numbered(10, 5000)).flatten(1)[:, 0]
    stay = torch.arange(10, 5010) - came_out
    assert stay[stay > 0].mean().item() == pytest.approx(20, rel=0.1)


def test_no_image_is_lost_or_doubled_by_a_pool() -> None:
    torch.manual_seed(2)
    pool = ImagePool(8)
    first, out = pool(numbered(0, 8)), pool(numbered(8, 100))
    seen = sorted(float(image.mean()) for image in [*out, *pool.images])
    assert seen == [float(n) for n in range(108)]
    assert len(first) == 8


def test_a_pool_keeps_copies_without_gradients() -> None:
    pool = ImagePool(4)
    images = (torch.ones(2, 1, 2, 2, requires_grad=True) * 2).clone()
    returned = pool(images)
    with torch.no_grad():
        images.zero_()
    assert not returned.requires_grad
    assert all(image.mean() == 2 for image in pool.images)


def test_a_restored_pool_goes_on_with_the_same_draws() -> None:
    pool, copy = ImagePool(6), ImagePool(6)
    pool(numbered(0, 6))
    copy.load_state_dict(pool.state_dict())
    answers = []
    for each in (pool, copy):
        torch.manual_seed(3)
        answers.append(each(numbered(6, 30)))
    assert torch.equal(*answers)
    assert not torch.equal(answers[0], numbered(6, 30))


def test_a_pool_restored_smaller_keeps_its_new_size() -> None:
    pool, smaller = ImagePool(6), ImagePool(3)
    pool(numbered(0, 6))
    smaller.load_state_dict(pool.state_dict())
    smaller(numbered(6, 30))
    assert len(smaller.images) == 3


def test_earlier_images_of_another_size_are_not_mixed_in() -> None:
    pool = ImagePool(4)
    pool(torch.zeros(4, 1, 2, 2))
    assert pool(torch.ones(40, 1, 3, 3)).shape == (40, 1, 3, 3)


def test_a_negative_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="-1 images"):
        ImagePool(-1)
