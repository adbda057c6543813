import shlex
from pathlib import Path

import pytest
from fire.parser import DefaultParseValue

from medbundles.errors import BundleError, OverrideError
from medbundles.zoo.demo import simulate
from medbundles.zoo.source import lookup, merged, references
from medbundles.zoo.workflows import (
    EVALUATE,
    INFERENCE,
    build_network,
    monai_command,
    open_workflow,
    read_config,
    training_stages,
)


@pytest.mark.parametrize(
    "value", ["a b/ç", "2024", "1e5", True, False, None, 0.2, [0.2, 0.3], "it's", "None", "-x"]
)
def test_the_printed_line_reads_back_as_the_same_values(bundle: Path, value: object) -> None:
    words = shlex.split(monai_command(bundle, INFERENCE, {"output_dir": value}))
    assert DefaultParseValue(words[words.index("--output_dir") + 1]) == value


def test_several_configs_read_back_as_a_list(bundle: Path) -> None:
    words = shlex.split(monai_command(bundle, EVALUATE))
    files = DefaultParseValue(words[words.index("--config_file") + 1])
    assert [Path(file).name for file in files] == list(EVALUATE)


def test_a_mistyped_option_is_refused_before_anything_is_built(bundle: Path) -> None:
    with pytest.raises(OverrideError, match="did you mean --output_dir"):
        open_workflow(bundle, INFERENCE, {"outputdir": "x"})


def test_a_network_that_cannot_be_built_is_one_error(bundle: Path) -> None:
    path = bundle / "configs" / "inference.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"strides": [2, 2]', '"strides": [2]'))
    with pytest.raises(BundleError, match="network_def cannot be built"):
        build_network(bundle)


def test_a_missing_workflow_is_named(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"nothing\.json"):
        read_config(bundle, ["nothing.json"])


def test_an_overlay_changes_the_inside_of_its_base() -> None:
    base = {"a": {"b": [1, {"c": 2}]}, "d": 3}
    assert merged(base, {"a#b#1#c": 5, "e": 6}) == {"a": {"b": [1, {"c": 5}]}, "d": 3, "e": 6}
    assert base["a"]["b"][1]["c"] == 2


def test_references_are_found_in_all_their_forms() -> None:
    config = {"a": "@b#c", "d": ["$@e.f() + @g::0", "%h"], "i": "me@example.org"}
    assert references(config) == {"b#c", "e", "g#0", "h"}


def test_lookup_follows_macros() -> None:
    assert lookup({"a": "%b", "b": {"c": [7]}}, "a#c#0") == 7
    with pytest.raises(KeyError):
        lookup({"a": {"b": 1}}, "a#c")


def test_a_bundle_without_stages_trains_as_a_whole(bundle: Path) -> None:
    assert training_stages(bundle) == {"": ("train.json",)}
    with pytest.raises(OverrideError, match="no stage 'all'"):
        training_stages(bundle, "all")


def test_an_option_that_the_simulator_does_not_have_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(OverrideError, match="unknown option --spacing_mm"):
        simulate(bundle, tmp_path, 1, 0, spacing_mm=1.0)
