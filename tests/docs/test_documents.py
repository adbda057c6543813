"""The documents say nothing that is not there: links, commands, options, Python and error classes."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import medbundles.errors
from medbundles import cli
from medbundles.zoo.find import bundle_folders
from medbundles.zoo.knobs import knobs
from medbundles.zoo.workflows import INFERENCE, TRAIN, training_stages

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
each = pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_all_documents_are_found() -> None:
    assert {"README.md", "SECURITY.md", "docs/getting-started.md", "docs/reference/errors.md"} <= set(NAMES)


@each
def test_every_relative_link_leads_to_a_file(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert missing == []


@each
def test_every_command_of_ours_exists(path: Path) -> None:
    named = {
        word for block in blocks(path, "shell") for word in re.findall(r"(?m)\bmedbundles ([a-z]+)", block)
    }
    assert named <= set(cli.COMMANDS)


@each
def test_every_bundle_named_in_a_command_exists_or_is_made_there(path: Path) -> None:
    known = {folder.name for folder in bundle_folders()}
    for block in blocks(path, "shell"):
        made = set(re.findall(r"medbundles new (\S+)", path.read_text(encoding="utf-8")))
        named = set(
            re.findall(r"medbundles (?:predict|train|evaluate|simulate|info|check) ([a-z]\w+)", block)
        )
        assert named <= known | made


@each
def test_every_option_of_predict_and_train_is_a_knob(path: Path) -> None:
    for block in blocks(path, "shell"):
        for command, bundle, rest in re.findall(r"medbundles (predict|train) ([a-z]\w+)(.*)", block):
            folder, options = ROOT / "bundles" / bundle, set(re.findall(r"--(\w+)", rest))
            stage = re.search(r"--stage (\w+)", rest)
            own = set(inspect.signature(cli.COMMANDS[command]).parameters)
            stages = training_stages(folder, stage[1]).values() if stage else [TRAIN]
            for configs in stages if command == "train" else [INFERENCE]:
                assert options - own <= {knob.name for knob in knobs(folder, configs)}


@each
def test_every_python_block_compiles(path: Path) -> None:
    for block in blocks(path, "python"):
        ast.parse(block)


@each
def test_every_name_imported_in_a_document_exists(path: Path) -> None:
    for block in blocks(path, "python"):
        imports = [
            line for line in block.splitlines() if line.startswith(("from medbundles", "import medbundles"))
        ]
        exec(compile("\n".join(imports), str(path), "exec"), {})


def test_every_error_class_is_documented_and_no_other() -> None:
    kinds = {
        name
        for name, value in vars(medbundles.errors).items()
        if isinstance(value, type) and issubclass(value, medbundles.errors.InputError)
    }
    text = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    assert set(re.findall(r"(?m)^\| `(\w+)`", text)) == kinds - {"InputError"}


def test_every_document_is_reached_from_the_readme() -> None:
    reached, queue = set(), [ROOT / "README.md"]
    while queue:
        path = queue.pop().resolve()
        if path in reached or path.suffix != ".md":
            continue
        reached.add(path)
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8"))
        queue += [path.parent / link for link in links if (path.parent / link).is_file()]
    assert {p for p in DOCUMENTS if p.name != "CHANGELOG.md"} <= reached
