"""Shared transforms, metrics, simulators and tools of the medbundles collection of MONAI bundles."""

__version__ = "0.1.0"
