"""Rules for names: of the bundle, its package, and its version."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from medbundles.zoo.source import BundleSource, Problem

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+){2,}")
VERSION = re.compile(r"[0-9](\.[0-9]){2}")
RESERVED_PACKAGES = ("scripts", "common", "tests", "configs", "models", "docs", "data")

# MONAI's own bundles: its tools look for them by a part of the name.
MONAI_ZOO = frozenset(
    """
    brain_image_synthesis_latent_diffusion_model brats_mri_axial_slices_generative_diffusion
    brats_mri_generative_diffusion brats_mri_segmentation breast_density_classification
    classification_template coronsegmentator cxr_image_synthesis_latent_diffusion_model
    endoscopic_inbody_classification endoscopic_tool_segmentation lung_nodule_ct_detection
    maisi_ct_generative mednist_ddpm mednist_gan mednist_reg mindgrab multi_organ_segmentation
    pancreas_ct_dints_segmentation pathology_nuclei_classification
    pathology_nuclei_segmentation_classification pathology_nuclick_annotation pathology_tumor_detection
    pediatric_abdominal_ct_segmentation prostate_mri_anatomy renalstructures_cect_segmentation
    renalstructures_unest_segmentation retinaloct_rpd_segmentation segmentation_template
    spleen_ct_segmentation spleen_deepedit_annotation swin_unetr_btcv_segmentation valve_landmarks
    ventricular_short_axis_3label vista2d vista3d wholebody_ct_segmentation
    wholebrainseg_large_unest_segmentation
    """.split()
)


def name_form(bundle: BundleSource) -> Iterator[Problem]:
    """The folder's name is <anatomy>_<modality>_<task> in lower case."""
    if not NAME.fullmatch(bundle.name):
        yield bundle.problem(
            ".",
            f"the name '{bundle.name}' is not of the form <anatomy>_<modality>_<task>",
            "use lower-case words and digits, joined by underscores, at least three",
        )


def name_splits(bundle: BundleSource) -> Iterator[Problem]:
    """MONAI's downloader cuts a name at `_v`, so that no word may begin with v."""
    if "_v" in bundle.name:
        yield bundle.problem(
            ".", "a word of the name begins with v, where MONAI's downloader cuts it", "reword it"
        )


def name_unique(bundle: BundleSource) -> Iterator[Problem]:
    """No name contains another's: MONAI's tools search names by their parts."""
    for other in sorted((set(bundle.neighbours) | MONAI_ZOO) - {bundle.name}):
        if other in bundle.name or bundle.name in other:
            yield bundle.problem(
                ".", f"the name contains, or is contained in, that of {other}", "choose another name"
            )
    if bundle.name in MONAI_ZOO:
        yield bundle.problem(".", "a bundle of MONAI's zoo has the same name", "choose another name")


def package_name(bundle: BundleSource) -> Iterator[Problem]:
    """The package has a name of its own: Python keeps one module of a name per process."""
    package, meta = bundle.package, "configs/metadata.json"
    if not package.isidentifier() or package != package.lower():
        yield bundle.problem(
            meta, f"the package name '{package}' is no lower-case identifier", "set medbundles.package"
        )
        return
    owner = next((name for name, other in bundle.neighbours.items() if other == package), None)
    if owner:
        yield bundle.problem(
            meta, f"the package '{package}' belongs to {owner}", "choose another package name"
        )
    if package in RESERVED_PACKAGES or _installed_elsewhere(bundle):
        yield bundle.problem(
            meta, f"the package name '{package}' is taken by others", "choose another package name"
        )
    if not (bundle.folder / package / "__init__.py").is_file():
        yield bundle.problem(package, "the package is missing", f"add {package}/__init__.py")


def version_form(bundle: BundleSource) -> Iterator[Problem]:
    """Three components of one digit: MONAI sorts versions as texts."""
    version = str(bundle.metadata.get("version", ""))
    if not VERSION.fullmatch(version):
        yield bundle.problem(
            "configs/metadata.json",
            f"the version '{version}' is not three numbers from 0 to 9",
            "write it as 0.1.0; after 0.9.9 comes 1.0.0",
        )


def _installed_elsewhere(bundle: BundleSource) -> bool:
    """Whether another module of the package's name exists."""
    try:
        spec = importlib.util.find_spec(bundle.package)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    places = [spec.origin, *(spec.submodule_search_locations or [])]
    return not any(place and bundle.name in Path(place).parts for place in places)


RULES = (name_form, name_splits, name_unique, package_name, version_form)
