"""Starting the MONAI Label server with our app."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from medbundles.dicomweb_address import PLAIN, is_address, parse_service
from medbundles.dicomweb_session import password_of
from medbundles.errors import MissingInputError
from medbundles.label_app import compatibility
from medbundles.logs import say
from medbundles.zoo.find import find_bundle

LOOPBACK = ("127.0.0.1", "::1", "localhost")

logger = logging.getLogger(__name__)


def serve(studies: str, *, host: str, port: int, bundles: str, home: Path) -> None:
    """Runs the server until it is stopped.

    Args:
        studies: folder of the images, or the address of a DICOMweb server.
        host: the address to listen at.
        port: where it listens.
        bundles: names separated by commas; empty for all.
        home: the server's own folder: log, sessions, images of an archive, and the weights that it trains.

    Raises:
        PackageError: MONAI Label is not installed.
        MissingInputError: there is no such folder of images.
        AddressError: the address of the archive is of no known form, or not safe.
        ArchiveAccessError: its user has no password.
        BundleError: there is no such bundle.
    """
    compatibility.prepare()
    for name in filter(None, (part.strip() for part in bundles.split(","))):
        find_bundle(name)
    arguments = _arguments(place_of(studies), host, port, bundles, _home(home))
    compatibility.settle(home, _login(studies))
    _say_where(host, port)
    from monailabel.main import Main

    main = Main(loglevel=logging.WARNING)
    main.action_start_server(main.args_parser().parse_args(arguments))


def place_of(studies: str) -> str:
    """Returns the full path of the images, or where the archive's service is; web addresses stay as they are.

    Raises:
        MissingInputError: there is no such folder.
        AddressError: the address of the archive is of no known form, or not safe.
    """
    if is_address(studies):
        return parse_service(studies).url
    if studies.startswith(("http://", "https://")):
        return studies
    if not Path(studies).is_dir():
        raise MissingInputError(
            "no such folder",
            expected=f"the folder of the images, or an archive as {PLAIN}://HOST/PATH",
            source=studies,
            advice="make the folder, or correct its name",
        )
    return str(Path(studies).resolve())


def _login(studies: str) -> tuple[str, str] | None:
    """The user that the archive's address names, and the password."""
    if not is_address(studies) or not (address := parse_service(studies)).user:
        return None
    return address.user, password_of(address)


def _home(home: Path) -> Path:
    """Makes the server's folder an app of MONAI Label."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("main.py"), home / "main.py")
    return home


def _arguments(studies: str, host: str, port: int, bundles: str, home: Path) -> list[str]:
    words = ["start_server", "--app", str(home), "--studies", studies, "--host", host, "--port", str(port)]
    words += ["--uvicorn_app", "medbundles.label_app.asgi:app"]
    settings = {"bundles": bundles, "zoo_source": "local", "sam2": "false"}
    return words + [word for name, value in settings.items() for word in ("--conf", name, value)]


def _say_where(host: str, port: int) -> None:
    say(f"MONAI Label server: http://{host}:{port}")
    if host not in LOOPBACK:
        say("it is open to the network, and asks nobody for a password: only for networks that you trust")
