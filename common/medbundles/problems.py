"""Problems that a user can do something about, and that need no traceback."""

from __future__ import annotations

import logging
from typing import Any

from medbundles.errors import InputError, root_input_error
from medbundles.memory import out_of_memory
from medbundles.outputs import disk_problem


def known_problem(error: BaseException | None) -> InputError | None:
    """What to tell a user in a few lines: about the input, the disk or the memory; None for anything else."""
    return root_input_error(error) or out_of_memory(error) or disk_problem(error)


def without_traces() -> None:
    """Takes the traceback from log records about known problems, from now on.

    MONAI's handlers log it to loggers and handlers of their own, so that no filter would be in all places.
    """
    before = logging.getLogRecordFactory()
    if getattr(before, "shortens", False):
        return

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        if record.exc_info and known_problem(record.exc_info[1]) is not None:
            record.exc_info = None
        return record

    make.shortens = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make)
