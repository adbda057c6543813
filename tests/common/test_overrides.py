"""Mistyped options of `python -m monai.bundle run` are refused, and right ones mean what they look like."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from medbundles.checks import OverrideError
from medbundles.overrides import begin, check_overrides, checked

MAIN = "/somewhere/site-packages/monai/bundle/__main__.py"
CODE = """
import pathlib


class Trainer:
    def __init__(self, max_epochs, amp=False, **others):
        self.values = [max_epochs, amp, others]

    def run(self, out, *knobs):
        pathlib.Path(out).write_text(repr([*self.values, *knobs]))


class Strict:
    def __init__(self, size=1):
        self.size = size


def fail():
    from medbundles.checks import BlankImageError

    raise BlankImageError("every pixel has the value 0", expected="content", source="x.png", advice="look")
"""
TRAIN = {
    "bundle_root": ".",
    "dataset_dir": "./data",
    "output_dir": "$@bundle_root + '/runs'",
    "epochs": 1,
    "learning_rate": 0.001,
    "amp": True,
    "resume": False,
    "pixel_mm": None,
    "roi": [8, 8],
    "strict": {"_target_": "toy_code.Strict"},
    "train": {
        "trainer": {"_target_": "toy_code.Trainer", "max_epochs": "@epochs", "amp": "@amp", "name": "a"},
        "steps": [{"size": 1}, {"size": 2}],
    },
    "initialize": ["$@resume"],
    "run": [
        {"_target_": "medbundles.overrides.begin"},
        "$@train#trainer.run(@output_dir, @resume, @dataset_dir, @strict.size, @train#steps#1#size)",
    ],
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minimal bundle whose training writes the knobs that reached it."""
    root = tmp_path_factory.mktemp("toy bundle")
    (root / "configs").mkdir()
    (root / "toy_code.py").write_text(CODE)
    versions = dict.fromkeys(["version", "monai_version", "pytorch_version", "numpy_version"], "0.1.0")
    fail = {"run": [{"_target_": "medbundles.overrides.begin"}, {"_target_": "toy_code.fail"}]}
    overlay = {"train#trainer#name": "b", "extra": 1}
    for name, content in (("metadata", versions), ("train", TRAIN), ("fail", fail), ("overlay", overlay)):
        (root / "configs" / f"{name}.json").write_text(json.dumps(content))
    return root


def run(folder: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "monai.bundle", "run", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("where", ["bundle", "elsewhere"])
def test_a_typo_is_refused_from_every_folder_in_a_few_last_lines(
    bundle: Path, tmp_path: Path, where: str
) -> None:
    folder = {"bundle": bundle, "elsewhere": tmp_path}[where]
    config = bundle / "configs" / "train.json"
    config = config.relative_to(folder) if config.is_relative_to(folder) else config
    done = run(folder, "--config_file", str(config), "--epohcs", "2", "--output_dir", str(tmp_path / "out"))
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    start = lines.index("unknown option --epohcs: did you mean --epochs?")
    assert len(lines) - start <= 6
    assert not (tmp_path / "out").exists()


def test_right_options_reach_the_workflow_as_what_they_look_like(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = bundle / "configs" / "train.json"
    options = [
        "--epochs=3",
        "--amp",
        "false",
        "--resume",
        "true",
        "--dataset_dir",
        "2024",
        "--learning_rate",
        "1e-4",
    ]
    options += ["--train#trainer#name", "7", "--strict#size", "4", "--train::steps::1::size", "5"]
    done = run(tmp_path, f"--config_file={config}", "--output_dir", str(out), *options)
    assert done.returncode == 0, done.stderr
    assert out.read_text() == "[3, False, {'name': '7'}, True, '2024', 4, 5]"


def test_an_input_error_ends_the_program_with_its_own_lines(bundle: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "--config_file", str(bundle / "configs" / "fail.json"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-4:] == [
        "every pixel has the value 0",
        "  expected: content",
        "  file: x.png",
        "  what to do: look",
    ]


def refused(bundle: Path, *options: str, config: str = "train.json") -> str:
    argv = [MAIN, "run", "--config_file", str(bundle / "configs" / config), *options]
    with pytest.raises(OverrideError) as caught:
        check_overrides(argv=argv)
    message = str(caught.value)
    assert len(message.splitlines()) <= 6
    assert config in message
    return message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--epohcs=2"], "--epohcs: did you mean --epochs?"),
        (["--dataset-dr", "x"], "--dataset-dr: did you mean --dataset_dir?"),
        (["-epoch", "2"], "-epoch: did you mean --epochs?"),
        (["--konfig_file", "2"], "did you mean --config_file?"),
        (["--size", "2"], "--size: did you mean --train#steps#0#size?"),
        (["--normalise"], "--normalise"),
        (["--train#trainer#max_epohcs", "2"], "did you mean --train#trainer#max_epochs?"),
        (["--train::trainr::max_epochs", "2"], "did you mean --train#trainer#max_epochs?"),
        (["--strict#sise", "2"], "did you mean --strict#size?"),
        (["--train#steps#7#size", "2"], "an option of train#steps: 0, 1"),
        (["--unrelated", "2"], "an option: bundle_root, dataset_dir, output_dir, epochs"),
        (["--epochs", "two"], "a number (now 1)"),
        (["--epochs"], "a number (now 1)"),
        (["--amp", "maybe"], "true or false"),
        (["--dataset_dir"], "a text (now ./data)"),
        (["training", "--epohcs", "2"], "did you mean --epochs?"),
        (["--epochs", "-2", "--epohcs", "-2"], "did you mean --epochs?"),
    ],
)
def test_wrong_options_are_refused_with_the_nearest_name(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    monkeypatch.syspath_prepend(bundle)
    assert words in refused(bundle, *options)


@pytest.mark.parametrize(
    "options",
    [
        ["--epochs", "2", "--train#trainer#max_epochs", "3", "--train#steps#0#size=4"],
        ["--train#trainer#anything", "1"],
        ["--strict#size", "2", "--strict#_disabled_", "True"],
        ["--pixel_mm", "0.2", "--pixel_mm", "[0.2,0.3]", "--roi", "[1,2]"],
        ["--epochs", "$2 + 1", "--dataset_dir", "@output_dir", "--amp", "%other.json#amp"],
        ["--meta_file", "m.json", "--logging_file", "False", "--run_id", "x", "--bundle_root", "/x"],
        ["--tracking", "mlflow", "--experiment_name", "x"],
        ["--_meta_#version", "1"],
        ["--learning_rate", "1", "--noresume"],
        ["--", "--help"],
    ],
)
def test_right_options_pass_unchanged(bundle: Path, options: list[str]) -> None:
    argv = [MAIN, "run", "--config_file", str(bundle / "configs" / "train.json"), *options]
    assert check_overrides(argv=argv) == {}


@pytest.mark.parametrize("form", ["['{0}/train.json','{0}/overlay.json']", "{0}/train.json,{0}/overlay.json"])
def test_the_keys_of_all_configs_of_a_list_count(bundle: Path, form: str) -> None:
    files = form.format(bundle / "configs")
    assert check_overrides(argv=[MAIN, "run", "--config_file", files, "--extra", "2", "--epochs", "2"]) == {}
    with pytest.raises(OverrideError, match="did you mean --extra"):
        check_overrides(argv=[MAIN, "run", "--config_file", files, "--ekstra", "2"])


def test_options_in_an_args_file_are_checked_too(bundle: Path, tmp_path: Path) -> None:
    path, config = tmp_path / "args.json", str(bundle / "configs" / "train.json")
    path.write_text(json.dumps({"config_file": config, "epochs": 2}))
    assert check_overrides(argv=[MAIN, "run", "--args_file", str(path), "--resume", "True"]) == {}
    path.write_text(json.dumps({"config_file": config, "epohcs": 2}))
    with pytest.raises(OverrideError, match="did you mean --epochs"):
        check_overrides(argv=[MAIN, "run", "--args_file", str(path)])


def test_misread_values_are_corrected_to_the_type_of_the_config(bundle: Path) -> None:
    argv = [MAIN, "run", "--config_file", str(bundle / "configs" / "train.json")]
    argv += ["--resume", "TRUE", "--amp", "0", "--dataset_dir", "0.10", "--train#trainer#name=a,b"]
    expected = {"resume": True, "amp": False, "dataset_dir": "0.10", "train#trainer#name": "a,b"}
    assert check_overrides(argv=argv) == expected


def test_checked_serves_programs_that_have_values_already() -> None:
    assert checked({"epochs": 1, "resume": False}, {"epochs": 2, "resume": "true"}) == {"resume": True}
    with pytest.raises(OverrideError, match="did you mean --epochs"):
        checked({"epochs": 1}, {"epohcs": 2})


@pytest.mark.parametrize(
    "argv", [["pytest"], ["medbundles", "run", "--epohcs"], [MAIN, "verify_metadata", "--x"]]
)
def test_other_programs_are_left_alone(monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    hook = sys.excepthook
    monkeypatch.setattr(sys, "argv", argv)
    begin()
    assert check_overrides() == {}
    assert sys.excepthook is hook


@pytest.mark.parametrize("words", [[], ["--"]])
def test_a_command_line_without_options_has_nothing_to_check(words: list[str]) -> None:
    assert check_overrides(argv=[str(Path("monai", "bundle", "__main__.py")), "run", *words]) == {}
