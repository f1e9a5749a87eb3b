"""The server of the page."""

from __future__ import annotations

import contextlib
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse
from nicegui import ui

from editkit import InvalidParameter

from .page.editor import STYLE_ROUTE, show_editor
from .security import Guard
from .site import Site
from .store import ROUTE

_STYLE = Path(__file__).parent / "page" / "page.css"
_FORM_BYTES = 2**20
"""Bytes of an upload beside its file."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raises InvalidParameter if the address cannot be used."""
    is_6 = False
    with contextlib.suppress(ValueError):
        is_6 = ipaddress.ip_address(host).version == 6
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if is_6 else socket.AF_INET)
    except OSError as error:
        reason = str(error.strerror or error).partition(" (while")[0]  # Python adds the address
        raise InvalidParameter(f"host {host!r} and port {port} cannot be used ({reason}): choose others") from error


def serve(site: Site, listener: socket.socket, host: str, token: str | None, started: Callable[[], None]) -> None:
    """Serve the page until Ctrl-C or SIGTERM."""
    app = Guard(_application(site), host, token, site.most_bytes + _FORM_BYTES)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2, lifespan="on"
    )
    server = _Server(config, started)
    with _ended_by_signals():
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End the block by SIGTERM as by Ctrl-C, so that the files of the pages are removed."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _application(site: Site) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get(f"{ROUTE}/{{key}}")
    def send_file(key: str, download: bool = False) -> FileResponse:
        path = site.store.find(key)
        if path is None or not path.is_file():
            raise HTTPException(404, "there is no such file")
        headers = {"cache-control": "private, max-age=3600"}
        return FileResponse(path, headers=headers, filename=path.name if download else None)

    @app.get(STYLE_ROUTE)
    def send_style() -> FileResponse:
        return FileResponse(_STYLE, media_type="text/css")

    @ui.page("/", title="editkit", dark=None, language="en-US")
    async def editor() -> None:
        await show_editor(site)

    ui.run_with(app, title="editkit", tailwind=False, show_welcome_message=False, reconnect_timeout=10)
    return app
