"""What a command costs from file to file: seconds, processor seconds, and the most memory that it held.

    python benchmarks/cost.py predict brats_mri_collagan_segmentation STUDY OUTPUT --overwrite true

runs `medbundles predict ...` in a process of its own, so that starting and reading the weights count.
"""

import json
import logging
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

logger = logging.getLogger(__name__)

KIB_PER_GB = 1e9 / 1024  # Linux counts the memory of a process in KiB


def cost(arguments: list[str]) -> dict[str, float | int | str]:
    """Runs `medbundles` with these arguments and returns what it took.

    Raises:
        SystemExit: it failed, with its exit status.
    """
    command = [str(Path(sys.executable).with_name("medbundles")), *arguments]
    start = time.monotonic()
    status = subprocess.run(command, check=False).returncode
    seconds = time.monotonic() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    if status:
        raise SystemExit(status)
    return {
        "command": "medbundles " + " ".join(arguments[:2]),
        "seconds": round(seconds, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "memory_gb": round(used.ru_maxrss / KIB_PER_GB, 2),
        "cores": os.cpu_count() or 1,
        "machine": platform.machine(),
    }


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    logger.info("%s", json.dumps(cost(sys.argv[1:])))
