"""Tries to break the bundles."""

import logging

import fire
from robustness_faults import faults
from robustness_soak import soak

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("medbundles").setLevel(logging.WARNING)
    fire.Fire({"faults": faults, "soak": soak})
