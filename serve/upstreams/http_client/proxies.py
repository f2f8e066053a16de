"""Which proxy the environment names for an upstream: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, and the hosts of NO_PROXY.

NO_PROXY lists, separated by commas or spaces, direct hosts: `*`, host names (with their subdomains), `.suffix`,
addresses, networks such as 10.0.0.0/8 or fd00::/8, each optionally with `:port` for only that port.
"""

import ipaddress
import re
from urllib.request import getproxies, proxy_bypass

from yarl import URL

from pointsman.core.errors import ConfigError

__all__ = ["environment_proxy"]

_SPOKEN = ("http", "https")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PORT = re.compile(r"(\[[^\]]*\]|[^:]*):(\d+)")


def environment_proxy(url: str) -> str | None:
    """The proxy for an upstream's URL; None for a direct connection.

    Raises:
        ConfigError: the environment names a proxy that does not speak HTTP, or its URL is malformed.
    """
    proxies = getproxies()
    to = URL(url)
    named = proxies.get(to.scheme) or proxies.get("all")
    host, port = to.raw_host or "", to.port or _DEFAULT_PORTS.get(to.scheme, 0)
    if not named or _is_direct(host, port, proxies.get("no", "")) or proxy_bypass(f"{host}:{port}"):
        return None
    proxy = URL(named if "://" in named else f"http://{named}")
    if proxy.scheme not in _SPOKEN or not proxy.host:
        raise ConfigError(
            f"the environment's proxy for {to.scheme}://{host} is a {proxy.scheme} URL, wanted http:// or https://: "
            "name an HTTP proxy in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, or list the host in NO_PROXY"
        )
    return str(proxy)


def _is_direct(host: str, port: int, no_proxy: str) -> bool:
    return any(
        _covers(entry, host.lower().rstrip("."), port) for entry in re.split(r"[,\s]+", no_proxy.lower()) if entry
    )


def _covers(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    if (found := _PORT.fullmatch(entry)) is not None:
        if int(found[2]) != port:
            return False
        entry = found[1]
    entry = entry.strip("[]")
    if (address := _address(host)) is not None:
        network = _network(entry)
        return network is not None and address.version == network.version and address in network
    entry = entry.removeprefix("*").strip(".")
    return bool(entry) and (host == entry or host.endswith("." + entry))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None
