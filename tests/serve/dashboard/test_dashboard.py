"""The dashboard's answers: its files, its sources, what happens now, and whom it tells."""

import asyncio
import contextlib
import gzip
import hashlib
import json
import time
from dataclasses import replace

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.calibration import Calibration
from pointsman.core.checkpoint import write_checkpoint
from pointsman.core.operating_points import labelled_points, operating_points
from pointsman.serve import create_app
from pointsman.serve.auth.keys import new_key, write_keys
from pointsman.serve.checkpoints.load import load_checkpoint
from pointsman.serve.config import RouterConfig, StoreConfig
from pointsman.serve.config.load import make_config
from pointsman.serve.dashboard.assets import read_assets
from pointsman.serve.dashboard.calibration_points import share_at
from pointsman.serve.dashboard.decisions import Decisions
from pointsman.serve.dashboard.sources import Sources
from pointsman.serve.dashboard.traffic_points import traffic_points
from pointsman.serve.http.errors import RequestError
from pointsman.serve.observers.live import LiveHub
from pointsman.serve.policy.served_router import serve_router
from pointsman.serve.request.ids import new_row_id
from pointsman.serve.request.record import Record
from pointsman.serve.store.rows import DecisionRow
from pointsman.serve.store.store import Store

_MAX_BYTES = 1_500_000
_UPLOT = "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"


def _client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


async def _chat(client, prompt="Hello", **headers):
    body = {"model": "auto", "messages": [{"role": "user", "content": prompt}]}
    return await client.post("/v1/chat/completions", json=body, headers=headers)


async def test_the_page_and_its_files_are_served_compressed_and_kept():
    """The page asks again with its tag; its files carry the version in their path and are kept for ever."""
    assets = read_assets()
    async with _client(create_app()) as client:
        page = await client.get("/")
        assert page.headers["content-encoding"] == "gzip" and assets.version in page.text
        again = await client.get("/", headers={"if-none-match": page.headers["etag"]})
        assert again.status_code == 304 and not again.content
        script = await client.get(f"/dashboard/{assets.version}/main.js")
        assert "immutable" in script.headers["cache-control"] and "javascript" in script.headers["content-type"]
        plain = await client.get(f"/dashboard/{assets.version}/main.js", headers={"accept-encoding": "identity"})
        assert plain.content == script.content and "content-encoding" not in plain.headers
        assert (await client.get("/dashboard/000000000000/main.js")).status_code == 404
        assert (await client.get(f"/dashboard/{assets.version}/../page.py")).status_code == 404


async def test_the_policy_lets_no_script_in_and_no_request_out():
    """Scripts, styles, images and requests are this server's own, inline ones nobody's; no page may frame it."""
    async with _client(create_app()) as client:
        headers = (await client.get("/")).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"


def test_all_files_together_are_small():
    """Everything that is served, compressed, stays below 1.5 MB; the chart library is the published one."""
    assets = read_assets()
    everything = [assets.page, *assets.others.values()]
    assert sum(len(asset.compressed) for asset in everything) < _MAX_BYTES
    assert all(gzip.decompress(asset.compressed) == asset.body for asset in everything)
    assert hashlib.sha256(assets.others["vendor/uPlot.iife.min.js"].body).hexdigest() == _UPLOT


def test_the_page_asks_for_its_modules_at_once():
    """Every module is named in the page: none waits for another to be read first, or is missed after an update."""
    assets = read_assets()
    modules = {name for name in assets.others if name.endswith(".js") and not name.startswith(("vendor/", "theme"))}
    assert all(f"/dashboard/{assets.version}/{name}".encode() in assets.page.body for name in modules)


async def test_a_store_that_is_away_is_said_so(tmp_path):
    """503 with the store's own words, not a crash."""
    app = create_app(make_config({"store": {"url": f"sqlite:///{tmp_path}/s.db"}}))
    async with _client(app) as client:  # the store was never started: it has no tables
        answer = await client.get("/api/decisions")
    await app.engine.state.store.close()
    assert answer.status_code == 503 and answer.json()["error"]["code"] == "store_unavailable"


async def test_without_a_dashboard_its_paths_are_unknown():
    """`dashboard: {enabled: false}` serves neither the page nor what it asks for."""
    async with _client(create_app(make_config({"dashboard": {"enabled": False}}))) as client:
        assert [(await client.get(path)).status_code for path in ("/", "/api/about", "/api/events")] == [404] * 3


@given(st.lists(st.floats(0, 1, width=16), min_size=2, max_size=20), st.floats(0, 1))
def test_shares_undo_thresholds(quantiles, share):
    """The threshold for a share gives that share back, or more where win rates are tied at it."""
    calibration = Calibration("any", 100, tuple(sorted(quantiles)))
    found = float(share_at(calibration, np.array([calibration.threshold(share)]))[0])
    assert found >= share - 1e-9
    if len(set(quantiles)) == len(quantiles):
        assert found == pytest.approx(share, abs=1e-6)


def test_traffic_is_reckoned_as_an_evaluation_is(tmp_path):
    """Binned in the store, prompts give the shares, dollars and errors that they give one by one."""
    rng, n = np.random.default_rng(1), 500
    rates, usd = rng.integers(200, 700, n) / 1000, (rng.random(n) / 50, rng.random(n) / 500)

    async def binned():
        async with Store(StoreConfig(url=f"sqlite:///{tmp_path}/s.db")) as store:
            rows = zip(rates.tolist(), *(side.tolist() for side in usd), strict=True)
            await store.add([_row(k, win_rate=r, strong_usd=s, weak_usd=w) for k, (r, s, w) in enumerate(rows)])
            await store.add([_row(n, win_rate=None)])
            return await store.bins()

    points, n_prompts = traffic_points(asyncio.run(binned()))
    thresholds = np.array(points["threshold"])
    expected = operating_points(rates, np.ones(n), np.zeros(n), thresholds=thresholds, usd=usd).columns()
    assert n_prompts == n and thresholds[0] == 0 and thresholds[-1] == 1
    for name in ("share", "share_error", "usd", "usd_error", "saving", "saving_error"):
        assert points[name] == pytest.approx(expected[name], abs=2e-6), name


async def test_sources_are_reports_benchmarks_traffic_and_calibrations(tmp_path):
    """Every source that is listed can be read and holds points; a report that is none says so."""
    rows = [{"name": "mine", "points": {"threshold": [0, 1], "share": [1, 0]}}]
    (tmp_path / "r.json").write_text(json.dumps({"rows": rows}))
    (tmp_path / "bad.json").write_text("[1]")
    many = {"candidates": ["a"], "routers": {"blend": {"curve": [{"threshold": 0, "usd": 1, "quality": 1}]}}}
    (tmp_path / "many.json").write_text(json.dumps(many))
    reports = {name: str(tmp_path / f"{file}.json") for name, file in (("mine", "r"), ("bad", "bad"), ("many", "many"))}
    values = {"dashboard": {"reports": reports}}
    app = create_app(make_config({**values, "store": {"url": f"sqlite:///{tmp_path}/s.db"}}))
    await app.engine.state.start()
    async with _client(app) as client:
        cards = (await client.get("/api/about")).json()["sources"]
        assert [card["kind"] for card in cards] == ["report"] * 3 + ["bundled", "bundled", "calibration", "traffic"]
        await app.engine.state.store.add([_row(1, router="mf", win_rate=0.5)])
        for card in cards:
            answer = await client.get(f"/api/sources/{card['id']}")
            if card["title"] == "bad":
                assert answer.status_code == 422 and "pointsman evaluate --json" in answer.text
            elif card["title"] == "many":
                assert answer.json() == many
            else:
                assert any(row["points"] for row in answer.json()["rows"])
        assert (await client.get("/api/sources/nothing")).status_code == 404
    await app.engine.state.close()


def test_a_router_calibrated_on_labels_has_a_quality_at_every_threshold(tmp_path):
    """The simulator never says that its quality is not known; the curve rises from the share nought to one."""
    rng = np.random.default_rng(0)
    rates, strong = rng.random(200), np.ones(200)
    weak = (rng.random(200) > rates).astype(float)
    checkpoint = load_checkpoint("mf")
    labelled = replace(checkpoint, metrics={"labelled": labelled_points(rates, strong, weak)})
    write_checkpoint(labelled, tmp_path / "labelled")
    served = serve_router("mine", RouterConfig(checkpoint=str(tmp_path / "labelled")))
    row = orjson.loads(asyncio.run(Sources({"mine": served}, {}).read("calibration/mine")))["rows"][0]
    assert row["points"]["quality"][0] == 1.0 and row["points"]["retained"][-1] == pytest.approx(weak.mean(), abs=0.01)
    assert row["curve"]["share"] == sorted(row["curve"]["share"])
    ends = zip(row["curve"]["low"], row["curve"]["quality"], row["curve"]["high"], strict=True)
    assert all(low <= quality <= high for low, quality, high in ends)


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ({"host": "127.0.0.1:6060"}, True),
        ({"host": "[::1]:6060"}, True),
        ({"host": "LOCALHOST"}, True),
        ({"host": "gateway.internal"}, True),
        ({"host": "evil.example"}, False),
        ({"host": "localhost.evil.example"}, False),
        ({"host": "127.0.0.1.evil.example"}, False),
        ({"host": ""}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://["}, False),
        ({"host": "["}, False),
        ({"origin": "http://localhost"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "same-origin"}, True),
    ],
)
async def test_other_sites_pages_see_nothing(headers, known):
    """A host that an outsider can make, or a foreign origin, is refused before anything is shown."""
    app = create_app(make_config({"dashboard": {"hosts": ["gateway.internal"]}}))
    async with _client(app) as client:
        for path in ("/api/decisions", "/api/about", "/v1/policy"):
            answer = await client.get(path, headers=headers)
            assert answer.status_code == (200 if known else 403), path


async def test_other_sites_pages_change_nothing():
    """A form's content type is refused, and so is a foreign origin; a script of one's own needs neither."""
    app = create_app()
    async with _client(app) as client:
        form = await client.post("/v1/policy", content='{"threshold": 0.1}', headers={"content-type": "text/plain"})
        assert form.status_code == 415
        foreign = {"origin": "http://evil.example"}
        assert (await client.post("/v1/policy", json={"threshold": 0.1}, headers=foreign)).status_code == 403
        assert not (await client.get("/v1/policy")).json()["overridden"]
        assert (
            await client.post("/v1/policy", json={"threshold": 0.1}, headers={"host": "gateway"})
        ).status_code == 200


async def test_prompts_are_for_admins(tmp_path):
    """Where keys are asked for, decisions and events need an admin's; what holds no prompt needs any key."""
    (user, user_text), (admin, admin_text) = new_key("user"), new_key("boss", admin=True)
    write_keys(tmp_path / "keys.json", {user.id: user, admin.id: admin})
    app = create_app(make_config({"server": {"keys_file": str(tmp_path / "keys.json")}}))
    async with _client(app) as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/api/about")).status_code == 401
        theirs = {"authorization": f"Bearer {user_text}"}
        assert (await client.get("/api/about", headers=theirs)).json()["admin"] is False
        await _chat(client, "a secret prompt", **theirs)
        for path in ("/api/decisions", "/api/events", "/api/sources/traffic/mf"):
            answer = await client.get(path, headers=theirs)
            assert answer.status_code == 403 and "secret" not in answer.text
        mine = {"authorization": f"Bearer {admin_text}", "host": "any.example"}
        assert (await client.get("/api/decisions", headers=mine)).json()["decisions"][0]["prompt"] == "a secret prompt"


async def test_the_last_decisions_are_kept_without_a_store():
    """Newest first, by the page, filtered by what they hold."""
    app = create_app()
    async with _client(app) as client:
        for k in range(60):
            await _chat(client, f"Prompt number {k}")
        first = (await client.get("/api/decisions")).json()
        assert first["decisions"][0]["prompt"] == "Prompt number 59" and len(first["decisions"]) == 50
        rest = (await client.get(f"/api/decisions?before={first['next']}")).json()
        assert [row["prompt"] for row in rest["decisions"]] == [f"Prompt number {k}" for k in range(9, -1, -1)]
        assert rest["next"] is None and not rest["kept"]
        found = (await client.get("/api/decisions?text=NUMBER+7&outcome=answered")).json()["decisions"]
        assert [row["prompt"] for row in found] == ["Prompt number 7"]
        assert (await client.get("/api/decisions?model=nobody")).json()["decisions"] == []
        assert "before" in (await client.get("/api/decisions?page=2")).json()["error"]["message"]


async def test_broken_text_is_shown_all_the_same():
    """A model field with half a character neither ends the table nor the events."""
    app = create_app()
    body = b'{"model": "half \\ud800 of it", "messages": [{"role": "user", "content": "Hello"}]}'
    async with _client(app) as client:
        assert (await client.post("/v1/chat/completions", content=body)).status_code == 404
        answer = await client.get("/api/decisions")
        assert b"half \\ud800 of it" in answer.content
        events = await app.engine.state.live.watch()
        assert b"half \\ud800 of it" in await anext(events)
        await events.aclose()
        await app.engine.state.live.close()


async def test_the_store_is_paged_through(tmp_path):
    """With a store every decision is found, page by page, and filtered there."""
    async with Store(StoreConfig(url=f"sqlite:///{tmp_path}/s.db")) as store:
        await store.add(
            [_row(k, prompt=f"number {k}", outcome="failed" if k % 10 == 0 else "answered") for k in range(120)]
        )
        decisions, query, seen = Decisions(LiveHub(max_watchers=1), store), {}, []
        while True:
            page = orjson.loads(await decisions.read(query))
            seen += [row["prompt"] for row in page["decisions"]]
            if page["next"] is None:
                break
            query = {"before": page["next"]}
        assert seen == [f"number {k}" for k in range(119, -1, -1)]
        failed = orjson.loads(await decisions.read({"outcome": "failed"}))["decisions"]
        assert len(failed) == 12 and "embedding" not in failed[0] and "prompt_hash" not in failed[0]


async def test_a_page_hears_of_a_decision_at_the_next_tick():
    """The first event holds what is known; the next, a second later, what has happened since."""
    hub = LiveHub(max_watchers=1)
    hub(Record("first", "/v1/chat/completions", outcome="failed"))
    events = await hub.watch()
    assert [row["request_id"] for row in _decisions(await anext(events))] == ["first"]
    hub(Record("second", "/v1/chat/completions"))
    event = await asyncio.wait_for(anext(events), 60.0)
    assert [row["request_id"] for row in _decisions(event)] == ["second"]
    assert _event(event)["totals"][:4] == [2, 0, 0, 2]
    again = LiveHub(max_watchers=1)
    assert again.id != hub.id
    await events.aclose()
    await hub.close()


async def test_a_page_that_comes_back_is_told_what_it_missed():
    """Only what is newer than the last that it knows, and everything where that number makes no sense."""
    hub = LiveHub(max_watchers=5)
    for name in "abc":
        hub(Record(name, "/"))
    told = {
        after: [row["request_id"] for row in _decisions(await anext(await hub.watch(after=after)))]
        for after in (0, 2, 3, 9)
    }
    assert told == {0: ["c", "b", "a"], 2: ["c"], 3: [], 9: ["c", "b", "a"]}
    await hub.close()


async def test_slow_and_many_pages_are_let_go(monkeypatch):
    """A page that does not read is dropped, not buffered for; beyond the limit a page is refused."""
    monkeypatch.setattr("pointsman.serve.observers.live._TICK_S", 0.001)
    hub = LiveHub(max_watchers=1)
    slow = await hub.watch()
    with pytest.raises(RequestError, match=r"1 pages are already connected.*dashboard\.watchers"):
        await hub.watch()
    fast = None
    while fast is None:
        await asyncio.sleep(0.01)
        with contextlib.suppress(RequestError):
            fast = await hub.watch()
    assert _event(await anext(fast))["hub"] == hub.id
    assert len([event async for event in slow]) <= 5
    await fast.aclose()
    await hub.close()


def test_what_was_seen_is_bounded():
    """However many requests and however long their prompts, 500 beginnings of 2,000 characters stay."""
    hub = LiveHub(max_watchers=1, prompts=False)
    for k in range(2000):
        hub(Record(str(k), "/"))
    kept = hub.recent()
    assert len(kept) == 500 and kept[0]["request_id"] == "1999" and kept[0]["prompt"] is None


def _row(k, **values):
    at = time.time() - 1000.0 + k
    return DecisionRow(id=new_row_id(at), request_id=f"r{k}", at=at, path="/v1/chat/completions", **values)


def _event(event):
    return json.loads(event.decode().split("data: ", 1)[1])


def _decisions(event):
    return _event(event)["decisions"]
