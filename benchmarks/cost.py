"""What a command costs from file to file: seconds, processor seconds, and the most memory that it held.

    python benchmarks/cost.py predict brats_mri_collagan_segmentation STUDY OUTPUT --overwrite true

runs `medbundles predict ...` in a process of its own, so that starting and reading the weights count.
"""

import json
import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

KIB_PER_GB = 1e9 / 1024  # Linux counts the memory of a process in KiB
WATCH = "--watch"


def used(command: Sequence[str], environment: Mapping[str, str] | None = None) -> dict[str, float]:
    """Runs a program and returns what it and the processes that it started took.

    A small process stands between: a program's peak is at least the memory of the process that starts it.

    Args:
        command: the program and its arguments.
        environment: variables beside those of this process.

    Raises:
        SystemExit: it failed, with its exit status.
    """
    found, told = os.pipe()
    watch = [sys.executable, "-S", __file__, WATCH, str(told), *command]
    with open(found, encoding="utf-8") as pipe:
        status = subprocess.run(watch, env=os.environ | dict(environment or {}), pass_fds=[told]).returncode
        os.close(told)
        if status:
            raise SystemExit(status)
        return json.loads(pipe.read())


def _watch(told: int, command: Sequence[str]) -> int:
    """Runs a program, tells what it took, and returns its exit status."""
    start = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    with open(told, "w", encoding="utf-8") as pipe:
        found = {
            "seconds": round(time.monotonic() - start, 1),
            "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
            "memory_gb": round(usage.ru_maxrss / KIB_PER_GB, 2),
        }
        pipe.write(json.dumps(found))
    return os.waitstatus_to_exitcode(status)


def cost(arguments: list[str]) -> dict[str, float | int | str]:
    """Runs `medbundles` with these arguments and returns what it took."""
    command = [str(Path(sys.executable).with_name("medbundles")), *arguments]
    machine = {"cores": os.cpu_count() or 1, "machine": platform.machine()}
    return {"command": "medbundles " + " ".join(arguments[:2])} | used(command) | machine


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    if sys.argv[1] == WATCH:
        raise SystemExit(_watch(int(sys.argv[2]), sys.argv[3:]))
    logger.info("%s", json.dumps(cost(sys.argv[1:])))
