"""A bundle as MONAI's model zoo takes it: a folder for `models/`, laid out and checked as its own CI does.

What its CI asks is in `ci/verify_bundle.py` of the zoo, how files must look in its pre-commit hooks.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from medbundles.errors import BundleError
from medbundles.zoo.rules_code import imported
from medbundles.zoo.rules_zoo import PROBLEMS, unpinned
from medbundles.zoo.source import BundleSource

LEFT_OUT = ("requirements.txt", "bom.cdx.json")  # the zoo makes its own from the metadata
TEXTS = (".json", ".py", ".md", ".txt", ".csv", ".conf")
HOOK_BYTES = 1024 * 1024
CARD, SECTION = "docs/README.md", "## TorchScript"
NO_SCRIPT = "Not supported: the network of this bundle cannot be exported to TorchScript."
LAST = 400  # characters of what a program had to say

# In the zoo's words: `verify_data_shape` and `verify_torchscript`, with the ids that it has hard-coded.
JUDGE = """
import sys, warnings
warnings.filterwarnings("ignore")
from monai.bundle import ckpt_export, verify_net_in_out
common = {"config_file": "configs/inference.json", "meta_file": "configs/metadata.json", "bundle_root": "."}
verify_net_in_out(net_id="network_def", **common)
print("shape: right")
if len(sys.argv) > 1:
    import torch
    ckpt_export(net_id="network_def", filepath=sys.argv[1], ckpt_file="models/model.pt", **common)
    torch.jit.load(sys.argv[1])
    print("torchscript: right")
"""


def zoo_files(bundle: BundleSource, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a packed bundle as the zoo's hooks leave them.

    Raises:
        BundleError: the zoo would refuse them; all reasons are given.
    """
    kept = {name: _laid_out(name, content) for name, content in files.items() if name not in LEFT_OUT}
    problems = [problem for rule in PROBLEMS for problem in rule(bundle, kept)]
    if problems:
        raise BundleError(
            f"the model zoo would refuse it: {'; '.join(problems[:4])}"
            + (f"; and {len(problems) - 4} more" if len(problems) > 4 else ""),
            source=bundle.folder,
            advice="correct the bundle, and pack it again",
        )
    return kept


def zoo_notes(bundle: BundleSource, files: Mapping[str, bytes]) -> Iterator[str]:
    """What does not hold the zoo's CI up, but whoever opens the pull request must know."""
    for name, content in sorted(files.items()):
        if len(content) > HOOK_BYTES:
            size = len(content) / 2**20
            yield f"{name} has {size:.1f} MB: the zoo's hook takes 1 MB in git, ask where to host it"
    if late := sorted(unpinned(bundle, files, imported)):
        yield f"imported where it is used, and not pinned: {', '.join(late)}"


def judge(folder: Path, script: Path) -> tuple[str, ...]:
    """Runs MONAI's own checks on a packed folder, with nothing but that folder to import from.

    Args:
        folder: the packed bundle.
        script: where TorchScript is tried to.

    Returns:
        What was found right; TorchScript is not among it where the network does not allow it.

    Raises:
        BundleError: the network does not give what the metadata say.
    """
    done = _judged(folder, str(script))
    if "shape: right" not in done.stdout:
        raise BundleError(
            f"MONAI's verify_net_in_out fails: {_last_line(done.stderr)}",
            source=folder.name,
            advice="correct network_data_format in configs/metadata.json",
        )
    return tuple(line for line in done.stdout.splitlines() if line.endswith(": right"))


def without_script(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files with a card that says what the zoo wants said of a bundle without TorchScript."""
    text = files[CARD].decode().rstrip()
    if SECTION in text:
        return dict(files)
    return {**files, CARD: f"{text}\n\n{SECTION}\n\n{NO_SCRIPT}\n".encode()}


def _judged(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", JUDGE, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


def _laid_out(name: str, content: bytes) -> bytes:
    """A text file with Unix line ends, nothing behind the words, one line end at the end; JSON spread out."""
    if not name.endswith(TEXTS) and name != "LICENSE":
        return content
    text = content.decode()
    if name.endswith(".json"):
        text = json.dumps(json.loads(text), indent=4)
    lines = [line.rstrip() for line in text.splitlines()]
    text = "\n".join(lines).strip("\n")
    return f"{text}\n".encode() if text else b""


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no message")[-LAST:]
