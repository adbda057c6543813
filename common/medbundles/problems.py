"""Problems that a user can do something about, and that need no traceback."""

from __future__ import annotations

import logging
import threading
from typing import Any

from medbundles.errors import InputError, root_input_error
from medbundles.memory import out_of_memory
from medbundles.outputs import disk_problem


def known_problem(error: BaseException | None) -> InputError | None:
    """What to tell a user in a few lines: about the input, the disk or the memory; None for anything else."""
    return root_input_error(error) or out_of_memory(error) or disk_problem(error)


def without_traces() -> None:
    """Takes the traceback from what is logged and what threads end with, where the problem is a known one.

    MONAI's handlers log it to loggers and handlers of their own, so that no filter would be in all places;
    the thread in which TensorBoard writes prints it, and then raises the error in the main thread.
    """
    records, threads = logging.getLogRecordFactory(), threading.excepthook
    if getattr(records, "shortens", False):
        return

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = records(*args, **kwargs)
        if record.exc_info and known_problem(record.exc_info[1]) is not None:
            record.exc_info = None
        return record

    def end(ended: threading.ExceptHookArgs) -> None:
        if known_problem(ended.exc_value) is None:
            threads(ended)

    make.shortens = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make)
    threading.excepthook = end
