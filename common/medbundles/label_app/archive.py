"""The images of an archive (PACS) that speaks DICOMweb, as the server keeps them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dicomweb_client.session_utils import create_session_from_user_pass
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMwebClientX, DICOMWebDatastore

CONVERTED = ".nii.gz"


class ArchiveDatastore(DICOMWebDatastore):
    """MONAI Label's, without its copies of images among the temporary files of the machine."""

    def get_image_uri(self, image_id: str) -> str:
        """Returns the file that a series was converted to; the series lies beside it."""
        made = Path(super().get_image_uri(image_id))
        kept = Path(self._datastore.image_path()).resolve() / f"{image_id}{CONVERTED}"
        if kept.is_file() and made != kept:
            made.unlink(missing_ok=True)
            made = kept
        return str(made)


def archive(url: str) -> ArchiveDatastore:
    """Returns the images of an archive, with what MONAI Label's settings say of it."""
    login = settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD
    client = DICOMwebClientX(
        url=url,
        session=create_session_from_user_pass(*login) if all(login) else None,
        qido_url_prefix=settings.MONAI_LABEL_QIDO_PREFIX,
        wado_url_prefix=settings.MONAI_LABEL_WADO_PREFIX,
        stow_url_prefix=settings.MONAI_LABEL_STOW_PREFIX,
    )
    # Labels that users submit are made DICOM by a program of the package dcmqi, wherever Python itself lies.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return ArchiveDatastore(
        client,
        settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER,
        cache_path=settings.MONAI_LABEL_DICOMWEB_CACHE_PATH or None,
        fetch_by_frame=settings.MONAI_LABEL_DICOMWEB_FETCH_BY_FRAME,
    )


def as_scanned(image: str) -> str:
    """Returns the DICOM series that an image of an archive was converted from; any other image as it is.

    What a bundle checks, such as missing slices, is not seen in the converted file any more.
    """
    series, copies = Path(image.removesuffix(CONVERTED)), settings.MONAI_LABEL_DICOMWEB_CACHE_PATH
    ours = bool(copies) and series.is_relative_to(Path(copies).resolve())
    return str(series) if ours and any(series.glob("*.dcm")) else image
