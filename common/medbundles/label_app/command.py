"""The command that starts the MONAI Label server.

Heavy imports stay inside the function, as in `medbundles.cli`.
"""

from __future__ import annotations

from pathlib import Path

from fire.decorators import SetParseFns


@SetParseFns(str, host=str, port=int, bundles=str, output=str)
def serve(
    studies: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    bundles: str = "",
    output: str = "medbundles_label",
) -> None:
    """Runs a MONAI Label server with the bundles, for 3D Slicer, OHIF and programs.

    Args:
        studies: the folder of the images, or an archive (PACS), dicomweb[s]://[USER@]HOST[:PORT]/PATH.
        host: the address to listen at; the default is reached from this machine alone.
        port: where to listen.
        bundles: names separated by commas; all if it is left out.
        output: the server's own folder, for its log, images of an archive, and the weights that it trains.
    """
    from medbundles.label_app.serving import serve as run
    from medbundles.logs import show_log

    show_log()
    run(studies, host=host, port=port, bundles=bundles, home=Path(output).resolve())


COMMANDS = {"serve": serve}
