"""Addresses of running clusters, looked at before the library of an engine tries them for a minute."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from editkit import EditkitError

_SCHEMES = ("", "ray", "tcp", "tls", "ws", "wss")
_SECONDS = 5.0


def check_reachable(engine: str, address: str | None) -> None:
    """Raise EditkitError if no process listens at a host and port; other addresses, such as auto, are not looked at."""
    try:
        parts = urlsplit(address if address and "://" in address else f"//{address or ''}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _unreachable(engine, address, error) from error
    if parts.scheme not in _SCHEMES or host is None or port is None:
        return
    try:
        socket.create_connection((host, port), timeout=_SECONDS).close()
    except OSError as error:
        raise _unreachable(engine, address, error) from error


def _unreachable(engine: str, address: object, error: Exception) -> EditkitError:
    return EditkitError(
        f"no cluster of {engine} answers at {address!r} ({' '.join(str(error).split())[:200]}): check --address"
    )
