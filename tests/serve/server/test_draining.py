"""How a server ends: nobody who has connected is reset, and workers end with their supervisor."""

import asyncio
import os
import signal
import socket
import time
from types import SimpleNamespace

import pytest
import uvicorn

from pointsman.serve.config import ServerConfig
from pointsman.serve.server import launch
from pointsman.serve.server.connection_limits import limit_heads
from pointsman.serve.server.draining import DrainingServer
from pointsman.serve.server.supervisor import Supervisor, _Worker

ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def answer(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def end_with_waiting_clients(n_clients):
    """Connects clients and ends the server before its loop had a moment to accept them; what each is answered."""
    config = uvicorn.Config(answer, http=limit_heads(ServerConfig()), lifespan="off", log_config=None, ws="none")
    config.load()
    server = DrainingServer(config)
    server.lifespan = config.lifespan_class(config)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    address = listener.getsockname()
    await server.startup(sockets=[listener])
    clients = [socket.create_connection(address, timeout=30) for _ in range(n_clients)]
    for client in clients:
        client.sendall(ASK)
    await server.shutdown(sockets=[listener])
    answers = [await asyncio.to_thread(client.recv, 1000) for client in clients]
    for client in clients:
        client.close()
    return address, answers


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_whoever_has_connected_when_the_server_ends_is_answered(loop):
    """Connections in the accept queue are served; later ones are refused."""
    factory = uvicorn.Config(answer, loop=loop, log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        address, answers = runner.run(end_with_waiting_clients(50))
    assert all(said.startswith(b"HTTP/1.1 200") and said.endswith(b"ok") for said in answers)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=30)


def test_the_supervisor_closes_its_port_before_its_workers_drain(monkeypatch):
    """Nobody waits at a port that only the supervisor still holds open."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        supervisor = Supervisor(uvicorn.Config(answer, workers=1, log_config=None), [listener])
        supervisor.terminate_all()
        assert listener.fileno() == -1


def test_a_worker_is_not_killed_for_being_slow():
    """One that does not answer yet lives on, however busy the machine; one that says nothing for a minute does not."""
    worker = _Worker(uvicorn.Config(answer), [])
    worker.process = SimpleNamespace(is_alive=lambda: True)
    worker._heard_at = time.monotonic()
    assert worker.is_alive() and worker.is_alive()
    worker._heard_at -= 61.0
    assert not worker.is_alive()
    worker.child_conn.send(True)
    assert worker.is_alive() and not worker.is_ready(0.0)
    worker.process = SimpleNamespace(is_alive=lambda: False)
    assert not worker.is_alive()


def test_a_worker_whose_supervisor_is_gone_ends(monkeypatch):
    """Even where the supervisor was killed before the worker looked for it."""
    ended = []
    monkeypatch.setenv("POINTSMAN_SERVE_SUPERVISOR", str(os.getpid()))
    monkeypatch.setattr(os, "kill", lambda *given: ended.append(given))
    launch._end_with_supervisor()
    assert ended == [(os.getpid(), signal.SIGTERM)]
