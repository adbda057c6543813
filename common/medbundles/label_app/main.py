"""What MONAI Label loads from an app's folder; `medbundles serve` puts a copy into the server's folder."""

from medbundles.label_app.compatibility import prepare

prepare()

from medbundles.label_app.app import LabelApp  # noqa: E402

__all__ = ["LabelApp"]
