"""The proxy of the environment is asked for every host that NO_PROXY does not except."""

import pytest

from pointsman.core.errors import ConfigError
from pointsman.serve.config.load import make_config
from pointsman.serve.config.secret import Secret
from pointsman.serve.engine.engine import Engine
from pointsman.serve.upstreams.http_client.proxies import environment_proxy

PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    """Whatever this machine's environment names, no proxy is set to begin with."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_https(monkeypatch, variable):
    """https upstreams are asked through the proxy for https, or the one for all."""
    monkeypatch.setenv(variable, PROXY)
    assert environment_proxy("https://api.example/v1") == PROXY
    assert environment_proxy("http://api.example/v1") == (PROXY if variable.lower() == "all_proxy" else None)


def test_precedence(monkeypatch):
    """A scheme's own proxy goes before the one for all; one without a scheme speaks HTTP."""
    monkeypatch.setenv("ALL_PROXY", "http://other.example:1")
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    assert environment_proxy("https://api.example/v1") == PROXY


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", "https://api.example", True),
        ("api.example", "https://api.example", True),
        ("example", "https://api.example", True),
        (".example", "https://api.example", True),
        ("*.example", "https://api.example", True),
        ("xample", "https://api.example", False),
        ("api.example:8443", "https://api.example", False),
        ("api.example:443", "https://api.example", True),
        ("a, API.Example", "https://api.example", True),
        ("10.0.0.0/8", "http://10.9.8.7:8000", True),
        ("10.0.0.0/8", "http://11.9.8.7:8000", False),
        ("10.9.8.7", "http://10.9.8.7:8000", True),
        ("0.9.8.7", "http://10.9.8.7:8000", False),
        ("::1", "http://[::1]:8000", True),
        ("[::1]", "http://[::1]:8000", True),
        ("[::1]:8000", "http://[::1]:8000", True),
        ("[::1]:8001", "http://[::1]:8000", False),
        ("fd00::/8", "http://[fd12::9]:8000", True),
        ("fd00::/8", "http://[fe12::9]:8000", False),
        ("10.0.0.0/8", "http://[::1]:8000", False),
        ("10.0.0.0/99", "http://10.9.8.7", False),
        ("", "https://api.example", False),
    ],
)
def test_no_proxy(monkeypatch, no_proxy, url, direct):
    """Names, suffixes, ports, addresses and networks of both families are excepted."""
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert environment_proxy(url) == (None if direct else PROXY)


@pytest.mark.parametrize("named", ["socks5://proxy.example:1080", "socks5h://proxy.example", "ftp://proxy.example"])
def test_other_protocols(monkeypatch, named):
    """A proxy that does not speak HTTP is refused, and not passed by in silence; an excepted host is no matter."""
    monkeypatch.setenv("ALL_PROXY", named)
    with pytest.raises(ConfigError, match="wanted http:// or https://"):
        environment_proxy("https://api.example/v1")
    monkeypatch.setenv("NO_PROXY", "api.example")
    assert environment_proxy("https://api.example/v1") is None


def test_start(monkeypatch):
    """A server does not start with a proxy that its upstreams cannot be asked through."""
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.example:1080")
    with pytest.raises(ConfigError, match="socks5"):
        Engine(make_config(strong="openai/a", weak="openai/b", routers=["random"]), api_key=Secret("KEY", "k"))
