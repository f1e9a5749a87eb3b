"""Download an image from an http or https address, within limits of bytes and time."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from email.message import Message
from typing import IO, Any

from ..errors import BadImage
from ..files.paths import scheme_of
from ..version import __version__
from .sources import MAX_BYTES, describe_source, reason_text

SECONDS = 60
"""Longest time of a download, and of a wait for its next bytes."""
_CHUNK = 2**18
_MOST_REDIRECTS = 5
_SCHEMES = ("http", "https")


def download(address: str, *, argument: str) -> bytes:
    """Return the bytes at an address, at most MAX_BYTES, in at most :data:`SECONDS` seconds.

    A redirection leads to http and https only, and not from https to http. Raises BadImage, naming ``argument``.
    """
    name = describe_source(address, argument)
    _check_scheme(address, name)
    try:
        request = urllib.request.Request(address, headers={"User-Agent": f"editkit/{__version__}"})
        with _opener(name).open(request, timeout=SECONDS) as response:
            return _read(response, name)
    except BadImage:
        raise
    except urllib.error.HTTPError as error:
        raise BadImage(f"{name} cannot be read: the server answers {error.code} {reason_text(error)}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        text = reason_text(reason) if isinstance(reason, BaseException) else str(reason)
        raise BadImage(f"{name} cannot be read: {text}") from None


def _check_scheme(address: str, name: str) -> None:
    if scheme_of(address) not in _SCHEMES:
        raise BadImage(f"{name} is no http or https address: only those are opened")


def _read(response: IO[bytes], name: str) -> bytes:
    """Return the bytes of a response; the limits hold whatever its header says."""
    ends, data = time.monotonic() + SECONDS, bytearray()
    # Single reads return what has come, so that a slow server cannot hold one open.
    while part := response.read1(_CHUNK):  # type: ignore[attr-defined]
        data += part
        if len(data) > MAX_BYTES:
            raise BadImage(f"{name} is too large: at most {MAX_BYTES // 2**20} MiB are allowed; save it smaller")
        if time.monotonic() > ends:
            raise BadImage(f"{name} takes more than {SECONDS} seconds: download it first")
    if getattr(response, "length", None):
        raise BadImage(f"{name} is cut short: the server ended the download early; try again")
    return bytes(data)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows few redirections, to http and https only."""

    max_redirections = _MOST_REDIRECTS

    def __init__(self, name: str) -> None:
        self.name = name

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        _check_scheme(newurl, f"{self.name} leads to {newurl[:100]!r}, which")
        if req.type == "https" and not newurl.lower().startswith("https:"):
            raise BadImage(f"{self.name} leads from https to {newurl[:100]!r}: give that address if you trust it")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _opener(name: str) -> urllib.request.OpenerDirector:
    """Return an opener of http and https alone: the usual one opens files and FTP too."""
    opener = urllib.request.OpenerDirector()
    handlers: list[Any] = [
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(name),
    ]
    for handler in handlers:
        opener.add_handler(handler)
    return opener
