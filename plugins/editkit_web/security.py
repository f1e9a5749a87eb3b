"""Requests that are refused before the page handles them: foreign hosts and origins, no token, large bodies."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "editkit-token"
HEADER = "x-editkit-token"
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""Content security policy: the browser asks no other host for anything."""
_HEADERS = {
    b"content-security-policy": _POLICY.encode(),
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


def is_own(host: str) -> bool:
    """Return whether an address is reached from this computer alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def choose_token(host: str, token: str | None) -> str | None:
    """Return the token, a new one if the host needs one, or None for a page of this computer alone."""
    return token or (None if is_own(host) else secrets.token_urlsafe(24))


class Guard:
    """ASGI application that passes on the requests that are allowed.

    A browser sends the name in the address bar as ``Host`` and the page that asks as ``Origin``: a page of another site
    whose name was bound to this address (DNS rebinding) is refused by the first, a form or a web socket of another page
    by the second. The token comes in a header, as ``?token=`` of the first visit, which sets a cookie, or in it.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None, most_bytes: int) -> None:
        self.app, self.token, self.most_bytes = app, token, most_bytes
        self.names = {"localhost", host.lower()}
        if not is_own(host):
            self.names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        problem = self._foreign(headers) or (None if self._has_token(headers) else "the token is missing or wrong")
        if problem is None:
            await self._pass_on(scope, receive, send, headers)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": problem})
        elif self._visits_with_token(scope, headers):
            await self._set_cookie(scope, _cookie_name(headers))(scope, receive, send)
        else:
            await PlainTextResponse(f"403 refused: {problem}\n", 403)(scope, receive, send)

    def _foreign(self, headers: Mapping[str, str]) -> str | None:
        """Return the reason why a request of another site is refused; None for others."""
        host, origin = headers.get("host", "").lower(), headers.get("origin")
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname or "", parts.port  # a port that is no number raises ValueError
            netloc = host if origin is None else urlsplit(origin).netloc.lower()
        except ValueError:
            return "the host or the origin is no address"
        if name not in self.names and not _is_address(name):
            return "the host is not a name of this server"
        return None if netloc == host else "the request comes from another page"

    def _has_token(self, headers: Mapping[str, str]) -> bool:
        if self.token is None:
            return True
        # Not http.cookies, which ends at the first cookie that it cannot read: of another port of this host, perhaps.
        pairs = [part.strip().partition("=") for part in headers.get("cookie", "").split(";")]
        cookies = [value for name, _, value in pairs if name == _cookie_name(headers)]
        sent = [headers.get(HEADER, ""), *cookies]
        return any([self._equals(one) for one in sent])  # noqa: C419 (all are compared, for a constant time)

    def _equals(self, sent: str) -> bool:
        return self.token is not None and hmac.compare_digest(sent.encode(), self.token.encode())

    def _visits_with_token(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        return self._foreign(headers) is None and scope["method"] == "GET" and self._equals(query.get("token", ""))

    def _set_cookie(self, scope: Scope, name: str) -> RedirectResponse:
        """Return a redirection to the same address without the token, which sets the cookie."""
        query = [(name, value) for name, value in parse_qsl(scope["query_string"].decode("latin-1")) if name != "token"]
        response = RedirectResponse(f"{scope['path']}{'?' if query else ''}{urlencode(query)}", 303)
        assert self.token is not None
        response.set_cookie(name, self.token, httponly=True, samesite="lax")
        return response

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str]) -> None:
        length = headers.get("content-length", "0")
        if scope["type"] == "http" and (not length.isdecimal() or int(length) > self.most_bytes):
            await self._refuse_size()(scope, receive, send)
            return
        count = 0

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            # A body without a length: the server is to see no more of it.
            return message if count <= self.most_bytes else {"type": "http.disconnect"}

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS.items()]
            await send(message)

        await self.app(scope, counted, with_headers)

    def _refuse_size(self) -> PlainTextResponse:
        return PlainTextResponse(f"413 refused: at most {self.most_bytes // 2**20} MiB are allowed\n", 413)


def _cookie_name(headers: Mapping[str, str]) -> str:
    """Return the name of the cookie: browsers send that of one port to all ports of a host."""
    return f"{COOKIE}-{urlsplit('//' + headers.get('host', '')).port or 80}"


def _is_address(name: str) -> bool:
    """Return whether a host is written as an address, which nobody can bind to another."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
