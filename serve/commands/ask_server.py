"""Reads a running server's administrative endpoints."""

import json
import urllib.error
import urllib.request
from typing import Any

from pointsman.core.errors import UpstreamError
from pointsman.serve.config.secret import read_key

__all__ = ["ask_server"]

_TIMEOUT_S = 30.0


def ask_server(url: str, path: str, *, value: object = None, api_key: str | None = None) -> dict[str, Any]:
    """The JSON object that a Pointsman server answers with.

    Args:
        url: of the server, with or without /v1.
        path: e.g. "/v1/drift".
        value: sent as JSON by POST; None sends a GET.
        api_key: the key itself, or env:NAME.

    Raises:
        UpstreamError: there is no answer, or the server rejects the request; its message is included.
        ConfigError: the variable of `api_key` is not set.
    """
    target = url.rstrip("/").removesuffix("/v1") + path
    if not target.startswith(("http://", "https://")):
        raise UpstreamError(f"server is {url!r}, wanted a URL such as http://127.0.0.1:6060")
    headers = {"content-type": "application/json"}
    if api_key is not None:
        key = read_key(api_key).value if api_key.startswith("env:") else api_key
        headers["authorization"] = f"Bearer {key}"
    body = None if value is None else json.dumps(value).encode()
    try:
        request = urllib.request.Request(target, body, headers)
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            found = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise UpstreamError(f"{target} answers {error.code}: {_message(error.read())}") from error
    except (OSError, ValueError) as error:
        raise UpstreamError(f"no Pointsman server answers at {target}: {getattr(error, 'reason', error)}") from error
    if not isinstance(found, dict):
        raise UpstreamError(f"{target} does not answer with a JSON object: is it a Pointsman server?")
    return found


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")
