"""The command line as a user meets it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medbundles import cli
from medbundles.errors import InputError
from medbundles.io import read_image, write_image
from medbundles.zoo import command_line
from medbundles.zoo.new import TEMPLATE

BUNDLE = str(TEMPLATE)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def run(*words: str | Path) -> int:
    """Runs a command line in this process and returns the exit status."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two simulated images."""
    folder = tmp_path_factory.mktemp("odd ç name")
    assert run("simulate", BUNDLE, folder, "--n", "2", "--seed", "3") == 0
    return folder / "images"


def test_help_answers_without_loading_torch() -> None:
    code = "import sys; from medbundles import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass\n"
    code += "sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert all(f"medbundles {name}" in done.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"medbundles {name}") and len(out.splitlines()) >= 3


def test_help_on_a_bundle_lists_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", BUNDLE, "--help") == 0
    out = capsys.readouterr().out
    assert "--epochs 60" in out and "--resume false" in out


def test_help_on_a_bundle_lists_the_options_of_each_stage_of_its_training(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("train", "dental_cbct_tooth_segmentation", "--help") == 0
    shared, _, rest = capsys.readouterr().out.partition("Of its stage finder")
    finder, _, detector = rest.partition("Of its stage detector")
    assert "--teeth_per_case 4" in shared and "--kinds" not in shared
    assert "--size [96, 88, 72]" in finder and "--teeth_per_case" not in finder
    assert "--kinds 4" in detector


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lst"], "did you mean list?"),
        (["list", "--al"], "unknown option --al"),
        (["check", "--alll"], "did you mean --all?"),
        (["demo", "--otput", "x"], "did you mean --output?"),
        (["demo", "--output_dir", "x"], "--output for the folder"),
        (["simulate", BUNDLE], "OUTPUT is missing"),
        (["info", BUNDLE, "more"], "'more' is too much"),
        (["info", "nothing_like_it"], "no bundle 'nothing_like_it'"),
        (["train", BUNDLE, "--epohcs", "2"], "did you mean --epochs?"),
        (["evaluate", BUNDLE, "--spilt", "test"], "did you mean --split?"),
        (["predict", BUNDLE, ".", "out", "ouput_ext=.png"], "did you mean --output_ext?"),
        (["predict", BUNDLE, ".", "out", "--overwrite", "perhaps"], "true or false"),
        (["predict", BUNDLE, "nowhere", "out"], "nowhere"),
        (["new", "Knee"], "not of the form"),
    ],
    ids=lambda value: " ".join(w for w in value if w != BUNDLE) if isinstance(value, list) else "",
)
def test_a_mistake_is_refused_in_a_few_words(
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 1
    errors = capsys.readouterr().err
    assert said in errors and len(errors.splitlines()) <= 6 and "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_the_value_of_an_option_may_hold_an_equals_sign() -> None:
    seen = {}

    def command(bundle: str, *, sites: str = "", **knobs: object) -> None:
        seen.update(bundle=bundle, sites=sites, **knobs)

    assert command_line.run({"command": command}, ["command", "b", "--sites", "x=1,y=2", "epochs=3"]) == 0
    assert seen == {"bundle": "b", "sites": "x=1,y=2", "epochs": 3}


def test_debug_shows_where_an_error_comes_from() -> None:
    with pytest.raises(InputError):
        cli.main(["info", "nothing_like_it", "--debug"])


def test_predict_writes_results_and_a_line_that_does_the_same(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "2024"
    assert run("predict", BUNDLE, images, output, "device=cpu", "--overwrite", "true") == 0
    out = capsys.readouterr().out
    assert out.count("circumference") == 2
    first = json.loads((output / "report.json").read_text(encoding="utf-8"))
    (output / "report.json").unlink()
    line = next(line for line in out.splitlines() if "python -m monai.bundle run" in line)
    words = shlex.split(line.partition(": ")[2])
    done = subprocess.run(
        [sys.executable, *words[1:]],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    second = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert [c["measurements"] for c in first["cases"]] == [c["measurements"] for c in second["cases"]]


def test_segmentations_for_3d_slicer_are_skipped_on_a_rerun_and_shown_on_the_page(
    images: Path, tmp_path: Path
) -> None:
    words = ["predict", BUNDLE, images, tmp_path, "device=cpu", "--output_ext"]
    assert run(*words, ".nii.gz") == 0
    plain = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["cases"]
    for status in ("ok", "skipped"):
        assert run(*words, ".seg.nrrd") == 0
        cases = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["cases"]
        assert [case["status"] for case in cases] == [status] * 2
    for case, other in zip(cases, plain, strict=True):
        assert case["outputs"]["pred"].endswith("_seg.seg.nrrd")
        named, unnamed = (read_image(tmp_path / c["outputs"]["pred"]) for c in (case, other))
        assert np.array_equal(named.array, unnamed.array) and named.array.any()
        np.testing.assert_allclose(named.affine, unnamed.affine, atol=1e-5)
        assert case["measurements"] == other["measurements"]
    assert "_seg.seg.nrrd" in (tmp_path / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("extension", [".stl", ".gz", "seg.nrrd"])
def test_a_type_of_file_that_is_not_written_is_refused_before_any_case(
    images: Path, tmp_path: Path, extension: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("predict", BUNDLE, images, tmp_path / "out", "device=cpu", "--output_ext", extension) == 1
    errors = capsys.readouterr().err
    assert f"output_ext '{extension}'" in errors and ".seg.nrrd" in errors and "Traceback" not in errors
    assert not list(tmp_path.rglob("*_seg*"))


def test_predict_fails_in_the_end_if_one_case_is_bad(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for image in images.iterdir():
        (tmp_path / "in" / image.name).write_bytes(image.read_bytes())
    write_image(np.full((1, 80, 80), 5, np.uint8), tmp_path / "in" / "blank.png", affine=np.eye(4))
    assert run("predict", BUNDLE, tmp_path / "in", tmp_path / "out", "device=cpu") == 1
    out = capsys.readouterr().out
    assert "blank.png: failed" in out and out.count("circumference") == 2


def test_monai_itself_refuses_a_mistyped_option(tmp_path: Path) -> None:
    config = TEMPLATE / "configs" / "train.json"
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(config), "--epohcs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=ENVIRONMENT)
    assert done.returncode == 1
    assert "did you mean --epochs?" in done.stderr.splitlines()[-4]
    assert "Traceback" not in done.stderr


def test_demo_compares_with_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("demo", BUNDLE, "--output", tmp_path / "demo", "--device", "cpu") == 0
    assert "(agrees)" in capsys.readouterr().out
    assert "base64" in (tmp_path / "demo" / "index.html").read_text(encoding="utf-8")


def test_check_is_silent_about_a_good_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", BUNDLE) == 0
    assert capsys.readouterr().out.strip() == f"{TEMPLATE.name}: no problem"


def test_doctor_names_versions_and_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor") == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("torch ", "monai ", "device: ", "memory: ", "extra test"))


def test_info_states_labels_and_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", BUNDLE) == 0
    out = capsys.readouterr().out
    assert "label 1: ellipse" in out and "sha256" in out and "Apache-2.0" in out


def test_list_has_one_line_per_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    from medbundles.zoo.find import bundle_folders

    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [folder.name for folder in bundle_folders()]


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("medbundles 0.")
