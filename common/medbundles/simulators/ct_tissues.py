"""Tissues of the simulated chest: their numbers in the truth and their HU."""

from medbundles.simulators.ct_canvas import Fill

# Number of each tissue in a slice's label map.
NAMES = (
    *("air", "table", "skin", "fat", "muscle", "breast", "bone", "marrow", "cartilage", "lung"),
    *("lung vessel", "airway", "myocardium", "left ventricle", "right ventricle", "left atrium"),
    *("right atrium", "aorta", "pulmonary artery", "vein", "coronary artery", "calcium", "oesophagus"),
    *("lymph node", "spinal canal", "liver", "nodule"),
)
LABELS = {name: number for number, name in enumerate(NAMES)}


def fill(name: str, hu: float, grain: float = 0.0, texture: str = "medium") -> Fill:
    """What a region of a named tissue is filled with."""
    return Fill(hu, LABELS[name], grain, texture)
