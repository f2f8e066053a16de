"""What every path answers, whichever way it takes to its endpoint."""

import asyncio

import httpx
import pytest

from pointsman.serve import create_app
from pointsman.serve.auth.keys import new_key, write_keys
from pointsman.serve.config.load import make_config
from pointsman.serve.engine.steps.score_prompt import ScorePrompt
from pointsman.serve.server.fast_path import Dispatch

from support.upstream import LocalServer

BODY = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
PATH = "/v1/chat/completions"
ORIGIN = "https://page.example"


def serving(**server):
    return LocalServer(create_app(make_config({"routers": {"random": {}}, "server": server})))


def metrics(front):
    return httpx.get(f"{front.url}/metrics").text


def test_other_methods_and_paths_are_refused_with_what_there_is():
    """A known path with the wrong method is a 405 that names the right one, an unknown path a 404."""
    with serving() as front:
        wrong = httpx.get(f"{front.url}{PATH}")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
        assert wrong.json()["error"]["code"] == "method_not_allowed"
        assert httpx.post(f"{front.url}{PATH}/", json=BODY).status_code == 404


async def test_what_is_made_for_the_first_request_is_made_once_and_again_after_a_failure():
    """Requests that come meanwhile wait for it; one that is given up does not end it for the others."""
    made, served = [], []

    async def app(scope, receive, send):
        served.append(scope["path"])

    def make():
        made.append(len(made))
        if len(made) == 1:
            raise OSError("too many open files")
        return app

    dispatch = Dispatch({}, make)
    with pytest.raises(OSError, match="too many"):
        await dispatch({"type": "http", "method": "GET", "path": "/0"}, None, None)
    asking = [
        asyncio.create_task(dispatch({"type": "http", "method": "GET", "path": f"/{i}"}, None, None)) for i in "123"
    ]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    assert (made, served) == ([0, 1], ["/2", "/3"])


def test_pages_of_listed_origins_may_ask():
    """Their preflight is answered, and answers, refusals and failures alike may be read by them."""
    with serving(cors_origins=[ORIGIN]) as front:
        asking = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-a"}
        preflight = httpx.options(f"{front.url}{PATH}", headers=asking)
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, ORIGIN)
        for body in (BODY, {}):
            answer = httpx.post(f"{front.url}{PATH}", json=body, headers={"Origin": ORIGIN})
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert "x-pointsman-model" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-origin" not in httpx.post(f"{front.url}{PATH}", json=BODY).headers


@pytest.mark.parametrize("origin", ["https://page.example", "http://[", "null", "http://127.0.0.1:1"])
def test_other_sites_pages_cannot_ask_where_no_key_is_asked_for(origin):
    """Such a page could send a simple request, and spend money; the server's own page and all programs may ask."""
    with serving() as front:
        for path in (PATH, "/v1/route", "/v1/feedback", "/v1/messages"):
            sent = httpx.post(f"{front.url}{path}", json=BODY, headers={"Origin": origin, "Content-Type": "text/plain"})
            assert sent.status_code == 403
            assert "cors_origins" in sent.json()["error"]["message"]
        own = httpx.post(f"{front.url}{PATH}", json=BODY, headers={"Origin": front.url})
        assert (own.status_code, httpx.post(f"{front.url}{PATH}", json=BODY).status_code) == (200, 200)
        rebound = {"Origin": "http://evil.example", "Host": "evil.example"}
        assert httpx.post(f"{front.url}{PATH}", json=BODY, headers=rebound).status_code == 403
    with serving(cors_origins=["*"]) as front:
        assert httpx.post(f"{front.url}{PATH}", json=BODY, headers={"Origin": origin}).status_code == 200


def test_a_defect_of_our_own_is_said_in_the_usual_shape(monkeypatch, caplog):
    """The client reads a 500 with its request id and nothing of the cause, which is logged; the server goes on."""

    async def fail(self, context):
        raise ZeroDivisionError("a secret detail")

    with serving() as front:
        with monkeypatch.context() as broken:
            broken.setattr(ScorePrompt, "__call__", fail)
            answer = httpx.post(f"{front.url}{PATH}", json=BODY, headers={"X-Request-Id": "abc"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
        assert answer.headers["x-pointsman-request-id"] == "abc"
        assert "secret" not in answer.text
        assert "a secret detail" in caplog.text
        assert 'outcome="crashed",path="/v1/chat/completions",status="500"} 1.0' in metrics(front)
        assert httpx.post(f"{front.url}{PATH}", json=BODY).status_code == 200


def test_a_deeply_nested_body_is_served_or_refused():
    """Up to the depth that a client may want, and never with a failure of our own, wherever it is nested."""
    places = (
        (PATH, b'{"metadata": %s, "model": "auto", "messages": [{"role": "user", "content": "Hi"}]}'),
        (PATH, b'{"user": %s, "model": "auto", "messages": [{"role": "user", "content": [{"type": "x", "y": %s}]}]}'),
        ("/v1/messages", b'{"system": %s, "model": "auto", "messages": [{"role": "user", "content": "Hi"}]}'),
        ("/v1/route", b'{"prompt": "Hi", "metadata": %s}'),
    )
    with LocalServer(create_app(make_config({"routers": {"random": {}}, "sessions": {}}))) as front:
        for depth, status in ((200, 200), (280, 200), (900, 400), (990, 400), (5000, 400), (200_000, 400)):
            nested = b"[" * depth + b"]" * depth
            for path, body in places:
                sent = httpx.post(f"{front.url}{path}", content=body.replace(b"%s", nested))
                assert sent.status_code == status, (depth, body)
        wrong = httpx.post(f"{front.url}/v1/feedback", content=b'{"request_id": ' + b"[" * 990 + b"]" * 990 + b"}")
        assert wrong.status_code == 400


@pytest.fixture
def guarded(tmp_path):
    key, text = new_key("someone", requests_per_minute=1)
    write_keys(tmp_path / "keys.json", {key.id: key})
    with serving(keys_file=str(tmp_path / "keys.json")) as front:
        front.key = {"Authorization": f"Bearer {text}"}
        yield front


def test_who_is_turned_away_is_counted_and_logged(guarded, caplog):
    """Without a key, beyond a key's rate, and on paths that anyone can make up, which count as one."""
    caplog.set_level("INFO", "pointsman.requests")
    assert httpx.post(f"{guarded.url}{PATH}", json=BODY).status_code == 401
    assert httpx.post(f"{guarded.url}{PATH}", json=BODY, headers=guarded.key).status_code == 200
    assert httpx.post(f"{guarded.url}{PATH}", json=BODY, headers=guarded.key).status_code == 429
    for name in "ab":
        assert httpx.get(f"{guarded.url}/v1/models/{name}").status_code == 401
    text = metrics(guarded)
    for path, status, count in ((PATH, 401, 1), (PATH, 429, 1), ("other", 401, 2)):
        assert f'outcome="refused",path="{path}",status="{status}"}} {count}.0' in text
    assert "pointsman_requests_in_flight 0.0" in text
    logged = [record.fields for record in caplog.records if record.name == "pointsman.requests"]
    assert [fields["status"] for fields in logged] == [401, 200, 429, 401, 401]
