"""Without access keys, no page whose name was pointed at this server reads anything of it."""

import httpx
import pytest

from pointsman.serve import create_app
from pointsman.serve.auth.keys import new_key, write_keys
from pointsman.serve.config.load import make_config

PATHS = (
    "/metrics",
    "/v1/models",
    "/v1/models/auto",
    "/ready",
    "/health",
    "/openapi.json",
    "/",
    "/api/about",
    "/nowhere",
)


async def status(path, host, values=None, method="GET"):
    transport = httpx.ASGITransport(create_app(make_config({"server": {"log_requests": False}, **(values or {})})))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return (await client.request(method, path, headers={"host": host})).status_code


@pytest.mark.parametrize("path", PATHS)
async def test_the_host_is_checked_on_every_path(path):
    """A name that an outsider may have made up is refused; addresses and localhost are not."""
    assert await status(path, "evil.example:6060") == 403
    assert await status(path, "127.0.0.1:6060") != 403
    assert await status(path, "localhost") != 403
    assert await status(path, "evil.example", method="HEAD") == 403


async def test_names_that_are_configured_pass():
    """Of `dashboard.hosts`, and the one that the server is bound to; with keys, the key decides."""
    assert await status("/metrics", "Gateway.internal:80", {"dashboard": {"hosts": ["gateway.internal"]}}) == 200
    assert await status("/metrics", "box", {"server": {"host": "box", "log_requests": False}}) == 200


async def test_with_keys_any_host_may_be_named(tmp_path):
    """There the key protects what is shown."""
    key, _ = new_key("me")
    write_keys(tmp_path / "keys.json", {key.id: key})
    values = {"server": {"keys_file": str(tmp_path / "keys.json"), "log_requests": False}}
    assert await status("/health", "gateway.example", values) == 200
    assert await status("/v1/models", "gateway.example", values) == 401
