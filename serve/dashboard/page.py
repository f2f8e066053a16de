"""Serves the page and its files. They hold nothing secret: what they show, the page asks for itself."""

from starlette.types import Receive, Scope, Send

from pointsman.serve.dashboard.assets import Asset, read_assets
from pointsman.serve.http.asgi import send_body
from pointsman.serve.http.errors import RequestError
from pointsman.serve.http.streams import Headers

__all__ = ["SECURITY", "Files", "Page"]

_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
SECURITY: Headers = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_ASK_AGAIN = (b"cache-control", b"no-cache")
_KEEP = (b"cache-control", b"public, max-age=31536000, immutable")


class Page:
    """GET /."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _send_asset(scope, send, read_assets().page, _ASK_AGAIN)


class Files:
    """GET /dashboard/<version>/<path>: kept by browsers for as long as they like, as the version changes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assets, wanted = read_assets(), scope["path_params"]
        asset = assets.others.get(wanted["path"]) if wanted["version"] == assets.version else None
        if asset is None:
            error = RequestError(f"the dashboard has no file {scope['path']}", status=404, code="not_found")
            await send_body(send, 404, error.body(), ((b"content-type", b"application/json"),))
            return
        await _send_asset(scope, send, asset, _KEEP)


async def _send_asset(scope: Scope, send: Send, asset: Asset, caching: tuple[bytes, bytes]) -> None:
    sent = dict(scope["headers"])
    headers = (caching, (b"etag", asset.tag), (b"vary", b"accept-encoding"), *SECURITY)
    if asset.tag in sent.get(b"if-none-match", b""):
        await send({"type": "http.response.start", "status": 304, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b""})
        return
    headers = ((b"content-type", asset.type), *headers)
    body = asset.body
    if b"gzip" in sent.get(b"accept-encoding", b"") and len(asset.compressed) < len(body):
        headers, body = ((b"content-encoding", b"gzip"), *headers), asset.compressed
    await send_body(send, 200, body if scope["method"] != "HEAD" else b"", headers)
