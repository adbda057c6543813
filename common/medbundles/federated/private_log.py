"""Keeps what a training logs at the site: NVFLARE's own logs can be read, and sent, from outside."""

from __future__ import annotations

import logging
from pathlib import Path

from medbundles.federated.names import CLIENT, LOG

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
PUBLIC = ("nvflare", CLIENT)


def keep_here(folder: Path) -> None:
    """From now on only NVFLARE's lines go where they went before; all others go to a file in the folder.

    The lines of a training may name files, and files may be named after patients.
    """
    folder.mkdir(parents=True, exist_ok=True)
    logging.captureWarnings(True)
    for handler in _handlers():
        handler.addFilter(is_public)
    file = logging.FileHandler(folder / LOG, encoding="utf-8")
    file.setFormatter(logging.Formatter(FORMAT))
    root = logging.getLogger()
    root.addHandler(file)
    root.setLevel(min(root.level or logging.INFO, logging.INFO))


def is_public(record: logging.LogRecord) -> bool:
    """Whether a line is NVFLARE's, or one of those that our part of it writes for everybody."""
    return record.name.startswith(PUBLIC)


def _handlers() -> set[logging.Handler]:
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    return {handler for logger in loggers for handler in logger.handlers}
