"""Does anything break the bundles? Odd inputs in thousands, faults while they work, and long runs.

python benchmarks/robustness.py fuzz --work WORK
"""

import logging

import fire
from robustness_fuzz import fuzz

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    fire.Fire({"fuzz": fuzz})
