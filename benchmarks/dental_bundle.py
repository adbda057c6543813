"""The bundle whose panoramic prior is measured; its package can be imported once this has been."""

from medbundles.zoo.find import add_to_path, find_bundle

BUNDLE = find_bundle("dental_cbct_tooth_segmentation")
add_to_path(BUNDLE)
