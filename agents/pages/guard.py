"""What every local page shares: who may ask, what the browser may do, how errors read.

A page on 127.0.0.1 can be reached by any web site that the same browser shows, so:

* the Host header must name this machine itself (DNS rebinding brings another name);
* a request that a browser made for another origin is refused (CSRF), whatever its method;
* all that is private needs a random token, new at every start. The agent prints it in the fragment of the
  page's address, which browsers neither send nor log; the page sends it in a header, which no other origin
  can set without leave. No cookie is used: cookies do not keep ports apart.
* the browser may load and contact nothing but this server (CSP), and no other page may frame it.

Errors are JSON `{"error": ..., "remedy": ...}`; nothing a request holds can stop the server.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from protocols.errors import CrypDocError, UserError

TOKEN_HEADER = "X-CrypDoc-Token"  # noqa: S105 - the name of a header
TOKEN = web.AppKey("crypdoc_token", str)
STATIC = Path(__file__).with_name("static")
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
MAX_JSON = 4_096

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_log = logging.getLogger(__name__)


class Denied(UserError):
    """The request is not from this participant's own page."""

    http_status = 403


class Missing(UserError):
    """What was asked for is not here."""

    http_status = 404


class Clash(UserError):
    """What was asked for was right once and is not any more."""

    http_status = 409


class TooLarge(UserError):
    """The body is over its bound."""

    http_status = 413


class Busy(UserError):
    """No room now; later there may be."""

    http_status = 429


def guarded_app(*, private: bool, max_body: int = MAX_JSON, free: tuple[str, ...] = ()) -> web.Application:
    """An empty application behind the guard.

    private: everything needs the token, but for `/`, the assets and paths that begin with one of `free`,
    which must check their own keys.
    """
    token = secrets.token_urlsafe(32) if private else ""
    open_to_all = ("/static/", *free)

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        _check_host(request)
        _check_origin(request)
        open_here = request.path == "/" or request.path.startswith(open_to_all)
        if private and not open_here and not _same(request.headers.get(TOKEN_HEADER, ""), token):
            raise Denied(
                "this request lacks the page's key", "open the address that the agent printed at its start"
            )
        return await handler(request)

    app = web.Application(middlewares=[_errors_as_json, admit], client_max_size=max_body)
    if private:
        app[TOKEN] = token
    app.on_response_prepare.append(_harden)
    app.router.add_static("/static/", STATIC, show_index=False, follow_symlinks=False)
    return app


def html_page(name: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that answers with one of the shipped pages."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text=(STATIC / name).read_text(encoding="utf-8"), content_type="text/html")

    return handler


def report_key(app: web.Application, case_id: str) -> str:
    """What the address of a case's report carries instead of the token: it opens that one report alone."""
    return hmac.new(app[TOKEN].encode(), f"report/{case_id}".encode(), hashlib.sha256).hexdigest()


def check_report_key(request: web.Request, case_id: str) -> None:
    if not _same(request.query.get("key", ""), report_key(request.app, case_id)):
        raise Denied("this address does not open the report", "open it from the page that lists your cases")


async def read_json(request: web.Request) -> dict[str, object]:
    """The body as a JSON object, at most MAX_JSON bytes long."""
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise UserError("the body is not a JSON object", "send one, as UTF-8")
    return body


async def read_upload(request: web.Request, limit: int) -> tuple[bytes, str]:
    """The multipart part `file`: its bytes, at most `limit`, and the name it was given."""
    if not request.content_type.startswith("multipart/"):
        raise UserError(
            "the body is not a multipart form", "send the scan as the form's field: curl -F file=@scan.png"
        )
    try:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if getattr(part, "name", None) != "file":
                continue
            data = bytearray()
            while chunk := await part.read_chunk():  # type: ignore[union-attr]
                data += chunk
                if len(data) > limit:
                    raise TooLarge(f"the file is larger than {limit // 2**20} MiB", "send one slice of it")
            return bytes(data), str(getattr(part, "filename", "") or "scan")
    except (ValueError, AssertionError, RuntimeError, HttpProcessingError) as error:
        raise UserError("the multipart form is damaged", "send it again: curl -F file=@scan.png") from error
    raise UserError("the form has no field named file", "send the scan as it: curl -F file=@scan.png")


def error_response(status: int, error: str, remedy: str) -> web.Response:
    return web.json_response({"error": error, "remedy": remedy}, status=status)


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except CrypDocError as error:
        return error_response(error.http_status, error.fault, error.remedy)
    except web.HTTPRequestEntityTooLarge:
        return error_response(413, "the body is too large", "send less")
    except web.HTTPNotFound:
        return error_response(404, "there is nothing at this address", "begin at /")
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return error_response(error.status, error.reason.lower(), "see the page at / for what can be asked")
    except ConnectionError:
        raise
    except Exception:
        _log.exception("a request to %s failed", request.path)
        return error_response(
            500, "the page's server stumbled on this request", "try again; the agent's log says more"
        )


async def _harden(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.popall("Server", None)


def _check_host(request: web.Request) -> None:
    if _hostname(f"//{request.headers.get('Host', '')}") not in LOOPBACK:
        raise Denied(
            "the address in the browser is not this machine's own", "use http://127.0.0.1 and the page's port"
        )


def _check_origin(request: web.Request) -> None:
    """Browsers say which page made a request; other programs say nothing and pass (they need the token).

    A link on another page may be followed to here; nothing else may be asked from there. (same-site is another
    port of this machine.)
    """
    headers = request.headers
    followed = request.method == "GET" and headers.get("Sec-Fetch-Dest") == "document"
    foreign = headers.get("Sec-Fetch-Site") in ("cross-site", "same-site") and not followed
    origin = headers.get("Origin")
    if foreign or (origin is not None and _authority(origin) != headers.get("Host", "").lower()):
        raise Denied("another web page made this request", "open the page itself in the browser")


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _hostname(address: str) -> str:
    try:
        parts = urlsplit(address)
        return "" if "@" in parts.netloc else parts.hostname or ""
    except ValueError:
        return ""


def _same(one: str, two: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), two.encode())
