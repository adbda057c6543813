"""What `medbundles predict` does: a bundle on files, or on a study in an archive.

Heavy imports stay inside the functions, as in `medbundles.cli`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medbundles.dicomweb_address import Address
from medbundles.errors import OverrideError
from medbundles.logs import say
from medbundles.zoo.workflows import INFERENCE, monai_command, run_workflow

AS_DICOM = "dicom"


def require(path: str) -> None:
    """Refuses an input that is not there before anything heavy is loaded."""
    from medbundles.cases import existing

    if ".zip" not in path.lower():
        existing(Path(path))


def on_files(folder: Path, overrides: Mapping[str, Any], *, page: bool = True) -> int:
    """Runs a bundle on a file or folder, and returns the exit status: 1 if a case failed.

    Args:
        folder: the bundle.
        overrides: its options, `dataset_dir` and `output_dir` among them.
        page: write index.html.
    """
    say(f"the same through MONAI: {monai_command(folder, INFERENCE, overrides)}")
    status = _run(folder, overrides, page=page)
    _show_report(Path(overrides["output_dir"]))
    return status


def on_study(
    folder: Path, address: Address, overrides: Mapping[str, Any], *, page: bool = True, store: bool = True
) -> int:
    """Runs a bundle on a study in an archive, stores the results there, and returns the exit status.

    Args:
        folder: the bundle.
        address: of the study, or of one series of it.
        overrides: the bundle's options, `output_dir` among them.
        page: write index.html.
        store: put the results into the study.

    Raises:
        OverrideError: the options contradict each other.
        InputError: the study cannot be fetched, or its results not be stored.
    """
    from medbundles.dicomweb import run_on_study
    from medbundles.metadata import bundle_info

    _check_options(overrides, store)
    output_dir = Path(overrides["output_dir"])
    status = run_on_study(
        address,
        bundle_info(folder / "configs" / "metadata.json"),
        output_dir,
        lambda place: _run(folder, {**overrides, "dataset_dir": str(place)}, page=page),
        store=store,
        overwrite=bool(overrides.get("overwrite", False)),
    )
    _show_report(output_dir)
    return status


def _check_options(overrides: Mapping[str, Any], store: bool) -> None:
    from medbundles.shards import rank_and_size

    if store and overrides.get("output_format") != AS_DICOM:
        raise OverrideError(
            "results that are not DICOM, to be stored in an archive",
            expected="--output_format dicom, which is what an address gets by itself",
            source="option output_format",
            advice="leave the option out, or keep the results here: --store false",
        )
    if "dataset_dir" in overrides or rank_and_size()[1] > 1:
        raise OverrideError(
            "an address of a study, and a folder or several processes for it",
            expected="one process and one input",
            source="an address dicomweb://",
            advice="leave out --dataset_dir and torchrun",
        )


def _run(folder: Path, overrides: Mapping[str, Any], *, page: bool) -> int:
    status = 0
    try:
        run_workflow(folder, INFERENCE, overrides, logging_file=False)
    except SystemExit as stop:  # the last step of the workflow: some case failed
        status = int(stop.code or 0)
    if page:
        from medbundles.zoo.results_page import write_results_page

        write_results_page(folder, Path(overrides["output_dir"]), overrides)
    return status


def _show_report(folder: Path) -> None:
    from medbundles.reports import read_report
    from medbundles.transforms import measurement_text

    for case in read_report(folder)["cases"]:
        values = ", ".join(measurement_text(m) for m in case["measurements"])
        facts = {"case": case["input"], "measurements": case["measurements"]}
        say(f"{Path(case['input']).name}: {values or case['status']}", **facts)
    say(f"results: {folder}", results=str(folder))
