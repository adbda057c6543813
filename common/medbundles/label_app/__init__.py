"""The bundles in a MONAI Label server, for annotation with 3D Slicer or OHIF; `medbundles serve` starts it.

`app`, `studies`, `infer` and `train` need the package monailabel; the other modules do not.
"""
