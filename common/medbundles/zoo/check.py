"""The static contract of a bundle: small rules, each of which yields the problems that it finds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import medbundles
from medbundles.zoo import (
    rules_agreement,
    rules_code,
    rules_configs,
    rules_docs,
    rules_expressions,
    rules_files,
    rules_metadata,
    rules_names,
    rules_terminology,
    rules_workflows,
)
from medbundles.zoo.find import bundle_folders, is_bundle
from medbundles.zoo.source import BundleSource, Problem, as_dict

logger = logging.getLogger(__name__)

Rule = Callable[[BundleSource], Iterator[Problem]]

RULES: tuple[Rule, ...] = (
    *rules_names.RULES,
    *rules_files.RULES,
    *rules_metadata.RULES,
    *rules_terminology.RULES,
    *rules_configs.RULES,
    *rules_expressions.RULES,
    *rules_agreement.RULES,
    *rules_workflows.RULES,
    *rules_code.RULES,
    *rules_docs.RULES,
)


def check_bundle(folder: Path) -> list[Problem]:
    """Every broken rule of one bundle, each problem once.

    A bundle may declare exceptions in its metadata, `medbundles.exceptions`: the name of a rule and the
    reason why it cannot hold.
    """
    bundle = BundleSource(folder.resolve(), _neighbours(folder.resolve()))
    excepted = as_dict(bundle.block.get("exceptions"))
    problems = list(_bad_exceptions(bundle, excepted))
    for rule in RULES:
        if rule.__name__ in excepted:
            logger.info("%s: %s not checked: %s", bundle.name, rule.__name__, excepted[rule.__name__])
        else:
            problems += rule(bundle)
    return list(dict.fromkeys(problems))


def check_collection() -> list[Problem]:
    """Every broken rule of all bundles and of the shared package."""
    folders = bundle_folders()
    bundles = {folder.name: BundleSource(folder).package for folder in folders}
    package = Path(medbundles.__file__).parent
    problems = list(rules_code.shared_code_names_no_bundle(package, bundles))
    return [problem for folder in folders for problem in check_bundle(folder)] + problems


def _neighbours(folder: Path) -> dict[str, str]:
    """Name to package of the other bundles of the collection, and of those beside this one."""
    beside = [p for p in folder.parent.iterdir() if is_bundle(p)] if folder.parent.is_dir() else []
    others = {p.name: BundleSource(p).package for p in [*bundle_folders(), *beside]}
    return {name: package for name, package in others.items() if name != folder.name}


def _bad_exceptions(bundle: BundleSource, excepted: dict[str, object]) -> Iterator[Problem]:
    names = {rule.__name__ for rule in RULES}
    for name, reason in excepted.items():
        if name not in names or not isinstance(reason, str) or not reason.strip():
            text = f"medbundles.exceptions: '{name}' is no rule, or has no reason"
            yield bundle.problem("configs/metadata.json", text, "name a rule and say why it cannot hold")
