"""Does anything break the bundles? Odd inputs in thousands, faults while they work, and long runs."""

import logging

import fire
from robustness_faults import faults
from robustness_fuzz import fuzz
from robustness_soak import soak

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("medbundles").setLevel(logging.WARNING)
    fire.Fire({"fuzz": fuzz, "faults": faults, "soak": soak})
