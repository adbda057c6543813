"""What a command says while it works: lines for people, or one JSON object per line for programs."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from typing import Any

ABOUT = "about"  # attribute of a log record: facts for programs, beside the sentence for people

logger = logging.getLogger(__name__)


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, message, and the facts that came with it."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line | getattr(record, ABOUT, {}), ensure_ascii=False, default=str)


def show_log(as_json: bool = False) -> None:
    """Shows on standard output what our own modules have to say, and warnings of others.

    Args:
        as_json: one JSON object per line, in place of sentences without time and place.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines() if as_json else logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(as_json)
    logging.getLogger("medbundles").setLevel(logging.INFO)
    logging.getLogger("monai.bundle").setLevel(logging.ERROR)
    if as_json:  # what handlers of a training say
        logging.getLogger("ignite").setLevel(logging.INFO)


def say(message: str, **facts: Any) -> None:
    """Logs a sentence of a command, with facts for programs."""
    logger.info(message, extra={ABOUT: facts})
