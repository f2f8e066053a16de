"""What the server says it spent, beside what the upstream charged.

POINTSMAN_SPEND_REQUESTS=10000 python -m pytest tests/serve/money/test_spend.py -s    # at full length, with figures
"""

import asyncio
import json
import os
import random
import sys
from collections import Counter
from urllib.parse import urlsplit

import pytest

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config

from support.charging import ChargingUpstream, config_for
from support.upstream import LocalServer

N_REQUESTS = int(os.environ.get("POINTSMAN_SPEND_REQUESTS", "600"))
CLIENTS = 16
ROUTED = ("router-random-0.5", "router-random-0.1", "big", "small")


def requests(n, rng):
    """Bodies with their paths, and after how many bytes the client leaves; None to stay."""
    for number in range(n):
        act = rng.choices(
            ["plain", "streamed", "retried", "failed-over", "left", "cut", "responses", "messages", "embedded"],
            [25, 25, 10, 10, 8, 4, 8, 6, 4],
        )[0]
        stream = act in ("streamed", "left", "cut") or (act not in ("embedded", "failed-over") and rng.random() < 0.3)
        text = f"{act} {number} {rng.randint(60, 90) if act in ('left', 'cut') else rng.randint(1, 60)} please"
        model = "router-random-1" if act == "failed-over" else rng.choice(ROUTED)
        if act == "messages":
            body = {"model": "claude", "messages": [{"role": "user", "content": text}], "max_tokens": 100}
        elif act in ("responses", "embedded"):
            body = {"model": "small" if act == "embedded" else model, "input": text}
        else:
            body = {"model": model, "messages": [{"role": "user", "content": text}]}
        path = {"responses": "responses", "messages": "messages", "embedded": "embeddings"}.get(act, "chat/completions")
        if stream:
            body["stream"] = True
            if path == "chat/completions" and rng.random() < 0.3:
                body["stream_options"] = {"include_usage": True}
        yield f"/v1/{path}", body, 1200 if act == "left" else None


async def ask(port, path, body, leave_after):
    """The bytes of one answer; where `leave_after` is given, the client hangs up after so many."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    received = b""
    while chunk := await reader.read(65536):
        received += chunk
        if leave_after is not None and len(received) > leave_after:
            break
    writer.transport.abort()
    return received


async def ask_all(port, rng):
    waiting = iter(list(requests(N_REQUESTS, rng)))
    statuses = Counter()

    async def client():
        for path, body, leave_after in waiting:
            received = await ask(port, path, body, leave_after)
            statuses[received[9:12]] += 1
            if body.get("stream") and "stream_options" not in body:
                assert b'"usage": null' not in received
                assert b'"choices": [], "usage"' not in received

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return statuses


@pytest.fixture(scope="module")
def spent(noon):
    """The upstream's books after a mixed load, and the records of the server."""
    upstream, records = ChargingUpstream(), []
    with LocalServer(upstream.app()) as up:
        app = create_app(make_config({**config_for(f"{up.url}/v1"), "policy": {"timezone": noon}}))
        state = app.engine.state
        state.observers = (*state.observers, records.append)
        app = create_app(engine=app.engine)
        with LocalServer(app) as front:
            statuses = asyncio.run(ask_all(urlsplit(front.url).port, random.Random(7)))
    return upstream, records, statuses, state.ledger.spent_usd("month")


def test_what_the_upstream_told_is_spent_to_the_cent(spent):
    """Plain, streamed, retried and failed-over requests on all surfaces: our dollars are the upstream's, by model."""
    upstream, records, statuses, ledger_usd = spent
    assert len(records) == N_REQUESTS
    assert set(statuses) == {b"200"}
    ours = Counter()
    for record in records:
        for charge in record.charges:
            if not charge.usage.estimated:
                ours[{"big": "big-1"}.get(charge.model, "small-1")] += charge.cost_usd
    theirs = {model: float(usd) for model, usd in upstream.ledger.items()}
    sys.stderr.write(f"\n{dict(upstream.n)}\ntold: ours {dict(ours)}, the upstream's {theirs}\n")
    for model, usd in theirs.items():
        assert ours[model] == pytest.approx(usd, abs=1e-9)
    assert ledger_usd == pytest.approx(sum(r.cost_usd for r in records if r.cost_usd is not None), abs=1e-9)


def test_what_it_could_not_tell_is_estimated_and_marked(spent):
    """Streams whose client left, or that broke: one estimate each, and together near what the upstream charged."""
    upstream, records, _, _ = spent
    charges = [charge for record in records for charge in record.charges if charge.usage.estimated]
    assert len(charges) == len(upstream.untold_tokens)
    ours = sum(charge.cost_usd for charge in charges)
    theirs = float(sum(upstream.untold.values()))
    read, written = (sum(tokens[i] for tokens in upstream.untold_tokens) for i in (1, 2))
    sys.stderr.write(
        f"\nuntold: {len(charges)} requests, ours ${ours:.6f}, the upstream's ${theirs:.6f}; "
        f"prompt tokens {sum(c.usage.input_tokens for c in charges)} to {read}, "
        f"answer tokens {sum(c.usage.output_tokens for c in charges)} to {written}\n"
    )
    assert ours == pytest.approx(theirs, rel=0.25)
