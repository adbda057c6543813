"""Every command that a document shows is run by a test that is named here, or a reason says why not."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from medbundles import cli
from medbundles.zoo.command_line import refuse_misfit

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *ROOT.glob("bundles/*/docs/README.md"),
        ROOT / "tests" / "clients" / "README.md",
    ]
)
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
CONTRACT, CLI, CLIENTS, ZOO = (
    "tests/bundles/test_contract.py",
    "tests/common/test_cli.py",
    "tests/clients",
    "tests/zoo",
)
PACKED = f"{ZOO}/test_pack.py::test_it_runs_from_anywhere_without_medbundles_and_gives_the_same_labels"
# The beginning of a command, and the test that runs it; of several that fit, the longest counts.
RUN = {
    "medbundles list": f"{CLI}::test_list_has_one_line_per_bundle",
    "medbundles info": f"{CLI}::test_info_states_labels_and_weights",
    "medbundles demo": f"{CONTRACT}::test_the_demo_measures_what_is_there",
    "medbundles predict": f"{CONTRACT}::test_every_format_gives_the_same_answer",
    "medbundles predict dental_cbct_tooth_segmentation dicomweb": (
        f"{CLIENTS}/test_pacs.py::test_segmentation_report_and_key_image_come_into_the_study"
    ),
    "medbundles predict dental_cbct_tooth_segmentation scan.nii.gz": (
        f"{CLIENTS}/test_slicer.py::test_every_tooth_is_listed_named_coloured_and_coded_whether_found_or_not"
    ),
    "medbundles predict fetal_us_biometry_segmentation frame": (
        f"{CONTRACT}::test_pixels_without_calibration_and_millimetres_with_it"
    ),
    "medbundles simulate": f"{CONTRACT}::test_results_lie_on_the_grid_of_the_input",
    "medbundles train": f"{CONTRACT}::test_two_and_two_epochs_equal_four",
    "medbundles train fetal_us_biometry_segmentation --dataset_dir CASES --output_dir RUN --tracking": (
        f"{CLIENTS}/test_tracking.py::test_parameters_losses_and_metrics_of_every_epoch_are_read_back"
    ),
    "medbundles train fetal_us_biometry_segmentation --dataset_dir CASES --output_dir RUN --patience": (
        "tests/common/test_best_weights.py::test_a_resumed_run_knows_how_old_its_best_weights_are"
    ),
    "medbundles evaluate": f"{CONTRACT}::test_evaluation_writes_figures",
    "medbundles check": f"{CLI}::test_check_is_silent_about_a_good_bundle",
    "medbundles new": f"{ZOO}/test_new.py::test_a_new_bundle_keeps_the_whole_contract_at_once",
    "medbundles pack": PACKED,
    "medbundles pack fetal_us_biometry_segmentation OUTPUT --for zoo": (
        f"{ZOO}/test_for_zoo.py::test_every_bundle_of_the_collection_keeps_the_rules_of_the_zoo"
    ),
    "medbundles pack fetal_us_biometry_segmentation OUTPUT --for hf": (
        f"{ZOO}/test_for_hub.py::test_the_library_finds_it_in_its_cache_without_a_network"
    ),
    "medbundles keygen": f"{ZOO}/test_verify.py::test_keys_are_for_their_owner_alone_and_never_overwritten",
    "medbundles verify": (
        f"{ZOO}/test_verify.py::test_an_untouched_bundle_is_right_as_zip_and_as_folder_and_names_its_key"
    ),
    "medbundles export": f"{ZOO}/test_export.py::test_the_command_says_what_was_written",
    "medbundles export fetal_us_biometry_segmentation --to onnx --int8": (
        f"{ZOO}/test_export_int8.py::test_int8_is_handed_out_where_the_scores_hold"
    ),
    "medbundles federate": (
        f"{CLIENTS}/test_federated.py::"
        "test_the_federated_weights_are_better_on_all_patients_than_those_of_either_hospital"
    ),
    "medbundles federate fetal_us_biometry_segmentation --sites north,south": (
        "tests/common/federated/test_running.py::"
        "test_a_job_names_the_sites_and_begins_with_the_networks_own_weights"
    ),
    "medbundles join": (
        f"{CLIENTS}/test_federated.py::test_joining_prepares_the_kit_of_a_site_and_checks_its_cases"
    ),
    "medbundles serve dicomweb": (
        f"{CLIENTS}/test_ohif.py::test_the_panel_knows_where_the_server_is_and_lists_what_segments"
    ),
    "medbundles serve": f"{CLIENTS}/test_label.py::test_every_bundle_is_listed_with_our_names_and_colours",
    "monailabel start_server": (
        f"{CLIENTS}/test_label_stock.py::test_labels_of_a_volume_are_those_of_predict_voxel_for_voxel"
    ),
    "python -m monai.bundle run": f"{CONTRACT}::test_monai_runs_it_from_any_working_directory",
    "python -m monai.bundle run --config_file fetal_us_biometry_segmentation": (PACKED),
    "python -m medbundles.zoo.format_json": (
        f"{ZOO}/test_format_json.py::test_a_file_that_is_no_json_is_named_and_left_alone"
    ),
    "python -m medbundles.zoo.overview": f"{ZOO}/test_overview.py::test_readme_of_this_project_is_up_to_date",
    "torchrun --standalone --nproc-per-node 4 --no-python medbundles predict": (
        f"{CLIENTS}/test_torchrun.py::test_two_processes_do_each_frame_once_and_write_one_report"
    ),
    "torchrun": (
        f"{CLIENTS}/test_torchrun_training.py::test_two_processes_take_the_steps_of_one_with_all_cases"
    ),
    "unzip": PACKED,
}
NOT_RUN = {
    ".ci/run": "runs the tests itself",
    ".ci/versions": "installs from an index, gigabytes of it, and runs tests itself",
    'TORCH="2.8.0 2.13.0" .ci/versions': "as .ci/versions",
    "pytest": "runs the tests itself",
    "MEDBUNDLES_WRITE_GOLDEN=1 pytest": "as pytest",
    "pip install": ".ci/run installs `.[test]`; other extras are installed before the tests that need them",
    "apt-get install": "needs an archive of packages and root",
    "git clone": "the address is the reader's",
    "cd": "a step of the shell",
    "source .venv/bin/activate": "a step of the shell; .ci/run does it in a folder of its own",
    "python -m venv": ".ci/run makes its own",
    "export": "a step of the shell",
    "read -rs": "asks a person",
    "cp -r": "a step of the shell",
    "sha256sum --check": "a program of the system; test_pack.py computes the same sums",
    "monailabel apps --download": "needs a network",
    "hf": "needs a network and an account",
    "srun": "needs a cluster",
    "north_kit/startup/start.sh": "of NVFLARE's kit; test_federated.py runs the job in its simulator",
    "server_kit/startup/start.sh": "as north_kit/startup/start.sh",
    "nvflare job submit": "needs a running federation",
    "tensorboard": "waits for a browser; what it reads is read by test_validation_pictures.py",
}
NOT_A_CALL = {"BUNDLE INPUT OUTPUT"}  # a pattern, no command


def commands(path: Path) -> Iterator[str]:
    """The commands of a document, those that && joins one by one, without comments."""
    for block in re.findall(r"```shell\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"(^|\s+)#.*", "", line).strip()
            yield from (part.strip() for part in line.split(" && ") if part.strip())


def entry(command: str) -> str | None:
    """The longest entry that a command begins with."""
    command = " ".join(command.split())
    fitting = [key for key in (*RUN, *NOT_RUN) if command == key or re.match(rf"{re.escape(key)}\b", command)]
    return max(fitting, key=len, default=None)


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_command_is_run_by_a_test_or_has_a_reason(path: Path) -> None:
    assert [command for command in commands(path) if entry(command) is None] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_command_of_ours_fits_its_arguments(path: Path) -> None:
    for command in commands(path):
        words = shlex.split(command)
        if "medbundles" not in words[:-1] or any(pattern in command for pattern in NOT_A_CALL):
            continue
        _, name, *rest = words[words.index("medbundles") :]
        if name in cli.COMMANDS:  # `for` is a word of Python
            refuse_misfit(name, cli.COMMANDS[name], ["--for_" if word == "--for" else word for word in rest])


def test_a_command_that_nobody_runs_would_be_found() -> None:
    assert entry("medbundles fly BUNDLE") is None
    assert entry("medbundles predictions") is None
    assert entry("medbundles predict x y z") == "medbundles predict"
    assert entry("rm -rf data") is None


def test_every_test_that_is_named_exists_and_every_entry_is_used() -> None:
    for place in RUN.values():
        file, _, test = place.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), place
    used = {entry(command) for path in DOCUMENTS for command in commands(path)}
    assert used >= {*RUN, *NOT_RUN}
