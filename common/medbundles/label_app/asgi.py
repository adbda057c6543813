"""The server as uvicorn runs it: MONAI Label's, with pages of other origins shut out."""

from medbundles.label_app.compatibility import own_origins, prepare

prepare()

from monailabel.config import settings  # noqa: E402

# Not in the environment: MONAI Label cannot log origins that come from there.
if not settings.MONAI_LABEL_CORS_ORIGINS:
    settings.MONAI_LABEL_CORS_ORIGINS = own_origins(settings.MONAI_LABEL_SERVER_PORT)

from monailabel.app import app  # noqa: E402

from medbundles.label_app.viewer import OhifPage  # noqa: E402

app.add_middleware(OhifPage)

__all__ = ["app"]
