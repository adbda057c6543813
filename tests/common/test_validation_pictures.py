"""What TensorBoard shows of validation cases: painted where labels are, upright, of every epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from medbundles.validation_pictures import COLOURS, ValidationPictures, as_labels, draw

SIZE = (20, 12)  # columns, rows


def ramp() -> torch.Tensor:
    """Grey values that grow along x only."""
    return torch.linspace(0, 1, SIZE[0]).view(1, -1, 1).expand(1, *SIZE).clone()


def marked(*place: int) -> torch.Tensor:
    label = torch.zeros(1, *SIZE)
    label[(0, *place)] = 1
    return label


def test_labels_are_painted_where_they_are_and_nowhere_else() -> None:
    case = {"image": MetaTensor(ramp()), "label": marked(3, 9), "pred": marked(17, 2)}
    picture = draw(case)
    assert picture is not None and picture.shape == (SIZE[1], 3 * SIZE[0], 3)
    coloured = np.argwhere(picture.max(-1) != picture.min(-1)).tolist()
    assert coloured == [[2, 2 * SIZE[0] + 17], [9, SIZE[0] + 3]]
    assert picture[0, :20, 0].tolist() == sorted(picture[0, :20, 0].tolist())  # x runs to the right
    assert (picture[9, 23].astype(int) - COLOURS[0] // 2 < 60).all()


def test_one_hot_with_background_and_nested_regions_become_numbers() -> None:
    body, core = torch.zeros(SIZE), torch.zeros(SIZE)
    body[4:12, 2:9], core[6:8, 4:6] = 1, 1
    exclusive = torch.stack([1 - body, body - core, core])
    for channels in (exclusive, torch.stack([body, core])):
        labels = as_labels(channels.numpy())
        assert labels is not None
        assert np.array_equal(labels, (body + core).numpy())
    assert as_labels(ramp().numpy()) is None
    assert as_labels(-exclusive.numpy()) is None


def test_images_as_answers_are_grey_in_the_window_of_the_input() -> None:
    picture = draw({"image": ramp(), "label": ramp() * 0.5, "pred": ramp() * 0.5 + 0.25})
    assert picture is not None
    assert (picture.max(-1) == picture.min(-1)).all()
    assert [picture[0, i, 0] for i in (0, 19, 20, 39, 40, 59)] == [0, 255, 0, 127, 63, 191]


def test_of_a_volume_the_slice_with_most_truth_is_shown() -> None:
    image, label = torch.rand(2, *SIZE, 7), torch.zeros(1, *SIZE, 7)
    label[0, 5:9, 3:6, 5] = 2
    label[0, 5, 3, 1] = 1
    picture = draw({"image": image, "label": label})
    assert picture is not None and picture.shape == (SIZE[1], 2 * SIZE[0], 3)
    assert (picture[:, SIZE[0] :].max(-1) != picture[:, SIZE[0] :].min(-1)).sum() == 12


def test_what_cannot_be_shown_is_left_out() -> None:
    assert draw({"label": marked(1, 1)}) is None
    picture = draw({"image": ramp(), "label": torch.zeros(1, 4, 4), "pred": {"boxes": 3}})
    assert picture is not None and picture.shape[1] == SIZE[0]


@pytest.mark.parametrize("batched", [False, True])
def test_every_validation_writes_the_first_cases(tmp_path: Path, batched: bool) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def answer(engine: Engine, number: int) -> object:
        cases = [{"image": ramp(), "label": marked(number, i), "pred": marked(i, number)} for i in range(2)]
        if not batched:
            return cases
        return {key: torch.stack([case[key] for case in cases]) for key in cases[0]}

    handler = ValidationPictures(tmp_path, cases=3)
    for epoch in (2, 4):
        evaluator = Engine(answer)
        handler.attach(evaluator)
        evaluator.state.epoch = epoch - 1
        evaluator.state.max_epochs = epoch
        evaluator.run([0, 1, 2], max_epochs=epoch)
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0})
    events.Reload()
    assert sorted(events.Tags()["images"]) == ["validation/0", "validation/1", "validation/2"]
    written = events.Images("validation/2")
    assert [entry.step for entry in written] == [2, 4]
    assert (written[0].width, written[0].height) == (3 * SIZE[0], SIZE[1])
