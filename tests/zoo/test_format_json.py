"""The JSON layout."""

import json
from pathlib import Path

import pytest

from medbundles.zoo.format_json import WIDTH, format_text, is_formatted, main

MESSY = '{"b":[ 1,2.50, 1e-4],"a":{"x":[],"y":{},"z":[[1,2],[3,4]]},\n"c":[{"d":null}],"é":"ü\\n"}'
NEAT = """{
    "b": [1, 2.50, 1e-4],
    "a": {"x": [], "y": {}, "z": [[1, 2], [3, 4]]},
    "c": [{"d": null}],
    "é": "ü\\n"
}
"""
LONG = {"list": [{"_target_": "A" * 40, "keys": ["image", "label"]}, {"_target_": "B" * 40, "sizes": [1, 2]}]}
WRAPPED = f"""{{
    "list": [
        {{"_target_": "{"A" * 40}", "keys": ["image", "label"]}},
        {{"_target_": "{"B" * 40}", "sizes": [1, 2]}}
    ]
}}
"""


def test_inner_lists_stand_on_one_line_and_keys_and_numbers_stay_as_written() -> None:
    assert format_text(MESSY) == NEAT


def test_what_does_not_fit_is_opened_from_the_outside() -> None:
    assert format_text(json.dumps(LONG)) == WRAPPED


def test_formatting_twice_changes_nothing() -> None:
    assert is_formatted(format_text(MESSY))
    assert not is_formatted(MESSY)


def test_content_is_the_same() -> None:
    assert json.loads(format_text(MESSY)) == json.loads(MESSY)


@pytest.mark.parametrize("count", range(20, 40))
def test_a_list_that_does_not_fit_has_one_item_per_line(count: int) -> None:
    text = format_text(json.dumps({"k": [100] * count, "l": 1}))
    assert max(map(len, text.splitlines())) <= WIDTH
    lines = len(text.splitlines())
    assert lines == 4 if count <= 20 else lines == 4 + count + 1


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "{", '{"a": NaN}'])
def test_duplicate_keys_and_what_is_no_json_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        format_text(text)


def test_check_writes_nothing_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.json"
    path.write_text(MESSY)
    assert main(["--check", str(path)]) == 1
    assert path.read_text() == MESSY
    assert "a.json" in capsys.readouterr().out


def test_without_check_the_file_is_written_and_then_passes(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(MESSY)
    assert main([str(path)]) == 0
    assert path.read_text() == NEAT
    assert main(["--check", str(path)]) == 0


def test_a_file_that_is_no_json_is_named_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.json"
    path.write_text("{")
    assert main([str(path)]) == 2
    assert "bad.json" in capsys.readouterr().err
    assert path.read_text() == "{"
