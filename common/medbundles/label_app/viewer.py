"""The page of OHIF that MONAI Label brings along, made to speak with this server and with nobody else."""

from __future__ import annotations

from urllib.parse import quote

from starlette.datastructures import URL, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE = "/ohif"
SERVER_FIELD = "MONAILABEL_SERVER_URL"  # the cookie from which its panel fills in where the server is
# The page would fetch fonts from another machine, which then knows who looks at images, and when.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; frame-ancestors 'none'"


class OhifPage:
    """Adds headers to the answers that are parts of the page.

    Args:
        app: the server.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http" or not scope["path"].startswith(PAGE):
            await self.app(scope, receive, send)
            return
        address = URL(scope=scope)
        field = quote(f"{address.scheme}://{address.netloc}/", safe="/")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = POLICY
                headers.append("Set-Cookie", f"{SERVER_FIELD}={field}; Path={PAGE}; SameSite=Strict")
            await send(message)

        await self.app(scope, receive, send_with_headers)
