"""The command ``web``: serve the page until it is interrupted."""

from __future__ import annotations

import importlib
import logging

import click

from editkit import EditkitError, Table

from . import WebParams
from .security import choose_token
from .site import Site


def web(params: WebParams) -> Table:
    """Serve the page, and return the numbers of its jobs, edits and masks, by their end."""
    try:
        server = importlib.import_module("editkit_web.server")
    except ImportError as error:
        raise EditkitError(
            "the package 'nicegui' is not installed or cannot be imported: pip install 'editkit[web]'"
        ) from error
    logging.getLogger("nicegui").setLevel(logging.ERROR)
    token, site = choose_token(params.host, params.token), Site(params)
    try:
        listener = server.listen(params.host, params.port)

        def announce() -> None:
            host = f"[{params.host}]" if ":" in params.host else params.host
            query = f"?token={token}" if token else ""
            click.echo(f"http://{host}:{listener.getsockname()[1]}/{query}  (Ctrl-C ends the server)", err=True)

        server.serve(site, listener, params.host, token, announce)
    finally:
        site.close()
    return Table([dict(site.workers.counts)], {"folder": str(site.folder.path)})
